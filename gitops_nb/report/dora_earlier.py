"""The DORA report before this one: which definition it counted by, so that nobody compares two that differ."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

LOOKS = 20
"""How many earlier runs are looked at: some were stopped and have no numbers."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """An earlier report and the first digits of its definition's hash."""

    run: str
    definition: str


def before(directory: Path, *, environment: str, run: str) -> Earlier | None:
    """The newest report of an environment before a run, among the runs beside its directory; None without one.

    Ids of runs begin with their time, so their order is that of the names. What cannot be read is no report.
    """
    part = f"-dora-{environment}-"
    names = (path.name for path in directory.parent.iterdir() if part in path.name)
    for name in sorted((name for name in names if name < run), reverse=True)[:LOOKS]:
        try:
            found = json.loads((directory.parent / name / "report.json").read_bytes())
            facts = {fact["label"]: fact["text"] for fact in found["outcome"]["facts"]}
            is_report = found["outcome"]["result"] == "reported"
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if is_report and found.get("environment") == environment and facts.get("Definition"):
            return Earlier(name, str(facts["Definition"]))
    return None
