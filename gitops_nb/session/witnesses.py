"""What the configuration repositories' newest commits say about ledgers and runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from gitops_nb.catalog.load import Catalog
from gitops_nb.catalog.trust import LIVE_REALM, SANDBOX_REALM, RunnerKey
from gitops_nb.catalog.workspace import Workspace
from gitops_nb.errors import GitOpsError
from gitops_nb.model import Mode, Plan
from gitops_nb.ports import GitReader
from gitops_nb.promotion.asked import carried_out
from gitops_nb.record.audit import Anchor
from gitops_nb.record.commits import (
    TRAILER_JOURNAL,
    TRAILER_LEDGER,
    TRAILER_PLAN,
    TRAILER_RUN,
    TRAILER_START,
    RunCommit,
    signed_by,
)
from gitops_nb.record.runs import RUN_ID
from gitops_nb.session.platform import open_git

SEARCHED_COMMITS = 5000


@dataclass(frozen=True, slots=True)
class Witnesses:
    """Ledger heads and runs in the trailers of commits; ``note`` says why some are missing, ``unread`` why some commits may be.

    ``places`` says which repository each of ``commits`` is of, and ``git`` reads them.
    """

    anchors: tuple[Anchor, ...] = ()
    commits: tuple[RunCommit, ...] = ()
    note: str = ""
    unread: str = ""
    git: GitReader | None = None
    places: Mapping[str, str] = field(default_factory=dict)
    runners: tuple[RunnerKey, ...] = ()
    environments: tuple[str, ...] = ()
    realm: str = LIVE_REALM

    def otherwise(self, sha: str, plan: Plan) -> str:
        """What a commit changes otherwise than its plan says, in words; "" where it carries out exactly that.

        Raises:
            UnavailableError: The repository does not answer.
        """
        if self.git is None or sha not in self.places:
            return ""
        return carried_out(self.git, plan, sha)

    def pushed(self, repository: str, run: str) -> RunCommit | None:
        """The commit that a repository keeps under a run's name, signed as the run's; None where it keeps none.

        A branch that was set back by force does not hold it any more.
        """
        commit = self.git.witness(repository, run) if self.git is not None else None
        if commit is None or commit.trailers.get(TRAILER_RUN) != run or len(commit.parents) != 1:
            return None
        signer = signed_by(
            commit.trailers,
            commit.parents[0],
            at=commit.committed_at,
            runners=trusted_for(run, self.runners, self.environments),
            realm=self.realm,
        )
        if signer is None:
            return None
        where = f"commit {commit.sha[:8]}, which {repository} keeps, and its branch does not hold any more,"
        plan, head, start = (
            commit.trailers.get(t, "") for t in (TRAILER_PLAN, TRAILER_JOURNAL, TRAILER_START)
        )
        return RunCommit(commit.sha, where, run, plan, head, start=start)

    def unknown(self, environment: str, known: Collection[str]) -> str:
        """Commits by runs of an environment that a record does not have, in a sentence; "" when there are none."""
        part = f"-{environment}-"
        strangers = [one for one in self.commits if part in one.run and one.run not in known]
        if not strangers:
            return ""
        count = len(strangers)
        begin = f"{count} commits are" if count > 1 else "1 commit is"
        return f"{begin} of runs that this record does not know, the newest {strangers[0].where} of {strangers[0].run}: another workspace's, or removed"


def read_witnesses(
    workspace: Workspace, catalog: Catalog, mode: Mode, runners: Sequence[RunnerKey]
) -> Witnesses:
    """Reads the newest commits of every configuration repository of the fleet.

    An anchor that no runner signed, or that was signed for another commit's parent, counts for nothing.
    """
    realm = SANDBOX_REALM if mode is Mode.SANDBOX else LIVE_REALM
    anchors: list[Anchor] = []
    commits: list[RunCommit] = []
    note = unread = ""
    git: GitReader | None = None
    places: dict[str, str] = {}
    environments = tuple(catalog.fleet.environments)
    try:
        git = open_git(workspace, catalog, mode)
        for name, repository in catalog.fleet.repositories.items():
            tip = git.tip(name, repository.branch)
            log = git.log(name, tip, limit=SEARCHED_COMMITS)
            if len(log) >= SEARCHED_COMMITS:
                unread = f"only the newest {SEARCHED_COMMITS} commits of {name} were read"
            for commit in log:
                where = f"commit {commit.sha[:8]} of {name}"
                run = commit.trailers.get(TRAILER_RUN, "")
                is_signed = len(commit.parents) == 1 and bool(
                    signed_by(
                        commit.trailers,
                        commit.parents[0],
                        at=commit.committed_at,
                        runners=trusted_for(run, runners, environments),
                        realm=realm,
                    )
                )
                if is_signed:
                    anchors += _anchor(commit.trailers, where)
                if RUN_ID.fullmatch(run):
                    plan, head, start = (
                        commit.trailers.get(t, "")
                        for t in (TRAILER_PLAN, TRAILER_JOURNAL, TRAILER_START)
                    )
                    places[commit.sha] = name
                    commits.append(RunCommit(commit.sha, where, run, plan, head, is_signed, start))
    except GitOpsError as error:
        note = f"anchors in Git were not read: {error.message}"
        unread = error.message
    return Witnesses(
        tuple(anchors),
        tuple(commits),
        note,
        unread,
        git,
        places,
        tuple(runners),
        environments,
        realm,
    )


def trusted_for(
    run: str, runners: Sequence[RunnerKey], environments: Sequence[str]
) -> tuple[RunnerKey, ...]:
    """Those whose word counts about a run, by the environment that its id names.

    >>> trusted_for("20261123T174954Z-promotion-eu-staging-1887", (), ("staging", "eu-staging"))
    ()
    """
    environment = _environment_in(run, environments)
    return tuple(
        one
        for one in runners
        if (one.is_trusted_in(environment) if environment else not one.environments)
    )


def _environment_in(run: str, environments: Sequence[str]) -> str:
    """The environment that a run's id names, "" for none of the fleet's; the longest one, as `eu-staging` ends in `staging`."""
    begin = run.rpartition("-")[0]
    return max((one for one in environments if begin.endswith(f"-{one}")), key=len, default="")


def anchors_of(anchors: Sequence[Anchor], environment: str) -> tuple[Anchor, ...]:
    """Those that are about one environment's ledger: a runner of another one says nothing about it."""
    return tuple(one for one in anchors if f"-{environment}-" in one.run)


def _anchor(trailers: Mapping[str, str], where: str) -> list[Anchor]:
    parts = trailers.get(TRAILER_LEDGER, "").split(":")
    if len(parts) != 3 or not (parts[0].isascii() and parts[0].isdecimal()):
        return []
    return [Anchor(int(parts[0]), parts[1], parts[2], where, trailers.get(TRAILER_RUN, ""))]
