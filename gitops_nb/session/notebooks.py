"""Notebook files of runbooks: read with their form checked, and the digest of the code in them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gitops_nb.errors import ConfigurationError
from gitops_nb.model import Json, digest

FORMAT = 4


def read_notebook(path: Path) -> dict[str, Any]:
    """The JSON of a notebook of format 4.

    Raises:
        ConfigurationError: The file is missing, or is no such notebook; it says where it is not.
    """
    name = f"{path.parent.name}/{path.name}"
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(
            f"{name}: {error.strerror}", hint="Run `gitops-nb init DIR --update`."
        ) from error
    except (ValueError, RecursionError) as error:
        problem = f"it is not JSON: {error}"
    else:
        problem = _problem(value)
    if problem:
        raise ConfigurationError(
            f"{name} is not a notebook of format {FORMAT}: {problem}",
            hint="Take it from version control again, or run `gitops-nb init DIR --update`.",
        )
    return dict(value)


def _problem(value: Json) -> str:
    """What keeps a value from being a notebook; "" when nothing does."""
    if not isinstance(value, dict) or not isinstance(value.get("metadata"), dict):
        return "it has no metadata"
    if value.get("nbformat") != FORMAT or not isinstance(value.get("nbformat_minor"), int):
        return f"its nbformat is {value.get('nbformat')!r}"
    cells = value.get("cells")
    if not isinstance(cells, list):
        return "it has no list of cells"
    for number, cell in enumerate(cells, start=1):
        if not isinstance(cell, dict) or not isinstance(cell.get("metadata"), dict):
            return f"cell {number} has no metadata"
        if cell.get("cell_type") not in ("code", "markdown", "raw"):
            return f"cell {number} is of type {cell.get('cell_type')!r}"
        source = cell.get("source")
        lines = source if isinstance(source, list) else [source]
        if not all(isinstance(line, str) for line in lines):
            return f"the source of cell {number} is not text"
        if not isinstance(cell["metadata"].get("tags", []), list):
            return f"the tags of cell {number} are not a list"
    return ""


def notebook_digest(path: Path) -> str:
    """Digest of the code that a notebook runs.

    Only code cells count, without the one tagged ``parameters``: JupyterLab saves outputs, and people set parameters there.

    Raises:
        ConfigurationError: It is no notebook.
    """
    return code_digest(read_notebook(path)["cells"])


def code_digest(cells: Sequence[Mapping[str, Any]]) -> str:
    """The same for the cells of an open notebook; a cell that papermill or the engine injected does not count."""
    return digest(
        [
            "".join(cell["source"])
            for cell in cells
            if cell["cell_type"] == "code"
            and not {"parameters", "injected-parameters"} & set(cell["metadata"].get("tags", ()))
        ]
    )
