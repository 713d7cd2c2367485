"""Digests of the bytes that a run executes: this package, and the slice of its runbook."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import gitops_nb

ROOT = Path(gitops_nb.__file__).parent


@cache
def code_of(runbook: str) -> Mapping[str, str]:
    """SHA-256 of the package's sources, and of the runbook's own folder among them."""
    return {"package": _digest(ROOT), "slice": _digest(ROOT / runbook)}


def _digest(folder: Path) -> str:
    """Over the names and contents of all sources below a folder; "" where there is none."""
    if not folder.is_dir():
        return ""
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".py", ".j2", ".yaml", ".css") and path.is_file():
            name = path.relative_to(folder).as_posix()
            whole.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return f"sha256:{whole.hexdigest()}"
