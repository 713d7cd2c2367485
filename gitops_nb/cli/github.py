"""What a run tells GitHub Actions: outputs for later steps, and a summary for people."""

from __future__ import annotations

import os
from pathlib import Path

from gitops_nb.model import Mode, Status
from gitops_nb.record.fold import RunState
from gitops_nb.report.story import after
from gitops_nb.report.text import one_line

_SPECIAL = "\\`*_{}[]()#+-.!|<>&~:@"


def tell_github(state: RunState, exit_code: int) -> None:
    """Appends to GITHUB_OUTPUT (run, mode, status, exit_code) and GITHUB_STEP_SUMMARY; does nothing elsewhere."""
    output, summary = os.environ.get("GITHUB_OUTPUT"), os.environ.get("GITHUB_STEP_SUMMARY")
    if output:
        with Path(output).open("a", encoding="utf-8") as file:
            mode = Mode.SANDBOX if state.is_sandbox else Mode.LIVE
            file.write(f"run={state.run}\nmode={mode}\nstatus={state.status}\n")
            file.write(f"exit_code={exit_code}\n")
    if summary:
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(step_summary(state))


def step_summary(state: RunState) -> str:
    """The run in a few lines of Markdown; what others wrote is escaped."""
    word = (
        "waiting for approval"
        if state.status is Status.WAITING
        else str(state.status).replace("_", " ")
    )
    lines = [
        f"### {markdown(str(state.opened.get('title', state.runbook)))}: {word}",
        "",
        f"{'**SANDBOX** ' if state.is_sandbox else ''}{markdown(state.reason)}",
        "",
        f"* environment: {markdown(state.environment)}",
        f"* asked for by: {markdown(str((state.opened.get('requester') or {}).get('name', '')))}",
        f"* run: `{state.run}`",
    ]
    if state.request_digest:
        lines.append(f"* request digest: `{state.request_digest}`")
    if state.status is Status.WAITING:
        lines += [
            "",
            f"Another person runs `gitops-nb approve {state.run}` on this run's artifact.",
        ]
    elif state.hint and not (state.status is Status.SUCCEEDED and state.broke_glass):
        lines += ["", markdown(state.hint)]
    if told := after(state):
        lines += ["", *(f"* {label}: {markdown(sentence)}" for label, sentence in told)]
        command = state.aftermath.get("command")
        lines += [f"* `{one_line(command)}`"] if command and "`" not in command else []
    return "\n".join(lines) + "\n"


def markdown(text: str) -> str:
    r"""Text that Markdown shows as it is.

    >>> markdown("[x](javascript:1) <b>")
    '\\[x\\]\\(javascript\\:1\\) \\<b\\>'
    """
    return "".join(f"\\{c}" if c in _SPECIAL else c for c in one_line(text))
