"""Every source of facts that the fleet and the options of ``gitops-nb dora collect`` name, each as one job."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from gitops_nb.catalog.fleet import Fleet
from gitops_nb.cli.arguments import split_pairs
from gitops_nb.dora.collect import VersionSource
from gitops_nb.dora.collectors.application import (
    ApplicationSource,
    collect_application,
    read_labels,
)
from gitops_nb.dora.collectors.applies import collect_applies, read_applies
from gitops_nb.dora.collectors.argocd import Place, collect_argocd
from gitops_nb.dora.collectors.configuration import (
    Collected,
    check_histories,
    collect_configuration,
)
from gitops_nb.dora.collectors.github import (
    Hosted,
    collect_deployments,
    collect_pull_requests,
    collect_workflow_runs,
    pull_requests,
)
from gitops_nb.dora.collectors.incidents import (
    Reading,
    collect_incidents,
    collect_issues,
    read_incidents,
)
from gitops_nb.dora.collectors.revisions import link_revisions
from gitops_nb.dora.collectors.runs import collect_runs
from gitops_nb.dora.store import FactStore
from gitops_nb.errors import UsageError
from gitops_nb.ports import ApiReader, HistoryReader
from gitops_nb.session.platform import Platform
from gitops_nb.session.signed_ends import unsigned_ends

_HOSTED = re.compile(r"[A-Za-z0-9-]{1,39}/[A-Za-z0-9._-]{1,100}")
_WORKFLOW = re.compile(r"([A-Za-z0-9._-]{1,200}\.ya?ml)@([a-z0-9-]+)")
Job = tuple[str, Callable[[], Collected]]


@dataclass(frozen=True, slots=True)
class Asked:
    """What the options of ``collect`` name.

    ``github`` and ``github_deployments`` map repositories of the fleet and services to OWNER/NAME, and
    ``github_workflows`` services to (OWNER/NAME, workflow file, environment); ``github_incidents`` are OWNER/NAME.
    """

    incidents: Sequence[Path]
    incident_environment: str
    labels: Path | None
    watch_s: float | None
    tofu: Path | None
    reports: Path
    github: Mapping[str, str]
    github_deployments: Mapping[str, str]
    github_workflows: Mapping[str, tuple[str, str, str]]
    github_incidents: Sequence[str]
    api: ApiReader


def jobs(platform: Platform, store: FactStore, asked: Asked) -> Iterator[Job]:
    """Every source with what collects it; files and histories are checked before the first source is read."""
    fleet, git = platform.fleet, platform.git
    now_s = int(platform.view.clock.now().timestamp())
    labels = read_labels(asked.labels) if asked.labels else {}
    reading = _reading(fleet, asked.incident_environment, now_s)
    files = [*asked.incidents]
    if not files and platform.incidents is not None:
        files.append(platform.incidents)
    for path in files:
        read_incidents(path, reading)
    if asked.tofu is not None:
        read_applies(asked.tofu, environments=tuple(fleet.environments), now_s=now_s)
    places_of_versions = [
        VersionSource(
            versions.repository,
            fleet.repositories[versions.repository].branch,
            versions.path,
            versions.key,
            versions.part,
        )
        for versions in fleet.versions
    ]
    check_histories(git, store, places_of_versions)
    for application in fleet.applications.values():
        if application.source is not None:
            hosted_at = application.source.repository
            git.tip(hosted_at, fleet.repositories[hosted_at].branch)
    for source in places_of_versions:
        yield (
            f"configuration {source.repository}",
            partial(
                collect_configuration,
                git,
                store,
                source,
                environments=tuple(fleet.environments),
                now_s=now_s,
            ),
        )
    if asked.watch_s is not None:
        watch_s = asked.watch_s
        places = {
            fleet.argocd_name(service, environment): Place(service, environment)
            for service in fleet.applications
            for environment in fleet.environments
        }
        yield (
            "argocd",
            partial(
                collect_argocd,
                platform.view.argo,
                store,
                places,
                watch_s=watch_s,
                now_s=now_s + int(watch_s),
            ),
        )
        for source in places_of_versions:
            yield (f"revisions {source.repository}", partial(link_revisions, git, store, source))
    for service, application in fleet.applications.items():
        if application.source is None:
            continue
        repository = application.source.repository
        if repository in asked.github:
            hosted = Hosted(service, repository, asked.github[repository])
            yield (
                f"github {hosted.name}",
                partial(collect_pull_requests, asked.api, store, hosted),
            )
        code = ApplicationSource(
            service,
            repository,
            fleet.repositories[repository].branch,
            application.source.folders,
        )
        yield (
            f"application {service}",
            partial(_collect_code, git, store, code, labels),
        )
    yield from _deployments(platform, store, asked, now_s)
    for path in files:
        yield (
            f"incidents {path.name}",
            partial(collect_incidents, path, store, reading),
        )
    for name in asked.github_incidents:
        yield (f"incidents {name}", partial(collect_issues, asked.api, store, name, reading))


def _deployments(platform: Platform, store: FactStore, asked: Asked, now_s: int) -> Iterator[Job]:
    """Deployments that no configuration repository tells of: GitHub's, OpenTofu's, and those of our own runs."""
    environments = tuple(platform.fleet.environments)
    for service, name in asked.github_deployments.items():
        yield (
            f"github deployments {name}",
            partial(
                collect_deployments,
                asked.api,
                store,
                Hosted(service, "", name),
                environments=environments,
            ),
        )
    for service, (name, workflow, environment) in asked.github_workflows.items():
        yield (
            f"github workflow {name} {workflow}",
            partial(
                collect_workflow_runs,
                asked.api,
                store,
                Hosted(service, "", name),
                workflow=workflow,
                environment=environment,
            ),
        )
    if asked.tofu is not None:
        yield (
            f"opentofu {asked.tofu.name}",
            partial(collect_applies, asked.tofu, store, environments=environments, now_s=now_s),
        )
    if asked.reports.is_dir():
        yield (
            "own runs",
            partial(
                collect_runs,
                asked.reports,
                store,
                environments=environments,
                mode=platform.mode,
                unsigned=partial(unsigned_ends, replace(platform.workspace, reports=asked.reports)),
            ),
        )


def _collect_code(
    git: HistoryReader, store: FactStore, code: ApplicationSource, labels: Mapping[str, str]
) -> Collected:
    pulls = pull_requests(store, service=code.service, repository=code.repository)
    return collect_application(git, store, code, labels=labels, pull_requests=pulls)


def hosted_repositories(fleet: Fleet, pairs: Sequence[str]) -> dict[str, str]:
    """Names on GitHub by repository of the fleet."""
    found = split_pairs(pairs)
    sources = {a.source.repository for a in fleet.applications.values() if a.source is not None}
    for repository, name in found.items():
        if repository not in sources:
            raise UsageError(
                f"--github: {repository!r} is no application's source in fleet.yaml",
                hint=f"There are {', '.join(sorted(sources)) or 'none; add source to an application'}.",
            )
        if not _HOSTED.fullmatch(name):
            raise UsageError(f"--github: {name!r} is not OWNER/NAME")
    return found


def hosted_services(pairs: Sequence[str]) -> dict[str, str]:
    """Names on GitHub by service."""
    found = split_pairs(pairs)
    for name in found.values():
        if not _HOSTED.fullmatch(name):
            raise UsageError(f"--github-deployments: {name!r} is not OWNER/NAME")
    return found


def hosted_issues(names: Sequence[str]) -> tuple[str, ...]:
    """Repositories on GitHub whose issues are incidents."""
    for name in names:
        if not _HOSTED.fullmatch(name):
            raise UsageError(f"--github-incidents: {name!r} is not OWNER/NAME")
    return tuple(dict.fromkeys(names))


def hosted_workflows(fleet: Fleet, pairs: Sequence[str]) -> dict[str, tuple[str, str, str]]:
    """Repository, workflow file and environment by service."""
    found = {}
    for service, text in split_pairs(pairs).items():
        name, _, rest = text.partition(":")
        match = _WORKFLOW.fullmatch(rest)
        if not _HOSTED.fullmatch(name) or match is None:
            raise UsageError(
                f"--github-workflow: {text!r} is not OWNER/NAME:FILE@ENVIRONMENT",
                hint="Write it like cart=acme/cart:deploy.yml@production.",
            )
        if match[2] not in fleet.environments:
            raise UsageError(
                f"--github-workflow: unknown environment {match[2]!r}",
                hint=f"The fleet has {', '.join(fleet.environments)}.",
            )
        found[service] = (name, match[1], match[2])
    return found


def default_environment(fleet: Fleet) -> str:
    """Where incidents of tools without environments happened: the last one that nothing is promoted from."""
    return [name for name in fleet.environments if not fleet.promotes_to.get(name)][-1]


def _reading(fleet: Fleet, environment: str, now_s: int) -> Reading:
    chosen = environment or default_environment(fleet)
    if chosen not in fleet.environments:
        raise UsageError(
            f"--incident-environment: unknown environment {chosen!r}",
            hint=f"The fleet has {', '.join(fleet.environments)}.",
        )
    return Reading(tuple(fleet.environments), chosen, now_s, {})
