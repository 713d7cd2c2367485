"""observe, measure and verify as the session calls them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from gitops_nb import dora
from gitops_nb.dora.results import Freeze
from gitops_nb.model import Result, canonical, from_json, to_json
from tests.dora.dora_factories import DAY, NOW_S, WEEK, History, incidents, request, steady, view


def _run(tmp_path):
    asked = request(
        tmp_path, incidents=incidents(tmp_path, [("i", "checkout", NOW_S - 86_400, None)])
    )
    state = dora.observe(view(steady(30), {"checkout-production": ("Synced", "Healthy")}), asked)
    return asked, state, dora.measure(asked, state)


def test_all_values_come_back_from_the_journal_as_they_were(tmp_path):
    """Request, state and metrics survive JSON, and hold no float that a digest would refuse."""
    asked, state, measured = _run(tmp_path)

    for value in (asked, state, measured):
        canonical(value)
        assert from_json(type(value), json.loads(json.dumps(to_json(value)))) == value


def test_the_same_facts_give_the_same_metrics(tmp_path):
    """Measuring twice is byte for byte the same, files included."""
    asked, state, measured = _run(tmp_path)

    assert dora.measure(asked, state) == measured


def test_observing_twice_writes_the_same_files(tmp_path):
    """The same history has the same facts, by digest."""
    asked = request(tmp_path)

    first = dora.observe(view(steady(30)), asked)

    assert dora.observe(view(steady(30)), asked).files == first.files


def test_verify_counts_again_and_says_the_finding(tmp_path):
    """An untouched run is confirmed with the title of the report."""
    asked, state, measured = _run(tmp_path)

    outcome = dora.verify(asked, state, measured)

    assert (outcome.result, outcome.title) == (Result.REPORTED, measured.title)


@pytest.mark.parametrize(
    ("definition", "counted"),
    [((), 24), (("coalesce=4d",), 8), (("resyncs=counted",), 32), (("freezes=left out",), 15)],
)
def test_verify_counts_by_the_options_of_the_definition(tmp_path, definition, counted):
    """What the definition leaves out or counts, the plain query does too, and both give what a hand counts."""
    history = History().begin(NOW_S - 30 * WEEK, "checkout")
    for week in range(30, 0, -1):
        # Three versions in three days, and once more the last of them.
        for place, day in enumerate((1, 2, 3, 5)):
            version = f"v{(30 - week) * 3 + min(place, 2) + 1}"
            history.commit(NOW_S - week * WEEK + day * DAY, "checkout", "production", version)
    freeze = Freeze("year end", NOW_S - 4 * WEEK, NOW_S - WEEK)
    asked = request(tmp_path, definition=definition, window="8w")
    asked = replace(asked, freezes=(freeze,))
    state = dora.observe(view(history), asked)
    measured = dora.measure(asked, state)

    assert measured.metric("frequency").counts["deployments"] == counted
    assert dora.verify(asked, state, measured).result is Result.REPORTED


def test_verify_names_a_file_that_was_changed(tmp_path):
    """Facts that are not those that were measured fail the run."""
    asked, state, measured = _run(tmp_path)
    path = asked.workdir / "evidence/dora/deployment.parquet"
    path.write_bytes(path.read_bytes() + b"x")

    outcome = dora.verify(asked, state, measured)

    assert outcome.result is Result.FAILED
    assert "evidence/dora/deployment.parquet" in outcome.sentence


def test_sync_status_counts_the_applications_of_the_environment(tmp_path):
    """Only the fleet's own applications count; those that differ are named."""
    applications = {
        "root": ("OutOfSync", "Healthy"),
        "checkout-production": ("OutOfSync", "Progressing"),
        "catalog-production": ("Synced", "Healthy"),
    }

    sync = dora.observe(view(steady(10), applications), request(tmp_path)).sync

    assert (sync.total, sync.synced, sync.healthy) == (2, 1, 1)
    assert sync.out_of_sync_names == ("checkout-production",)


def test_a_cluster_that_does_not_answer_leaves_no_data_and_the_rest_of_the_report(tmp_path):
    """History is still measured; the reason stands where the status would."""
    offline = view(steady(10), {})
    object.__setattr__(offline.argo["production"], "applications", None)

    state = dora.observe(offline, request(tmp_path))

    assert state.sync.missing == "Argo CD did not answer: connection refused"
    assert state.deployments["production"] == 20


def test_a_definition_has_a_hash_that_changes_with_any_option():
    """Two reports compare only with equal definitions."""
    usual = dora.DoraDefinition()

    assert usual.hash == dora.DoraDefinition().hash
    assert usual.hash != dora.DoraDefinition(attribution_window_s=3600).hash
