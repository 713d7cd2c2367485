"""``gitops-nb dora collect``, ``metrics`` and ``export``."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import click

from gitops_nb import dora
from gitops_nb.adapters.clock import WallClock
from gitops_nb.adapters.github import GitHub
from gitops_nb.catalog.engines import BIGQUERY, EngineChoice
from gitops_nb.catalog.load import load_catalog
from gitops_nb.catalog.parameters import merge
from gitops_nb.catalog.workspace import Workspace, find_workspace
from gitops_nb.cli import sources
from gitops_nb.cli.arguments import split_pairs
from gitops_nb.cli.counting import progress
from gitops_nb.dora import stored
from gitops_nb.dora.collectors.configuration import Collected
from gitops_nb.dora.document import document
from gitops_nb.dora.document_schema import schema
from gitops_nb.dora.store import FactStore
from gitops_nb.errors import UsageError
from gitops_nb.model import Mode
from gitops_nb.report.text import json_text, terminal
from gitops_nb.session.facts import (
    engine_for,
    is_bucket,
    name_of,
    of_facts,
    publish,
    read_bucket,
    write_bucket,
)
from gitops_nb.session.lifecycle import runbook_of
from gitops_nb.session.opening import choose_mode
from gitops_nb.session.platform import open_platform


def collect_facts(
    *,
    as_json: bool,
    workspace: Path | None,
    reports: Path | None,
    mode: str | None,
    facts: str,
    incidents: Sequence[Path],
    incident_environment: str,
    labels: Path | None,
    watch_s: float | None,
    tofu: Path | None,
    github: Sequence[str],
    github_deployments: Sequence[str],
    github_workflow: Sequence[str],
    github_incidents: Sequence[str],
    github_url: str,
    take_over: str,
    engine: str | None,
) -> None:
    """Collects from every source that the fleet and the options name, one after the other."""
    where = find_workspace(workspace, reports=reports)
    catalog = load_catalog(where.runbooks)
    chosen = choose_mode(where, mode)
    platform = open_platform(where, catalog, chosen)
    token = os.environ.get("GITHUB_TOKEN", "")
    asked = sources.Asked(
        incidents=incidents,
        incident_environment=incident_environment,
        labels=labels,
        watch_s=watch_s,
        tofu=tofu,
        reports=where.reports,
        github=sources.hosted_repositories(platform.fleet, github),
        github_deployments=sources.hosted_services(github_deployments),
        github_workflows=sources.hosted_workflows(platform.fleet, github_workflow),
        github_incidents=sources.hosted_issues(github_incidents),
        api=GitHub(github_url, token=token, clock=WallClock()),
    )
    done: list[Collected] = []
    who = platform.requester.name
    with (
        writing(where, chosen, facts, who=who, take_over=take_over, engine=engine) as store,
        store.exclusive(),
    ):
        began_s = int(platform.view.clock.now().timestamp())
        jobs = list(sources.jobs(platform, store, asked))
        with progress(len(jobs), quiet=as_json) as show:
            for name, job in jobs:
                show.begins(name)
                done.append(job())
                store.set_end(done[-1].source, began_s)
                show.ended(name, f"{done[-1].rows:,} read")
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
        told = {"mode": str(chosen), "facts": facts or str(store.folder), "sources": rows}
        click.echo(json_text(told))
        return
    for one in done:
        click.echo(
            f"{one.rows:>7} read  {one.merged.files:>4} files written  "
            f"{one.excluded:>5} left out  {terminal(one.source)}"
        )
    click.echo(f"{'SANDBOX ' if chosen is Mode.SANDBOX else ''}facts  {facts or store.folder}")


def show_metrics(
    pairs: Sequence[str],
    *,
    as_json: bool,
    workspace: Path | None,
    reports: Path | None,
    mode: str | None,
    facts: str,
    engine: str | None,
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
    choice = engine_for(where, chosen, named=engine)
    if choice is not None:
        choice = of_facts(choice, facts, Path.cwd())
    with tempfile.TemporaryDirectory() as folder:
        request = dora.request(
            platform.fleet,
            parameters,
            workdir=Path(folder),
            now=platform.view.clock.now(),
            base=where.root,
            time_zone=where.time_zone,
            freezes=catalog.policy.freeze_windows,
            facts=None if choice else _reading(where, chosen, facts).folder,
            engine=choice,
        )
        # No cluster is asked: the numbers are those of the facts.
        state = dora.observe(replace(platform.view, argo={}), request)
        # What nobody is shown is not asked for.
        measured = (dora.measure if as_json else dora.measure_metrics)(request, state)
    if as_json:
        shared = document(measured, known_until_s=state.until_s)
        click.echo(json_text({"mode": str(chosen), **shared}))
        return
    click.secho(terminal(measured.title), bold=True)
    for metric in measured.metrics:
        value = (
            terminal(metric.missing) if metric.missing else _value(metric.now.value, metric.unit)
        )
        click.echo(f"  {metric.title:<34} {value:>16}  n={metric.now.n}")


def show_schema() -> None:
    """Prints what each key of ``metrics --json`` and of report.json means."""
    click.echo(json_text(schema()))


def export_facts(
    directory: Path | None,
    *,
    form: str,
    to: str | None,
    workspace: Path | None,
    reports: Path | None,
    mode: str | None,
    facts: str,
) -> None:
    """Writes the fact tables for a warehouse or Grafana, or into the engine that is to measure them."""
    if (directory is None) == (not to):
        raise UsageError(
            "one place is due: a directory, or the engine of --to",
            hint="See `gitops-nb dora export --help`.",
        )
    where = find_workspace(workspace, reports=reports)
    chosen = choose_mode(where, mode)
    if directory is None:
        choice = engine_for(where, chosen, named=to)
        assert choice is not None
        store = _reading(where, chosen, facts)
        _publish(choice, store, _name(where, chosen, facts))
        return
    store = _reading(where, chosen, facts)
    for name, rows in stored.export(store, directory, form=form).items():
        click.echo(f"{rows:>9} rows  {directory / name}.{form}")
    click.echo(f"{'':>9}       {directory / 'columns.json'}")


@contextmanager
def writing(
    where: Workspace, mode: Mode, facts: str, *, who: str, take_over: str, engine: str | None = None
) -> Iterator[FactStore]:
    """The facts to collect into: a folder, or a bucket and the copy of it here; afterwards the engine gets its tables."""
    choice = engine_for(where, mode, named=engine)
    if choice is not None and choice.kind == BIGQUERY:
        # What publishing needs is said before a collection, not after it; files for Spark need nothing.
        choice = of_facts(choice, "", Path.cwd())
    if not is_bucket(facts):
        store = FactStore(_folder(where, mode, facts))
        yield store
        if choice is not None:
            _publish(choice, store, _name(where, mode, facts))
        return
    ci_api = load_catalog(where.runbooks).policy.ci_api
    own = _own(where, mode)
    with write_bucket(facts, own, who=who, ci_api=ci_api, take_over=take_over) as store:
        yield store
        if choice is not None:
            _publish(choice, store, _name(where, mode, facts))


def _publish(choice: EngineChoice, store: FactStore, name: str) -> None:
    """Gives an engine its tables; says so beside what a program reads."""
    if not store.services("deployment"):
        click.echo(f"no deployments yet, so {choice.place} got no tables", err=True)
        return
    rows = publish(choice, store, facts=name)
    click.echo(f"{sum(rows.values()):,} rows for {choice.kind} in {choice.place}", err=True)


def _name(where: Workspace, mode: Mode, facts: str) -> str:
    return name_of(facts or str(_folder(where, mode, facts)), Path.cwd())


def _reading(where: Workspace, mode: Mode, facts: str) -> FactStore:
    if is_bucket(facts):
        return read_bucket(facts, _own(where, mode))
    return FactStore(_folder(where, mode, facts))


def _folder(where: Workspace, mode: Mode, facts: str) -> Path:
    return Path(facts) if facts else _own(where, mode) / "facts"


def _own(where: Workspace, mode: Mode) -> Path:
    """Facts of the sandbox never mix with live ones."""
    return where.sandbox if mode is Mode.SANDBOX else where.own


def _value(value: float | None, unit: str) -> str:
    if value is None:
        return "no data"
    return f"{value * 100:.1f} %" if unit == "ratio" else f"{value:,.2f} {unit}"
