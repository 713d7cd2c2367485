"""What `dora metrics` and the report's numbers cost on DuckDB and on a local Spark, end to end; one JSON document on stdout.

    python tools/bench_engines.py CHANGES [ENGINE...]

Facts come from a seed (``dora_facts``) and are laid out as a store of collected facts; each engine observes, measures
and verifies them in a process of its own. ``python_*`` is this machine's part, ``jvm_cpu_s`` Spark's own, which runs on the same
machine here. ``document`` is the SHA-256 of the JSON that `metrics --json` prints: it has to be the same for all.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import dora_facts
import duckdb

from gitops_nb import dora
from gitops_nb.catalog.engines import EngineChoice
from gitops_nb.catalog.fleet import Fleet
from gitops_nb.dora import publishing
from gitops_nb.dora.document import document
from gitops_nb.dora.store import FactStore
from gitops_nb.ports import View
from gitops_nb.report.text import json_text

ENGINES = ("duckdb", "publish", "spark")
_FLEET = {
    "environments": {
        "staging": {"auto_deploy": True, "approval_required": False},
        "production": {"auto_deploy": False, "approval_required": True},
    },
    "promotes_to": {"staging": ["production"]},
    "clusters": {"production": {"environment": "production", "server": "https://p.example"}},
    "repositories": {},
    "applications": {},
}
_PARAMETERS = {
    "environment": "production",
    "services": (),
    "window": "52w",
    "compare_to": "previous",
    "time_zone": "Europe/Berlin",
    "definition": (),
    "deployments": "",
    "incidents": "",
}
_SMALL = {
    # Generating and compiling Java for each question is worth it for many rows only.
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.shuffle.partitions": "1",
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1",
}
_LARGE = {"spark.driver.memory": "6g", "spark.sql.shuffle.partitions": "8"}


def store_of(folder: Path, *, changes: int) -> FactStore:
    """Generated facts as a collection would have written them."""
    services = 500 if changes >= 1_000_000 else 20
    plain = folder / "plain"
    dora_facts.write(plain, changes=changes, deployments=changes // 10, services=services)
    with duckdb.connect() as connection:
        for path in sorted(plain.glob("*.parquet")):
            target = folder / "facts" / path.stem
            target.mkdir(parents=True)
            connection.execute(
                f"copy (from '{path}' order by service) to '{target}' "
                "(format parquet, partition_by (service), filename_pattern 'facts', overwrite_or_ignore)"
            )
            for part in target.glob("*/*.parquet"):
                part.rename(part.with_name("facts.parquet"))
            path.unlink()
    FactStore(folder / "facts").set_end(
        "configuration generated", dora_facts.START_S + dora_facts.YEARS_S
    )
    return FactStore(folder / "facts")


def measure(folder: Path, engine: str, *, changes: int) -> dict[str, object]:
    """One engine, end to end, in this process."""
    began, cpu = time.perf_counter(), time.process_time()
    store = FactStore(folder / "facts")
    found: dict[str, object] = {"engine": engine}
    if engine == "publish":
        found["rows"] = publishing.to_folder(store, folder / "tables", facts="generated")
    else:
        choice = None
        if engine == "spark":
            settings = _LARGE if changes >= 1_000_000 else _SMALL
            choice = EngineChoice(
                "spark", str(folder / "tables"), "local[2]", settings, deadline_s=3600
            )
        with tempfile.TemporaryDirectory() as run:
            request = dora.request(
                Fleet.model_validate(_FLEET),
                _PARAMETERS,
                workdir=Path(run),
                now=datetime.fromtimestamp(dora_facts.START_S + dora_facts.YEARS_S, UTC),
                base=folder,
                facts=None if choice else store.folder,
                engine=choice,
            )
            state = dora.observe(View(None, {}, {}, None, None), request)  # type: ignore[arg-type]  # nobody is asked
            observed = time.perf_counter() - began
            measured = dora.measure(request, state)
            found["verified"] = str(dora.verify(request, state, measured).result)
        text = json_text(document(measured, known_until_s=state.until_s))
        shown = (state.events, state.deployments, state.services, state.incidents, state.first_s)
        found["document"] = hashlib.sha256(text.encode()).hexdigest()
        found["state"] = [*shown, state.until_s, dict(state.excluded), state.commits]
        found["observe_s"] = round(observed, 1)
        found["deployments"] = measured.metric("frequency").counts["deployments"]
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return {
        **found,
        "wall_s": round(time.perf_counter() - began, 1),
        "python_cpu_s": round(time.process_time() - cpu, 1),
        "python_peak_mb": int(status.split("VmHWM:")[1].split()[0]) // 1024,
        "jvm_cpu_s": round(_children_s(os.getpid()), 1),
    }


def _children_s(parent: int) -> float:
    """Processor seconds of all processes that this one started and that still run."""
    total, ticks = 0.0, os.sysconf("SC_CLK_TCK")
    for task in Path(f"/proc/{parent}/task").iterdir():
        for child in (task / "children").read_text(encoding="ascii").split():
            fields = (
                Path(f"/proc/{child}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
            )
            total += (int(fields[11]) + int(fields[12])) / ticks + _children_s(int(child))
    return total


def main() -> None:
    """Builds the store, asks the engines one after the other, and prints what each one took."""
    changes, engines = int(sys.argv[1]), sys.argv[2:] or list(ENGINES)
    found = []
    with tempfile.TemporaryDirectory() as text:
        store_of(Path(text), changes=changes)
        for engine in engines:
            done = subprocess.run(
                (sys.executable, __file__, "--measure", engine, text, str(changes)),
                capture_output=True,
                text=True,
                check=False,
                timeout=3 * 3600,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
            )
            if done.returncode:
                sys.exit(done.stderr[-4000:])
            found.append(json.loads(done.stdout.splitlines()[-1]))
            print(json.dumps(found[-1]), file=sys.stderr, flush=True)
    print(json.dumps({"changes": changes, "cores": os.cpu_count(), "engines": found}, indent=1))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(Path(sys.argv[3]), sys.argv[2], changes=int(sys.argv[4]))))
    else:
        main()
