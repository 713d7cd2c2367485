"""Everything that an approver signs is on the page, in the panel and on the terminal, whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import click
import pytest
from click.testing import CliRunner

from gitops_nb.catalog.fleet import Fleet
from gitops_nb.catalog.policies import Policy
from gitops_nb.catalog.trust import Trust
from gitops_nb.cli.answering import _show_request
from gitops_nb.model import Json
from gitops_nb.notebook.panel import Panel
from gitops_nb.policy import rules_for
from gitops_nb.report import story
from gitops_nb.report.run_page import render
from tests.report.run_factories import NOW, ZONE, waiting
from tests.report.test_run_report import Page

LONG = "z" * 9_000


def leaves(value: Json) -> Iterator[str]:
    """Every text and number in a JSON value."""
    if isinstance(value, dict):
        for item in value.values():
            yield from leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item)
    elif value not in (None, ""):
        yield str(value)


@pytest.fixture
def run():
    """A waiting run whose request and plan hold long texts, and an argument that no change shows."""
    found = waiting().state()
    plan = {**found.plan, "summary": f"change {LONG}", "arguments": {"edits": [{"after": f"a{LONG}"}]}}  # fmt: skip
    request = {**found.request, "parameters": {"revision": f"b{LONG}", "list": ["one", "two"]}}
    return replace(found, plan=plan, request=request)


RULES = rules_for(
    Fleet.model_validate(
        {"environments": {"production": {"auto_deploy": False, "approval_required": True}}}
    ),
    Policy(),
    Trust(),
    "production",
)


def shown_on_terminal(run) -> str:
    """What `approve` prints before it asks."""
    command = click.Command("show", callback=lambda: _show_request(run, "tomas", RULES))
    return CliRunner().invoke(command).output


def shown_in_panel(run) -> str:
    """The approval card."""
    return Page(Panel(run, zone=ZONE, place=lambda *_: None, now=lambda: NOW).html()).text


SINKS = {
    "page": lambda run: Page(render(run, NOW, ZONE)).text,
    "panel": shown_in_panel,
    "terminal": shown_on_terminal,
}


@pytest.mark.parametrize("sink", SINKS)
def test_nothing_that_is_signed_is_cut(run, sink):
    """Each field of the request, each argument of the plan and each line of its changes can be read there."""
    text = SINKS[sink](run)
    covered = [*leaves(run.request), *leaves(run.plan["arguments"]), run.plan["summary"]]
    covered += [line["text"] for change in run.plan["changes"] for line in change["diff"]]
    missing = [part[:60] for part in covered if part not in text]
    assert missing == []


def test_what_was_never_asked_for_has_nothing_signed():
    """Before there is a request nothing is listed."""
    assert story.signed(replace(waiting().state(), request=None)) == []
