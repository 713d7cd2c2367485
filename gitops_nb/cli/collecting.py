"""``gitops-nb dora collect``, ``metrics`` and ``export``."""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import click

from gitops_nb import dora
from gitops_nb.adapters.clock import WallClock
from gitops_nb.adapters.github import GitHub
from gitops_nb.catalog.fleet import Fleet
from gitops_nb.catalog.load import load_catalog
from gitops_nb.catalog.parameters import merge
from gitops_nb.catalog.workspace import Workspace, find_workspace
from gitops_nb.cli.arguments import split_pairs
from gitops_nb.dora import stored
from gitops_nb.dora.collect import VersionSource
from gitops_nb.dora.collectors.application import (
    ApplicationSource,
    collect_application,
    read_labels,
)
from gitops_nb.dora.collectors.argocd import Place, collect_argocd
from gitops_nb.dora.collectors.configuration import Collected, collect_configuration
from gitops_nb.dora.collectors.github import Hosted, collect_pull_requests, pull_requests
from gitops_nb.dora.collectors.incidents import Reading, collect_incidents, read_incidents
from gitops_nb.dora.store import FactStore
from gitops_nb.errors import UsageError
from gitops_nb.model import Json, Mode, to_json
from gitops_nb.ports import ApiReader, HistoryReader
from gitops_nb.report.text import terminal
from gitops_nb.session.lifecycle import runbook_of
from gitops_nb.session.opening import choose_mode
from gitops_nb.session.platform import Platform, open_platform

_HOSTED = re.compile(r"[A-Za-z0-9-]{1,39}/[A-Za-z0-9._-]{1,100}")
Job = tuple[str, Callable[[], Collected]]


@dataclass(frozen=True, slots=True)
class Asked:
    """What the options of ``collect`` name."""

    incidents: Sequence[Path]
    incident_environment: str
    labels: Path | None
    watch_s: float | None
    github: Mapping[str, str]
    api: ApiReader


def collect_facts(
    *,
    as_json: bool,
    workspace: Path | None,
    reports: Path | None,
    mode: str | None,
    facts: Path | None,
    incidents: Sequence[Path],
    incident_environment: str,
    labels: Path | None,
    watch_s: float | None,
    github: Sequence[str],
    github_url: str,
) -> None:
    """Collects from every source that the fleet and the options name, one after the other."""
    where = find_workspace(workspace, reports=reports)
    catalog = load_catalog(where.runbooks)
    chosen = choose_mode(where, mode)
    platform = open_platform(where, catalog, chosen)
    store = FactStore(facts or _folder(where, chosen))
    token = os.environ.get("GITHUB_TOKEN", "")
    asked = Asked(
        incidents,
        incident_environment,
        labels,
        watch_s,
        _hosted(platform.fleet, github),
        GitHub(github_url, token=token, clock=WallClock()),
    )
    done: list[Collected] = []
    with store.exclusive():
        jobs = list(_jobs(platform, store, asked))
        shown = not as_json and sys.stderr.isatty()
        for number, (name, job) in enumerate(jobs, start=1):
            if shown:
                click.echo(f"\r\x1b[K[{number}/{len(jobs)}] {terminal(name)}", nl=False, err=True)
            done.append(job())
        if shown:
            click.echo("\r\x1b[K", nl=False, err=True)
    if as_json:
        rows = [
            {
                "source": one.source,
                "tip": one.tip,
                "rows": one.rows,
                "added": one.merged.added,
                "files": one.merged.files,
                "excluded": one.excluded,
            }
            for one in done
        ]
        document = {"mode": str(chosen), "facts": str(store.folder), "sources": rows}
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
        return
    for one in done:
        click.echo(
            f"{one.rows:>7} read  {one.merged.files:>4} files written  "
            f"{one.excluded:>5} left out  {terminal(one.source)}"
        )
    click.echo(f"{'SANDBOX ' if chosen is Mode.SANDBOX else ''}facts  {store.folder}")


def show_metrics(
    pairs: Sequence[str],
    *,
    as_json: bool,
    workspace: Path | None,
    reports: Path | None,
    mode: str | None,
    facts: Path | None,
) -> None:
    """Measures the stored facts with the parameters of the dora runbook."""
    where = find_workspace(workspace, reports=reports)
    catalog = load_catalog(where.runbooks)
    chosen = choose_mode(where, mode)
    platform = open_platform(where, catalog, chosen)
    texts = split_pairs(pairs)
    given = sorted(set(texts) & {"deployments", "incidents"})
    if given:
        raise UsageError(
            f"{', '.join(given)}: metrics come from the collected facts",
            hint="Give files to `gitops-nb dora collect` or to `gitops-nb run dora`.",
        )
    parameters = merge(runbook_of(catalog, "dora"), platform.fleet, {}, texts)
    store = FactStore(facts or _folder(where, chosen))
    with tempfile.TemporaryDirectory() as folder:
        request = dora.request(
            platform.fleet,
            parameters,
            workdir=Path(folder),
            now=platform.view.clock.now(),
            base=where.root,
            time_zone=where.time_zone,
            freezes=catalog.policy.freeze_windows,
            facts=store.folder,
        )
        # No cluster is asked: the numbers are those of the facts.
        state = dora.observe(replace(platform.view, argo={}), request)
        measured = dora.measure(request, state)
    if as_json:
        document = _without_millionths(to_json(measured))
        document.pop("files", None)
        document["mode"] = str(chosen)
        document["known_until_s"] = state.until_s
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
        return
    click.secho(terminal(measured.title), bold=True)
    for metric in measured.metrics:
        value = (
            terminal(metric.missing) if metric.missing else _value(metric.now.value, metric.unit)
        )
        click.echo(f"  {metric.title:<34} {value:>16}  n={metric.now.n}")


def export_facts(
    directory: Path,
    *,
    form: str,
    workspace: Path | None,
    reports: Path | None,
    mode: str | None,
    facts: Path | None,
) -> None:
    """Writes the fact tables for a warehouse or Grafana."""
    where = find_workspace(workspace, reports=reports)
    store = FactStore(facts or _folder(where, choose_mode(where, mode)))
    for name, rows in stored.export(store, directory, form=form).items():
        click.echo(f"{rows:>9} rows  {directory / name}.{form}")
    click.echo(f"{'':>9}       {directory / 'columns.json'}")


def _folder(where: Workspace, mode: Mode) -> Path:
    """Facts of the sandbox never mix with live ones."""
    return (where.sandbox if mode is Mode.SANDBOX else where.root / ".gitops-nb") / "facts"


def _jobs(platform: Platform, store: FactStore, asked: Asked) -> Iterator[Job]:
    """Every source with what collects it; files are checked before the first source is read."""
    fleet, git = platform.fleet, platform.git
    now_s = int(platform.view.clock.now().timestamp())
    labels = read_labels(asked.labels) if asked.labels else {}
    reading = _reading(fleet, asked.incident_environment, now_s)
    files = [*asked.incidents]
    if not files and platform.incidents is not None:
        files.append(platform.incidents)
    for path in files:
        read_incidents(path, reading)
    for versions in fleet.versions:
        source = VersionSource(
            versions.repository,
            fleet.repositories[versions.repository].branch,
            versions.path,
            versions.key,
            versions.part,
        )
        yield (
            f"configuration {versions.repository}",
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
    for path in files:
        yield (
            f"incidents {path.name}",
            partial(collect_incidents, path, store, reading),
        )


def _collect_code(
    git: HistoryReader, store: FactStore, code: ApplicationSource, labels: Mapping[str, str]
) -> Collected:
    pulls = pull_requests(store, service=code.service, repository=code.repository)
    return collect_application(git, store, code, labels=labels, pull_requests=pulls)


def _hosted(fleet: Fleet, pairs: Sequence[str]) -> dict[str, str]:
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


def _reading(fleet: Fleet, environment: str, now_s: int) -> Reading:
    last = [name for name in fleet.environments if not fleet.promotes_to.get(name)]
    chosen = environment or last[-1]
    if chosen not in fleet.environments:
        raise UsageError(
            f"--incident-environment: unknown environment {chosen!r}",
            hint=f"The fleet has {', '.join(fleet.environments)}.",
        )
    return Reading(tuple(fleet.environments), chosen, now_s, {})


def _without_millionths(value: Json) -> Json:
    """The same document with whole millionths as numbers: records keep integers, readers want the value."""
    if isinstance(value, list):
        return [_without_millionths(item) for item in value]
    if not isinstance(value, dict):
        return value
    suffix = "_millionths"
    return {
        name.removesuffix(suffix): item / 1_000_000
        if name.endswith(suffix) and item is not None
        else _without_millionths(item)
        for name, item in value.items()
    }


def _value(value: float | None, unit: str) -> str:
    if value is None:
        return "no data"
    return f"{value * 100:.1f} %" if unit == "ratio" else f"{value:,.2f} {unit}"
