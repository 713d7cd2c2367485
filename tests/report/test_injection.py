"""132 hostile texts in every sink that is no page: terminal, CI log, Markdown, CSV, chart labels, outputs of a CI step."""

from __future__ import annotations

import csv
import json
import re

import pandas as pd
import pytest

from gitops_nb.cli.commands import group
from gitops_nb.cli.github import markdown, tell_github
from gitops_nb.cli.main import main
from gitops_nb.dora.tables import write_csv
from gitops_nb.errors import UsageError
from gitops_nb.model import Status
from gitops_nb.record.fold import RunState
from gitops_nb.report.dora_axes import label
from gitops_nb.report.text import ci_log, json_text, terminal
from tests.payloads import PAYLOADS, XSS

_STEERING = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f]"
)
"""Control characters, bidi and zero-width characters, line separators, tags."""

_COMMAND = re.compile(r"::|##\[|##vso\[")
"""What a runner of GitHub or Azure obeys, anywhere in a line to be safe."""


def test_there_are_as_many_hostile_texts_as_before():
    """The list does not shrink unseen, and names none twice."""
    assert len(set(XSS)) >= 31
    assert len(set(PAYLOADS)) >= 132


@pytest.mark.parametrize("text", PAYLOADS)
def test_a_terminal_is_not_steered(text):
    """One line, and nothing that moves the cursor, colours, links, reorders or hides."""
    assert not _STEERING.search(terminal(text))


@pytest.mark.parametrize("text", PAYLOADS)
def test_a_ci_log_has_no_commands(text):
    """No workflow command of the runner, at the beginning of a line or in it."""
    shown = ci_log(text)
    assert not _STEERING.search(shown)
    assert not _COMMAND.search(shown)


@pytest.mark.parametrize("text", PAYLOADS)
@pytest.mark.parametrize("variable", ["GITHUB_ACTIONS", "TF_BUILD"])
def test_what_is_printed_in_a_ci_job_has_no_commands(monkeypatch, text, variable):
    """Whatever prints it: the end of a run, an approver's diff, an error."""
    monkeypatch.setenv(variable, "true")
    assert not _COMMAND.search(terminal(text))


@pytest.mark.parametrize("text", PAYLOADS)
def test_a_json_document_on_stdout_steers_nothing(text):
    """Every parser reads the same value; no terminal and no runner reads anything else in it."""
    shown = json_text({"reason": text, text: [text]})
    assert json.loads(shown) == {"reason": text, text: [text]}
    assert not _STEERING.search(shown.replace("\n", ""))
    assert not any(line.lstrip().startswith("::") or "##" in line for line in shown.splitlines())


@pytest.mark.parametrize("text", PAYLOADS)
@pytest.mark.parametrize("kind", [UsageError, RuntimeError])
def test_an_error_on_stderr_steers_nothing(monkeypatch, capsys, text, kind):
    """What an error quotes is text, in its sentence, its hint, a traceback, and in JSON."""

    def fail(**_: object) -> None:
        raise kind(text, hint=text) if kind is UsageError else kind(text)

    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setattr(group, "main", fail)
    with pytest.raises(SystemExit):
        main(["verify", "--json"])
    printed = capsys.readouterr()
    assert not _STEERING.search(printed.err.replace("\n", ""))
    assert not _COMMAND.search(printed.err)
    assert text in json.loads(printed.out)["error"]


def test_an_error_shows_no_secret(monkeypatch, capsys):
    """Neither one that is known nor one whose form tells, in no line of it."""

    def fail(**_: object) -> None:
        raise RuntimeError("fatal: https://bot:hunter22@git.example/x\nAKIAQWERTYUIOPASDFGH")

    monkeypatch.setattr(group, "main", fail)
    with pytest.raises(SystemExit):
        main(["verify", "--json"])
    printed = capsys.readouterr()
    for secret in ("hunter22", "AKIAQWERTYUIOPASDFGH"):
        assert secret not in printed.out + printed.err


@pytest.mark.parametrize("text", PAYLOADS)
def test_markdown_stays_one_paragraph_of_text(text):
    """Every character that Markdown reads is escaped, and there is one line."""
    shown = markdown(text)
    assert "\n" not in shown
    assert not re.search(r"(?<!\\)(?:\\\\)*[`*_\[\]()<>#|!~@&]", shown)


@pytest.mark.parametrize("text", PAYLOADS)
def test_a_chart_label_is_text(text):
    """Plotly finds no markup, no template and no formula."""
    shown = label(text)
    assert not re.search(r"[<>$]|%\{", shown)


def test_a_spreadsheet_runs_nothing(tmp_path):
    """No cell begins like a formula, also after blanks; every cell holds its text, numbers stay numbers."""
    path = tmp_path / "t.csv"
    write_csv(pd.DataFrame({"service": list(PAYLOADS), "n": range(len(PAYLOADS))}), path)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["n"]) for row in rows] == list(range(len(PAYLOADS)))
    for row, text in zip(rows, PAYLOADS, strict=True):
        told = text.replace("\r", "\\r")
        assert row["service"] in (told, f"'{told}")
        assert not row["service"].strip(" \t\n").startswith(("=", "+", "-", "@", "|"))


@pytest.mark.parametrize("text", PAYLOADS)
def test_outputs_of_a_step_cannot_be_forged(tmp_path, monkeypatch, text):
    """Three outputs whatever a run's reason says: id, status and exit code."""
    output, summary = tmp_path / "output", tmp_path / "summary"
    monkeypatch.setenv("GITHUB_OUTPUT", str(output))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    run = "20261123T091412Z-promotion-production-7c1e"
    opened = {"title": text, "runbook": text, "environment": text, "requester": {"name": text}}
    tell_github(RunState(run=run, status=Status.FAILED, reason=text, hint=text, opened=opened), 1)
    assert output.read_text().splitlines() == [
        f"run={run}",
        "mode=live",
        "status=failed",
        "exit_code=1",
    ]
    assert len(summary.read_text().splitlines()) == 9
