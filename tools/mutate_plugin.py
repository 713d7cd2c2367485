"""What pytest does otherwise under `make mutate`; `tools/mutate.py` puts it beside the copy of the tests.

A test that starts Python or gitops-nb as a process is skipped there: the process would run the package unmutated, so such a
test can neither notice a mutant nor be blamed for it. A mutant is given the fastest tests that reach it, BUDGET_S in all:
what only the slower ones would notice counts as survived.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from mutmut.mutation.trampoline import get_mutant_under_test
from mutmut.state import state

BUDGET_S = 45.0
PROGRAMS = ("python", "gitops-nb", "jupyter", "papermill")
_start = subprocess.Popen.__init__


def _start_or_skip(self: Any, args: Any, *more: Any, **options: Any) -> None:
    words = args if isinstance(args, (list, tuple)) else (args,)
    # The warden of processes is started with -S: without site-packages, so that it imports nothing of the package.
    if Path(str(words[0])).name.startswith(PROGRAMS) and "-S" not in words:
        pytest.skip("starts the package as a process, where nothing is mutated")
    _start(self, args, *more, **options)


def pytest_configure() -> None:
    """Watches what tests start; forked children of mutmut configure again and find it done."""
    subprocess.Popen.__init__ = _start_or_skip  # type: ignore[method-assign]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The fastest first, as many as the budget takes; at least one. The examples of a docstring once, not of each mutant's copy."""
    copies = [item for item in items if re.search(r"__mutmut_(orig|\d+)$", item.name)]
    items[:] = [item for item in items if item not in copies]
    config.hook.pytest_deselected(items=copies)
    if "__mutmut_" not in get_mutant_under_test():
        return
    took_s = state().duration_by_test
    items.sort(key=lambda item: took_s.get(item.nodeid, 0.0))
    total_s, kept = 0.0, 0
    for item in items:
        total_s += took_s.get(item.nodeid, 0.0)
        if kept and total_s > BUDGET_S:
            break
        kept += 1
    config.hook.pytest_deselected(items=items[kept:])
    del items[kept:]
