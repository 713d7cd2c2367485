"""What the collectors read, and how they name what is wrong."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from gitops_nb import dora
from gitops_nb.dora import collect, facts
from gitops_nb.dora.definition import OPTIONS
from gitops_nb.errors import UsageError
from tests.dora.dora_factories import (
    FLEET,
    NOW,
    NOW_S,
    PARAMETERS,
    WEEK,
    History,
    incidents,
    measure,
    request,
    stamp,
    steady,
    view,
)

GOOD = {"commit": "c1", "committed_s": NOW_S - WEEK, "app": "a", "env": "production", "tag": "v1"}


def _csv(path: Path, *rows: dict[str, object]) -> str:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return path.name


def _parquet(path: Path, query: str) -> str:
    with duckdb.connect() as connection:
        connection.sql(query).write_parquet(str(path))
    return path.name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"committed_s": (NOW_S - WEEK) * 1000},
            "d.csv:3: committed_s: .* looks like milliseconds",
        ),
        ({"committed_s": NOW_S + WEEK}, "d.csv:3: committed_s: .* is in the future"),
        ({"committed_s": "yesterday"}, "d.csv:3: committed_s: 'yesterday' is not a whole number"),
        ({"committed_s": 12}, "d.csv:3: committed_s: 12 is before 1990"),
        ({"env": "prod"}, "d.csv:3: env: unknown environment 'prod'; the fleet has development"),
        ({"tag": ""}, "d.csv:3: commit, app and tag have to have a value"),
    ],
)
def test_a_wrong_line_is_named_and_nothing_is_written(tmp_path, change, message):
    """Each wrong deployment is named with file and line, and the run directory stays empty."""
    name = _csv(tmp_path / "d.csv", GOOD, {**GOOD, **change})
    asked = request(tmp_path, deployments=name)

    with pytest.raises(UsageError, match=message):
        dora.observe(view(History()), asked)

    assert list(asked.workdir.iterdir()) == []


def test_a_missing_column_is_named_and_nothing_is_written(tmp_path):
    """A file without the column tag says which columns it has."""
    name = _csv(tmp_path / "d.csv", {k: v for k, v in GOOD.items() if k != "tag"})
    asked = request(tmp_path, deployments=name)

    with pytest.raises(UsageError, match=r"d.csv:1: no column tag; there are commit"):
        dora.observe(view(History()), asked)

    assert list(asked.workdir.iterdir()) == []


def test_a_wrong_row_of_a_parquet_file_is_named(tmp_path):
    """Parquet has no lines: the row is named."""
    rows = (
        f"select 'c' as commit, {NOW_S}000 as committed_s, 'a' as app, 'staging' as env, 'v' as tag"
    )
    asked = request(tmp_path, deployments=_parquet(tmp_path / "d.parquet", rows))

    with pytest.raises(UsageError, match=r"d.parquet: row 1: committed_s: .* milliseconds"):
        dora.observe(view(History()), asked)

    assert list(asked.workdir.iterdir()) == []


def test_all_wrong_lines_are_named_at_once(tmp_path):
    """A person mends a file once; the list is cut where nobody would read on."""
    name = _csv(tmp_path / "d.csv", *[{**GOOD, "env": "nowhere"}] * 30)

    with pytest.raises(UsageError) as caught:
        dora.observe(view(History()), request(tmp_path, deployments=name))

    assert caught.value.message.count("unknown environment") == 20
    assert "and 10 more" in caught.value.message


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("i,checkout,production,2026-11-01,", "started '2026-11-01'.* with its offset"),
        (f"i,checkout,production,{NOW_S - 9},", "with its offset"),
        ("i,checkout,prod,2026-11-01T00:00:00Z,", "unknown environment 'prod'"),
        (
            "i,checkout,production,2026-11-02T00:00:00Z,2026-11-01T00:00:00Z",
            "resolved is before started",
        ),
        (f"i,checkout,production,{stamp(NOW_S + WEEK)},", "in the future"),
        (",checkout,production,2026-11-01T00:00:00Z,", "id and service"),
        ("same,checkout,production,2026-11-01T00:00:00Z,", "id: 'same' is also on line 2"),
        ("i,checkout,production,2026-11-01T00:00:00Z,,more", "more fields than the header"),
    ],
)
def test_a_wrong_incident_is_named_and_nothing_is_written(tmp_path, line, message):
    """Each wrong incident is named with file and line before anything is written."""
    (tmp_path / "i.csv").write_text(
        "id,service,environment,started,resolved\n"
        f"same,checkout,production,2026-10-01T00:00:00Z,2026-10-01T01:00:00Z\n{line}\n"
    )
    asked = request(tmp_path, incidents="i.csv")

    with pytest.raises(UsageError, match=f"i.csv:3: .*{message}"):
        dora.observe(view(steady(10)), asked)

    assert list(asked.workdir.iterdir()) == []


def test_a_file_that_is_not_there_is_refused_before_the_run(tmp_path):
    """The request itself is refused; there is no run yet."""
    with pytest.raises(UsageError, match=r"deployments: no file nowhere.csv"):
        request(tmp_path, deployments="nowhere.csv")


def test_the_order_of_a_file_never_matters(tmp_path):
    """The same rows in another order give the same facts."""
    rows = [
        {**GOOD, "commit": f"c{i}", "committed_s": NOW_S - i * 999, "tag": f"v{i % 5}"}
        for i in range(40)
    ]
    environments = ("development", "staging", "production")
    first, _ = collect.from_file(
        tmp_path / _csv(tmp_path / "a.csv", *rows), environments=environments, now_s=NOW_S
    )
    second, _ = collect.from_file(
        tmp_path / _csv(tmp_path / "b.csv", *rows[::-1]), environments=environments, now_s=NOW_S
    )

    pd.testing.assert_frame_equal(first, second)


def test_what_a_history_cannot_tell_is_left_out_with_its_reason(tmp_path):
    """Unreadable files, unknown environments and clocks ahead stand in the ledger, each with its path."""
    history = steady(10)
    history.add(NOW_S - 9 * WEEK, "apps/checkout/production/deployment.yaml", b"{not: [yaml")
    history.add(NOW_S - 9 * WEEK, "apps/checkout/production/deployment.yaml", b"spec: {}\n")
    history.commit(NOW_S - 9 * WEEK, "checkout", "perf", "v1")
    history.commit(NOW_S + WEEK, "checkout", "production", "v99")
    history.add(NOW_S - WEEK, "README.md", b"nothing of ours")
    asked = request(tmp_path)

    state = dora.observe(view(history), asked)

    reasons = {k: v for k, v in state.excluded.items() if "seed" not in k}
    assert reasons == {
        "file is no readable YAML": 1,
        "no version at the key": 1,
        "environment is not in the fleet": 1,
        "time in the future": 1,
    }
    ledger = facts.read_table(asked.workdir, "exclusion")
    assert "apps/checkout/perf/deployment.yaml" in set(ledger["detail"])


@pytest.mark.parametrize(
    ("key", "version"),
    [
        ("spec.containers[1].image", "b:2"),
        ("spec.containers[name=a].image", "a:1"),
        ("spec.containers[name=c].image", ""),
        ("spec.containers[9].image", ""),
        ("spec[0].image", ""),
        ("spec.containers.image", ""),
    ],
)
def test_a_key_has_the_grammar_of_the_fleet(key, version):
    """Names, places and selectors are followed; what is not there has no version."""
    content = b"spec: {containers: [{name: a, image: 'a:1'}, {name: b, image: 'b:2'}]}"

    assert collect.read_version(content, key=key, part="value")[0] == version


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 200_000,
        b"- " * 200_000,
        b"".join(b" " * n + b"a:\n" for n in range(1000)),
        b"\xff\xfe\x00",
        b"a: &a [1]\n" + b"".join(b"b%d: [*a, *a]\n" % n for n in range(9)) + b"image: {x: *a}",
        b"image: !!python/object/apply:os.system ['true']",
        b"x" * (1 << 21),
    ],
)
def test_a_hostile_file_is_left_out(content):
    """Nesting, other bytes, aliases, tags of another language and size end in a reason, not in a crash."""
    version, problem = collect.read_version(content, key="image", part="value")

    assert version == ""
    assert problem


@pytest.mark.parametrize(
    ("content", "part", "version"),
    [
        ("image: shop/cart:v3", "tag", "v3"),
        ("image: registry.example:5000/shop/cart:1.10", "tag", "1.10"),
        ("image: shop/cart@sha256:abc", "tag", "sha256:abc"),
        ("image: shop/cart:v3@sha256:abc", "tag", "v3@sha256:abc"),
        ("image: ~", "value", ""),
        ("image: 1.10", "value", "1.10"),
        ("image: 0123", "value", "0123"),
        ("image: shop/cart", "tag", ""),
        ("image: [a]", "value", ""),
        ("other: x\n---\nimage: v7", "value", "v7"),
    ],
)
def test_a_version_is_read_as_it_is_written(content, part, version):
    """1.10 is not the number 1.1, and a port is not a tag."""
    assert collect.read_version(content.encode(), key="image", part=part)[0] == version


def test_a_service_that_nobody_knows_is_refused_and_nothing_is_written(tmp_path):
    """A misspelt service is named, instead of an empty report."""
    asked = request(tmp_path, services=("chekout",))

    with pytest.raises(UsageError, match="nothing is known about chekout"):
        dora.observe(view(steady(10)), asked)

    assert list(asked.workdir.iterdir()) == []


def test_one_service_can_be_measured_alone(tmp_path):
    """Only the rows of the named services count."""
    history = steady(30)
    for change in steady(30, service="catalog", per_week=5).changes:
        history.changes.append(change)

    alone = measure(tmp_path, history, services=("checkout",))

    assert alone.metric("frequency").counts["deployments"] == 26


def test_the_platforms_own_incidents_never_meet_a_file_from_elsewhere(tmp_path):
    """Incidents that nobody named are used for the platform's own history only."""
    own = tmp_path / incidents(tmp_path, [])
    name = _csv(tmp_path / "d.csv", GOOD)

    def asked(**more: str):
        return dora.request(
            FLEET, {**PARAMETERS, **more}, workdir=tmp_path, now=NOW, base=tmp_path, incidents=own
        )

    assert asked().incidents == own
    assert asked(deployments=name).incidents is None
    assert asked(deployments=name, incidents=own.name).incidents == own


def test_two_files_for_one_service_are_refused_and_nothing_is_written(tmp_path):
    """Both places are named when two patterns of the fleet claim the same service and environment."""
    history = steady(10)
    history.add(NOW_S - WEEK, "other/checkout/production.yaml", b"tag: v9\n")
    asked = request(tmp_path)
    (source,) = asked.sources
    other = replace(source, path="other/{service}/{environment}.yaml", key="tag", part="value")

    with pytest.raises(UsageError, match="checkout in production has its version in two places"):
        dora.observe(view(history), replace(asked, sources=(source, other)))

    assert list(asked.workdir.iterdir()) == []


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (("window=48h",), "is no option"),
        (("attribution_window=2 days",), "a duration is a whole number"),
        (("failures=rollback+luck",), "'luck' is none of"),
        (("failures=attempt",), "never was a deployment"),
        (("minimum_weeks=0",), "no whole number"),
        (("bots=maybe",), "'maybe' is none of counted, left out"),
    ],
)
def test_a_definition_that_cannot_be_read_is_named(tmp_path, pairs, message):
    """Option and value are named before there is anything to write."""
    with pytest.raises(UsageError, match=message):
        request(tmp_path, definition=pairs)


def test_engineers_get_every_table_as_a_frame(tmp_path):
    """Facts and results of a run by name, with the rows that the report counts."""
    measured = measure(tmp_path, steady(20))

    found = dora.frames(tmp_path / "run")

    assert {"change", "deployment", "deployments", "services", "excluded"} <= set(found)
    now = found["deployments"]["finished_s"].between(
        measured.window.start_s, measured.window.end_s - 1
    )
    assert now.sum() == measured.metric("frequency").counts["deployments"] > 0


def test_a_definition_keeps_its_defaults_but_for_what_is_named(tmp_path):
    """Every option can be written, and changes the hash; nothing named is the default."""
    written = (
        "lead_time_start=committed", "bots=left out", "freezes=left out", "coalesce=5m",
        "failures=incident+rollback", "revert_window=3d", "health_window=1h", "attribution_window=0",
        "lead_time_unit=deployment", "deployment_time=healthy", "resyncs=counted", "bootstrap=BCa",
        "hotfix_words=hotfix+Urgent", "minimum_failures=3", "minimum_weeks=4",
    )  # fmt: skip
    assert {pair.split("=")[0] for pair in written} == set(OPTIONS)
    usual = dora.DoraDefinition()
    assert request(tmp_path).definition == usual

    found = request(tmp_path, definition=written).definition

    assert found.is_for_reports
    assert (found.coalesce_s, found.attribution_window_s, found.hotfix_words) == (
        300,
        0,
        ("hotfix", "urgent"),
    )
    assert [cause.value for cause in found.failures] == ["rollback", "incident"]
    hashes = {request(tmp_path, definition=(pair,)).definition.hash for pair in written}
    assert len(hashes | {usual.hash}) == len(written) + 1


@pytest.mark.parametrize(("text", "weeks"), [("previous", 13), ("none", 0), ("2026-Q1", 12)])
def test_what_to_compare_with_is_chosen(tmp_path, text, weeks):
    """The window before, nothing, or an earlier window by name."""
    before = request(tmp_path, compare_to=text).before

    assert (0 if before is None else before.seconds // WEEK) == weeks


def test_a_window_to_compare_with_has_to_lie_before(tmp_path):
    """One that ends inside the window is refused."""
    with pytest.raises(UsageError, match="does not end before the window begins"):
        request(tmp_path, window="2026-Q3", compare_to="2026-Q3")
