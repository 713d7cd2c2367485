"""``gitops-nb dora``: options and help; what the commands do is in ``collecting``, imported when called."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from gitops_nb.catalog.engines import KINDS


def _workspace(command: Any) -> Any:
    for option in (
        click.option(
            "--workspace",
            type=click.Path(path_type=Path),
            help="Folder with gitops-nb.yaml; by default the nearest one upwards.",
        ),
        click.option(
            "--mode",
            type=click.Choice(["sandbox", "live"]),
            help="Whose facts; by default what the workspace says.",
        ),
    ):
        command = option(command)
    return command


def _places(command: Any) -> Any:
    for option in (
        click.option(
            "--facts",
            default="",
            metavar="FOLDER",
            help="Folder of the facts, or gs://BUCKET/PREFIX, instead of the workspace's .gitops-nb/facts.",
        ),
        click.option(
            "--reports",
            type=click.Path(path_type=Path),
            help="Folder of the run records, instead of the workspace's.",
        ),
        _workspace,
    ):
        command = option(command)
    return command


_engine = click.option(
    "--engine",
    type=click.Choice(KINDS),
    help="What measures the facts, instead of the workspace's engine.",
)


@click.group("dora")
def dora() -> None:
    """Facts for delivery metrics: collect them, measure them, hand them on; `run dora` makes the report."""


@dora.command(
    epilog="""\b
Examples:
  gitops-nb dora collect
  gitops-nb dora collect --incidents incidents.csv --incidents alerts.jsonl
  gitops-nb dora collect --argocd 600 --labels images.csv
  GITHUB_TOKEN=... gitops-nb dora collect --github shop-api=acme/shop-api
  GITHUB_TOKEN=... gitops-nb dora collect --github-workflow cart=acme/cart:deploy.yml@production
  gitops-nb dora collect --tofu applies --facts gs://acme-platform/dora
"""
)
@click.option(
    "--incidents",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="CSV, JSON, PagerDuty, Alertmanager or GitHub issues; may be given often.",
)
@click.option(
    "--incident-environment",
    default="",
    help="Where incidents of tools without environments happened; by default the last one.",
)
@click.option(
    "--labels",
    type=click.Path(path_type=Path, dir_okay=False),
    help="CSV with version and revision: commits of images, as their label says.",
)
@click.option(
    "--argocd",
    "watch_s",
    type=click.FloatRange(0, 86_400),
    help="Watch Argo CD for so many seconds; 0 takes one look. Without it Argo CD is not asked.",
)
@click.option(
    "--github",
    multiple=True,
    metavar="REPOSITORY=OWNER/NAME",
    help="Pull requests of an application's repository; the token comes from GITHUB_TOKEN.",
)
@click.option(
    "--github-deployments",
    multiple=True,
    metavar="SERVICE=OWNER/NAME",
    help="Deployments of a service that GitHub records.",
)
@click.option(
    "--github-workflow",
    multiple=True,
    metavar="SERVICE=OWNER/NAME:FILE@ENVIRONMENT",
    help="Runs of a workflow that deploys a service to an environment.",
)
@click.option(
    "--github-incidents",
    multiple=True,
    metavar="OWNER/NAME",
    help="Issues with the label incident; labels like service:checkout and environment:staging say the rest.",
)
@click.option(
    "--tofu",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Folder with ENVIRONMENT/UNIT/REVISION.jsonl, logs of `tofu apply -json`.",
)
@click.option(
    "--github-url", default="https://api.github.com", show_default=True, help="GitHub's API."
)
@click.option(
    "--take-over",
    default="",
    metavar="REASON",
    help="Facts in a bucket: go on although another collection seems to write, because its machine is gone.",
)
@_engine
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@_places
def collect(*, as_json: bool, **options: Any) -> None:
    """Reads what is new: configuration and application repositories, own runs, incidents, Argo CD, GitHub, OpenTofu.

    Goes on where the last collection ended; the same input twice changes no table.
    """
    from gitops_nb.cli.collecting import collect_facts

    collect_facts(as_json=as_json, **options)


@dora.command(
    "import",
    epilog="""\b
Examples:
  gitops-nb dora import devlake cicd_deployment_commits.csv project_mapping.csv incidents.csv
  gitops-nb dora import four-keys deployments.jsonl changes.jsonl incidents.jsonl --map shop.yaml
  gitops-nb dora import incidents jira.csv --map jira.yaml --to gs://acme-platform/dora
""",
)
@click.argument("kind", type=click.Choice(["devlake", "four-keys", "incidents"]))
@click.argument(
    "files",
    nargs=-1,
    required=True,
    metavar="FILE...",
    type=click.Path(path_type=Path, dir_okay=False),
)
@click.option(
    "--map",
    "mapping",
    type=click.Path(path_type=Path, dir_okay=False),
    help="YAML that says what columns, names and times of the files mean.",
)
@click.option(
    "--to",
    "facts",
    default="",
    metavar="FOLDER",
    help="Folder of the facts, or gs://BUCKET/PREFIX, instead of the workspace's .gitops-nb/facts.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@_workspace
def import_facts(kind: str, files: Sequence[Path], *, as_json: bool, **options: Any) -> None:
    """Reads what teams have: exports of DevLake, of Four Keys, or of a tool for incidents, into the facts.

    Every row is checked before anything is written; the same files twice add nothing.
    """
    from gitops_nb.cli.importing import import_exports

    import_exports(kind, files, as_json=as_json, **options)


@dora.command(
    epilog="""\b
Examples:
  gitops-nb dora metrics -p environment=production -p window=13w
  gitops-nb dora metrics --engine spark -p environment=production
  gitops-nb dora metrics --json | jq '.metrics[] | {key, unit, value: .now.value, n: .now.n}'
"""
)
@click.option(
    "-p", "pairs", multiple=True, metavar="NAME=VALUE", help="A parameter of the dora runbook."
)
@_engine
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@_places
def metrics(pairs: Sequence[str], *, as_json: bool, **options: Any) -> None:
    """Measures the collected facts; asks no repository and no cluster."""
    from gitops_nb.cli.collecting import show_metrics

    show_metrics(pairs, as_json=as_json, **options)


@dora.command(
    epilog="""\b
Examples:
  gitops-nb dora schema > dora.schema.json
  gitops-nb dora schema | jq '."$defs".metric.properties | map_values(.description)'
"""
)
def schema() -> None:
    """Prints the JSON Schema of the metrics in report.json and in `dora metrics --json`."""
    from gitops_nb.cli.collecting import show_schema

    show_schema()


@dora.command(
    epilog="""\b
Examples:
  gitops-nb dora export warehouse/
  gitops-nb dora export grafana/ --format csv
  gitops-nb dora export --to bigquery
"""
)
@click.argument("directory", required=False, type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--to",
    type=click.Choice(KINDS[1:]),
    help="Load the tables that a report is measured from where this engine reads them, instead.",
)
@click.option(
    "--format", "form", type=click.Choice(["parquet", "csv"]), default="parquet", show_default=True
)
@_places
def export(directory: Path | None, form: str, to: str | None, **options: Any) -> None:
    """Writes every fact table as one file, and columns.json, which says what each column means."""
    from gitops_nb.cli.collecting import export_facts

    export_facts(directory, form=form, to=to, **options)
