"""What others did since a run's commit: took it back, set the same again, or synced something newer.

A commit is brought only while nothing came between: what is there since then was neither shown nor approved, and a sync to an
older commit would undo it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from gitops_nb.argo import history_of, operation_state, revisions_of
from gitops_nb.argo.sources import Origin, sources_of
from gitops_nb.errors import ConflictError, TakenBack, UnavailableError
from gitops_nb.model import Json, Plan, parse_time
from gitops_nb.ports import GitReader, View
from gitops_nb.promotion.asked import changed_since, otherwise, refuse_other_folders
from gitops_nb.promotion.pending import bound_folders
from gitops_nb.record.fold import EffectState
from gitops_nb.revisions import FULL_ID

ARRIVES_WITHIN = timedelta(hours=24)
"""No server works on one push for longer, and no connection that a dead process left stays open."""


@dataclass(frozen=True, slots=True)
class Undoing:
    """A commit that took a run's commit back; ``wrong`` is what it holds, ``again`` the commit that set the same once more, or ""."""

    commit: str
    wrong: str
    again: str = ""

    @property
    def sentence(self) -> str:
        """What stands there, and who says so."""
        then = f", and commit {self.again[:8]} set it again" if self.again else ""
        return f"{self.wrong} at {self.commit[:8]}{then}"

    @property
    def found(self) -> Mapping[str, str]:
        """The same as part of an effect's result."""
        said = {"taken_back": self.sentence, "taken_back_by": self.commit}
        return {**said, "set_again_by": self.again} if self.again else said


def undoing_of(git: GitReader, plan: Plan, ours: str, tip: str) -> Undoing | None:
    """The first commit of the branch behind ours that does not hold what the plan says; None where none is.

    The tip alone does not tell: what was reverted may have been set again by somebody else, with more beside it.

    Raises:
        UnavailableError: The repository does not answer.
    """
    first: tuple[str, str] | None = None
    again = ""
    for sha in _behind(git, plan, ours, tip):
        wrong = otherwise(git, plan, sha)
        if wrong:
            first, again = first or (sha, wrong), ""
        elif first and not again:
            again = sha
    if first is None:
        wrong = otherwise(git, plan, tip)
        if wrong:
            first = (tip, wrong)
    return Undoing(*first, again) if first else None


def _behind(git: GitReader, plan: Plan, ours: str, tip: str) -> Iterator[str]:
    """Commits that hold ours and touch a promoted file, oldest first, each behind its parent: a merge may not take ours."""
    repository = str(plan.arguments["repository"])
    paths = tuple(dict.fromkeys(str(edit["path"]) for edit in plan.arguments["edits"]))
    touching = (change.sha for change in git.changes(repository, tip, folders=paths, since=ours))
    for sha in dict.fromkeys(touching):
        parents = git.log(repository, sha, limit=1)[0].parents[:1]
        for one in (*parents, sha):
            if one != ours and git.is_ancestor(repository, ours, one):
                yield one


def lost(view: View, plan: Plan, commit: EffectState) -> str:
    """Why a commit that was begun and is not on the branch cannot come there any more, in words; "" while it may.

    A push whose answer is missing may be held up by the server, and is made on the condition that the branch stands where it did.

    Raises:
        UnavailableError: The repository does not answer.
    """
    if not commit.tried:
        return "nothing was pushed yet"
    repository, branch = str(plan.arguments["repository"]), str(plan.arguments["branch"])
    tip = view.git.tip(repository, branch)
    if tip not in commit.tried:
        return f"{branch} has moved on to {tip[:8]}, where a push made on {commit.tried[-1][:8]} is refused"
    if datetime.now(UTC) - parse_time(commit.started) > ARRIVES_WITHIN:
        return "a day has passed since it was pushed"
    return ""


def refuse_changed(
    view: View, plan: Plan, commit: Mapping[str, object] | None, *, at: str = ""
) -> None:
    """Refuses to bring what the branch does not ask for any more.

    Args:
        view: Reads the branch.
        plan: What was planned.
        commit: What this run's own commit resulted in; None for a plan without an edit.
        at: The commit to look at, by default the branch's tip now.

    Raises:
        TakenBack: Somebody changed what this run's commit wrote.
        ConflictError: A plan without an edit does not fit the branch any more.
        UnavailableError: The repository does not answer, or answers with what stood there before.
    """
    arguments = plan.arguments
    tip = at or view.git.tip(arguments["repository"], arguments["branch"])
    if commit is None:
        wrong = changed_since(view, plan, tip)
        if wrong:
            raise ConflictError(
                f"{wrong}; nothing is synced",
                hint="Run the promotion again: it plans on the new file.",
            )
        refuse_other_folders(view.git, plan, tip)
        return
    ours = str(commit["revision"])
    undoing = undoing_of(view.git, plan, ours, tip)
    if undoing is not None and not at and _is_behind(view.git, plan, ours, tip):
        raise UnavailableError(
            f"{arguments['branch']} stands at {tip[:8]}, before commit {ours[:8]} of this run: the server is behind, or somebody "
            "set the branch back; nothing is synced",
            hint="Go on with `gitops-nb resume` in a moment: it asks the server again.",
        )
    if undoing is not None:
        raise TakenBack(
            f"commit {ours[:8]} of this run was taken back: {undoing.sentence}; nothing more is synced",
            hint="Run the promotion again: it plans on what is there now."
            if undoing.again
            else "Run the promotion again if it is to be made anew.",
            found={**commit, **undoing.found},
        )


def _is_behind(git: GitReader, plan: Plan, ours: str, tip: str) -> bool:
    """Whether a branch stands at a commit that ours was made on, as a replica does that has not heard of the push."""
    return tip != ours and git.is_ancestor(str(plan.arguments["repository"]), tip, ours)


def brought_later(
    git: GitReader, plan: Plan, application: Json | None, origin: Origin, revision: str
) -> str:
    """The commit of the branch that somebody brought already and that is or holds this run's commit; "" where none is."""
    history = history_of(application)
    if not plan.arguments["edits"] or not history:
        return ""
    newest = _commit_of(history[-1], application, origin)
    repository = str(plan.arguments["repository"])
    if not newest:
        return ""
    return newest if revision == newest or git.is_ancestor(repository, revision, newest) else ""


def refuse_overtaken(
    git: GitReader, plan: Plan, application: Json | None, origin: Origin, *, ours: str, tip: str
) -> None:
    """Refuses to sync to a run's commit where that would undo what came later.

    Args:
        git: Reads the repository.
        plan: What was planned.
        application: The Application that would be synced.
        origin: Which of its sources are the configuration repository.
        ours: The run's commit.
        tip: The branch's commit now.

    Raises:
        TakenBack: The branch does not hold the commit any more.
        ConflictError: Somebody pushed to a bound place since, or synced what the commit does not hold.
    """
    repository = str(plan.arguments["repository"])
    if not git.is_ancestor(repository, ours, tip):
        gone = f"{plan.arguments['branch']} does not hold it any more: its history was rewritten"
        raise TakenBack(
            f"commit {ours[:8]} of this run was taken back: {gone}; nothing more is synced",
            hint="Run the promotion again if it is to be made anew.",
            found={"revision": ours, "taken_back": gone},
        )
    name = str(((application or {}).get("metadata") or {}).get("name") or "the Application")
    newer = _synced_since(git, plan, application, origin, ours=ours, tip=tip)
    if newer:
        raise ConflictError(
            f"{name} was synced to commit {newer[:8]}, which commit {ours[:8]} of this run does not hold: "
            "a sync to it would take that back, and is not asked for",
            hint="Look at it in Argo CD, then run the promotion again: it plans on what is there.",
        )
    changed = _differ(git, plan, ours, tip)
    if changed:
        raise ConflictError(
            f"files of {changed} changed since commit {ours[:8]} of this run, and nobody was shown them: "
            "nothing more is synced",
            hint="Run the promotion again: it shows what a sync brings now.",
        )


def _synced_since(
    git: GitReader, plan: Plan, application: Json | None, origin: Origin, *, ours: str, tip: str
) -> str:
    """A commit that a sync brought, of a part perhaps, with other files than ours has; "" where none is.

    One from before ours is what the plan was made of, wherever it came from.
    """
    repository = str(plan.arguments["repository"])
    state = operation_state(application)
    synced = [(state.get("syncResult") or {}, str(state.get("startedAt") or ""))]
    synced += [
        (entry, str(entry.get("deployedAt") or "")) for entry in history_of(application)[-1:]
    ]
    made = git.log(repository, ours, limit=1)[0].committed_at
    for entry, at in synced:
        commit = _commit_of(entry, application, origin)
        if commit in ("", ours) or git.is_ancestor(repository, commit, ours):
            continue
        is_newer = git.is_ancestor(repository, commit, tip) or (at and parse_time(at) > made)
        if is_newer and _differ(git, plan, commit, ours):
            return commit
    return ""


def _differ(git: GitReader, plan: Plan, one: str, other: str) -> str:
    """The first place that a sync brings whose files differ between two commits, "" for none; "all of it" where one is unknown."""
    repository = str(plan.arguments["repository"])
    shown: Sequence[str] = tuple(plan.arguments.get("folders") or ())
    try:
        first, second = (bound_folders(git, repository, commit, shown) for commit in (one, other))
    except UnavailableError:
        return "all of it"
    return next((place or "the repository" for place in shown if first[place] != second[place]), "")


def _commit_of(entry: Json, application: Json | None, origin: Origin) -> str:
    """The configuration repository's commit in a sync's result or history entry; "" where it names none."""
    sources = sources_of(entry) or sources_of((application or {}).get("spec") or {})
    pairs = zip(revisions_of(entry), sources, strict=False)
    found = next((str(one) for one, source in pairs if origin.has(source)), "")
    return found if FULL_ID.fullmatch(found) else ""
