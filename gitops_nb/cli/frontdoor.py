"""What `papermill --engine gitops_nb` does: a supervised run, and its notebook as papermill shows notebooks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from gitops_nb import engine
from gitops_nb.catalog.load import load_catalog
from gitops_nb.catalog.parameters import merge
from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.cli.running import beginning, begun_run, executor_of, order_of
from gitops_nb.errors import GitOpsError, Stop, UsageError
from gitops_nb.kernel import KernelProcess
from gitops_nb.model import Status
from gitops_nb.record.files import replace_file, settled
from gitops_nb.record.fold import RunState
from gitops_nb.record.keys import hide_given_key
from gitops_nb.record.runs import read_run
from gitops_nb.redaction import process_redactor
from gitops_nb.report.text import terminal
from gitops_nb.session.notebooks import code_digest, notebook_digest

_STATUS = {"pending": "pending", "completed": "completed"}
"""Ours in papermill's words; everything else failed."""


def run_for_papermill(notebook: Any, *, input_path: str, output_path: str | None) -> Any:
    """Runs the runbook that this notebook belongs to.

    Args:
        notebook: As papermill parameterized it; its metadata name the parameters.
        input_path: The notebook's file.
        output_path: Where papermill's copy goes; it is written here too, because papermill does not when a run fails.

    Returns:
        The executed notebook.

    Raises:
        UsageError: It is no runbook's notebook, or a parameter is wrong; nothing was run.
        Stop: The run did not succeed; the copy is written.
    """
    import nbformat

    hide_given_key()
    path = Path(input_path).resolve()
    where = find_workspace(
        next((p for p in path.parents if (p / "gitops-nb.yaml").is_file()), None)
    )
    catalog = load_catalog(where.runbooks)
    name = next((n for n, r in catalog.runbooks.items() if r.notebook == path.name), None)
    if name is None or notebook_digest(where.notebooks / path.name) != code_digest(notebook.cells):
        raise UsageError(
            f"{input_path} is not the notebook of a runbook in {where.root}",
            hint="Use papermill's own engine for other notebooks.",
        )
    runbook = catalog.runbooks[name]
    given = dict(notebook.metadata.get("papermill", {}).get("parameters", {}))
    parameters = merge(runbook, catalog.fleet, given, {})
    with (
        KernelProcess() as process,
        engine.Signals() as signals,
        begun_run(where, runbook, parameters, beginning(where, catalog, None)) as directory,
        executor_of(where, read_run(directory)) as executor,
    ):
        state = engine.execute(
            where,
            directory,
            order_of(where, runbook, directory),
            signals=signals,
            waiting=process,
            executor=executor,
        )
    executed = nbformat.read(directory / "notebook.ipynb", as_version=4)
    _show_as_papermill_does(executed, notebook, state)
    if state.status is not Status.SUCCEEDED:
        if output_path:
            content = json.dumps(executed, indent=1, ensure_ascii=False)
            replace_file(settled(Path(output_path)), (content + "\n").encode())
        raise _Ended(f"{state.run}: {state.status}; {state.reason}", hint=state.hint)
    return executed


class _Ended(Stop):
    """What papermill prints at the end of a run that did not succeed."""


class _ToldByClick(click.ClickException):
    """What click, under papermill's command, shows as its message and not as a traceback. papermill ends with 0 or 1."""

    exit_code = 1

    def show(self, file: Any = None) -> None:
        """The sentence, and what to do next, as they stand."""
        for line in process_redactor().text(str(self)).splitlines():
            click.echo(terminal(line), file=file, err=file is None)


def told_by_click(error: GitOpsError) -> GitOpsError:
    """The same error, of the same kind for whoever catches it, which papermill's command shows as a sentence."""
    kind = type(error)
    both: Any = type(kind.__name__, (_ToldByClick, kind), {"__str__": kind.__str__})
    found: GitOpsError = Exception.__new__(both)
    found.args = error.args
    vars(found).update(vars(error))
    return found


def _show_as_papermill_does(executed: Any, notebook: Any, state: RunState) -> None:
    """Gives papermill's metadata the engine's statuses: no cell that did not run reads as completed."""
    is_bad = state.status is not Status.SUCCEEDED
    executed.metadata["papermill"] = {
        **notebook.metadata.get("papermill", {}),
        "exception": is_bad,
        "start_time": state.started,
        "end_time": state.ended or None,
    }
    status = "completed"
    for cell in executed.cells:
        own = cell.metadata.get("gitops_nb", {}).get("status")
        if own:
            status = _STATUS.get(own, "failed")
        elif status == "failed":
            status = "pending"  # Markdown after the cell at which the run ended
        cell.metadata["papermill"] = {"exception": status == "failed", "status": status}
