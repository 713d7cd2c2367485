"""What a run's record says about where it comes from: the workspace's commit, the tools, and who may do what there."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from gitops_nb.adapters.git_proven import UNASKED, UNMOVED, blob_id
from gitops_nb.errors import UnavailableError
from gitops_nb.model import Json
from gitops_nb.policy import Rules
from gitops_nb.ports import Processes

_TOOLS = {"git": ("git", "--version"), "openssh": ("ssh", "-V")}
_OWN_FILES = ("gitops-nb.yaml", "runbooks", "notebooks")
_NOTHING_RUNS = (
    "--literal-pathspecs",
    "-c",
    "core.fsmonitor=false",
    "-c",
    f"core.hooksPath={os.devnull}",
)


def source_of(root: Path, processes: Processes) -> Mapping[str, Json]:
    """Commit and branch of the workspace, and whether its own files differ from them; empty outside of a repository.

    Nothing of the repository is run: a filter, a hook or a transport that its settings name belongs to whoever writes there.
    So files are compared as they lie there, byte for byte, without what a filter would make of them.
    """
    if not any((folder / ".git").exists() for folder in (root, *root.parents)):
        return {}
    found = _ask(root, ("rev-parse", "HEAD", "--symbolic-full-name", "HEAD"), processes)
    if found is None:
        # Without a commit yet there is a branch all the same.
        branch = _ask(root, ("symbolic-ref", "--quiet", "HEAD"), processes)
        if branch is None:
            return {}
        commit = b"(initial)"
    else:
        commit, branch = found.split()
    name = branch.decode(errors="replace").strip().removeprefix("refs/heads/")
    return {
        "commit": commit.decode(),
        "branch": "(detached)" if name == "HEAD" else name,
        "dirty": _is_dirty(root, processes),
    }


def _is_dirty(root: Path, processes: Processes) -> bool:
    """Whether the workspace's own files are others than those of the commit: changed, missing or new."""
    listed = _ask(root, ("ls-tree", "-r", "-z", "HEAD", "--", *_OWN_FILES), processes) or b""
    committed: dict[str, tuple[str, str]] = {}
    for row in listed.split(b"\0")[:-1]:
        said, _, name = row.partition(b"\t")
        mode, _, sha = said.decode().split(" ")
        committed[os.fsdecode(name)] = mode, sha
    there = set(_files_below(root))
    if not there <= set(committed):
        ignored = ("ls-files", "--others", "--ignored", "--exclude-standard", "-z", "--")
        names = _ask(root, (*ignored, *_OWN_FILES), processes) or b""
        there -= {os.fsdecode(name) for name in names.split(b"\0")[:-1]}
    return there != set(committed) or any(
        _is_other(root / name, mode, sha) for name, (mode, sha) in committed.items()
    )


def _files_below(root: Path) -> Iterator[str]:
    """Names, from the workspace, of its own files; of a link its own name."""
    for name in _OWN_FILES:
        place = root / name
        if place.is_symlink() or not place.is_dir():
            if os.path.lexists(place):
                yield name
            continue
        for folder, folders, files in os.walk(place):
            links = [one for one in folders if Path(folder, one).is_symlink()]
            for file in (*files, *links):
                yield Path(folder, file).relative_to(root).as_posix()


def _is_other(path: Path, mode: str, sha: str) -> bool:
    """Whether a file is not what a commit has there."""
    try:
        state = path.lstat()
        if stat.S_ISLNK(state.st_mode):
            content, found = os.fsencode(path.readlink()), "120000"
        else:
            content = path.read_bytes() if stat.S_ISREG(state.st_mode) else b""
            found = "100755" if state.st_mode & stat.S_IXUSR else "100644"
    except OSError:
        return True
    return (found, blob_id(content, len(sha))) != (mode, sha)


def _ask(root: Path, arguments: tuple[str, ...], processes: Processes) -> bytes | None:
    """What Git reads of the workspace's repository; None where it cannot."""
    done = processes.run(
        ("git", "-C", str(root), *_NOTHING_RUNS, *arguments),
        timeout_s=20,
        environment={**UNMOVED, **UNASKED},
    )
    return done.output if done.exit_code == 0 else None


def tools_of(processes: Processes) -> Mapping[str, str]:
    """Versions of the programs that every run starts."""
    found: dict[str, str] = {}
    for name, argv in _TOOLS.items():
        try:
            done = processes.run(argv, timeout_s=10)
        except UnavailableError:
            found[name] = "not installed"
            continue
        match = re.search(r"\d+\.\d+[\w.]*", done.stdout + done.stderr)
        found[name] = match[0] if match else "unknown"
    return found


def may_of(rules: Rules) -> Mapping[str, Json]:
    """Who may do what in an environment, as its rules say now."""
    return {
        "environment": rules.environment,
        "automation_starts": rules.auto_deploy,
        "approvals": rules.approvals,
        "approve": sorted(one.person for one in rules.approvers),
        "break_glass": sorted(one.person for one in rules.approvers if one.break_glass),
        "workflows": [f"{w.repository}/{w.workflow}@{w.ref}" for w in rules.workflows],
    }
