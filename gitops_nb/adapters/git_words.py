"""What git and the remote say about a refusal, as one text that names the cause.

Of the many lines of a failed push or fetch the last one rarely is the reason: ssh ends with advice, a server's hook speaks
before git's own summary. Secrets are masked where the text is shown or recorded, as everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from gitops_nb.ports import Completed

MOST_LINES, LONGEST = 30, 2_000
_REMOTE = re.compile(r"remote: ?(.*)", re.DOTALL)
_REJECTED = re.compile(r"!\t\S*\t\[(?P<what>[^\]]+)\](?: \((?P<why>.*)\))?")
_NOISE = re.compile(
    r"(hint: .*|To \S+|Done|Everything up-to-date|Total \d.*|error: failed to push some refs to .*"
    r"|(and the repository exists\.)|Please make sure you have the correct access rights"
    r"|fatal: Could not read from remote repository\.|fatal: the remote end hung up unexpectedly)?"
)
"""Lines that name no cause; kept only where there is nothing else."""
_LOCK = re.compile(
    r"cannot lock ref|unable to (?:create|lock).*(?:\.lock|File exists)|\.lock'?: File exists|failed to lock",
    re.IGNORECASE,
)


_IN_THE_WAY = re.compile(r"'(refs/[^']+)' exists; cannot create")

_CUT_OFF = re.compile(
    r"unexpected disconnect|hung up unexpectedly|early EOF|connection (?:was )?reset|RPC failed|broken pipe"
    r"|timed out while|operation timed out",
    re.IGNORECASE,
)


_NOT_SENT = re.compile(
    r"\[rejected\]|\[remote |permission denied|could not resolve|unable to access|connection refused|authentication"
    r"|not appear to be a git repository|not found|does not support",
    re.IGNORECASE,
)
"""With these the server has said no, or was never asked."""


_PROGRESS = re.compile(
    r"(remote: )?(Enumerating|Counting|Compressing|Receiving|Resolving|Unpacking|Updating|Total) .*"
)


def without_progress(said: str) -> str:
    r"""What git said but for how far it is.

    >>> without_progress("remote: Counting objects:  50% (1/2)\rremote: Counting objects: 100% (2/2), done.\nfatal: early EOF\n")
    'fatal: early EOF'
    """
    lines = re.split(r"[\r\n]+", said)
    return "\n".join(line for line in lines if line and not _PROGRESS.fullmatch(line.rstrip()))


def reason_of(done: Completed) -> str:
    r"""Why git failed: its own reason, then the remote's own words.

    >>> said = "remote: error: GH006: Protected branch update failed\nerror: failed to push some refs to 'x'\n"
    >>> reason_of(Completed((), 1, b"!\tA:refs/heads/main\t[remote rejected] (protected branch hook declined)\n", said))
    'protected branch hook declined; the remote says: error: GH006: Protected branch update failed'
    """
    lines = [line.strip() for line in re.split(r"[\r\n]+", done.stderr) if line.strip()]
    spoken = [match[1].strip() for line in lines if (match := _REMOTE.fullmatch(line))]
    own = [line for line in lines if not _REMOTE.fullmatch(line)]
    causes = [*_rejections(done.stdout), *(line for line in own if not _NOISE.fullmatch(line))]
    # What only the remote can know stands there once, in its own words.
    parts = list(dict.fromkeys(causes)) or ([] if any(spoken) else own[-1:])
    words = "; ".join(line for line in _without_frames(spoken)[:MOST_LINES])
    if words:
        parts.append(f"the remote says: {words}")
    return _shortened("; ".join(parts)) or "no reason given"


def is_locked(done: Completed) -> bool:
    """Whether a lock was in the way: of a push that goes on, or one that a killed process left."""
    return _LOCK.search(f"{done.stdout}\n{done.stderr}") is not None


def in_the_way(done: Completed) -> str:
    """A reference whose name leaves no room for the one that was pushed; "" when none is named. Waiting does not help."""
    found = _IN_THE_WAY.search(f"{done.stdout}\n{done.stderr}")
    return found[1] if found else ""


def is_cut_off(done: Completed) -> bool:
    """Whether a push was sent and its answer is missing: the server may have done it, or may still do it."""
    said = f"{done.stdout}\n{done.stderr}"
    return _CUT_OFF.search(said) is not None and _NOT_SENT.search(said) is None


def _rejections(porcelain: str) -> Iterator[str]:
    """The reasons in the output of ``git push --porcelain``."""
    for line in porcelain.splitlines():
        if found := _REJECTED.match(line):
            yield found["why"] or found["what"]


def _without_frames(lines: list[str]) -> list[str]:
    """A server's words without blank lines and the rules that it draws around them."""
    return [line for line in lines if line.strip("=-*# ")]


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text):,} characters)"
