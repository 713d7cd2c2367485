"""The text of a notebook file, cell by cell: byte for byte what nbformat writes.

nbformat writes a notebook whole, by the slow one of Python's two JSON encoders. A notebook that is saved while it grows is
written many times, so a cell's text is made once and kept for as long as the cell stays as it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from json.encoder import encode_basestring
from typing import Any

_SPLIT = frozenset({"application/javascript", "image/svg+xml"})
"""MIME types beside text/* whose values are written as lines."""
_NOT_STORED = ("orig_nbformat", "orig_nbformat_minor", "signature")


def cell_text(cell: Mapping[str, Any]) -> str:
    """A cell as it stands in the file, without the blanks before its first line.

    >>> print(cell_text({"cell_type": "raw", "metadata": {}, "source": "a"}))
    {
       "cell_type": "raw",
       "metadata": {},
       "source": [
        "a"
       ]
      }
    """
    shown = dict(cell)
    shown["metadata"] = {k: v for k, v in cell["metadata"].items() if k != "trusted"}
    if isinstance(cell.get("source"), str):
        shown["source"] = cell["source"].splitlines(keepends=True)
    if "attachments" in cell:
        shown["attachments"] = {k: _split(v) for k, v in cell["attachments"].items()}
    if cell["cell_type"] == "code":
        shown["outputs"] = [_output(output) for output in cell["outputs"]]
    return _text(shown, 2)


def notebook_text(cells: Sequence[str], head: Mapping[str, Any]) -> str:
    """A notebook file of such cells.

    Args:
        cells: Texts of its cells.
        head: Everything else in the notebook.
    """
    metadata = {k: v for k, v in head["metadata"].items() if k not in _NOT_STORED}
    # Names that sort before "cells" are none of nbformat 4.
    rest = _text({**head, "metadata": metadata}, 0).removeprefix("{\n")
    joined = "[\n  " + ",\n  ".join(cells) + "\n ]" if cells else "[]"
    return f'{{\n "cells": {joined},\n{rest}\n'


def _output(output: Mapping[str, Any]) -> Mapping[str, Any]:
    match output["output_type"]:
        case "execute_result" | "display_data":
            return {**output, "data": _split(output.get("data", {}))}
        case "stream" if isinstance(output["text"], str):
            return {**output, "text": output["text"].splitlines(keepends=True)}
    return output


def _split(bundle: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        kind: value.splitlines(keepends=True)
        if isinstance(value, str) and (kind.startswith("text/") or kind in _SPLIT)
        else value
        for kind, value in bundle.items()
    }


def _text(value: Any, level: int) -> str:
    """What ``json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False)`` gives, further in by ``level`` blanks."""
    if isinstance(value, str):
        return encode_basestring(value)
    pad = "\n" + " " * (level + 1)
    if isinstance(value, dict) and value:
        rows = (f"{_key(name)}: {_text(value[name], level + 1)}" for name in sorted(value))
        return "{" + pad + ("," + pad).join(rows) + pad[:-1] + "}"
    if isinstance(value, list | tuple) and value:
        return (
            "[" + pad + ("," + pad).join(_text(item, level + 1) for item in value) + pad[:-1] + "]"
        )
    return json.dumps(value)


def _key(name: Any) -> str:
    return encode_basestring(name) if isinstance(name, str) else f'"{json.dumps(name)}"'
