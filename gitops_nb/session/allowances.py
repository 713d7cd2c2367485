"""Who may say yes in an environment, as the protected branch said when a run read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

from gitops_nb.adapters.process import LocalProcesses
from gitops_nb.catalog.fleet import Fleet
from gitops_nb.catalog.load import Catalog, load_catalog
from gitops_nb.catalog.trust import Trust
from gitops_nb.catalog.workspace import Workspace
from gitops_nb.errors import ConfigurationError
from gitops_nb.model import Json, Mode
from gitops_nb.policy import Rules, rules_for, trust_then
from gitops_nb.record.consents import Allowance, Doubt
from gitops_nb.record.findings import Unasked
from gitops_nb.session.origins import pinned
from gitops_nb.session.protected import Branch, protected_branch, rules_at


def rules_now(workspace: Workspace) -> Catalog:
    """What counts now in a workspace: what the protected branch says; in a sandbox that nobody pinned its files.

    Of a pinned workspace the mode is no reason: its file is one that the branch does not decide.

    Raises:
        ConfigurationError: The files are wrong.
        UnavailableError: There is an origin, and it does not answer.
    """
    files = load_catalog(workspace.runbooks)
    plays = workspace.mode == Mode.SANDBOX and pinned(workspace.root) is None
    return files if plays else LiveRules(workspace, files).now


class LiveRules:
    """What origin's default branch says now, and said at the commits that runs read.

    Args:
        workspace: Whose origin.
        catalog: Its files, which count where there is no origin.
    """

    def __init__(self, workspace: Workspace, catalog: Catalog) -> None:
        self._workspace = workspace
        self._files = catalog
        self._processes = LocalProcesses()
        self._known: dict[str, tuple[Catalog | None, str]] = {}

    @cached_property
    def _branch(self) -> Branch | None:
        return protected_branch(self._workspace, self._processes)

    @property
    def now(self) -> Catalog:
        """The rules that count now.

        Raises:
            UnavailableError: There is an origin, and it does not answer: files of the work tree prove nothing.
        """
        if self._branch is None:
            return self._files
        rules, _ = self._at(self._branch.commit)
        return rules or self._files

    def trust_at(self, commit: str) -> Trust:
        """People and keys as an earlier commit had them, without what was revoked since; today's where it is no commit."""
        present = self.now.trust
        if self._branch is None or not commit:
            return present
        try:
            rules, _ = self._at(commit)
        except ConfigurationError:
            return present
        return present if rules is None else trust_then(rules.trust, present)

    def fleet_at(self, commit: str) -> tuple[Fleet | None, str]:
        """The fleet as a commit had it and where it was read, in words; None where that is no commit of the branch, or cannot be read.

        That it is none is said by ``allowance``. Without an origin the files of the workspace are all that there is.
        """
        if self._branch is None:
            return self._files.fleet, "the files of this workspace"
        if not commit:
            return None, ""
        try:
            rules, _ = self._at(commit)
        except ConfigurationError:
            return None, ""
        return (rules.fleet if rules else None), f"fleet.yaml of commit {commit[:8]}"

    @property
    def source(self) -> str:
        """Where they were read, in words."""
        if self._branch is None:
            return "files of this workspace: it has no origin whose default branch could say it"
        said = f"origin/{self._branch.name} at {self._branch.commit[:8]}"
        if self._branch.is_pinned:
            return said
        return (
            f"{said}; nobody said on this machine that this origin counts: `gitops-nb trust origin`"
        )

    def allowance(
        self, policy: Mapping[str, Json], environment: str
    ) -> Sequence[Allowance | Doubt | Unasked | str]:
        """See ``record.consents.AllowanceAt``."""
        commit = str(policy.get("commit") or "")
        if self._branch is None:
            return self._of_files(commit, environment)
        if not commit:
            text = (
                f"it names no commit of the policy that it read, and origin/{self._branch.name} has one: "
                "who may approve was read from files of a workspace"
            )
            return (Doubt(text),)
        try:
            rules, why = self._at(commit)
        except ConfigurationError as error:
            return (Doubt(f"policy of commit {commit[:8]}: {error.message}"),)
        if rules is None and why:
            return (Unasked(f"the policy of commit {commit[:8]} was not looked at: {why}"),)
        if rules is None:
            text = (
                f"its policy is of {commit[:8]}, which is no commit of origin/{self._branch.name}"
            )
            return (Doubt(text),)
        if environment not in rules.fleet.environments:
            text = f"origin/{self._branch.name} knew no {environment} at {commit[:8]}"
            return (Doubt(text),)
        found = rules_for(rules.fleet, rules.policy, rules.trust, environment)
        return (allowance_of(found, f"the policy of commit {commit[:8]}"),)

    def _of_files(
        self, commit: str, environment: str
    ) -> Sequence[Allowance | Doubt | Unasked | str]:
        """What the files of this workspace say, where no branch can; they prove nothing where somebody has to approve."""
        if environment not in self._files.fleet.environments:
            return (Doubt(f"the files of this workspace know no {environment}"),)
        rules = rules_for(self._files.fleet, self._files.policy, self._files.trust, environment)
        said: list[Allowance | Doubt | Unasked | str] = [
            allowance_of(rules, "the files of this workspace")
        ]
        if rules.approvals or commit:
            what = f"the policy of commit {commit[:8]}" if commit else "who may approve"
            text = f"{what} was not looked at: this workspace has no origin, and its files prove nothing"
            said.append(Unasked(text))
        return said

    def _at(self, commit: str) -> tuple[Catalog | None, str]:
        assert self._branch is not None
        if commit not in self._known:
            self._known[commit] = rules_at(self._branch, commit, self._processes)
        return self._known[commit]


def allowance_of(rules: Rules, source: str) -> Allowance:
    """What an environment's rules allow; ``source`` says whose word they are."""
    return Allowance(
        rules.approvals,
        frozenset(one.person for one in rules.approvers),
        frozenset(one.person for one in rules.approvers if one.break_glass),
        source,
        rules.lifetime,
    )
