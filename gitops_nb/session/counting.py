"""Whose word counts when a record is checked: people and runners, what commits say, and the registers; each asked for once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from gitops_nb.adapters.process import LocalProcesses
from gitops_nb.catalog.load import Catalog
from gitops_nb.catalog.trust import RunnerKey, Trust
from gitops_nb.catalog.workspace import Workspace
from gitops_nb.errors import GitOpsError
from gitops_nb.model import Json, Mode, parse_time
from gitops_nb.policy import rules_for
from gitops_nb.record.consents import Allowance, AllowanceAt, Doubt
from gitops_nb.record.findings import Finding, Unasked
from gitops_nb.record.fold import RunState
from gitops_nb.record.keys import open_runner_key
from gitops_nb.record.ledger import Entry
from gitops_nb.record.register import Kind, Register
from gitops_nb.record.registered import register_findings
from gitops_nb.session.allowances import LiveRules, allowance_of
from gitops_nb.session.notary import check_identity
from gitops_nb.session.platform import Platform, open_platform
from gitops_nb.session.reach import reach_findings
from gitops_nb.session.registers import open_register, place_of
from gitops_nb.session.witnesses import Witnesses, read_witnesses

SANDBOX = "sandbox."
"""How the names of the sandbox's ledgers begin."""


class Witnessed:
    """What commits say, in live mode and in the sandbox; each is asked for once, when it is needed."""

    def __init__(self, workspace: Workspace, trusts: Trusts) -> None:
        self._workspace = workspace
        self._trusts = trusts
        self._read: dict[bool, Witnesses] = {}

    def of(self, *, is_sandbox: bool) -> Witnesses:
        """What the commits of the one or the other say."""
        if is_sandbox not in self._read:
            catalog = self._trusts.of_mode(is_sandbox=is_sandbox)
            mode = Mode.SANDBOX if is_sandbox else Mode.LIVE
            runners = runners_of(self._workspace, catalog, is_sandbox=is_sandbox)
            self._read[is_sandbox] = read_witnesses(self._workspace, catalog, mode, runners)
        return self._read[is_sandbox]


class Registered:
    """What the registers say, of live mode and of the sandbox; each is read once."""

    def __init__(self, workspace: Workspace, trusts: Trusts) -> None:
        self._workspace = workspace
        self._trusts = trusts
        self._known: dict[tuple[bool, str, str], tuple[Register, frozenset[str]]] = {}

    def findings(
        self, state: RunState, ledger: Sequence[Entry]
    ) -> tuple[list[Finding | str | Unasked], frozenset[str] | None]:
        """See ``record.registered.register_findings``; and the run's starts that count, None where nobody could be asked."""
        if state.request is None or self._trusts.of_run(state) is None:
            return [], None
        try:
            register, approvers = self._of(state)
            chain = register.chain(state.request_digest)
        except GitOpsError as error:
            return [Unasked(f"the register of its request: {error.message}")], None
        found = register_findings(
            state, chain, approvers=approvers, is_shared=register.is_shared, ledger=ledger
        )
        starts = frozenset(one.digest for one in chain.starts if one.body.get("run") == state.run)
        return [*found], starts

    def reviews(self, state: RunState) -> Mapping[str, Json]:
        """Signed reviews of its broken glass that the register has, by where they stand; none where nobody could be asked.

        Whether they count is for ``record.consents.review_findings`` to say.
        """
        glass = state.request is not None and state.request.get("break_glass")
        if not glass or self._trusts.of_run(state) is None:
            return {}
        try:
            chain = self._of(state)[0].chain(state.request_digest)
        except GitOpsError:
            return {}  # ``findings`` says so
        return {
            f"the register, entry {entry.number}": entry.body["review"]
            for entry in chain.standing(Kind.REVIEW)
        }

    def _of(self, state: RunState) -> tuple[Register, frozenset[str]]:
        commit = str(((state.request or {}).get("policy") or {}).get("commit") or "")
        asked = (state.is_sandbox, state.environment, commit)
        if asked not in self._known:
            catalog = self._trusts.of_mode(is_sandbox=state.is_sandbox)
            policy, trust = catalog.policy, self._trusts.of_run(state) or Trust()
            if state.is_sandbox:
                platform = open_platform(self._workspace, catalog, Mode.SANDBOX)
                policy, trust = platform.policy, platform.trust
            runners = tuple(
                one
                for one in runners_of(self._workspace, catalog, is_sandbox=state.is_sandbox)
                if one.is_trusted_in(state.environment)
            )
            # Whoever was a runner there then made what was made then; a revoked key is one in `trust`, too.
            known = {one.key.split(" ")[1] for one in runners}
            runners += tuple(
                one
                for one in trust.runners
                if one.key.split(" ")[1] not in known and one.is_trusted_in(state.environment)
            )
            approvers = frozenset(
                one.person for one in policy.approvers if state.environment in one.environments
            ) | self._trusts.live_approvers(state, commit)
            register = open_register(
                self._workspace,
                place_of(self._workspace, catalog.fleet, is_sandbox=state.is_sandbox),
                trust=trust.model_copy(update={"runners": runners}),
                processes=LocalProcesses(),
                is_sandbox=state.is_sandbox,
                approvers=approvers,
            )
            register.remember()
            self._known[asked] = register, approvers
        return self._known[asked]


class Trusts:
    """Whose signatures count, in live mode and in the sandbox; the sandbox is opened only when it is asked for."""

    def __init__(self, workspace: Workspace, catalog: Catalog) -> None:
        self.catalog = catalog
        self.live = LiveRules(workspace, catalog)
        self._workspace = workspace
        self._platform: Platform | None = None
        self._built_s = sandbox_built_s(workspace)

    def check_identity(self, identity: Mapping[str, Json], request: Mapping[str, Json]) -> str:
        """See ``record.approvals.IdentityCheck``."""
        policy = self.live.now.policy
        return check_identity(
            self._workspace, identity, request, issuer=policy.ci_issuer, ci_api=policy.ci_api
        )

    def of_mode(self, *, is_sandbox: bool) -> Catalog:
        """The files of the workspace in the sandbox, else what the protected branch says."""
        return self.catalog if is_sandbox else self.live.now

    def of_run(self, state: RunState) -> Trust | None:
        """None where nobody can tell any more: a sandbox that was built anew has other persons."""
        if not state.is_sandbox:
            read = [a["policy"] for a in state.attempts if a.get("policy")]
            first: Mapping[str, Json] = read[0] if read else {}
            return self.live.trust_at(str(first.get("commit") or ""))
        if not self._is_of_this_sandbox(state):
            return None
        return self._of_sandbox() if state.request is not None else None

    def live_approvers(self, state: RunState, commit: str) -> frozenset[str]:
        """Who might say no at a policy commit; nobody in the sandbox, whose people are always the same."""
        if state.is_sandbox or not commit:
            return frozenset()
        said = self.live.allowance({"commit": commit}, state.environment)
        return frozenset[str]().union(*(a.approvers for a in said if isinstance(a, Allowance)))

    def reach(self, state: RunState) -> list[Finding]:
        """See ``reach.reach_findings``; a sandbox has the files of its workspace, one that is gone nobody can be asked of."""
        if state.plan is None or (state.is_sandbox and not self._is_of_this_sandbox(state)):
            return []
        if state.is_sandbox:
            return reach_findings(state, self.catalog.fleet, source="fleet.yaml")
        read = [one["policy"] for one in state.attempts if one.get("policy")]
        asked = (state.request or {}).get("policy") or (read[0] if read else {})
        fleet, source = self.live.fleet_at(str(asked.get("commit") or ""))
        return reach_findings(state, fleet, source=source) if fleet is not None else []

    def untold(self, state: RunState) -> list[Unasked]:
        """Why nobody can tell any more whose signatures counted, where that matters."""
        matters = state.request is not None or bool(state.effects)
        if not state.is_sandbox or not matters or self._is_of_this_sandbox(state):
            return []
        text = "whose signatures counted, its register and its commits: its sandbox was built anew since, or its time is none"
        return [Unasked(text)]

    def allowance_at(self, state: RunState) -> AllowanceAt | None:
        """Who may say yes, by what is read here; None in a sandbox that is not there any more, which ``untold`` tells."""
        if not state.is_sandbox:
            return self.live.allowance
        return self._in_sandbox if self._is_of_this_sandbox(state) else None

    def allowance_of(self, ledger: str) -> AllowanceAt:
        """The same for records of a ledger."""
        return self._in_sandbox if ledger.startswith(SANDBOX) else self.live.allowance

    def _in_sandbox(
        self, _: Mapping[str, Json], environment: str
    ) -> Sequence[Allowance | Doubt | Unasked | str]:
        self._of_sandbox()
        platform = self._platform
        assert platform is not None
        if environment not in platform.fleet.environments:
            return (Doubt(f"the sandbox knows no {environment}"),)
        rules = rules_for(platform.fleet, platform.policy, platform.trust, environment)
        return (allowance_of(rules, "the sandbox's policy"),)

    def _is_of_this_sandbox(self, state: RunState) -> bool:
        return bool(state.started) and _seconds(state.started) >= self._built_s

    def of_ledger(self, name: str) -> Callable[[Entry], Trust | None]:
        """The same for a record of a ledger."""
        if not name.startswith(SANDBOX):
            return lambda _: self.live.now.trust
        return lambda entry: None if entry.at.timestamp() < self._built_s else self._of_sandbox()

    def _of_sandbox(self) -> Trust:
        if self._platform is None:
            self._platform = open_platform(self._workspace, self.catalog, Mode.SANDBOX)
        return self._platform.trust


def runners_of(
    workspace: Workspace, catalog: Catalog, *, is_sandbox: bool
) -> tuple[RunnerKey, ...]:
    """Keys that count, each in its environments; in the sandbox this workspace's own does without an entry, everywhere."""
    if not is_sandbox:
        return catalog.trust.runners
    own = open_runner_key(workspace.root).public
    others = [r for r in catalog.trust.runners if r.key.split(" ")[1] != own.split(" ")[1]]
    return (RunnerKey(name="this-workspace", key=own), *others)


def sandbox_built_s(workspace: Workspace) -> float:
    """When the sandbox was built, in epoch seconds; infinity when there is none."""
    try:
        return (workspace.sandbox / "origin").stat().st_mtime
    except OSError:
        return math.inf


def _seconds(moment: str) -> float:
    return parse_time(moment).timestamp()
