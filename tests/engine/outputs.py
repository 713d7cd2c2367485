"""Outputs of a notebook by our engine and by papermill, compared as a reader sees them: type, data, text."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

RUN = re.compile(r"\d{8}T\d{6}Z-[a-z0-9-]+")
TOOK = re.compile(r"\s\((\d+\s(h|min)\s)?\d+(\.\d+)?\s(ms|s|min|h)\)")
VARYING = re.compile(
    r"ipykernel_\d+|\d{4}-\d{2}-\d{2}T[\d:.]+Z|\d{2}:\d{2}(:\d{2}(\.\d+)?)?|(\d+\s(h|min)\s)?\d+(\.\d+)?\s(ms|s|min|h)\b|\b[0-9a-f]{8,64}\b"
)
"""What differs between any two runs: times, durations, commits and digests."""


def seen(notebook: dict[str, Any]) -> list[list[tuple[str, str]]]:
    """Outputs of each code cell that both have: type and content, without what varies."""
    cells = []
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        found = []
        for output in merged(cell["outputs"]):
            kept = {
                k: output[k] for k in ("name", "text", "data", "ename", "evalue") if k in output
            }
            text = RUN.sub("RUN", json.dumps(joined(kept), ensure_ascii=False, sort_keys=True))
            found.append((output["output_type"], without_varying(text)))
        cells.append(found)
    return cells


def merged(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Pieces of one stream that follow each other as one: the kernel flushes by the clock, wherever a text is by then."""
    found: list[dict[str, Any]] = []
    for output in outputs:
        last = found[-1] if found else {}
        same = output["output_type"] == last.get("output_type") == "stream"
        if same and output["name"] == last["name"]:
            found[-1] = {**last, "text": joined(last["text"]) + joined(output["text"])}
        else:
            found.append(output)
    return found


def without_varying(text: str) -> str:
    """A text as every run shows it. How long a step took stands in brackets, and not at all where that was less than 1 ms."""
    return VARYING.sub("#", TOOK.sub("", text))


def joined(value: Any) -> Any:
    """Lists of lines as one text: nbformat keeps both forms."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return "".join(value)
    if isinstance(value, dict):
        return {name: joined(item) for name, item in value.items()}
    return value


def differences(ours: Path, theirs: Path) -> list[str]:
    """Cells in which two executed notebooks differ."""
    first, second = (seen(json.loads(path.read_bytes())) for path in (ours, theirs))
    found = [f"{len(first)} cells, {len(second)} cells"] if len(first) != len(second) else []
    pairs = zip(first, second, strict=False)
    return found + [f"cell {n}: {a} != {b}" for n, (a, b) in enumerate(pairs) if a != b]


ARGUMENTS = {
    "promotion": {"application": "catalog"},
    "bootstrap": {"cluster": "newcomer"},
    "dora": {"environment": "production"},
}


def run_both(root: Path, runbook: str) -> tuple[Path, Path]:
    """Executes a runbook's notebook by our command and by papermill's; returns the two executed notebooks.

    A second bootstrap would find everything in place, so both run behind a first one.
    """
    programs = Path(sys.executable).parent
    pairs = ARGUMENTS[runbook].items()
    own = [part for name, value in pairs for part in ("-p", f"{name}={value}")]
    if runbook == "bootstrap":
        _run(root, str(programs / "gitops-nb"), "run", runbook, *own)
    _run(root, str(programs / "gitops-nb"), "run", runbook, *own)
    newest = max((root / "reports").glob(f"2*-{runbook}-*"), key=lambda path: path.name)
    theirs = root / f"papermill-{runbook}.ipynb"
    named = [part for name, value in pairs for part in ("-p", name, value)]
    _run(root, str(programs / "papermill"), f"notebooks/{runbook}.ipynb", str(theirs), *named)
    return newest / "notebook.ipynb", theirs


def _run(root: Path, *argv: str) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("GITOPS_NB_", "CI"))}
    done = subprocess.run(argv, cwd=root, env=environment, capture_output=True, text=True, check=False, timeout=300)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def compare_shipped(root: Path) -> dict[str, int]:
    """How many output cells of the shipped notebooks there are, and how many differ."""
    cells = different = 0
    for runbook in ARGUMENTS:
        ours, theirs = run_both(root, runbook)
        cells += len(seen(json.loads(ours.read_bytes())))
        different += len(differences(ours, theirs))
    return {"cells": cells, "different": different}
