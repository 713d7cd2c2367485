"""What a run or a request says on a terminal."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import click

from gitops_nb.errors import GitOpsError
from gitops_nb.model import Status
from gitops_nb.record.fold import RunState
from gitops_nb.redaction import process_redactor
from gitops_nb.report.story import after
from gitops_nb.report.text import terminal

COLOURS = {
    Status.SUCCEEDED: "green",
    Status.FAILED: "red",
    Status.WAITING: "yellow",
    Status.REFUSED: "magenta",
    Status.NEEDS_ATTENTION: "red",
    Status.CANCELLED: "yellow",
}


_COMMAND = re.compile(
    r"gitops-nb (?:(?:approve|reject|resume|verify|report) [^\s`]+|run [a-z0-9-]+(?: -p [^\s`]+)*)"
)


def options(workspace: Path | None, reports: Path | None) -> str:
    """The options that a printed command needs to find the same run from the same folder."""
    given = (("--workspace", workspace), ("--reports", reports))
    # A Path keeps one of the two slashes of gs://.
    texts = ((name, re.sub("^gs:/+", "gs://", str(path))) for name, path in given if path)
    return "".join(f" {name} {shlex.quote(text)}" for name, text in texts)


def in_place(text: str, extra: str) -> str:
    """A text whose commands carry these options.

    >>> in_place("then `gitops-nb resume R`.", " --workspace w")
    'then `gitops-nb resume R --workspace w`.'
    """
    return _COMMAND.sub(lambda match: match[0] + extra, text)


def show_end(state: RunState, directory: Path, *, plan_only: bool, extra: str = "") -> None:
    """Status, reason, next command and the report's path."""
    if plan_only:
        show_plan(state)
    click.echo("")
    click.secho(
        str(state.status).replace("_", " "), fg=COLOURS.get(state.status), bold=True, nl=False
    )
    click.echo(f"  {terminal(state.reason)}")
    if (why := _outcome_sentence(state)) not in ("", state.reason):
        click.echo(f"  {in_place(terminal(why), extra)}")
    # What a good outcome asks for next is nothing; broken glass asks for its review.
    is_to_be_reviewed = state.status is Status.SUCCEEDED and state.broke_glass
    if state.hint and not is_to_be_reviewed:
        click.echo(f"  {in_place(terminal(state.hint), extra)}")
    if state.command and state.command not in state.hint:
        click.echo(f"  {in_place(terminal(state.command), extra)}")
    for label, sentence in after(state):
        click.echo(f"  {label:<10} {in_place(terminal(sentence), extra)}")
        command = state.aftermath.get("command")
        if label == "Way back" and command:
            click.echo(f"  {'':<10} {in_place(terminal(command), extra)}")
    if "report.html" in state.files:
        click.echo(f"report  {directory / 'report.html'}")


def show_problem(error: GitOpsError) -> None:
    """What went wrong beside a run that is told already, on stderr."""
    for indent, text in (("", error.message), ("  ", error.hint)):
        if text:
            click.echo(f"{indent}{terminal(process_redactor().text(text))}", err=True)


def _outcome_sentence(state: RunState) -> str:
    """What verify saw, and why it found what it found, where the hint does not say it too."""
    told = (Status.SUCCEEDED, Status.FAILED, Status.NEEDS_ATTENTION)
    if state.status not in told or state.outcome is None:
        return ""
    sentence = str(state.outcome.get("sentence") or "")
    clauses = sentence.rstrip(".").split("; ")[1:]
    return "" if any(clause in state.hint for clause in clauses) else sentence


def show_plan(state: RunState, *, doubt: str = "") -> None:
    """The diff and the gates of a run; ``doubt`` says why nobody answers for the gates, "" where somebody does."""
    plan = state.plan or {}
    click.secho(terminal(plan.get("summary", "no plan")), bold=True)
    for change in plan.get("changes", ()):
        click.echo(f"  {terminal(change['action']):<8} {terminal(change['address'])}")
        if change["before"] or change["after"]:
            # Also above a diff: whether it is the run's own edit, or was pushed by others, stands here.
            click.echo(f"           {terminal(change['before'])} -> {terminal(change['after'])}")
        for line in change["diff"]:
            colour = {"-": "red", "+": "green"}.get(line["sign"])
            click.secho(
                f"    {line['number']:>5} {line['sign']} {terminal(line['text'])}", fg=colour
            )
    decision = state.decision or {}
    for verdict in decision.get("verdicts", ()):
        show_verdict(verdict)
    # The first reason is the answer itself; the others explain and warn.
    for reason in (*(tuple(decision.get("reasons") or ())[1:]), *filter(None, (doubt,))):
        click.echo("  ", nl=False)
        click.secho(f"{'note':<7}", fg="yellow", nl=False)
        click.echo(f" {terminal(reason)}")


def show_verdict(verdict: dict[str, Any]) -> None:
    """One gate's answer."""
    word, colour = ("passed", "green") if verdict["passed"] else ("closed", "magenta")
    if not verdict.get("asked", True):
        word, colour = "not asked", "yellow"
    click.echo("  ", nl=False)
    click.secho(f"{word:<7}", fg=colour, nl=False)
    click.echo(f" {verdict['gate'].replace('_', ' '):<20} {terminal(verdict['reason'])}")
