"""Composes adapters or the sandbox into the handles of a run; the only place that knows both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from gitops_nb.adapters.clock import WallClock
from gitops_nb.adapters.git_cache import Remote
from gitops_nb.adapters.git_history import GitHistory
from gitops_nb.adapters.process import LocalProcesses
from gitops_nb.adapters.secrets import LocalSecrets, PlatformSecrets, google_session
from gitops_nb.catalog.fleet import Cluster, Fleet
from gitops_nb.catalog.load import Catalog
from gitops_nb.catalog.policies import Approver, Policy
from gitops_nb.catalog.trust import PersonKey, Trust, TrustedPerson
from gitops_nb.catalog.workspace import Workspace
from gitops_nb.errors import ConfigurationError, Refused, UnavailableError
from gitops_nb.model import Json, Mode
from gitops_nb.policy import Proof, Requester, RequesterKind
from gitops_nb.ports import (
    ArgoReader,
    ArgoWriter,
    ClusterReader,
    ClusterWriter,
    Processes,
    Secrets,
    View,
)
from gitops_nb.session.github import github_api
from gitops_nb.session.notary import prove
from gitops_nb.session.protected import protected
from gitops_nb.session.requester import ci_identity, ci_run, default_key, find_requester
from gitops_nb.session.reviews import GitHubReviews

MAIL = "gitops-nb@localhost"


@dataclass(frozen=True, slots=True)
class Writers:
    """Writers per cluster name."""

    clusters: Mapping[str, ClusterWriter]
    argo: Mapping[str, ArgoWriter]


@dataclass(frozen=True, slots=True)
class Target:
    """One outside system that a run would write to, and what fleet.yaml expects there."""

    system: str
    address: str
    expected: str

    @property
    def fits(self) -> bool:
        """True when the address is the one of fleet.yaml."""
        return self.address.rstrip("/") == self.expected.rstrip("/")


@dataclass(frozen=True, slots=True)
class Platform:
    """All handles of a run. ``open_writers`` opens operator credentials; call it once a decision allows it.

    ``secrets`` resolves references; what it reads goes to the redactor before it goes anywhere else.
    ``signing_key`` is the key that `gitops-nb approve` uses by default, ``requester_key`` the one that a request is
    signed with; ``policy_source`` says where policy and keys were read, and their digest;
    ``reviews`` are GitHub's, for a process that is a workflow run; ``prove`` asks CI for this job's identity, for an
    audience and from an issuer; ``second_person`` is the sandbox's approver.
    """

    mode: Mode
    fleet: Fleet
    policy: Policy
    trust: Trust
    view: View
    git: GitHistory
    processes: Processes
    requester: Requester
    open_writers: Callable[[], Writers]
    signing_key: Path | None
    requester_key: Path | None
    policy_source: Mapping[str, str]
    secrets: Secrets
    prove: Callable[[str, str], Mapping[str, Json]] = prove
    second_person: str = ""
    incidents: Path | None = None
    reviews: GitHubReviews | None = None

    def targets(self) -> tuple[Target, ...]:
        """Every system that could be written to, for the check before the first live effect."""
        clusters = [
            Target(f"cluster {name}", self.view.clusters[name].server, cluster.server)
            for name, cluster in self.fleet.clusters.items()
            if name in self.view.clusters
        ]
        repositories = [
            Target(f"repository {name}", self.git.effective_url(name), repository.url)
            for name, repository in self.fleet.repositories.items()
        ]
        return (*clusters, *repositories)

    def check_targets(self) -> tuple[Target, ...]:
        """The targets, when all of them are fleet.yaml's.

        Raises:
            Refused: One is not; nothing was written.
        """
        targets = self.targets()
        wrong = [t for t in targets if not t.fits]
        if wrong:
            first = wrong[0]
            raise Refused(
                f"{first.system} is {first.address}, and fleet.yaml says {first.expected}",
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

    processes = LocalProcesses()
    catalog, source = protected(workspace, catalog, processes)
    fleet, policy = catalog.fleet, catalog.policy
    requester = find_requester(processes, catalog.trust)
    clock = WallClock()
    readers: dict[str, KubernetesCluster] = {
        name: connect(cluster.context or name) for name, cluster in fleet.clusters.items()
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

    def writers() -> Writers:
        opened = {
            name: connect(cluster.operator_context or cluster.context or name)
            for name, cluster in fleet.clusters.items()
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
            clusters=dict(opened), argo={n: argo_writer(n, c) for n, c in fleet.clusters.items()}
        )

    clusters: dict[str, ClusterReader] = dict(readers)
    git = _git(fleet, workspace.root / ".gitops-nb" / "git", processes, requester.name)
    return Platform(
        mode=Mode.LIVE,
        fleet=fleet,
        policy=policy,
        trust=catalog.trust,
        view=View(git, clusters, argo, clock, WorkspaceArtifacts(workspace.root)),
        git=git,
        processes=processes,
        requester=requester,
        open_writers=writers,
        signing_key=default_key(processes),
        requester_key=default_key(processes),
        policy_source=source,
        reviews=_reviews(),
        secrets=PlatformSecrets(google_session),
    )


def _reviews() -> GitHubReviews | None:
    """GitHub's reviews, where this process is one of its workflow runs."""
    present = ci_run()
    return GitHubReviews(github_api(deadline_s=120), present) if present else None


def _open_sandbox(workspace: Workspace, catalog: Catalog) -> Platform:
    from gitops_nb.sandbox import open_sandbox

    sandbox = open_sandbox(workspace.sandbox, catalog.fleet)
    fleet = sandbox.fleet
    processes = LocalProcesses()
    asks, answers = sandbox.persons[0], sandbox.persons[1]
    approvers = tuple(
        Approver(person=person.name, environments=tuple(fleet.environments), break_glass=True)
        for person in sandbox.persons
    )
    git = _git(fleet, workspace.sandbox / "git-cache", processes, asks.name)
    return Platform(
        mode=Mode.SANDBOX,
        fleet=fleet,
        policy=catalog.policy.model_copy(update={"approvers": approvers}),
        trust=Trust(
            persons=tuple(
                TrustedPerson(person=person.name, keys=(PersonKey(key=person.public_key),))
                for person in sandbox.persons
            )
        ),
        view=View(git, dict(sandbox.clusters), dict(sandbox.argo), sandbox.clock, sandbox),
        git=git,
        processes=processes,
        requester=_sandbox_requester(asks.name),
        open_writers=lambda: Writers(clusters=dict(sandbox.clusters), argo=dict(sandbox.argo)),
        signing_key=answers.private_key,
        requester_key=asks.private_key,
        policy_source={"from": "sandbox"},
        secrets=LocalSecrets(),
        second_person=answers.name,
        incidents=sandbox.incidents,
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
