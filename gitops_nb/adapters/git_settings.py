"""What Git takes from a person's own configuration: how they prove who they are, and nothing about where it goes or who answers.

Another address, a proxy, an authority, another transport, a hook or a filter are settings, too; whoever sets a variable or
writes a file could name them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gitops_nb.ports import Processes

NOWHERE = "/dev/null"
ALONE: Mapping[str, str] = {
    "GIT_CONFIG_GLOBAL": NOWHERE,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_SSH_COMMAND": "ssh -o BatchMode=yes -o ConnectTimeout=10",
    "LC_ALL": "C.UTF-8",
}
"""Variables with which Git reads nobody's configuration, asks nobody, and starts the system's ssh."""
_WANTED = r"^(credential\..*|http\.(.*\.)?extraheader)$"
_KNOWN = frozenset(
    {
        "core.repositoryformatversion", "core.filemode", "core.bare", "core.ignorecase",
        "core.precomposeunicode", "core.symlinks", "extensions.objectformat", "extensions.refstorage",
    }
)  # fmt: skip
"""What `git init` writes into a cache's config; all else somebody added."""
Settings = tuple[tuple[str, str], ...]


def credentials_of(processes: Processes, environment: Mapping[str, str]) -> Settings:
    """Settings `credential.*`, and headers that authorize, of the person's and the machine's own configuration.

    Args:
        processes: Runs git.
        environment: Says whose: HOME, GIT_CONFIG_GLOBAL, GIT_CONFIG_NOSYSTEM.
    """
    done = processes.run(
        ("git", "--git-dir", NOWHERE, "config", "-z", "--get-regexp", _WANTED),
        timeout_s=60,
        cwd=Path("/"),
        environment=environment,
    )
    rows = done.output.decode(errors="surrogateescape").split("\0")[:-1]
    told = (row.partition("\n") for row in rows)
    # A key without a value is true.
    named = ((key, value if mark else "true") for key, mark, value in told)
    return tuple((key, value) for key, value in named if _is_credential(key, value))


def _is_credential(key: str, value: str) -> bool:
    # An empty one forgets those before it. Any other header could ask for another host's pages.
    header = value.partition(":")[0].strip().casefold()
    return key.startswith("credential.") or header in ("", "authorization")


def as_variables(settings: Settings) -> Mapping[str, str]:
    """Settings as variables: arguments of a process can be read by every user of the machine."""
    found = {"GIT_CONFIG_COUNT": str(len(settings))}
    for number, (key, value) in enumerate(settings):
        found |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return found


def added_settings(config: str) -> tuple[str, ...]:
    """What a cache's config says beside what `git init` writes there, as SECTION.KEY."""
    found: list[str] = []
    section = ""
    for line in config.splitlines():
        text = line.strip()
        if text.startswith("[") and text.endswith("]"):
            section = text[1:-1]
        elif text and text[0] not in "#;":
            name = text.partition("=")[0].strip()
            key = name[1:] if name.startswith("[") else f"{section}.{name.casefold()}"
            if key not in _KNOWN:
                found.append(key)
    return tuple(found)
