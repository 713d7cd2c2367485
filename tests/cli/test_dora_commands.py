"""``gitops-nb dora`` as processes, and the scheduled workflow that uses it."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import duckdb
import pytest
import yaml
from jsonschema import Draft202012Validator

from gitops_nb.cli.initialising import workspace_files
from gitops_nb.dora.document_schema import schema
from gitops_nb.dora.schemas import TABLES
from gitops_nb.dora.store import FactStore
from gitops_nb.dora.stored import COLUMNS
from tests.buckets import BUCKET, gcs_server
from tests.cli.test_workflow import actionlint  # noqa: F401  a fixture
from tests.conftest import COMMAND
from tests.dora.git_factories import Repository
from tests.dora.test_store import tree
from tests.samples import few

NAME = ".github/workflows/dora.yml"


def test_collect_metrics_and_export_go_together(workspace):
    """Facts are collected once, measured with n and excluded, and exported with documented columns."""
    early = workspace.run("dora", "metrics")
    assert early.returncode == 64
    assert "gitops-nb dora collect" in early.stderr

    collected = workspace.run("dora", "collect", "--argocd", "0", "--json")
    assert collected.returncode == 0, collected.stderr
    document = json.loads(collected.stdout)
    assert document["mode"] == "sandbox"
    empty = [source["source"] for source in document["sources"] if not source["rows"]]
    assert empty == ["runs sandbox"]
    folder = workspace.root / ".gitops-nb/sandbox/facts"
    before = tree(folder)
    again = workspace.run("dora", "collect", "--argocd", "0")
    assert again.returncode == 0, again.stderr
    assert "SANDBOX" in again.stdout
    # Nothing is new but that it was asked again, until when silence is known to be one.
    after = tree(folder)
    moments = [json.loads(found.pop("sources/collected.json")[0]) for found in (before, after)]
    assert after == before
    assert moments[0].keys() == moments[1].keys()
    assert all(moments[0][source] <= moment_s for source, moment_s in moments[1].items())

    measured = workspace.run("dora", "metrics", "-p", "window=13w", "--json")
    assert measured.returncode == 0, measured.stderr
    numbers = json.loads(measured.stdout)
    metrics = {metric["key"]: metric for metric in numbers["metrics"]}
    assert set(metrics) == {
        "frequency",
        "lead_time",
        "fail_rate",
        "recovery",
        "rework",
        "rollbacks",
    }
    printed = workspace.run("dora", "schema")
    assert json.loads(printed.stdout) == schema()
    Draft202012Validator(schema()).validate(numbers)
    assert metrics["fail_rate"]["now"]["n"] > 0
    assert 0 < metrics["fail_rate"]["now"]["low"] < metrics["fail_rate"]["now"]["high"] < 1
    assert len(numbers["measured"]["definition"]) == 64

    for form in ("parquet", "csv"):
        out = workspace.root / form
        exported = workspace.run("dora", "export", str(out), "--format", form)
        assert exported.returncode == 0, exported.stderr
        assert {p.stem for p in out.glob(f"*.{form}")} == set(TABLES)
        described = json.loads((out / "columns.json").read_text())
        assert {name: list(columns) for name, columns in described.items()} == {
            name: list(columns) for name, columns in TABLES.items()
        }
    with duckdb.connect() as connection:
        path = workspace.root / "parquet/deployment.parquet"
        rows = connection.read_parquet(str(path)).aggregate("count(*)").fetchall()[0][0]
    with (workspace.root / "csv/deployment.csv").open() as file:
        assert len(list(csv.DictReader(file))) == rows > 100


def test_every_exported_column_is_documented():
    """No column without a description, no description without a column."""
    assert {name for columns in TABLES.values() for name in columns} == set(COLUMNS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    few(
        [
            (("collect", "--incidents", "i.csv"), "i.csv:1: no column environment"),
            (("collect", "--labels", "l.csv"), "l.csv:1: no column revision"),
            (("collect", "--incident-environment", "prod"), "unknown environment 'prod'"),
            (("metrics", "-p", "incidents=i.csv"), "metrics come from the collected facts"),
            (("metrics", "-p", "window=3"), "window"),
            (("export",), "one place is due"),
            (("export", "there", "--to", "spark"), "one place is due"),
            (("export", "out"), "no facts in"),
        ],
        keep=3,
    ),
)
def test_bad_input_is_named_before_anything_is_written(workspace, arguments, message):
    """Exit 64, the problem on stderr, and no facts."""
    workspace.write("i.csv", "id,service\n")
    workspace.write("l.csv", "version\n")
    done = workspace.run("dora", *arguments)
    assert done.returncode == 64, done.stderr
    assert message in done.stderr
    assert list(workspace.root.glob(".gitops-nb/sandbox/facts/*/service=*")) == []
    assert not (workspace.root / "out").exists()


@pytest.mark.parametrize("command", ["collect", "metrics", "export", "schema", "import"])
def test_help_has_examples(workspace, command):
    """Each command shows how it is used."""
    done = workspace.run("dora", command, "--help")
    assert f"gitops-nb dora {command}" in done.stdout.split("Examples:")[1]


def test_the_scheduled_workflow_is_pinned_and_keeps_its_rights_small():
    """Each action by its commit, no expression inside a script, rights to publish only in the job that publishes."""
    text = workspace_files()[NAME].decode()
    workflow = yaml.safe_load(text)
    used = re.findall(r"uses: (\S+)", text)
    assert used
    assert all(re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", name) for name in used)
    scripts = [
        step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step
    ]
    assert scripts
    assert all("${{" not in script for script in scripts)
    assert workflow["permissions"] == {"contents": "read"}
    assert "permissions" not in workflow["jobs"]["report"]
    assert workflow["jobs"]["publish"]["permissions"] == {"pages": "write", "id-token": "write"}
    assert "VERSION" not in text
    # YAML 1.1 reads the key `on` as true.
    assert workflow[True]["schedule"]


def test_the_scheduled_workflow_passes_actionlint(actionlint, tmp_path):  # noqa: F811
    """GitHub would accept it."""
    path = tmp_path / "dora.yml"
    path.write_bytes(workspace_files()[NAME])
    done = subprocess.run(
        (actionlint, "-no-color", str(path)), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


POLICY = """
kind: Policy
environments: {}
"""
FLEET = """
kind: Fleet
environments:
  staging: {{auto_deploy: true, approval_required: false}}
  production: {{auto_deploy: false, approval_required: true}}
promotes_to: {{staging: [production]}}
repositories:
  config: {{url: "file://{config}"}}
  cart-api: {{url: "file://{app}"}}
applications:
  cart:
    repository: config
    path: apps/cart/{{environment}}
    promotable: [{{file: values.yaml, key: image, part: tag}}]
    source: {{repository: cart-api}}
versions:
  - repository: config
    path: apps/{{service}}/{{environment}}/values.yaml
    key: image
    part: tag
"""


def test_live_facts_go_from_the_code_to_production(workspace, tmp_path):
    """A change is followed through image tag and configuration commit; its lead time starts when it was written."""
    app, config = Repository(tmp_path / "app"), Repository(tmp_path / "config")
    first = app.commit({"a": "1\n"})
    second = app.commit({"a": "2\n"}, authored_s=app.now_s - 3600)
    for number, sha in enumerate((first, second, second)):
        config.now_s = app.now_s + 600 * (number + 1)
        environment = "production" if number == 2 else "staging"
        files = {f"apps/cart/{environment}/values.yaml": f"image: shop/cart:{sha[:10]}\n"}
        if number == 0:
            files["apps/cart/production/values.yaml"] = f"image: shop/cart:{sha[:10]}\n"
        config.commit(files)
    workspace.write("runbooks/policy.yaml", POLICY)
    workspace.write("runbooks/fleet.yaml", FLEET.format(config=config.path, app=app.path))
    done = workspace.run("dora", "collect", "--mode", "live")
    assert done.returncode == 0, done.stderr
    assert "application cart" in done.stdout
    store = FactStore(workspace.root / ".gitops-nb/facts")
    table = store.read("change_deployment", ["cart"]).set_index("environment")
    assert table["sha"].to_dict() == {"staging": second, "production": second}
    hops = store.read("hop").set_index("version")["method"].to_dict()
    assert hops == {first[:10]: "sha", second[:10]: "sha"}
    window = "2025-09-01/2025-12-01"
    measured = workspace.run(
        "dora", "metrics", "--mode", "live", "-p", f"window={window}", "--json"
    )
    assert measured.returncode == 0, measured.stderr
    metrics = {metric["key"]: metric for metric in json.loads(measured.stdout)["metrics"]}
    expected = config.now_s - (app.now_s - 60 - 3600)
    lead = metrics["lead_time"]
    assert (lead["now"]["value"], lead["now"]["n"], lead["counts"]["changes"]) == (expected, 1, 1)
    assert lead["question"] == "From writing a change to production."


IMPORTS = Path(__file__).parents[1] / "dora/imports"


def _exports(workspace, *names):
    """Files of DevLake in the workspace, a year earlier, whose project is the service of FLEET."""
    for name in names:
        text = (IMPORTS / "devlake" / name).read_text().replace("2026-", "2025-")
        workspace.write(name, text.replace("checkout,", "cart,"))
    return names


def test_what_other_tools_recorded_is_measured(workspace, tmp_path):
    """An import says what it read and left out, adds nothing twice, and its facts make metrics under the same schema."""
    config, app = Repository(tmp_path / "config"), Repository(tmp_path / "app")
    for repository in (config, app):
        repository.commit({"a": "1\n"})
    workspace.write("runbooks/policy.yaml", POLICY)
    workspace.write("runbooks/fleet.yaml", FLEET.format(config=config.path, app=app.path))
    files = _exports(workspace, "cicd_deployment_commits.csv", "project_mapping.csv", "incidents.csv")  # fmt: skip
    command = ("dora", "import", "devlake", *files, "--to", "taken", "--mode", "live")
    done = workspace.run(*command)
    assert done.returncode == 0, done.stderr
    for line in (
        "10 rows read  cicd_deployment_commits.csv",
        "6 deployment",
        "3 incident",
        "1 left out: environment TESTING is none of the fleet's",
        "1 left out: rows of github:GithubRepo:1:99, which is in no project",
        "2 rows of Catalog Team, which fleet.yaml does not name",
    ):
        assert line in done.stdout, done.stdout
    again = json.loads(workspace.run(*command, "--json").stdout)
    assert again["merged"] == {"added": 0, "replaced": 0, "files": 0}
    assert again["environments"] == {"TESTING": 1}

    measured = workspace.run(
        "dora", "metrics", "--mode", "live", "--facts", "taken", "--json",
        "-p", "environment=production", "-p", "window=2025-09-08/2025-09-15",
    )  # fmt: skip
    assert measured.returncode == 0, measured.stderr
    numbers = json.loads(measured.stdout)
    Draft202012Validator(schema()).validate(numbers)
    metrics = {metric["key"]: metric for metric in numbers["metrics"]}
    # Three of cart and one of the other team ran; the failed attempt never did.
    assert metrics["frequency"]["counts"]["deployments"] == 4
    assert metrics["rollbacks"]["now"] | {"low": 0, "high": 0} == {"value": 0.25, "low": 0, "high": 0, "n": 4}  # fmt: skip
    # run-2 was newest at no incident; run-3, run-5 and run-8 each had one within a day, or were rolled back.
    assert metrics["fail_rate"]["now"]["value"] == 0.75


@pytest.mark.parametrize(
    ("arguments", "message"),
    few([
        (("devlake", "project_mapping.csv", "bad.csv"), "bad.csv:2: finished_date: 'soon' is no time"),
        (("incidents", "incidents.csv"), "the mapping names no columns"),
        (("incidents", "incidents.csv", "--map", "wrong.yaml"), "wrong.yaml:1: column"),
        (("incidents", "incidents.csv", "--map", "nowhere.yaml"), "nowhere.yaml"),
    ], keep=2),
)  # fmt: skip
def test_a_bad_import_is_named_before_anything_is_written(workspace, arguments, message):
    """Exit 64, the problem on stderr, and no folder of facts with a table."""
    _exports(workspace, "cicd_deployment_commits.csv", "project_mapping.csv", "incidents.csv")
    text = (workspace.root / "cicd_deployment_commits.csv").read_text()
    workspace.write("bad.csv", text.replace("2025-09-07 08:05:00.000", "soon"))
    workspace.write("wrong.yaml", "column: {id: Key}\n")
    done = workspace.run("dora", "import", *arguments, "--to", "taken")
    assert done.returncode == 64, done.stderr
    assert message in done.stderr
    assert list((workspace.root / "taken").glob("*/*")) == []


def test_an_unknown_repository_for_github_is_named(workspace):
    """The option names a repository that is no application's source."""
    done = workspace.run("dora", "collect", "--github", "nope=acme/nope")
    assert done.returncode == 64
    assert "'nope' is no application's source" in done.stderr
    assert list(workspace.root.glob(".gitops-nb/sandbox/facts/*/service=*")) == []


@pytest.mark.torture
def test_collected_facts_make_the_report_of_a_run(workspace):
    """`run dora` measures the folder of facts that was named; progress stands on stderr, a line with its time each."""
    collected = workspace.run("dora", "collect", "--argocd", "0")
    assert collected.returncode == 0, collected.stderr
    lines = [line for line in collected.stderr.splitlines() if "/" in line]
    assert all(re.match(r"\d\d:\d\d:\d\dZ  \d+/\d+  ", line) for line in lines)
    assert sum("begins" in line for line in lines) == len(lines) / 2 > 2
    metrics = json.loads(workspace.run("dora", "metrics", "-p", "window=13w", "--json").stdout)

    done = workspace.run(
        "run", "dora", "-p", "deployments=.gitops-nb/sandbox/facts", "-p", "window=13w",
        "-p", "definition=attribution_window=48h,bots=left out",
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = workspace.reports.glob("*-dora-*")
    measured = json.loads((run / "evidence/measure.json").read_text())
    frequency = next(m for m in measured["metrics"] if m["key"] == "frequency")
    assert frequency["counts"] == metrics["metrics"][0]["counts"]
    assert measured["definition"] != metrics["measured"]["definition"]
    report = json.loads((run / "report.json").read_text())
    Draft202012Validator(schema()).validate(report)
    assert report["measured"].keys() == metrics["measured"].keys()
    assert [metric["key"] for metric in report["metrics"]] == [m["key"] for m in metrics["metrics"]]
    assert report["measured"]["definition"] == measured["definition"]
    with (run / "evidence/dora/metrics.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = {row["metric"]: row for row in csv.DictReader(file) if row["window"] == "now"}
    lead = next(metric for metric in report["metrics"] if metric["key"] == "lead_time")
    assert float(rows["lead_time"]["value"]) == lead["now"]["value"]
    # What a reader is given is what was sealed.
    assert workspace.run("verify", run.name).returncode == 0
    page = (run / "report.html").read_text()
    assert "attribution_window_s=172800" in page
    assert "bots=left out" in page

    # What the scheduled workflow publishes has everything that its page links to.
    workflow = yaml.safe_load(workspace_files()[NAME])
    (lay,) = (step["run"] for step in workflow["jobs"]["report"]["steps"] if step.get("name") == "Lay the site")  # fmt: skip
    (workspace.root / "site").mkdir()
    path = f"{COMMAND.parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(("bash", "-ec", lay), cwd=workspace.root, env={**os.environ, "PATH": path}, check=True, timeout=60)  # fmt: skip
    links = re.findall(r'<a href="(evidence/[^"]+)"', page)
    assert links
    assert [link for link in links if not (workspace.root / "site" / link).is_file()] == []


def test_an_option_that_no_definition_has_is_named(workspace):
    """Exit 64 before there is a run."""
    done = workspace.run("run", "dora", "-p", "definition=attribution=48h")

    assert done.returncode == 64
    assert "'attribution=48h' is no option" in done.stderr
    assert list(workspace.reports.glob("*-dora-*")) == []


@pytest.mark.torture
def test_facts_in_a_bucket_are_collected_on_one_machine_and_measured_on_another(
    workspace, tmp_path
):
    """The same counts as from the folder, also in a report; what is in the bucket is what the folder holds."""
    with gcs_server(tmp_path) as address:
        near = {"STORAGE_EMULATOR_HOST": address}
        facts = ("--facts", f"gs://{BUCKET}/dora")
        collected = workspace.run("dora", "collect", *facts, **near)
        assert collected.returncode == 0, collected.stderr
        for folder in workspace.root.glob(".gitops-nb/sandbox/facts-*"):
            shutil.rmtree(folder)
        measured = workspace.run("dora", "metrics", "-p", "window=13w", "--json", *facts, **near)
        ran = workspace.run("run", "dora", "-p", f"deployments=gs://{BUCKET}/dora", **near)
        workspace.write("pages.csv", "key,from,system\nOPS-1,2024-05-01T10:00:00Z,checkout\n")
        workspace.write("pages.yaml", "columns: {id: key, started: from, service: system}\n")
        command = ("dora", "import", "incidents", "pages.csv", "--map", "pages.yaml")
        imported = workspace.run(*command, "--to", f"gs://{BUCKET}/dora", **near)
        assert imported.returncode == 0, imported.stderr
        for folder in workspace.root.glob(".gitops-nb/sandbox/facts-*"):
            shutil.rmtree(folder)
        workspace.run("dora", "export", "out", "--format", "csv", *facts, **near)
    assert "OPS-1" in (workspace.root / "out/incident.csv").read_text()
    assert measured.returncode == 0, measured.stderr
    assert ran.returncode == 0, ran.stderr
    (run,) = workspace.reports.glob("*-dora-*")
    assert f"gs://{BUCKET}/dora" in (run / "report.html").read_text()
    assert workspace.run("dora", "collect").returncode == 0
    local = json.loads(workspace.run("dora", "metrics", "-p", "window=13w", "--json").stdout)
    assert json.loads(measured.stdout)["metrics"] == local["metrics"]
