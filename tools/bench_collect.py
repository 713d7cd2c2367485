"""make bench: what collecting a configuration repository costs beside ``git log --raw``; one JSON document on stdout.

The repository comes from a seed: one commit sets one version of one of 70 services in one of three environments. Every
measurement is a process of its own, with its children's processor time; rounds are interleaved, and medians are shown.
The number of commits is the first argument, 60,000 when there is none.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

START_S = 1_600_000_000
SERVICES = 70
ENVIRONMENTS = ("integration", "staging", "production")
PATTERN = "charts/app-config/image-tags/{environment}/{service}"
ROUNDS = 5


def write(path: Path, commits: int) -> None:
    """Makes the repository, packed."""
    subprocess.run(("git", "init", "-q", "--bare", "-b", "main", str(path)), check=True)
    chance = random.Random(7)  # noqa: S311  a benchmark, no secret
    at, parts, versions = START_S, [], dict[tuple[str, str], int]()
    for number in range(commits):
        at += chance.randrange(30, 900)
        service = f"service-{int(SERVICES * chance.random() ** 2):03d}"
        environment = ENVIRONMENTS[number % 3]
        versions[service, environment] = versions.get((service, environment), 0) + 1
        parts.append(_commit(at, service, environment, versions[service, environment]))
    _import(path, "".join(parts))
    subprocess.run(("git", "-C", str(path), "repack", "-adq"), check=True)


def _commit(at: int, service: str, environment: str, version: int, parent: str = "") -> str:
    content = f"image_tag: v{version}\nautomatic_deploys_enabled: true\n"
    path = PATTERN.format(environment=environment, service=service)
    return (
        f"commit refs/heads/main\ncommitter x <x@example.org> {at} +0000\ndata 1\nx\n{parent}"
        f"M 100644 inline {path}\ndata {len(content)}\n{content}\n"
    )


def _import(path: Path, stream: str) -> None:
    subprocess.run(
        ("git", "-C", str(path), "fast-import", "--quiet"), input=stream.encode(), check=True
    )


def collect(repository: Path, cache: Path, facts: Path) -> dict[str, float]:
    """One collection in this process: its wall and processor seconds, git's included, imports not."""
    from gitops_nb.adapters.git_cache import Remote
    from gitops_nb.adapters.git_history import GitHistory
    from gitops_nb.adapters.process import LocalProcesses
    from gitops_nb.dora import fact_tables
    from gitops_nb.dora.collect import VersionSource
    from gitops_nb.dora.collectors.configuration import collect_configuration
    from gitops_nb.dora.schemas import EVENT, check
    from gitops_nb.dora.store import FactStore

    git = GitHistory(
        {"config": Remote(f"file://{repository}", "main")},
        cache=cache,
        processes=LocalProcesses(),
        author=("bench", "bench@example.org"),
    )
    git.refresh("config")
    # The first check imports pandera.
    check("event", fact_tables.frame(EVENT, ()))
    source = VersionSource("config", "main", PATTERN, "image_tag")
    began, cpu = time.perf_counter(), _cpu()
    done = collect_configuration(
        git, FactStore(facts), source, environments=ENVIRONMENTS, now_s=int(time.time())
    )
    return {"wall_s": time.perf_counter() - began, "cpu_s": _cpu() - cpu, "rows": done.rows}


def _cpu() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used) + _cpu_of_wardens()


def _cpu_of_wardens() -> float:
    """What living children used, and the commands that they waited for: the wardens, which end with us."""
    ticks = 0
    for children in Path("/proc/self/task").glob("*/children"):
        for pid in children.read_text(encoding="ascii").split():
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2]
            ticks += sum(map(int, fields.split()[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _log(repository: Path) -> dict[str, float]:
    began, cpu = time.perf_counter(), _cpu()
    subprocess.run(
        ("git", "-C", str(repository), "log", "--raw"), check=True, stdout=subprocess.DEVNULL
    )
    return {"wall_s": time.perf_counter() - began, "cpu_s": _cpu() - cpu}


def _own(*arguments: Path) -> dict[str, float]:
    done = subprocess.run(
        (sys.executable, __file__, "--collect", *map(str, arguments)),
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    """Measures a whole collection and one after one more commit."""
    commits = int(sys.argv[1]) if len(sys.argv) > 1 else 60_000
    found: dict[str, list[dict[str, float]]] = {"git_log_raw": [], "collect": [], "one_commit": []}
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        repository, cache = folder / "config.git", folder / "cache"
        write(repository, commits)
        for number in range(ROUNDS):
            facts = folder / "facts"
            shutil.rmtree(facts, ignore_errors=True)
            found["git_log_raw"].append(_log(repository))
            found["collect"].append(_own(repository, cache, facts))
            stream = _commit(
                START_S + 900 * commits + number,
                "service-001",
                "production",
                10**6 + number,
                "from refs/heads/main^0\n",
            )
            _import(repository, stream)
            found["one_commit"].append(_own(repository, cache, facts))
    middle = {
        name: {
            key: round(statistics.median(r[key] for r in rounds), 3) for key in ("wall_s", "cpu_s")
        }
        for name, rounds in found.items()
    }
    ratio = {
        key.removesuffix("_s"): round(middle["collect"][key] / middle["git_log_raw"][key], 2)
        for key in ("wall_s", "cpu_s")
    }
    document = {
        "commits": commits,
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "measured": middle,
        "collect_beside_git_log": {**ratio, "goal": 2.0},
        "one_commit_goal_s": 1.0,
    }
    print(json.dumps({"collect": document}, indent=1))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--collect"]:
        print(json.dumps(collect(*(Path(argument) for argument in sys.argv[2:5]))))
    else:
        main()
