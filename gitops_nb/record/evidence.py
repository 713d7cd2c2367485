"""Copies of what a journal says, for people and programs that read files: ``request.json`` and ``evidence/STEP.json``.

Whoever may write there can change them while a run goes on. What is sealed, and signed with it, has to be the journal's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from gitops_nb.model import Json, canonical
from gitops_nb.record.files import read_regular, replace_file
from gitops_nb.record.findings import Code, Finding
from gitops_nb.record.journal import Record

REQUEST = "request.json"
FOLDER = "evidence"


def evidence_text(value: Json) -> bytes:
    """A step's value as its file has it."""
    text = json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)
    return f"{text}\n".encode("utf-8", "backslashreplace")


def copy_findings(directory: Path, records: Sequence[Record]) -> list[Finding]:
    """Files that say something else than the journal; what is missing the seal tells."""
    return [
        Finding(Code.EDITED, name, "it says something else than the journal")
        for name, values in _said(directory, records)
        if not _is_said(directory / name, values)
    ]


def restore_copies(directory: Path, records: Sequence[Record]) -> None:
    """Writes them anew where they say something else than the journal, as a kill or somebody else's hand leaves them.

    Raises:
        RecordError: One cannot be written.
    """
    for name, values in _said(directory, records):
        if _is_said(directory / name, values):
            continue
        if not values:
            (directory / name).unlink()
        elif name == REQUEST:
            replace_file(directory / name, canonical(values[-1]) + b"\n")
        else:
            replace_file(directory / name, evidence_text(values[-1]))


def _said(directory: Path, records: Sequence[Record]) -> Iterator[tuple[str, list[Json]]]:
    """Those files that are there, each with what the journal had in its place over all attempts."""
    steps: dict[str, list[Json]] = {}
    requests: list[Json] = []
    for record in records:
        if record.kind == "requested":
            requests.append(record.body["request"])
        elif record.kind == "step":
            values = steps.setdefault(str(record.body["step"]), [])
            if record.body.get("value") is not None:
                values.append(record.body["value"])
    if (directory / REQUEST).is_file():
        yield REQUEST, requests[-1:]
    folder = directory / FOLDER
    if folder.is_symlink():
        return
    for name, values in steps.items():
        if "/" not in name and (folder / f"{name}.json").is_file():
            yield f"{FOLDER}/{name}.json", values


def _is_said(path: Path, values: Sequence[Json]) -> bool:
    try:
        found = json.loads(read_regular(path))
    except (OSError, ValueError, RecursionError):
        return False
    return found in values
