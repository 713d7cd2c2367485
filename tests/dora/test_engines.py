"""Engines that are elsewhere give DuckDB's numbers to the byte; what they need is said before anything is read."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import threading
from dataclasses import fields, replace
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from gitops_nb import dora
from gitops_nb.catalog.engines import EngineChoice, read_engine
from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.cli.collecting import writing
from gitops_nb.dora import catalogue, engine_bigquery, engine_spark, publishing, stored
from gitops_nb.dora.definition import Moment
from gitops_nb.dora.document import document
from gitops_nb.dora.engine import DuckEngine
from gitops_nb.dora.engine_remote import RemoteEngine, within
from gitops_nb.dora.engines import remote
from gitops_nb.dora.expressions import Question
from gitops_nb.dora.fact_tables import FACTS, FactTables
from gitops_nb.dora.store import FactStore
from gitops_nb.errors import ConfigurationError, RecordError, TimedOut, UnavailableError, UsageError
from gitops_nb.model import Mode, Result
from gitops_nb.report.text import json_text
from tests.dora.bigquery_fake import FakeBigQuery, refused
from tests.dora.dora_factories import FLEET, HOUR, NOW, PARAMETERS, WEEK, History, view
from tests.dora.fact_factories import START_S, by_chance

CHOICE = EngineChoice("bigquery", project="acme-data", dataset="dora", mode="live", deadline_s=60)
WINDOW = dora.request(
    FLEET, {**PARAMETERS, "window": "26w"}, workdir=Path(), now=NOW, base=Path()
).window
QUESTION = Question("production", START_S + 40 * WEEK, first_environments=("staging",))
SHIFT_S = WINDOW.end_s - START_S - 30 * WEEK


@pytest.fixture
def bigquery(tmp_path, monkeypatch) -> FakeBigQuery:
    """BigQuery, as far as this machine knows."""
    folder = tmp_path / "google"
    folder.mkdir()
    fake = FakeBigQuery(folder)
    monkeypatch.setattr(engine_bigquery, "connect", lambda: fake)
    return fake


def store_of(folder: Path, tables: FactTables) -> FactStore:
    """Collected facts, moved to the weeks before the moment that is now."""
    facts = FactStore(folder)
    for name, found in tables.frames().items():
        table = found.copy()
        for column in ("started_s", "finished_s", "resolved_s", "authored_s", "committed_s"):
            if column in table:
                table[column] += SHIFT_S
        if name == "deployment":
            table["synced_s"] = (table["finished_s"] + 60).astype("Int64")
            later_s = (table["finished_s"] + 3 * HOUR).astype("Int64")
            table["healthy_s"] = later_s.mask(table["position"] % 3 == 0)
            table["source"] = "configuration"
        if len(table):
            facts.merge(name, table)
    facts.set_end("configuration platform-config", WINDOW.end_s)
    return facts


def asked(tmp_path, *, store: FactStore | None = None, engine: EngineChoice | None = None, **more):
    """A request over collected facts, on this machine or elsewhere."""
    run = tmp_path / ("here" if engine is None else "there")
    run.mkdir(exist_ok=True)
    parameters = {**PARAMETERS, "window": "13w", "time_zone": "Europe/Berlin", **more}
    return dora.request(
        FLEET,
        parameters,
        workdir=run,
        now=NOW,
        base=tmp_path,
        facts=store.folder if store else None,
        engine=engine,
    )


def everything(request) -> tuple[dora.DoraState, str, Result, dict[str, str]]:
    """State, numbers, check, and digests of the tables beside the report."""
    state = dora.observe(view(History()), request)
    measured = dora.measure(request, state)
    outcome = dora.verify(request, state, measured)
    text = json_text(document(measured, known_until_s=state.until_s))
    return state, text, outcome.result, dict(measured.files)


@pytest.mark.torture
@pytest.mark.parametrize(
    "more",
    [
        {"definition": ("deployment_time=synced", "resyncs=counted", "coalesce=1h")},
        {"definition": ("deployment_time=healthy",), "services": ("service-1", "service-4")},
        {"definition": ("lead_time_start=committed", "bots=left out"), "compare_to": "none"},
    ],
)
def test_numbers_state_and_tables_are_those_of_duckdb(tmp_path, bigquery, more):
    """To the byte: the JSON of the metrics, the tables beside the report, and all that a run says of its facts."""
    store = store_of(tmp_path / "facts", by_chance(3, deployments=60))
    engine_bigquery.load(CHOICE, store, facts="ours")

    here = everything(asked(tmp_path, store=store, **more))
    there = everything(asked(tmp_path, engine=CHOICE, **more))

    assert there[1:] == here[1:]
    assert there[2] is Result.REPORTED
    apart = {"files", "sources"}
    for one in fields(dora.DoraState):
        if one.name not in apart:
            assert getattr(there[0], one.name) == getattr(here[0], one.name), one.name
    assert there[0].files == {}
    assert here[0].deployments["production"] > 20
    assert all(deadline for deadline in bigquery.deadlines)


@pytest.mark.torture
def test_a_change_of_the_tables_after_measuring_is_told(tmp_path, bigquery):
    """The check counts in the engine, and facts that others published meanwhile do not give the number that was said."""
    store = store_of(tmp_path / "facts", by_chance(3, deployments=60))
    engine_bigquery.load(CHOICE, store, facts="ours")
    request = asked(tmp_path, engine=CHOICE)
    state = dora.observe(view(History()), request)
    measured = dora.measure(request, state)
    assert dora.verify(request, state, measured).result is Result.REPORTED

    engine_bigquery.load(
        CHOICE, store_of(tmp_path / "other", by_chance(4, services=2)), facts="ours"
    )

    assert dora.verify(request, state, measured).result is Result.FAILED


EXPRESSIONS = tuple(catalogue.all_expressions(QUESTION, WINDOW, zone=ZoneInfo("UTC")))
SOME = frozenset(EXPRESSIONS[:: len(EXPRESSIONS) // 4])


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in SOME else pytest.mark.torture) for name in EXPRESSIONS],
)
def test_every_expression_has_duckdbs_rows(tmp_path, bigquery, name):
    """Each query as it is sent to BigQuery, and each row as it comes back, page by page, as text."""
    tables = by_chance(5)
    store = store_of(tmp_path / "facts", tables)
    engine_bigquery.load(CHOICE, store, facts="ours")
    question = replace(QUESTION, until_s=WINDOW.end_s)
    expression = catalogue.all_expressions(question, WINDOW, zone=ZoneInfo("Europe/Berlin"))[name]
    chosen, _ = stored.select(store)

    with DuckEngine.of(chosen) as duck, engine_bigquery.BigQueryWarehouse.opened(CHOICE) as found:
        there = RemoteEngine.over(found, moment=Moment.COMMITTED)
        assert there.rows(expression) == duck.rows(expression)
        kept = there.keep("kept", expression)
        assert there.rows(kept) == duck.rows(expression)
        names = list(expression.columns)
        frames = [e.frame(expression).sort_values(names, ignore_index=True) for e in (there, duck)]
        assert frames[0].equals(frames[1].astype(frames[0].dtypes.to_dict()))


def test_published_tables_are_what_a_report_is_measured_from(tmp_path):
    """Row by row, also of services with odd names; DuckDB and Spark read the folder as it is."""
    tables = by_chance(6)
    odd = {"service-1": "a/b =x", "service-2": "ä%20[1]"}
    for table in tables.frames().values():
        table["service"] = table["service"].replace(odd)
    store = store_of(tmp_path / "facts", tables)
    place = tmp_path / "tables"

    rows = publishing.to_folder(store, place, facts="ours")

    found = publishing.publication_of((place / "current.json").read_text(), place="here")
    chosen, _ = stored.select(store)
    assert found.ends == store.ends()
    for name, table in chosen.frames().items():
        published = _read(place / found.version / name, name)
        key = list(FACTS[name])
        expected = table[key].sort_values(key, ignore_index=True)
        assert published.sort_values(key, ignore_index=True).to_dict() == expected.to_dict(), name
        assert rows[name] == len(table)


def _read(folder: Path, name: str):
    with DuckEngine.of(FactTables.of()) as engine:
        found = engine.connection.read_parquet(f"{folder}/*.parquet").df()
    return found[list(FACTS[name])].astype(dict(FACTS[name]))


def test_a_publication_replaces_the_last_but_one(tmp_path):
    """Who measures reads one publication to its end: the one before stays, the one before that goes."""
    store = store_of(tmp_path / "facts", by_chance(6))
    place = tmp_path / "tables"
    versions = []
    for _ in range(3):
        publishing.to_folder(store, place, facts="ours")
        versions.append(json.loads((place / "current.json").read_text())["version"])

    assert sorted(p.name for p in place.iterdir() if p.is_dir()) == sorted(versions[1:])


def test_bigquerys_publication_replaces_the_last_but_one(tmp_path, bigquery):
    """The same of tables of a dataset, which hold nothing of another mode."""
    store = store_of(tmp_path / "facts", by_chance(6))
    for _ in range(3):
        engine_bigquery.load(CHOICE, store, facts="ours")
    engine_bigquery.load(replace(CHOICE, mode="sandbox"), store, facts="ours")

    tables = bigquery.tables()
    assert len([name for name in tables if name.startswith("live_deployment_")]) == 2
    assert len([name for name in tables if name.startswith("sandbox_deployment_")]) == 1


def test_a_publication_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
    """Nothing half written is read, and nothing of it stays."""
    store = store_of(tmp_path / "facts", by_chance(6))
    place = tmp_path / "tables"
    publishing.to_folder(store, place, facts="ours")
    before = sorted(path.name for path in place.iterdir())
    monkeypatch.setattr(publishing, "FACTS", {**FACTS, "nothing": {"a": "no type"}})

    with pytest.raises(KeyError):
        publishing.to_folder(store, place, facts="ours")

    assert sorted(path.name for path in place.iterdir()) == before


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"version": "../x", "facts": "a", "ends": {}, "before": ""}', '{"version": "a"}',
     '{"version": "a", "facts": "a", "ends": {"x": "y"}, "before": ""}',
     '{"version": "a", "facts": "a", "ends": {}, "before": "../b"}'],
)  # fmt: skip
def test_a_pointer_that_is_none_is_refused(text):
    """A version becomes part of paths and of statements, so it is checked."""
    with pytest.raises(RecordError, match="cannot be read"):
        publishing.publication_of(text, place="here")


def test_the_tables_of_other_facts_are_refused(tmp_path, bigquery):
    """Named facts are measured, or nothing is; the facts that are there under their own name are."""
    store = store_of(tmp_path / "facts", by_chance(6))
    engine_bigquery.load(CHOICE, store, facts="gs://acme/dora")

    with (
        pytest.raises(UsageError, match="those of gs://acme/dora, and not of gs://other/dora"),
        remote(asked(tmp_path, engine=replace(CHOICE, facts="gs://other/dora"))),
    ):
        pass
    with remote(asked(tmp_path, engine=replace(CHOICE, facts="gs://acme/dora"))) as engine:
        assert engine.warehouse.publication.facts == "gs://acme/dora"


def test_where_nothing_was_published_is_said(tmp_path, bigquery):
    """Neither a dataset without tables nor one that is not there looks like no deployments."""
    for has_dataset in (True, False):
        bigquery.has_dataset = has_dataset
        with pytest.raises(UsageError, match=r"no tables of facts in acme-data\.dora"):
            dora.observe(view(History()), asked(tmp_path, engine=CHOICE))
    store = store_of(tmp_path / "facts", by_chance(6))
    with pytest.raises(UsageError, match="no tables of facts"):
        engine_bigquery.load(CHOICE, store, facts="ours")


def test_a_service_nobody_knows_is_refused_there_too(tmp_path, bigquery):
    """Before a run is made and when it observes; one that is known goes through."""
    engine_bigquery.load(CHOICE, store_of(tmp_path / "facts", by_chance(6)), facts="ours")
    wrong = asked(tmp_path, engine=CHOICE, services=("nobody",))

    for look in (dora.refuse_unknown, dora.observe):
        with pytest.raises(UsageError, match="nothing is known about nobody"):
            look(view(History()), wrong)
    dora.refuse_unknown(view(History()), asked(tmp_path, engine=CHOICE, services=("service-1",)))


def test_a_file_of_incidents_does_not_go_where_the_facts_are(tmp_path):
    """It would be left out silently."""
    with pytest.raises(UsageError, match="no file of this machine"):
        asked(tmp_path, engine=CHOICE, incidents="incidents.csv")


def test_a_query_that_does_not_end_is_cancelled(tmp_path, bigquery, monkeypatch):
    """It costs nothing from then on."""
    engine_bigquery.load(CHOICE, store_of(tmp_path / "facts", by_chance(6)), facts="ours")
    bigquery.is_slow = True
    clock = itertools.count(step=7.0)
    monkeypatch.setattr(engine_bigquery.time, "monotonic", lambda: next(clock))

    with pytest.raises(TimedOut, match="more than 60 s"):
        dora.observe(view(History()), asked(tmp_path, engine=CHOICE))

    assert bigquery.calls[-1][1].endswith("/cancel")


def test_what_bigquery_refuses_is_said_in_its_words(tmp_path, bigquery, monkeypatch):
    """With the roles that are due."""
    monkeypatch.setattr(
        bigquery, "request", lambda *_, **__: refused(403, "Access Denied: Project acme-data")
    )

    with pytest.raises(UnavailableError, match=r"\(403\): Access Denied") as told:
        dora.observe(view(History()), asked(tmp_path, engine=CHOICE))
    assert "bigquery.jobUser" in told.value.hint


def test_what_does_not_answer_is_said(tmp_path, bigquery, monkeypatch):
    """A network that is away is no traceback."""

    def away(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(bigquery, "request", away)
    with pytest.raises(UnavailableError, match="no route to host"):
        dora.observe(view(History()), asked(tmp_path, engine=CHOICE))


def test_credentials_that_are_missing_are_said_with_what_to_do(monkeypatch):
    """Before anything is read."""
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError

    def none(**_):
        raise DefaultCredentialsError("none")

    monkeypatch.setattr(google.auth, "default", none)
    with pytest.raises(ConfigurationError, match="credentials") as told:
        engine_bigquery.ready(CHOICE)
    assert "gcloud auth application-default login" in told.value.hint


def test_a_collection_for_bigquery_says_what_is_missing_before_it_reads(tmp_path, monkeypatch):
    """Tables for Spark are files, so a collection for it begins without PySpark."""

    def none(_):
        raise ConfigurationError("no credentials")

    monkeypatch.setattr(engine_bigquery, "ready", none)
    (tmp_path / "gitops-nb.yaml").write_text(
        "kind: Workspace\nengine: {bigquery: {project: acme-data, dataset: dora}}\n"
    )
    where = find_workspace(tmp_path)
    with (
        pytest.raises(ConfigurationError, match="no credentials"),
        writing(where, Mode.LIVE, "", who="ada", take_over=""),
    ):
        pytest.fail("the collection began")
    with writing(where, Mode.LIVE, "", who="ada", take_over="", engine="spark") as store:
        assert store.folder == where.own / "facts"


def test_what_spark_needs_is_said_with_what_to_install(monkeypatch):
    """PySpark first, then Java; a session of Spark Connect needs no Java here."""
    choice = EngineChoice("spark")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr(engine_spark.shutil, "which", lambda _: None)
    with pytest.raises(ConfigurationError, match="needs Java"):
        engine_spark.ready(choice)
    engine_spark.ready(replace(choice, session="sc://spark.example:15002"))
    monkeypatch.setattr(engine_spark, "find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match="needs PySpark") as told:
        engine_spark.ready(choice)
    assert "gitops-nb[spark]" in told.value.hint


def test_a_call_without_an_end_is_left_at_its_deadline():
    """It is cancelled once; a call that ends gives what it gives, or raises what it raises."""
    held, cancelled = threading.Event(), []
    with pytest.raises(TimedOut, match="a query took more than 0 s"):
        within(0.05, "a query", held.wait, cancel=lambda: cancelled.append(1))
    held.set()
    assert cancelled == [1]
    assert within(5, "a query", lambda: 7, cancel=cancelled.clear) == 7
    with pytest.raises(ZeroDivisionError):
        within(5, "a query", lambda: 1 // 0, cancel=cancelled.clear)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, EngineChoice()),
        ("duckdb", EngineChoice()),
        ("spark", EngineChoice("spark")),
        ({"spark": None}, EngineChoice("spark")),
        (
            {"spark": {"tables": "gs://acme/dora", "session": "environment", "deadline_s": 60}},
            EngineChoice("spark", "gs://acme/dora", "environment", deadline_s=60),
        ),
        (
            {"spark": {"settings": {"spark.ui.enabled": False, "spark.executor.cores": 4}}},
            EngineChoice("spark", settings={"spark.ui.enabled": "false", "spark.executor.cores": "4"}),
        ),
        (
            {"bigquery": {"project": "acme-data", "dataset": "dora"}},
            EngineChoice("bigquery", project="acme-data", dataset="dora"),
        ),
    ],
)  # fmt: skip
def test_an_engine_is_read_as_it_is_written(value, expected):
    """A name, or one name with its options."""
    assert read_engine(value) == expected


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("trino", "allowed: duckdb, spark, bigquery"),
        (7, "is due"),
        ({"spark": {}, "bigquery": {}}, "is due"),
        ({"spark": "local"}, "options of spark"),
        ({"spark": {"master": "local"}}, "no option master"),
        ({"spark": {"session": "mesos://a"}}, "allowed: local"),
        ({"spark": {"session": "sc://a:15002/;token=x"}}, "allowed: local"),
        ({"spark": {"settings": {"spark.ssl.keyPassword": "x"}}}, "secret"),
        ({"spark": {"settings": {"fs.gs.project.id": "x"}}}, "no setting of Spark's"),
        ({"spark": {"settings": {"spark.a": [1]}}}, "no plain value"),
        ({"spark": {"settings": "x"}}, "names and values"),
        ({"spark": {"tables": 7}}, "text is due"),
        ({"spark": {"deadline_s": 0}}, "whole seconds"),
        ({"duckdb": {"tables": "x"}}, "allowed: none"),
        ("bigquery", "project and a dataset"),
        ({"bigquery": {"project": "acme-data", "dataset": "a`b"}}, "project and a dataset"),
        ({"bigquery": {"project": "a/../b", "dataset": "dora"}}, "project and a dataset"),
    ],
)
def test_an_engine_that_is_none_is_refused(value, said):
    """With what is due; names that become part of statements are names."""
    with pytest.raises(ValueError, match=said):
        read_engine(value)


def test_a_command_names_another_engine():
    """Spark needs nothing of the workspace, BigQuery its project; each mode has a place of its own."""
    own, root = Path("/w/.gitops-nb"), Path("/w")
    assert EngineChoice().named("") == CHOICE.named("duckdb") == EngineChoice()
    assert (
        EngineChoice().named("spark").at("live", own=own, root=root).tables
        == "/w/.gitops-nb/tables"
    )
    assert CHOICE.named("bigquery") == CHOICE
    with pytest.raises(ConfigurationError, match="no project and dataset"):
        EngineChoice().named("bigquery")
    places = {
        EngineChoice("spark", tables).at(mode, own=own, root=root).tables
        for tables in ("tables", "gs://acme/dora/")
        for mode in ("live", "sandbox")
    }
    assert places == {
        "/w/tables/live", "/w/tables/sandbox", "gs://acme/dora/live", "gs://acme/dora/sandbox",
    }  # fmt: skip


@pytest.mark.torture
def test_spark_gives_the_numbers_of_duckdb_end_to_end(tmp_path):
    """What `metrics --json` prints, and what a run says of its facts, from Parquet on a local Spark: the same digest."""
    if shutil.which("java") is None:
        pytest.skip("SKIPPED: no Java, so no Spark: nothing here compared the two engines")
    script = Path(__file__).parents[2] / "tools" / "bench_engines.py"
    changes = os.environ.get("GITOPS_NB_SPARK_CHANGES", "20000")

    done = subprocess.run(
        (sys.executable, str(script), changes, "duckdb", "publish", "spark"),
        capture_output=True,
        text=True,
        check=False,
        timeout=2 * 3600,
    )

    assert done.returncode == 0, done.stderr[-3000:]
    here, _, there = json.loads(done.stdout)["engines"]
    assert there["document"] == here["document"]
    assert there["state"] == here["state"]
    assert (here["verified"], there["verified"]) == ("reported", "reported")
    assert there["deployments"] > 100
    assert there["python_peak_mb"] < 1024
