"""Composes adapters or the sandbox into the handles of a run; the only place that knows both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from gitops_nb.adapters.clock import WallClock
from gitops_nb.adapters.git_cache import Remote
from gitops_nb.adapters.git_history import GitHistory
from gitops_nb.adapters.google import google_session
from gitops_nb.adapters.process import LocalProcesses
from gitops_nb.adapters.secrets import LocalSecrets, PlatformSecrets
from gitops_nb.catalog.fleet import Cluster, Fleet
from gitops_nb.catalog.load import Catalog, load_catalog
from gitops_nb.catalog.policies import Approver, Policy
from gitops_nb.catalog.trust import PersonKey, RunnerKey, SandboxTrust, Trust, TrustedPerson
from gitops_nb.catalog.workspace import Workspace
from gitops_nb.errors import ConfigurationError, Refused, UnavailableError
from gitops_nb.model import Json, Mode, ObjectRef
from gitops_nb.policy import Proof, Requester, RequesterKind
from gitops_nb.ports import (
    ArgoReader,
    ArgoWriter,
    ClusterReader,
    ClusterWriter,
    GitWriter,
    Processes,
    Secrets,
    View,
)
from gitops_nb.session.github import github_api
from gitops_nb.session.guarded import Confirm, GuardedCluster, GuardedGit
from gitops_nb.session.notary import check_identity, prove, runner_key
from gitops_nb.session.protected import Ground, protected
from gitops_nb.session.requester import ci_identity, ci_run, default_key, find_requester
from gitops_nb.session.reviews import GitHubReviews
from gitops_nb.session.stores import refuse_emulator

if TYPE_CHECKING:
    from gitops_nb.adapters.kubeconfig import Allowed
    from gitops_nb.sandbox.opening import Person

MAIL = "gitops-nb@localhost"


@dataclass(frozen=True, slots=True)
class Writers:
    """Writers: of the repositories, and per cluster name."""

    git: GitWriter
    clusters: Mapping[str, ClusterWriter]
    argo: Mapping[str, ArgoWriter]


class OpenWriters(Protocol):
    """Opens what a change may write with, and nothing else."""

    def __call__(self, confirm: Confirm, *, environment: str, files: frozenset[str]) -> Writers:
        """Opens operator credentials.

        Args:
            confirm: Asked before each write.
            environment: Writers of its clusters are opened, and of the ones that their Argo CD runs on.
            files: ``repository:path`` of the files that a commit may change.
        """


@dataclass(frozen=True, slots=True)
class Target:
    """One outside system that a run would write to, and what fleet.yaml expects there.

    ``uid`` is that of a cluster's namespace kube-system, "" where it was not asked for or may not be read.
    """

    system: str
    address: str
    expected: str
    uid: str = ""
    expected_uid: str = ""

    @property
    def fits(self) -> bool:
        """True when the address is the one of fleet.yaml, and so is the cluster that answers there."""
        is_there = self.address.rstrip("/") == self.expected.rstrip("/")
        return is_there and self.expected_uid in ("", self.uid)

    @property
    def difference(self) -> str:
        """What does not fit, in words."""
        if self.address.rstrip("/") != self.expected.rstrip("/"):
            return f"{self.system} is {self.address}, and fleet.yaml says {self.expected}"
        return f"{self.system} is another cluster: its kube-system has UID {self.uid or '(nobody may read it)'}, and fleet.yaml says {self.expected_uid}"


@dataclass(frozen=True, slots=True)
class Platform:
    """All handles of a run. ``open_writers`` opens operator credentials; call it once a decision allows it.

    Its writers ask before each write. ``look_again`` reads the rules that count at this moment; ``fleet``, ``policy`` and
    ``trust`` are those that counted when the platform was opened.

    ``secrets`` resolves references; what it reads goes to the redactor before it goes anywhere else.
    ``signing_key`` is the key that `gitops-nb approve` uses by default, ``requester_key`` the one that a request is
    signed with; ``policy_source`` says where policy and keys were read, and their digest;
    ``reviews`` are GitHub's, for a process that is a workflow run; ``prove`` asks CI for this job's identity, for a
    request and from an issuer; ``second_person`` is the sandbox's approver.
    """

    workspace: Workspace
    mode: Mode
    fleet: Fleet
    policy: Policy
    trust: Trust
    view: View
    git: GitHistory
    processes: Processes
    requester: Requester
    open_writers: OpenWriters
    look_again: Callable[[], Ground]
    signing_key: Path | None
    requester_key: Path | None
    policy_source: Mapping[str, str]
    secrets: Secrets
    is_pinned: bool = False
    prove: Callable[[Mapping[str, Json], str], Mapping[str, Json]] = prove
    second_person: str = ""
    incidents: Path | None = None
    reviews: GitHubReviews | None = None

    def check_identity(self, identity: Mapping[str, Json], request: Mapping[str, Json]) -> str:
        """See ``record.approvals.IdentityCheck``."""
        policy = self.policy
        return check_identity(
            self.workspace, identity, request, issuer=policy.ci_issuer, ci_api=policy.ci_api
        )

    def targets(self, fleet: Fleet | None = None, environment: str = "") -> tuple[Target, ...]:
        """Every system that could be written to, for the check before the first live effect.

        Args:
            fleet: What is expected; by default what counted when the platform was opened.
            environment: Where the change lands: its clusters, and those of their Argo CD, are asked who they are.
        """
        expected = fleet or self.fleet
        own = {
            name for name in expected.clusters if expected.clusters[name].environment == environment
        }
        own |= {expected.clusters[name].argocd.cluster or name for name in own}
        clusters = [
            Target(
                f"cluster {name}",
                self.view.clusters[name].server,
                cluster.server,
                self._uid(name) if name in own else "",
                (cluster.uid or "") if name in own else "",
            )
            for name, cluster in expected.clusters.items()
            if name in self.view.clusters
        ]
        repositories = [
            Target(f"repository {name}", self.git.effective_url(name), repository.url)
            for name, repository in expected.repositories.items()
            if name in self.fleet.repositories
        ]
        return (*clusters, *repositories)

    def _uid(self, cluster: str) -> str:
        """UID of a cluster's kube-system, "" where we may not read it; an address can be given to another cluster."""
        try:
            found = self.view.clusters[cluster].get(ObjectRef("v1", "Namespace", "kube-system"))
        except UnavailableError:
            return ""
        return str(((found or {}).get("metadata") or {}).get("uid") or "")

    def check_targets(
        self, fleet: Fleet | None = None, environment: str = ""
    ) -> tuple[Target, ...]:
        """The targets, when all of them are fleet.yaml's; see ``targets``.

        Raises:
            Refused: One is not; nothing was written.
        """
        targets = self.targets(fleet, environment)
        wrong = [t for t in targets if not t.fits]
        if wrong:
            raise Refused(
                wrong[0].difference,
                hint="Switch the kubeconfig context or Git setting, or mend fleet.yaml.",
            )
        return targets


def open_platform(workspace: Workspace, catalog: Catalog, mode: Mode) -> Platform:
    """Opens the platform of a mode; nothing outside is asked before it is needed."""
    return (
        _open_sandbox(workspace, catalog)
        if mode is Mode.SANDBOX
        else _open_live(workspace, catalog)
    )


class WorkspaceArtifacts:
    """Files that the fleet names with their digest; implements ``ports.Artifacts``."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def fetch(self, source: str, *, sha256: str) -> bytes:
        """See ``ports.Artifacts.fetch``."""
        if source.startswith("https://"):
            from gitops_nb.adapters.http import download

            content = download(source, timeout_s=60)
        else:
            path = self._root / source
            if not path.is_file():
                raise ConfigurationError(
                    f"no file {source} in the workspace", hint="Check fleet.yaml."
                )
            content = path.read_bytes()
        found = hashlib.sha256(content).hexdigest()
        if found != sha256:
            raise ConfigurationError(
                f"{source} has SHA-256 {found}, and fleet.yaml says {sha256}",
                hint="Find out why it changed before you change fleet.yaml.",
            )
        return content

    def fetch_json(self, url: str) -> Json:
        """See ``ports.Artifacts.fetch_json``."""
        from gitops_nb.adapters.http import download

        try:
            return json.loads(download(url, timeout_s=20))
        except ValueError as error:
            raise UnavailableError(
                f"{url} does not answer with JSON", hint="Check the address."
            ) from error


def _open_live(workspace: Workspace, catalog: Catalog) -> Platform:
    from gitops_nb.adapters.argocd import ArgoCD
    from gitops_nb.adapters.kubernetes import KubernetesCluster, connect

    for url in filter(None, (workspace.locks, workspace.bucket)):
        refuse_emulator(url)
    processes = LocalProcesses()
    ground = protected(workspace, catalog, processes)
    fleet, policy = ground.fleet, ground.policy
    requester = find_requester(workspace.root, processes, ground.trust)
    clock = WallClock()
    readers: dict[str, KubernetesCluster] = {
        name: connect(cluster.context or name, allowed=_allowed(cluster))
        for name, cluster in fleet.clusters.items()
    }
    argo: dict[str, ArgoReader] = {
        name: ArgoCD(
            control=readers[cluster.argocd.cluster or name],
            workloads=readers[name],
            namespace=cluster.argocd.namespace,
            clock=clock,
        )
        for name, cluster in fleet.clusters.items()
    }

    def writers(confirm: Confirm, *, environment: str, files: frozenset[str]) -> Writers:
        own = _clusters_of(fleet, environment)
        opened: dict[str, ClusterWriter] = {
            name: GuardedCluster(
                readers[name],
                connect(
                    cluster.operator_context or cluster.context or name, allowed=_allowed(cluster)
                ),
                confirm,
            )
            for name, cluster in fleet.clusters.items()
            if name in own
        }

        def argo_writer(name: str, cluster: Cluster) -> ArgoWriter:
            control = cluster.argocd.cluster or name
            return ArgoCD(
                control=readers[control],
                workloads=readers[name],
                writer=opened[control],
                namespace=cluster.argocd.namespace,
                clock=clock,
            )

        return Writers(
            git=GuardedGit(git, confirm, files),
            clusters=opened,
            argo={
                n: argo_writer(n, c)
                for n, c in fleet.clusters.items()
                if n in fleet.clusters_of(environment)
            },
        )

    clusters: dict[str, ClusterReader] = dict(readers)
    git = _git(fleet, workspace.root / ".gitops-nb" / "git", processes, requester.name)
    return Platform(
        workspace=workspace,
        mode=Mode.LIVE,
        fleet=fleet,
        policy=policy,
        trust=ground.trust,
        view=View(git, clusters, argo, clock, WorkspaceArtifacts(workspace.root)),
        git=git,
        processes=processes,
        requester=requester,
        open_writers=writers,
        look_again=lambda: protected(workspace, catalog, processes),
        is_pinned=ground.is_pinned,
        signing_key=default_key(workspace.root, processes),
        requester_key=default_key(workspace.root, processes),
        policy_source=ground.source,
        reviews=_reviews(policy.ci_api),
        secrets=PlatformSecrets(google_session),
    )


def _allowed(cluster: Cluster) -> Allowed:
    from gitops_nb.adapters.kubeconfig import Allowed

    said = cluster.kubeconfig
    return Allowed(said.plugins, said.proxy, said.tls_server_name, said.authority)


def _reviews(ci_api: str) -> GitHubReviews | None:
    """GitHub's reviews, where this process is one of its workflow runs."""
    present = ci_run()
    return GitHubReviews(github_api(ci_api, deadline_s=120), present) if present else None


def _open_sandbox(workspace: Workspace, catalog: Catalog) -> Platform:
    from gitops_nb.sandbox import open_sandbox

    sandbox = open_sandbox(workspace.sandbox, catalog.fleet)
    fleet = sandbox.fleet
    processes = LocalProcesses()
    asks, answers = sandbox.persons[0], sandbox.persons[1]
    trust = SandboxTrust(
        persons=tuple(
            TrustedPerson(person=person.name, keys=(PersonKey(key=person.public_key),))
            for person in sandbox.persons
        ),
        runners=(RunnerKey(name="this-workspace", key=runner_key(workspace)),),
    )

    def ground(policy: Policy) -> Ground:
        approvers = _sandbox_approvers(policy, fleet, sandbox.persons)
        played = policy.model_copy(update={"approvers": approvers})
        return Ground(fleet, played, trust, {"from": "sandbox"}, is_pinned=True)

    def writers(confirm: Confirm, *, environment: str, files: frozenset[str]) -> Writers:
        own = _clusters_of(fleet, environment)
        clusters: dict[str, ClusterWriter] = {
            name: GuardedCluster(cluster, cluster, confirm)
            for name, cluster in sandbox.clusters.items()
            if name in own
        }
        argo: dict[str, ArgoWriter] = {
            name: found.writing_with(clusters[fleet.clusters[name].argocd.cluster or name])
            for name, found in sandbox.argo.items()
            if name in fleet.clusters_of(environment)
        }
        return Writers(git=GuardedGit(git, confirm, files), clusters=clusters, argo=argo)

    git = _git(fleet, workspace.sandbox / "git-cache", processes, asks.name)
    return Platform(
        workspace=workspace,
        mode=Mode.SANDBOX,
        fleet=fleet,
        policy=ground(catalog.policy).policy,
        trust=trust,
        view=View(git, dict(sandbox.clusters), dict(sandbox.argo), sandbox.clock, sandbox),
        git=git,
        processes=processes,
        requester=_sandbox_requester(asks.name),
        open_writers=writers,
        # The files of the workspace are what the protected branch is elsewhere.
        look_again=lambda: ground(load_catalog(workspace.runbooks).policy),
        is_pinned=True,
        signing_key=answers.private_key,
        requester_key=asks.private_key,
        policy_source={"from": "sandbox"},
        secrets=LocalSecrets(),
        second_person=answers.name,
        incidents=sandbox.incidents,
    )


def _clusters_of(fleet: Fleet, environment: str) -> frozenset[str]:
    """Clusters of an environment, and those that their Argo CD runs on."""
    own = fleet.clusters_of(environment)
    return frozenset((*own, *(fleet.clusters[name].argocd.cluster or name for name in own)))


def _sandbox_approvers(
    policy: Policy, fleet: Fleet, persons: Sequence[Person]
) -> tuple[Approver, ...]:
    """The sandbox's people may approve everywhere, and break the glass where somebody may by policy.yaml."""
    glass = {
        environment
        for approver in policy.approvers
        if approver.break_glass
        for environment in approver.environments
    }
    return tuple(
        Approver(person=person.name, environments=(environment,), break_glass=environment in glass)
        for person in persons
        for environment in fleet.environments
    )


def _sandbox_requester(first_person: str) -> Requester:
    """Automation in CI is automation here too; a person is the sandbox's first one."""
    ci = ci_identity()
    if ci is not None and ci.kind is RequesterKind.AUTOMATION:
        # What nobody proves here is tried with the sandbox's own key: no real identity is needed to play.
        return Requester(
            first_person, ci.kind, f"{ci.evidence}; signs as a person of the sandbox", Proof.KEY
        )
    return Requester(first_person, RequesterKind.PERSON, "first person of the sandbox", Proof.KEY)


def open_git(workspace: Workspace, catalog: Catalog, mode: Mode) -> GitHistory:
    """The configuration repositories alone; no cluster is asked for."""
    if mode is Mode.SANDBOX:
        return _open_sandbox(workspace, catalog).git
    return _git(catalog.fleet, workspace.root / ".gitops-nb" / "git", LocalProcesses(), "verify")


def _git(fleet: Fleet, cache: Path, processes: Processes, author: str) -> GitHistory:
    remotes = {name: Remote(r.url, r.branch) for name, r in fleet.repositories.items()}
    name = "".join(c for c in author if c.isprintable() and c not in "<>")
    return GitHistory(
        remotes, cache=cache, processes=processes, author=(f"gitops-nb for {name}", MAIL)
    )
