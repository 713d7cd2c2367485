"""runbooks/fleet.yaml: environments and their order, clusters, repositories, applications."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, StrictBool, StringConstraints, model_validator

from gitops_nb.catalog.argocd_settings import rbac_problems, settings_problems
from gitops_nb.catalog.fields import Branch, Duration, KeyPath, Name, RelativePath, Strict, worded
from gitops_nb.catalog.proofs import VersionProof
from gitops_nb.catalog.targets import EnvironmentTargets, Teams

Sha256 = Annotated[
    str,
    StringConstraints(
        pattern=worded(r"^[0-9a-f]{64}\Z", "a SHA-256: 64 digits and letters from a to f")
    ),
]


class ResourceLimits(Strict):
    """How much an environment may use, in the platform's own words."""

    cpu: Literal["limited", "moderate", "unlimited"] = Field(
        description="CPU class of the environment."
    )
    memory: Literal["limited", "moderate", "unlimited"] = Field(
        description="Memory class of the environment."
    )


class Environment(Strict):
    """One stage of the platform."""

    auto_deploy: StrictBool = Field(
        description="May automation start a change here, or only a person?"
    )
    approval_required: StrictBool = Field(
        description="Does a second person have to approve a change here?"
    )
    resource_limits: ResourceLimits | None = Field(
        default=None, description="How much the environment may use."
    )
    retention: Duration | None = Field(
        default=None, description="How long run records are kept, for example 30d."
    )


class ArgoCDLocation(Strict):
    """Where the Argo CD lives that deploys to a cluster."""

    namespace: Name = Field(
        default="argocd", description="Namespace of Argo CD and of its Applications."
    )
    cluster: Name | None = Field(
        default=None, description="Cluster that Argo CD runs on; this one by default."
    )
    metrics: str = Field(
        default="service://argocd/argocd-metrics:8082/metrics",
        description="Where the application controller's metrics are: a URL, or service://NAMESPACE/NAME:PORT/PATH.",
    )


class Kubeconfig(Strict):
    """What the kubeconfig of a cluster's contexts may say of who answers and what is run on this machine."""

    plugins: tuple[str, ...] = Field(
        default=(),
        description="Programs that log in, as its `exec.command` names them, beside gke-gcloud-auth-plugin, aws, kubelogin and the like.",
    )
    proxy: str = Field(default="", description="Its `proxy-url`; none by default.")
    tls_server_name: str = Field(default="", description="Its `tls-server-name`; none by default.")
    authority: str = Field(
        default="",
        pattern=worded(r"^([0-9a-f]{64})?\Z", "64 hexadecimal digits, as sha256sum prints them"),
        description="SHA-256 of its certificate authority (of the decoded data, or the file); any by default.",
    )


class Cluster(Strict):
    """One Kubernetes cluster."""

    environment: Name = Field(description="The environment it belongs to.")
    server: str = Field(
        description="URL of its API server; a live run refuses when the context points elsewhere."
    )
    context: str = Field(
        default="", description="kubeconfig context; the cluster's name by default."
    )
    operator_context: str = Field(
        default="",
        description="kubeconfig context for writing, opened only once a decision allows it; context by default.",
    )
    uid: str | None = Field(
        default=None,
        pattern=worded(
            r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z",
            "a UID as Kubernetes writes it, for example 6f1c2d3e-0000-4000-8000-0123456789ab",
        ),
        description="UID of its namespace kube-system; a live run refuses when another cluster answers there.",
    )
    kubeconfig: Kubeconfig = Field(
        default=Kubeconfig(),
        description="What its contexts' kubeconfig may say beside address and user.",
    )
    argocd: ArgoCDLocation = Field(
        default=ArgoCDLocation(), description="The Argo CD that deploys to it."
    )


class Repository(Strict):
    """A Git repository that holds configuration."""

    url: str = Field(min_length=1, description="Where it is cloned from and pushed to.")
    branch: Branch = Field(default="main", description="Branch that Argo CD follows.")
    aliases: tuple[str, ...] = Field(
        default=(), description="Other addresses of it, as Applications of Argo CD name it."
    )


class Promotable(Strict):
    """A key whose value travels from environment to environment; everything else stays."""

    file: RelativePath = Field(
        description="File below the application's path; {application} is replaced."
    )
    key: KeyPath = Field(
        description='Where in the file: spec.template.spec.containers[0].image; a name with a dot stands in quotes: labels."app.example/version".',
    )
    part: Literal["value", "tag"] = Field(
        default="value",
        description="The whole value, or what names the version of an image reference: its tag, its digest, or both.",
    )
    proof: VersionProof | None = Field(
        default=None,
        description="How to see that the value is in force, where running images do not show it.",
    )


class Source(Strict):
    """Where a service's code is."""

    repository: Name = Field(description="Application repository, by its name in this file.")
    folders: tuple[RelativePath, ...] = Field(
        default=(), description="Its folders in a repository of several services; empty: all."
    )


class Application(Strict):
    """One service, deployed by one Argo CD Application per environment."""

    repository: Name = Field(description="Configuration repository, by its name in this file.")
    paths: dict[Name, RelativePath] = Field(default={}, description="Folder per environment.")
    path: RelativePath | None = Field(
        default=None,
        description="Folder with {environment} and {application}, instead of paths.",
    )
    argocd: str = Field(
        default="{application}-{environment}",
        description="Name of the Argo CD Application.",
    )
    parent: str | None = Field(
        default=None,
        description="Argo CD Application that renders this one from the promoted file; by default the one that tracks it, where it does.",
    )
    promotable: tuple[Promotable, ...] = Field(
        min_length=1, description="Keys that travel; the first is the version."
    )
    source: Source | None = Field(
        default=None, description="Its code, for lead times from writing it; none is guessed."
    )


class Versions(Strict):
    """Where the history of a repository says which version ran where; the source of DORA facts."""

    repository: Name = Field(description="Configuration repository, by its name in this file.")
    path: RelativePath = Field(
        description="Path with {service} and {environment}, each one path segment."
    )
    key: KeyPath = Field(description="Where in the file the version stands.")
    part: Literal["value", "tag", "ref"] = Field(
        default="value",
        description="The whole value, tag or digest of an image, or the ref of a module's source.",
    )


class Manifest(Strict):
    """A file to install, named by path or URL together with what it must be."""

    path: RelativePath | None = Field(default=None, description="File in the workspace.")
    url: str | None = Field(
        default=None,
        pattern=worded(r"^https://\S+\Z", "an address that begins with https://"),
        description="HTTPS address.",
    )
    sha256: Sha256 = Field(description="SHA-256 of the file; anything else is refused.")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.path is None) == (self.url is None):
            raise ValueError("give either path or url")
        return self


class ArgoCDInstall(Strict):
    """What bootstrap installs, and the root Application it creates."""

    version: str = Field(description="Version of the manifest, for people.")
    manifest: Manifest = Field(description="The install manifest.")
    settings: dict[str, str] = Field(default={}, description="Keys of the ConfigMap argocd-cm.")
    rbac: dict[str, str] = Field(default={}, description="Keys of the ConfigMap argocd-rbac-cm.")
    repository: Name = Field(description="Repository of the root Application.")
    root: Name = Field(default="root", description="Name of the root Application.")
    path: RelativePath = Field(
        default="argocd/{environment}", description="Folder of the root Application."
    )


class Fleet(Strict):
    """The whole platform."""

    kind: Literal["Fleet"] = Field(default="Fleet", description="What this file is.")
    environments: dict[Name, Environment] = Field(
        min_length=1, description="The environments, in any order."
    )
    promotes_to: dict[Name, tuple[Name, ...]] = Field(
        default={}, description="Which environment follows which."
    )
    clusters: dict[Name, Cluster] = Field(default={}, description="The clusters.")
    repositories: dict[Name, Repository] = Field(
        default={}, description="The configuration repositories."
    )
    applications: dict[Name, Application] = Field(default={}, description="The applications.")
    versions: tuple[Versions, ...] = Field(
        default=(), description="Where versions are recorded, for the DORA report."
    )
    teams: Teams = Field(
        default={}, description="Services by team, for the DORA report; never persons."
    )
    targets: dict[Name, EnvironmentTargets] = Field(
        default={}, description="What the DORA report's numbers are held against, by environment."
    )
    argocd: ArgoCDInstall | None = Field(default=None, description="What bootstrap installs.")
    register_in: Name | None = Field(
        default=None,
        alias="register",
        description="Repository whose refs keep the register of requests; the first one by default. `none`: no such place.",
    )

    @property
    def register_repository(self) -> str:
        """Name of the repository that keeps the register, "" where there is none."""
        named = self.register_in or next(iter(self.repositories), "none")
        return "" if named == "none" else named

    def path(self, application: str, environment: str) -> str | None:
        """The folder of an application in an environment, "" for the repository's root; None when it has none there."""
        declared = self.applications[application]
        written = declared.paths.get(environment, declared.path)
        if written is None:
            return None
        if environment not in declared.paths:
            written = _fill(written, application=application, environment=environment)
        # One folder has one name, however it is written: ./apps//checkout/ is apps/checkout.
        path = posixpath.normpath(written)
        return "" if path == "." else path

    def argocd_name(self, application: str, environment: str) -> str:
        """Name of the Argo CD Application of an application in an environment."""
        return _fill(
            self.applications[application].argocd,
            application=application,
            environment=environment,
        )

    def argocd_parent(self, application: str, environment: str) -> str | None:
        """Name of the Application that is declared to render an application's own, or None."""
        declared = self.applications[application].parent
        if declared is None:
            return None
        return _fill(declared, application=application, environment=environment)

    def clusters_of(self, environment: str) -> tuple[str, ...]:
        """Names of an environment's clusters, in the order of the file."""
        return tuple(
            name for name, cluster in self.clusters.items() if cluster.environment == environment
        )

    @property
    def first_environments(self) -> tuple[str, ...]:
        """Environments that nothing promotes to: where a version enters the platform."""
        reached = {name for targets in self.promotes_to.values() for name in targets}
        return tuple(name for name in self.environments if name not in reached)

    def problems(self) -> list[tuple[tuple[str | int, ...], str]]:
        """What the fields alone cannot tell: names that do not exist, cycles, missing paths."""
        found: list[tuple[tuple[str | int, ...], str]] = []
        known = ", ".join(self.environments)
        for source, targets in self.promotes_to.items():
            if source not in self.environments:
                found.append(
                    (
                        ("promotes_to", source),
                        f"unknown environment {source!r}; there are {known}",
                    )
                )
            for index, target in enumerate(targets):
                if target not in self.environments:
                    found.append(
                        (
                            ("promotes_to", source, index),
                            f"unknown environment {target!r}; there are {known}",
                        )
                    )
        cycle = _find_cycle(self.promotes_to)
        if cycle:
            found.append((("promotes_to", cycle[0]), "a circle: " + " -> ".join(cycle)))
        for name, cluster in self.clusters.items():
            if cluster.environment not in self.environments:
                found.append(
                    (
                        ("clusters", name, "environment"),
                        f"unknown environment {cluster.environment!r}; there are {known}",
                    )
                )
            control = cluster.argocd.cluster
            if control is not None and control not in self.clusters:
                found.append(
                    (
                        ("clusters", name, "argocd", "cluster"),
                        f"unknown cluster {control!r}",
                    )
                )
        for name, application in self.applications.items():
            found += self._application_problems(name, application)
        for index, versions in enumerate(self.versions):
            if versions.repository not in self.repositories:
                found.append(
                    (
                        ("versions", index, "repository"),
                        f"unknown repository {versions.repository!r}",
                    )
                )
            found += [
                (
                    ("versions", index, "path"),
                    f"{placeholder} stands in it {versions.path.count(placeholder)} times, not once",
                )
                for placeholder in ("{service}", "{environment}")
                if versions.path.count(placeholder) != 1
            ]
        found += self._target_problems(known)
        if self.argocd is not None:
            found += self._argocd_problems(self.argocd)
        if self.register_repository and self.register_repository not in self.repositories:
            found.append((("register",), f"unknown repository {self.register_repository!r}"))
        return found

    def _target_problems(self, known: str) -> Iterator[tuple[tuple[str | int, ...], str]]:
        for environment, targets in self.targets.items():
            if environment not in self.environments:
                where: tuple[str | int, ...] = ("targets", environment)
                yield where, f"unknown environment {environment!r}; there are {known}"
            for team in targets.teams:
                if team not in self.teams:
                    teams = ", ".join(self.teams) or "none"
                    yield (
                        ("targets", environment, "teams", team),
                        f"unknown team {team!r}; there are {teams}",
                    )
        owners: dict[str, str] = {}
        for team, services in self.teams.items():
            for index, service in enumerate(services):
                owner = owners.setdefault(service, team)
                if owner != team:
                    yield ("teams", team, index), f"{service} is of team {owner} already"

    def _argocd_problems(
        self, install: ArgoCDInstall
    ) -> Iterator[tuple[tuple[str | int, ...], str]]:
        if install.repository not in self.repositories:
            yield ("argocd", "repository"), f"unknown repository {install.repository!r}"
        for key, problem in settings_problems(install.settings):
            yield ("argocd", "settings", key), problem
        for key, problem in rbac_problems(install.rbac):
            yield ("argocd", "rbac", key), problem

    def _application_problems(
        self, name: str, application: Application
    ) -> list[tuple[tuple[str | int, ...], str]]:
        where: tuple[str | int, ...] = ("applications", name)
        found: list[tuple[tuple[str | int, ...], str]] = []
        if application.repository not in self.repositories:
            found.append(
                (
                    (*where, "repository"),
                    f"unknown repository {application.repository!r}",
                )
            )
        source = application.source
        if source is not None and source.repository not in self.repositories:
            found.append(
                ((*where, "source", "repository"), f"unknown repository {source.repository!r}")
            )
        if not application.paths and application.path is None:
            found.append((where, "no folder; give paths or path"))
        if application.path is not None and "{environment}" not in application.path:
            found.append(((*where, "path"), "{environment} is missing in it"))
        found += [
            (
                (*where, "paths", environment),
                f"unknown environment {environment!r}; there are {', '.join(self.environments)}",
            )
            for environment in application.paths
            if environment not in self.environments
        ]
        return found


def _fill(pattern: str, *, application: str, environment: str) -> str:
    return pattern.replace("{application}", application).replace("{environment}", environment)


def _find_cycle(graph: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """One circle in the graph as a path that ends where it begins, or ()."""
    done: set[str] = set()
    for start in graph:
        path: list[str] = []
        stack: list[tuple[str, int]] = [(start, 0)]
        while stack:
            node, depth = stack.pop()
            del path[depth:]
            if node in path:
                return (*path[path.index(node) :], node)
            if node in done:
                continue
            path.append(node)
            following = graph.get(node, ())
            if not following:
                done.add(node)
            stack += [(target, depth + 1) for target in following]
        done.add(start)
    return ()
