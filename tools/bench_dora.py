"""make bench: what the report's queries cost beside a bare scan of the same columns; one JSON document on stdout.

Facts come from a seed (``dora_facts``). Each measurement is a process of its own, so that its peak memory is its own;
rounds are interleaved, and medians are shown. Compare ratios of one document, not seconds across machines.
``cost_growth`` is how much more processor time each tenfold of the changes took: below 10 is better than linear, since
some of it is paid once. The size is the first argument: changes, ten million when there is none.
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from zoneinfo import ZoneInfo

import dora_facts

from gitops_nb.dora import numbers
from gitops_nb.dora.definition import Arrival, DoraDefinition, Start
from gitops_nb.dora.engine import DuckEngine, sql
from gitops_nb.dora.expressions import Question, inside
from gitops_nb.dora.leading import leads, link_by_time
from gitops_nb.dora.windows import Window

ROUNDS = 5
REPEATS = 4
SERVICES = 500
WINDOW = Window(dora_facts.START_S, dora_facts.START_S + dora_facts.YEARS_S)
ZONE = ZoneInfo("Europe/Berlin")
BY_TIME = Question(
    "production",
    WINDOW.end_s,
    DoraDefinition(lead_time_start=Start.COMMITTED, lead_time_arrival=Arrival.NEXT_IN_TIME),
    is_native=True,
)
GOALS = {
    "weekly_quantiles": ("scan_links", 2.0),
    "overall_median_with_interval": ("scan_links", 3.0),
    "rebuild_link_by_time": ("scan_changes", 6.0),
    "rebuild_link_by_time_with_sha_to_parquet": ("scan_changes_with_sha", 6.0),
}
"""The measurement each ratio is against, and what it should stay below."""


def measure(name: str, folder: Path) -> dict[str, float]:
    """Runs one measurement in this process: wall and CPU seconds of the query, peak memory of the process."""
    question = Question("production", WINDOW.end_s, is_native=True)
    queries = {
        "scan_links": "select min(service), sum(finished_s), sum(authored_s) from facts_change_deployment "
        "where environment = 'production'",
        "scan_changes": "select min(service), sum(committed_s) from facts_change",
        "scan_changes_with_sha": "select min(service), min(sha), sum(committed_s) from facts_change",
        # Each quartile is used, or the optimizer would leave it out.
        "weekly_quantiles": "select sum(n), sum(q1_x4 + q2_x4 + q3_x4) from "
        f"({sql(numbers.weekly_leads(leads(question), WINDOW, zone=ZONE, by=('service',), is_native=True))})",
        "rebuild_link_by_time": "select count(*), sum(finished_s - start_s) from "
        f"({sql(link_by_time(BY_TIME).drop('sha'))})",
        "rebuild_link_by_time_with_sha_to_parquet": f"copy ({sql(link_by_time(BY_TIME))}) "
        f"to '{folder}/link.parquet' (compression zstd, compression_level 1, dictionary_size_limit 1)",
    }
    times = []
    with DuckEngine.over(folder) as engine:
        for _ in range(REPEATS):
            began, cpu = time.perf_counter(), time.process_time()
            if name == "overall_median_with_interval":
                numbers.median_of(engine, inside(leads(question), WINDOW), "lead_s", is_native=True)
            else:
                engine.connection.execute(queries[name]).fetchall()
            times.append((time.perf_counter() - began, time.process_time() - cpu))
    # The first one also fetches the file and the memory.
    wall, cpu = (statistics.median(part) for part in zip(*times[1:], strict=True))
    # ru_maxrss would be that of the process that started this one; VmHWM begins anew.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak_kb = int(status.split("VmHWM:")[1].split()[0])
    return {"wall_s": wall, "cpu_s": cpu, "peak_mb": peak_kb / 1024}


def measure_all(folder: Path) -> dict[str, dict[str, float]]:
    """The middle of each measurement over interleaved rounds; memory is the worst."""
    names = dict.fromkeys(name for key, (base, _) in GOALS.items() for name in (base, key))
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(ROUNDS):
        for name, rounds in found.items():
            done = subprocess.run(
                (sys.executable, __file__, "--measure", name, str(folder)),
                capture_output=True,
                text=True,
                check=True,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
                timeout=600,
            )
            rounds.append(json.loads(done.stdout))
    return {
        name: {
            "wall_s": round(statistics.median(r["wall_s"] for r in rounds), 4),
            "cpu_s": round(statistics.median(r["cpu_s"] for r in rounds), 4),
            "peak_mb": round(max(r["peak_mb"] for r in rounds)),
        }
        for name, rounds in found.items()
    }


def main() -> None:
    """Generates facts of three sizes, measures, and prints the document."""
    largest = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    sizes = [size for size in (100_000, 1_000_000) if size < largest] + [largest]
    document: dict[str, object] = {
        "services": SERVICES,
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
    }
    measured: list[dict[str, dict[str, float]]] = []
    with tempfile.TemporaryDirectory() as text:
        for size in sizes:
            folder = Path(text) / str(size)
            dora_facts.write(folder, changes=size, deployments=size // 10, services=SERVICES)
            times = measure_all(folder)
            measured.append(times)
            document[str(size)] = {
                "changes": size,
                "deployments": size // 10,
                "measured": times,
                "ratios": {
                    name: {
                        "wall": round(times[name]["wall_s"] / times[base]["wall_s"], 2),
                        "cpu": round(times[name]["cpu_s"] / times[base]["cpu_s"], 2),
                        "goal": goal,
                    }
                    for name, (base, goal) in GOALS.items()
                },
            }
    document["cost_growth"] = {
        name: [
            round(costs[name]["cpu_s"] / before[name]["cpu_s"], 1)
            for before, costs in itertools.pairwise(measured)
        ]
        for name in GOALS
    }
    print(json.dumps({"dora": document}, indent=1))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(sys.argv[2], Path(sys.argv[3]))))
    else:
        main()
