"""Samples of long lists of cases: `make test` takes a few, `make torture` all of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def few(cases: Iterable[Any], *, keep: int = 2) -> list[Any]:
    """All cases, those but for ``keep`` spread over the list marked as torture."""
    every = list(cases)
    kept = {n * len(every) // keep for n in range(keep)}
    return [case if n in kept else _marked(case) for n, case in enumerate(every)]


def _marked(case: Any) -> Any:
    is_parameters = hasattr(case, "values") and hasattr(case, "marks")
    values = case.values if is_parameters else case if isinstance(case, tuple) else (case,)
    own = tuple(case.marks) if is_parameters else ()
    return pytest.param(
        *values, marks=(*own, pytest.mark.torture), id=case.id if is_parameters else None
    )
