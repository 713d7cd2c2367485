"""The lock on what an apply changes: one environment and subject, held by one run at a time.

On this machine it is a flock in the workspace, which the operating system frees when its holder and every child that
inherited it are gone. Where the workspace names ``locks: gs://…`` a slot in that bucket is taken behind it, for runs on
other machines.
"""

from __future__ import annotations

import re
from functools import partial

from gitops_nb.catalog.workspace import Workspace
from gitops_nb.record.locks import Held, Owner, SharedLocks, this_process
from gitops_nb.record.runs import Lock, holder, lock_holder, try_lock
from gitops_nb.session.github import github_api
from gitops_nb.session.stores import locks_store

ASKED_S = 30.0
"""How long GitHub is asked about a lock's holder."""
_ODD = re.compile(r"[^A-Za-z0-9_@+=, -]")


class TargetLock:
    """A held lock."""

    def __init__(self, own: Lock, shared: SharedLocks | None, slot: Held | None) -> None:
        self._own = own
        self._shared = shared
        self._slot = slot

    @property
    def descriptor(self) -> int:
        """Of the flock; a child that inherits it keeps the lock."""
        return self._own.descriptor

    def release(self) -> None:
        """Frees it here and for other machines."""
        if self._shared is not None and self._slot is not None:
            self._shared.release(self._slot)
            self._slot = None
        self._own.release()


def take_target(workspace: Workspace, name: str, run: str, *, ci_api: str) -> TargetLock | str:
    """Takes the lock of a target, or says who holds it: run, process or CI run, and since when.

    Args:
        workspace: Whose locks.
        name: Of the target.
        run: Who takes it.
        ci_api: Who is asked whether a CI run that holds it has ended, by policy.yaml.

    Raises:
        UnavailableError: The store of the locks does not answer; nothing is held.
        RecordError: A lock cannot be written or read; nothing is held.
    """
    name = _ODD.sub("-", name)
    reason = f"changes {name}"
    own = try_lock(workspace.own, name, {**holder(run), "reason": reason})
    if own is None:
        other = lock_holder(workspace.own, name)
        where = f"process {other.get('pid', '?')} on {other.get('host', '?')}"
        return f"{other.get('who', 'another run')} ({where}) since {other.get('since', '?')}"
    shared = shared_locks(workspace, ci_api)
    if shared is None:
        return TargetLock(own, None, None)
    taken: Held | Owner | None = None
    try:
        taken = shared.take(name, this_process(run, reason, str(own.path.resolve())))
    finally:
        if not isinstance(taken, Held):
            own.release()
    return TargetLock(own, shared, taken) if isinstance(taken, Held) else str(taken)


def shared_locks(workspace: Workspace, ci_api: str) -> SharedLocks | None:
    """The locks that other machines see, where the workspace names a bucket for them."""
    store = locks_store(workspace)
    return SharedLocks(store, has_ended=partial(has_ended, ci_api)) if store is not None else None


def has_ended(ci_api: str, repository: str, run: str, attempt: str) -> bool:
    """Whether GitHub says that an attempt of a workflow run is completed; see ``adapters.github_runs``."""
    from gitops_nb.adapters.github_runs import GitHubRuns

    return GitHubRuns(github_api(ci_api, deadline_s=ASKED_S)).has_ended(repository, run, attempt)
