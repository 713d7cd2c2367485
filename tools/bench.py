"""make bench: what the documents state about speed, measured; one JSON document on stdout.

Times are medians of interleaved runs on this machine; compare ratios inside one run, not seconds across machines.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import resource
import shutil
import statistics
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from unittest import mock

import bench_engine

from gitops_nb.adapters.folder import Folder
from gitops_nb.catalog import strict_yaml
from gitops_nb.catalog.trust import RunnerKey
from gitops_nb.cli.initialising import create_workspace
from gitops_nb.errors import ConfigurationError
from gitops_nb.record.audit import Audit, audit
from gitops_nb.record.journal import Journal
from gitops_nb.record.keys import open_runner_key
from gitops_nb.record.ledger import Ledger, Phase
from gitops_nb.record.runs import create_run
from gitops_nb.record.verify import verify_run
from gitops_nb.redaction import Redactor
from gitops_nb.report.files import write_index

BIN = Path(sys.executable).parent
ROUNDS = 5


def seconds(action: Callable[[], object]) -> float:
    """How long one call takes."""
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def interleaved(**actions: Callable[[], object]) -> dict[str, float]:
    """Median of each action, taken in turns."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(ROUNDS):
        for name, action in actions.items():
            times[name].append(seconds(action))
    return {name: round(statistics.median(values), 3) for name, values in times.items()}


def process(*argv: str, cwd: Path) -> Callable[[], object]:
    """Runs one command, whatever its exit code."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GITOPS_NB_")}
    return lambda: subprocess.run(argv, cwd=cwd, env=environment, capture_output=True, check=False)


def bench_commands(root: Path) -> dict[str, float]:
    """Wall seconds of the light commands, with a bare interpreter beside them."""
    command = str(BIN / "gitops-nb")
    return interleaved(
        python=process(sys.executable, "-c", "pass", cwd=root),
        help=process(command, "--help", cwd=root),
        list=process(command, "list", cwd=root),
        refuse_parameter=process(command, "run", "promotion", "-p", "application=nope", cwd=root),
    )


def bench_small_dora(root: Path) -> dict[str, float]:
    """Processor seconds of `dora metrics` on the sandbox's facts, beside the imports that it cannot do without."""
    command = str(BIN / "gitops-nb")
    subprocess.run((command, "dora", "collect"), cwd=root, check=True, capture_output=True)
    imports = process(sys.executable, "-c", "import ibis, duckdb, pandas", cwd=root)
    metrics = process(command, "dora", "metrics", cwd=root)
    metrics()  # the first one compiles what later ones find compiled
    used: dict[str, list[float]] = {"imports": [], "metrics": []}
    for _ in range(ROUNDS):
        for name, action in (("imports", imports), ("metrics", metrics)):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            action()
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            used[name].append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    found = {name: round(statistics.median(values), 2) for name, values in used.items()}
    return {**found, "ratio": round(found["metrics"] / found["imports"], 2)}


def bench_journal(folder: Path) -> dict[str, float]:
    """Milliseconds to append one durable record of 2 kB, and to verify 1,000 of them."""
    folder.mkdir()
    journal = Journal.open(folder)
    journal.append("opened", run=folder.name, steps=["x"])
    times = [
        seconds(lambda: journal.append("step", step="x", status="running", text="y" * 2000))
        for _ in range(1000)
    ]
    journal.close()
    return {
        "append_p50_ms": round(statistics.median(times) * 1000, 2),
        "append_p95_ms": round(statistics.quantiles(times, n=20)[18] * 1000, 2),
        "verify_1000_s": round(seconds(lambda: verify_run(folder)), 3),
    }


def bench_ledger(root: Path) -> dict[str, float]:
    """Seconds to sign one ledger record, and to verify a ledger of 10,000."""
    store, signer = Folder(root / "reports"), open_runner_key(root)
    ledger = Ledger(store, "production", signer)
    subjects = {f"evidence/step-{n}.json": "1" * 64 for n in range(12)}
    body = {"reason": "x" * 300, "steps": [{"name": str(n)} for n in range(6)]}

    def append(number: int) -> None:
        phase = (Phase.START, Phase.END)[number % 2]
        run = f"20260101T000000Z-bench-{number // 2:04}"
        ledger.append(phase, run=run, attempt=1, subjects=subjects, body=body)

    one_s = statistics.median(seconds(partial(append, n)) for n in range(20))
    last = ledger.last()
    # Listing 10,000 slots before each of 10,000 records would measure the making, not the check.
    for number in range(20, 10_000):
        with mock.patch.object(Ledger, "last", return_value=last):
            phase = (Phase.START, Phase.END)[number % 2]
            run = f"20260101T000000Z-bench-{number // 2:04}"
            last = ledger.append(phase, run=run, attempt=1, subjects=subjects, body=body)
    runners = (RunnerKey(name="here", key=signer.public),)
    checked: list[Audit] = []
    begun_s = time.process_time()
    took_s = seconds(
        lambda: checked.append(audit(store, "production", runners=runners, now=datetime.now(UTC)))
    )
    processor_s = time.process_time() - begun_s
    assert checked[0].findings == ()
    assert len(checked[0].entries) == 10_000
    return {
        "append_ms": round(one_s * 1000, 2),
        "verify_10000_s": round(took_s, 2),
        "verify_10000_processor_s": round(processor_s, 2),
    }


def bench_refusals() -> dict[str, float]:
    """Milliseconds to refuse YAML that surprises."""
    bombs = {
        "deep": b"[" * 100_000,
        "large": b"a" * (128 * 1024 + 1),
        "alias": b"a: &a [x]\nb: *a\n",
        "duplicate_late": b"".join(b"k%d: 1\n" % i for i in range(12_000)) + b"k0: 2\n",
    }

    def refuse(content: bytes) -> None:
        try:
            strict_yaml.parse(content, name="x")
        except ConfigurationError:
            return
        raise AssertionError("not refused")

    return {
        name: round(seconds(lambda c=content: refuse(c)) * 1000, 1)
        for name, content in bombs.items()
    }


def bench_redaction() -> dict[str, float]:
    """Masking of 2 MB of log lines with 200 known secrets, and the index after one more run among 10,000; seconds."""
    letters = string.ascii_letters + string.digits
    chance = random.Random(7)  # noqa: S311  seeded data
    redactor = Redactor()
    for number in range(200):
        redactor.register(f"s{number}", "".join(chance.choices(letters, k=32)))
    words = ("deploy", "checkout", "to", "production", "synced", "at", "8a7d6538")
    text = " ".join(chance.choices(words, k=320_000))[: 2 * 1024 * 1024]
    redactor.text(text[:1000])
    return {"mask_2mb_200_secrets_s": round(seconds(lambda: redactor.text(text)), 3)}


def bench_index(reports: Path, runs: int = 10_000) -> dict[str, float]:
    """The index of many runs: built anew, brought up to date after one more run, opened in Chromium; seconds."""
    now = datetime.now(UTC)

    def end_run(number: int) -> None:
        at = now - timedelta(minutes=50 * number)
        run = f"{at:%Y%m%dT%H%M%SZ}-promotion-production-{number % 65536:04x}"
        opened = {"runbook": "promotion", "environment": "production", "mode": "live", "steps": []}
        journal = Journal.open(create_run(reports, run, opened))
        journal.append("ended", status="succeeded", exit_code=0, reason="runs")
        journal.close()

    for number in range(1, runs):
        end_run(number)
    write = partial(
        write_index, reports, now=now, zone="UTC", cache=reports.with_name("index.jsonl")
    )
    built = seconds(write)
    end_run(0)
    one_more = {"build_s": round(built, 3), "one_more_s": round(seconds(write), 3)}
    return {**one_more, **index_opens(reports / "index.html")}


def index_opens(page: Path) -> dict[str, float]:
    """Until the page is loaded and its field has found the oldest run; median of new tabs. Empty without Chromium."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        return {}
    from playwright.sync_api import sync_playwright

    sandbox = [] if os.geteuid() else ["--no-sandbox"]
    times = []
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=sandbox)
        oldest = min(path.name for path in page.parent.iterdir() if "-promotion-" in path.name)
        for _ in range(ROUNDS):
            tab = browser.new_page()
            begin = time.perf_counter()
            tab.goto(page.as_uri())
            tab.get_by_label("Find").fill(oldest)
            tab.locator(f"tr:visible a[href*='{oldest}']").wait_for()
            times.append(time.perf_counter() - begin)
            tab.close()
        browser.close()
    return {"open_and_find_s": round(statistics.median(times), 3)}


def main() -> None:
    """Prints everything as JSON."""
    with tempfile.TemporaryDirectory(prefix="gitops-nb-bench-") as folder:
        root = Path(folder, "team")
        with contextlib.redirect_stdout(io.StringIO()):
            create_workspace(root)
        subprocess.run(
            (str(BIN / "gitops-nb"), "doctor"), cwd=root, check=True, capture_output=True
        )
        result = {
            "commands_s": bench_commands(root),
            "small_dora_cpu": bench_small_dora(root),
            "ledger": bench_ledger(Path(folder, "ledger")),
            "journal": bench_journal(Path(folder, "20260101T000000Z-bench-0000")),
            "refuse_yaml_ms": bench_refusals(),
            "engine": bench_engine.bench(root),
            "redaction": bench_redaction(),
            "index_10000": bench_index(Path(folder, "reports")),
        }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
