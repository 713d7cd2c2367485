"""Expressions to DuckDB's SQL, kept between processes: compiling takes longer than asking a small store.

What is kept is the SQL of an expression's shape, with marks where moments stand: the next day's window has the same shape.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from importlib.metadata import version
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any

import ibis.expr.operations as ops
import ibis.expr.types as ir
from ibis.common.graph import Graph, Node

_MOMENT = 1_000_000
"""Whole numbers from here on are moments or borders of weeks; smaller ones belong to the shape."""
_MARK = 2_147_480_000
"""What stands for the first of them, in any column of whole numbers: a moment of 2038, a few minutes before their end."""
_MARKS = re.compile(r"\b214748\d{4}\b")
_MOST = 4096
"""Shapes that are kept; with more the file is begun anew."""


def sql(expression: ir.Table) -> str:
    """DuckDB's SQL for an expression on unbound tables."""
    return _sql(expression.op())


@lru_cache(maxsize=1024)
def _sql(operation: Any) -> str:
    key, moments = shape_of(operation)
    kept = _kept()
    template = kept.get(key)
    if template is None:
        marked = operation.replace(
            {
                node: ops.Literal(_MARK + moments.index(node.value), node.dtype)
                for node in _literals(Graph.from_bfs(operation))
            }
        )
        template = compiled(marked)
        kept[key] = template
        _keep(kept)
    return _MARKS.sub(lambda mark: _moment(int(mark[0]) - _MARK, moments, mark[0]), template)


def _moment(place: int, moments: Sequence[int], otherwise: str) -> str:
    return str(moments[place]) if 0 <= place < len(moments) else otherwise


def compiled(operation: Any) -> str:
    """The SQL of an operation as Ibis writes it."""
    from ibis.backends.sql.compilers.duckdb import DuckDBCompiler

    return str(DuckDBCompiler().to_sqlglot(operation.to_expr()).sql("duckdb"))


def shape_of(operation: Any) -> tuple[str, tuple[int, ...]]:
    """A digest of an expression without its moments, and these, each once, in the order in which they are met."""
    graph = Graph.from_bfs(operation)
    numbers = {node: number for number, node in enumerate(graph)}
    moments: dict[int, int] = {}

    def plain(value: Any) -> str:
        if isinstance(value, Node):
            return f"#{numbers[value]}"
        if isinstance(value, tuple | list):
            return f"({','.join(map(plain, value))})"
        if isinstance(value, Mapping):
            return f"{{{','.join(f'{plain(k)}:{plain(v)}' for k, v in value.items())}}}"
        return f"{type(value).__name__}:{value!r}"

    lines = []
    for node in graph:
        kind = type(node)
        if _is_moment(node):
            place = moments.setdefault(node.value, len(moments))
            said = f"moment {place} {node.dtype!r}"
        else:
            said = ",".join(map(plain, node.__args__))
        lines.append(f"{kind.__module__}.{kind.__qualname__} {said}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest(), tuple(moments)


def _literals(graph: Graph) -> Sequence[Any]:
    return [node for node in graph if _is_moment(node)]


def _is_moment(node: Any) -> bool:
    return (
        isinstance(node, ops.Literal)
        and node.dtype.is_integer()
        and isinstance(node.value, int)
        and node.value >= _MOMENT
    )


@cache
def _kept() -> dict[str, str]:
    """What earlier processes compiled with these versions; anything that is not whole counts as nothing."""
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(_path().read_bytes())
        if isinstance(found, dict) and len(found) < _MOST:
            return found
    return {}


def _keep(kept: Mapping[str, str]) -> None:
    """Keeps all that is known where Python keeps compiled modules: whoever writes there writes the package too."""
    path = _path()
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_text(json.dumps(kept), "utf-8")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@cache
def _path() -> Path:
    made = f"{version('ibis-framework')}-{version('sqlglot')}"
    return Path(cache_from_source(__file__)).with_suffix(f".{made}.sql.json")
