"""The engine against the papermill command line: one run, many runs, bytes written, the journal's cost, equal outputs.

Both execute the same notebooks in the same workspace: a promotion with nothing to do, which runs through all its cells, with
cells of 10 kB output before it. Times are medians of interleaved runs; compare ratios inside one run.
"""

from __future__ import annotations

import json
import os
import re
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell

BIN = Path(sys.executable).parent
SIZES = (2, 10, 200)
ROUNDS = 3
RUNS = 20
WORKERS = 2
BARS = {"2": 1.0, "10": 0.8, "200": 0.2, "many": 0.15, "written": 3.0, "journal_p95_ms": 15.0}
"""What is asked for: shares of papermill's wall time by number of cells and for many runs, sizes of the final notebook."""
SETS = "".join(f"- {{application: catalog, stable_for: {n}s}}\n" for n in range(RUNS))


def bench(root: Path) -> dict[str, Any]:
    """All measurements in a workspace that was just made."""
    ours(root)
    theirs(root, "out.ipynb")
    one = {str(size): one_run(root, size) for size in SIZES}
    many, journal = many_runs(root), journal_cost(root)
    met = {size: one[size]["ratio"] <= BARS[size] for size in one}
    met["many"] = many["ratio"] <= BARS["many"]
    met["written"] = all(found["written_by_final"] <= BARS["written"] for found in one.values())
    met["journal_p95_ms"] = journal["p95"] <= BARS["journal_p95_ms"]
    return {
        "one_run": one,
        "many_runs": many,
        "journal_ms_per_step": journal,
        "outputs": equal_outputs(root),
        "bars": {name: {"bar": bar, "met": met[name]} for name, bar in BARS.items()},
        "load": [round(value, 1) for value in os.getloadavg()],
    }


def interleaved(**actions: Callable[[], object]) -> dict[str, float]:
    """Medians of some rounds, taken in turns: wall seconds, and processor seconds beside them for a busy machine.

    Processor time is that of all processes that were waited for; what both commands have run by wardens is in neither.
    """
    walls: dict[str, list[float]] = {name: [] for name in actions}
    processors: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(ROUNDS):
        for name, action in actions.items():
            used = processor_s()
            walls[name].append(seconds(action))
            processors[name].append(processor_s() - used)
    wall, processor = (
        {name: round(statistics.median(values), 3) for name, values in times.items()}
        for times in (walls, processors)
    )
    return {
        **wall,
        "ratio": round(wall["gitops_nb"] / wall["papermill"], 3),
        "processor_ratio": round(processor["gitops_nb"] / processor["papermill"], 3),
    }


def processor_s() -> float:
    """Processor seconds of all children so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def seconds(action: Callable[[], object]) -> float:
    """How long one call takes."""
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def environment(root: Path) -> dict[str, str]:
    """Ours without what would change a run; both commands keep compiled modules, in a folder of the measurement's."""
    left_out = ("GITOPS_NB_", "CI", "PYTHONDONTWRITEBYTECODE")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(left_out)}
    return {**kept, "PYTHONPYCACHEPREFIX": str(root / "compiled")}


def command(root: Path, *argv: str, code: int = 0) -> None:
    """Runs one command and insists on its exit code."""
    done = subprocess.run(argv, cwd=root, env=environment(root), capture_output=True, check=False)
    if done.returncode != code:
        raise SystemExit(f"{argv} ended with {done.returncode}: {done.stdout[-500:]!r} {done.stderr[-500:]!r}")  # fmt: skip


def ours(root: Path, *more: str) -> None:
    """One run by our command."""
    command(root, str(BIN / "gitops-nb"), "run", "promotion", "-p", "application=catalog", *more)


def theirs(root: Path, *more: str) -> None:
    """The same run by papermill's command."""
    command(root, str(BIN / "papermill"), "notebooks/promotion.ipynb", *more, "-p", "application", "catalog")  # fmt: skip


def extend(root: Path, size: int) -> None:
    """Puts cells of 10 kB output into the notebook, before it opens its session."""
    path = root / "notebooks" / "promotion.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells = [cell for cell in notebook.cells if not cell.metadata.get("bench")]
    cells = [
        new_code_cell(f"print('{'x' * 99}\\n' * 100)  # {n}", metadata={"bench": True})
        for n in range(size)
    ]
    notebook.cells[3:3] = cells
    nbformat.write(notebook, path)


def one_run(root: Path, size: int) -> dict[str, float]:
    """Wall seconds of one run by both commands, and what ours wrote against the notebook it left."""
    extend(root, size)
    found = interleaved(gitops_nb=lambda: ours(root), papermill=lambda: theirs(root, "out.ipynb"))
    written, final = bytes_written(root)
    extend(root, 0)
    return {**found, "written_by_final": round(written / final, 2)}


def bytes_written(root: Path) -> tuple[int, int]:
    """Bytes that one run wrote under the notebook's name, whole or temporary, and the final notebook's size.

    Counted where the engine hands a whole document to the disk.
    """
    script = (
        "import sys; from gitops_nb.engine import document; from gitops_nb.cli import main\n"
        "write = document.Document._write\n"
        "total = [0]\n"
        "def counted(own, content):\n"
        "    total[0] += len(content); write(own, content)\n"
        "document.Document._write = counted\n"
        "try:\n"
        "    main(['run', 'promotion', '-p', 'application=catalog'])\n"
        "finally:\n"
        "    print('written', total[0])\n"
    )
    done = subprocess.run((sys.executable, "-c", script), cwd=root, env=environment(root), capture_output=True, text=True, check=True)  # fmt: skip
    found = re.search(r"^written (\d+)$", done.stdout, re.MULTILINE)
    newest = max((root / "reports").glob("2*"), key=lambda path: path.name)
    return int(found[1] if found else 0), (newest / "notebook.ipynb").stat().st_size


def many_runs(root: Path) -> dict[str, float]:
    """Wall seconds of 20 runs on 2 workers: a matrix, and a loop over papermill's command."""
    (root / "sets.yaml").write_text(SETS)

    def matrix() -> None:
        command(root, str(BIN / "gitops-nb"), "run", "promotion", "--matrix", "sets.yaml", "--workers", str(WORKERS))  # fmt: skip

    def loop() -> None:
        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(lambda n: theirs(root, f"out-{n}.ipynb", "-p", "stable_for", f"{n}s"), range(RUNS)))  # fmt: skip

    return interleaved(gitops_nb=matrix, papermill=loop)


def journal_cost(root: Path) -> dict[str, float]:
    """Milliseconds that the journal costs a step: its two records, durable, of the size of a plan's."""
    from gitops_nb.record.journal import Journal

    folder = root / "20260101T000000Z-bench-0000"
    folder.mkdir()
    journal = Journal.open(folder)
    journal.append("opened", run=folder.name, steps=["x"])

    def step() -> None:
        journal.append("step", step="x", kind="read", status="running")
        journal.append("step", step="x", status="succeeded", value={"text": "y" * 4000}, took_ms=1)

    times = [seconds(step) * 1000 for _ in range(300)]
    journal.close()
    return {
        "p50": round(statistics.median(times), 2),
        "p95": round(statistics.quantiles(times, n=20)[18], 2),
    }


def equal_outputs(root: Path) -> dict[str, int]:
    """Output cells of every shipped notebook by both commands: how many, and how many differ."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from tests.engine.outputs import compare_shipped

    return compare_shipped(root)


if __name__ == "__main__":
    print(json.dumps(bench(Path(sys.argv[1])), indent=2))
