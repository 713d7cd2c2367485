"""The metrics for programs: one document under one schema, and a table for spreadsheets."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from gitops_nb import dora
from gitops_nb.dora import results
from gitops_nb.dora.changepoints import Shift
from gitops_nb.dora.document import CSV_COLUMNS, document, metrics_csv
from gitops_nb.dora.document_schema import schema
from gitops_nb.dora.levels import Level
from gitops_nb.dora.results import Freeze, SyncStatus
from gitops_nb.dora.statistics import Estimate
from gitops_nb.dora.windows import Window
from gitops_nb.model import parse_time
from tests.dora.dora_factories import DAY, NOW_S, WEEK, incidents, measure, request, steady, view

DOCS = Path(__file__).parents[2] / "docs"
VALIDATOR = Draft202012Validator(schema())
FAILURES = [(f"i{n}", "checkout", NOW_S - n * WEEK + DAY + 60, NOW_S - n * WEEK + 2 * DAY) for n in range(1, 9)]  # fmt: skip


def _document(tmp_path, **parameters):
    asked = request(tmp_path, incidents=incidents(tmp_path, FAILURES), **parameters)
    asked = replace(asked, freezes=(Freeze("year end", NOW_S - 4 * WEEK, NOW_S - 3 * WEEK),))
    state = dora.observe(view(steady(30)), asked)
    measured = dora.measure(asked, state)
    return measured, document(measured, known_until_s=state.until_s)


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    """The defaults, measured once: values and their document."""
    return _document(tmp_path_factory.mktemp("usual"))


def test_the_schema_is_one_and_explains_every_field():
    """JSON Schema 2020-12 takes it, every key has a description, and no object lets in keys that it does not name."""
    Draft202012Validator.check_schema(schema())
    open_ended = {"counts", "excluded", "options", "targets"}

    def walk(name, node):
        assert node.get("description") or "$ref" in node, name
        for key, item in node.get("properties", {}).items():
            walk(key, item)
        if node.get("type") == "object" and name not in open_ended:
            assert node["additionalProperties"] is False, name

    for name, node in schema()["$defs"].items():
        walk(name, node)


def test_the_schema_has_every_field_of_what_is_measured():
    """A field that is added to a result is in the schema, also where no test has a value of it; none is left in it."""

    def names(kind):
        for field in fields(kind):
            name = field.name.removesuffix("_millionths")
            is_moment = name in ("start_s", "end_s", "week_s")
            yield name.removesuffix("_s") if is_moment else name

    definitions = schema()["$defs"]
    whole, metric = definitions["measured"]["properties"], definitions["metric"]["properties"]
    assert {*whole} == {*names(results.Measured), "format", "known_until"} - {"metrics", "rollbacks", "files"}  # fmt: skip
    for kind, found in (
        (Estimate, definitions["estimate"]),
        (Window, definitions["window"]),
        (results.Metric, definitions["metric"]),
        (results.Stage, definitions["stage"]),
        (results.Cell, definitions["cell"]),
        (results.Change, metric["change"]["oneOf"][0]),
        (Level, metric["level"]),
        (results.Target, metric["target"]["oneOf"][0]),
        (results.SyncStatus, whole["sync"]),
        (results.Week, whole["weeks"]["items"]),
        (results.Month, whole["months"]["items"]),
        (results.Size, whole["sizes"]["items"]),
        (results.Cause, whole["causes"]["items"]),
        (results.Team, whole["teams"]["items"]),
        (results.Look, whole["look_at"]["items"]),
        (results.Excluded, whole["excluded"]["items"]),
        (results.Freeze, whole["freezes"]["items"]),
        (results.SyncWeek, whole["sync_weeks"]["items"]),
        (results.WhatIf, whole["compared"]["items"]),
        (Shift, whole["shifts"]["items"]),
    ):
        assert {*found["properties"]} == {*names(kind)}, kind
        assert found["required"] == [*found["properties"]], kind


def test_the_file_beside_the_docs_is_the_schema():
    """docs/dora.schema.json is what `gitops-nb dora schema` prints, and docs/dora.md names its keys."""
    assert json.loads((DOCS / "dora.schema.json").read_text(encoding="utf-8")) == schema()
    text = (DOCS / "dora.md").read_text(encoding="utf-8")
    assert "(dora.schema.json)" in text
    for name in ("metric", "measured", "estimate"):
        for key in schema()["$defs"][name]["properties"]:
            assert f"`{key}`" in text, key


@pytest.mark.parametrize(
    "parameters",
    [{"compare_to": "none", "environment": "staging"}, {"window": "2w"}, {"window": "2019"}],
)
def test_what_is_measured_fits_the_schema(tmp_path, parameters):
    """With and without a window before, levels, intervals and data."""
    measured, found = _document(tmp_path, **parameters)
    VALIDATOR.validate(json.loads(json.dumps(found)))
    assert [metric["key"] for metric in found["metrics"]] == [
        *(metric.key for metric in measured.metrics),
        "rollbacks",
    ]


def test_a_document_that_lacks_a_key_or_has_another_does_not_fit(usual):
    """The schema would see a key that is renamed, and one that nobody documented."""
    _, found = usual
    VALIDATOR.validate(json.loads(json.dumps(found)))
    for change in ({"n": None}, {"mean": 1}):
        wrong = json.loads(json.dumps(found))
        wrong["metrics"][0]["now"] |= change
        assert not VALIDATOR.is_valid(wrong)
    wrong = json.loads(json.dumps(found))
    del wrong["measured"]["known_until"]
    assert not VALIDATOR.is_valid(wrong)


def test_numbers_have_no_noise_and_times_have_a_zone(usual):
    """Whole numbers are integers, others have six places at most; moments carry the offset of the zone of the report."""
    measured, found = usual
    moved = replace(
        measured,
        time_zone="Europe/Berlin",
        metrics=(replace(measured.metrics[0], now=Estimate(3_000_000, 100_001, 4_300_000, 2)), *measured.metrics[1:]),
    )  # fmt: skip
    text = json.dumps(document(moved, known_until_s=1_700_000_000)["metrics"][0]["now"])
    assert text == '{"value": 3, "low": 0.100001, "high": 4.3, "n": 2}'
    told = document(moved, known_until_s=1_700_000_000)["measured"]
    assert told["known_until"] == "2023-11-14T23:13:20+01:00"

    def texts(value):
        match value:
            case dict():
                for name, item in value.items():
                    if name == "options":
                        continue
                    assert not name.endswith("_millionths")
                    if name in ("start", "end", "week", "known_until"):
                        yield item
                    else:
                        yield from texts(item)
            case list():
                for item in value:
                    yield from texts(item)

    moments = list(texts(found))
    assert len(moments) > 20
    for moment in moments:
        parse_time(moment)
    assert found["measured"]["window"] == {
        "start": "2026-08-24T00:00:00+00:00",
        "end": "2026-11-23T00:00:00+00:00",
    }


def _rows(measured):
    text = metrics_csv(measured)
    assert text.startswith("\ufeff")
    return list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline="")))


def test_the_table_has_a_row_for_each_metric_and_window(usual):
    """The same numbers as the document, with unit, interval, n and level."""
    measured, found = usual
    rows = _rows(measured)
    assert tuple(rows[0]) == CSV_COLUMNS
    by_name = {(row["metric"], row["window"]): row for row in rows}
    assert len(by_name) == len(rows)
    for metric in found["metrics"]:
        assert (metric["key"], "now") in by_name
        assert ((metric["key"], "before") in by_name) == (metric["before"] is not None)
        for window in ("now", "before"):
            row = by_name.get((metric["key"], window))
            if row is None or metric["missing"]:
                continue
            for part in ("value", "low", "high"):
                expected = metric[window][part]
                assert (float(row[part]) if row[part] else None) == expected, (row, part)
            assert int(row["n"]) == metric[window]["n"]
            assert row["unit"] == metric["unit"]
    frequency = by_name["frequency", "now"]
    assert frequency["start"] == "2026-08-24T00:00:00+00:00"
    assert frequency["level"] in {"1", "2", "3", "4", "5", "6"}


def test_a_value_that_is_missing_is_empty_and_no_range_is_a_date(tmp_path):
    """No data is an empty cell with its reason; levels are `3 to 4`, which no spreadsheet turns into 3 April."""
    measured = measure(tmp_path, steady(10), compare_to="none")
    levelled = replace(measured.metrics[0], level=Level(3, 4, "spans"))
    measured = replace(measured, metrics=(levelled, *measured.metrics[1:]))
    rows = {row["metric"]: row for row in _rows(measured) if row["window"] == "now"}
    assert rows["frequency"]["level"] == "3 to 4"
    assert rows["fail_rate"]["value"] == rows["fail_rate"]["low"] == ""
    assert rows["fail_rate"]["missing"]


def test_too_few_are_no_number(usual):
    """A metric that calls its value missing has none, with its n and reason, in the document and in the table."""
    measured, _ = usual
    few = replace(measured.metrics[0], missing="too few", now=Estimate(1_500_000, None, None, 3))
    measured = replace(measured, metrics=(few, *measured.metrics[1:]))
    now = document(measured, known_until_s=NOW_S)["metrics"][0]["now"]
    assert now == {"value": None, "low": None, "high": None, "n": 3}
    row = next(row for row in _rows(measured) if row["metric"] == "frequency")
    assert (row["value"], row["n"], row["missing"]) == ("", "3", "too few")


def test_no_text_is_run_as_a_formula(usual):
    """Names that begin with = + - @ or a tab get an apostrophe; other names, also foreign ones, stay."""
    measured, _ = usual
    for name in ("=1+1", "+1", "-1", "@a", "\t=1", " =1"):
        rows = _rows(replace(measured, environment=name))
        assert {row["environment"] for row in rows} == {f"'{name}"}
    rows = _rows(replace(measured, environment="größe-東京"))
    assert {row["environment"] for row in rows} == {"größe-東京"}


def test_what_argo_cd_did_not_answer_is_in_the_document(usual):
    """A cluster that was not asked says so, and the document fits."""
    measured, _ = usual
    silent = replace(measured, sync=SyncStatus(missing="Argo CD did not answer"))
    VALIDATOR.validate(document(silent, known_until_s=NOW_S))
