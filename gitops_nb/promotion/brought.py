"""Whether an earlier promotion brought what a later one finds: the version, by the commit that the branch still holds."""

from __future__ import annotations

from gitops_nb.model import Plan
from gitops_nb.ports import View
from gitops_nb.record.fold import RunState


def brought(view: View, plan: Plan, earlier: RunState) -> bool:
    """Whether a run arrived at what this plan found, and no file of it was changed since.

    A run of another history (a sandbox built anew, a branch put back) brought nothing of what is there now.

    Raises:
        UnavailableError: The repository does not answer.
    """
    then, now = earlier.plan["arguments"], plan.arguments
    same = ("application", "repository", "branch", "version_after")
    if any(then[name] != now[name] for name in same):
        return False
    revision = next(
        (str(e.result["revision"]) for e in earlier.touched if "revision" in e.result), ""
    )
    tip = view.git.tip(now["repository"], now["branch"])
    paths = [name.removeprefix(f"{now['repository']}:") for name in plan.materials]
    return bool(revision) and all(
        view.git.is_untouched(now["repository"], path, revision, tip) for path in paths
    )
