"""make mutate: small breaks of the code, one at a time, and which of them no test notices.

Without an argument: the modules of AREAS that differ from where this branch left origin/main; ``--since COMMIT`` compares
with that commit, ``--all`` takes every module of AREAS, paths name modules. mutmut makes the breaks ("mutants"), in a copy of
the working tree for each module below .cache/mutate, and runs on each the tests that reach it, in forks of one process:

- [tests] in tools/mutants.toml says which tests a module is tried with, beside its own docstrings; what they start as a process is left out
  (`tools/mutate_plugin.py`).
- [[equivalent]] there names mutants that no test can notice, each with its reason, by module, function and line: an edit of
  other lines does not lose them, an edit of that line does, and then they are named as out of date. Mutants that change only
  the words of a text with a space in it count as wording and are left out as well.
- Code outside functions, and functions with a decorator (properties, context managers), is not mutated.

A run that was stopped goes on where it ended. When code or tests have changed, mutants of changed functions and all that
survived are tried again; what a test killed before stays so. `rm -rf .cache/mutate` begins anew.

Prints the numbers of each module and each survivor as a diff. Exits with 1 when a module has fewer than WANTED killed, or an
entry of tools/mutants.toml is out of date; with 2 when it cannot run.
"""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import hashlib
import json
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
TABLE = Path(__file__).with_name("mutants.toml")
STATE = REPOSITORY / ".cache" / "mutate"
AREAS = (
    "gitops_nb/promotion/*.py",
    "gitops_nb/argo/*.py",
    "gitops_nb/policy.py",
    "gitops_nb/edits/*.py",
    "gitops_nb/record/consents.py",
    "gitops_nb/dora/statistics.py",
)
WANTED = 0.9
"""How much of what can be noticed has to be."""
COPIED = ("gitops_nb", "tests", "notebooks", "runbooks", "docs", "gitops-nb.yaml", "README.md")
PLUGIN = "mutate_plugin.py"
TESTS = "not live and not torture and not browser and not slow"
LITERAL = re.compile(r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'""")


@dataclass(frozen=True, slots=True)
class Change:
    """What one mutant does: the lines it takes and the lines it puts there, each stripped and joined."""

    function: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """One module: how many mutants ended how, the diffs of those nobody noticed, and entries that fit no mutant."""

    counts: Counter[str]
    survivors: tuple[str, ...]
    stale: tuple[Change, ...]

    @property
    def noticed(self) -> int:
        """Mutants that a test failed on, or that never ended."""
        return self.counts["killed"] + self.counts["timeout"]

    @property
    def share(self) -> float:
        """Noticed of those that can be; 1 where there is none."""
        whole = self.noticed + self.counts["survived"]
        return self.noticed / whole if whole else 1.0


def modules_of_areas() -> Iterator[str]:
    """Every module that is tried, as a path in the repository."""
    for pattern in AREAS:
        yield from sorted(str(path.relative_to(REPOSITORY)) for path in REPOSITORY.glob(pattern))


def changed_modules(since: str) -> list[str]:
    """Modules of the areas that differ from a commit, in the working tree.

    Raises:
        SystemExit: Git does not know the commit.
    """
    base = _git("merge-base", since, "HEAD").strip()
    changed = set(_git("diff", "--name-only", base, "--", "gitops_nb").split())
    changed |= set(_git("ls-files", "--others", "--exclude-standard", "--", "gitops_nb").split())
    return [module for module in modules_of_areas() if module in changed]


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ("git", *arguments), cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=60
    )
    if done.returncode:
        print(f"git {' '.join(arguments)}: {done.stderr.strip()}", file=sys.stderr)
        print("Give a commit to compare with, SINCE=COMMIT, or ALL=1", file=sys.stderr)
        raise SystemExit(2)
    return done.stdout


def tests_for(module: str, table: dict[str, list[str]]) -> list[str]:
    """What a module is tried with: the first pattern of [tests] that fits it.

    Raises:
        SystemExit: No pattern fits.
    """
    for pattern, tests in table.items():
        if fnmatch.fnmatch(module, pattern):
            return tests
    print(f"{TABLE.name}: no tests for {module}", file=sys.stderr)
    raise SystemExit(2)


def change_of(function: str, diff: str) -> Change:
    r"""Reads a mutant's diff.

    >>> change_of("f", "--- a\n+++ a\n@@ -1 +1 @@\n-    if a:\n+    if not a:\n     b")
    Change(function='f', before='if a:', after='if not a:')
    """
    lines = [line for line in diff.splitlines() if not line.startswith(("---", "+++"))]
    before, after = (
        " ".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+"
    )
    return Change(function, before, after)


def is_wording(change: Change) -> bool:
    """Whether a mutant changes only the letters of texts with a space in them: what people read.

    >>> is_wording(Change("f", 'say("no version")', 'say("XXno versionXX")'))
    True
    >>> is_wording(Change("f", 'get("phase")', 'get("PHASE")'))
    False
    """
    if LITERAL.sub("", change.before) != LITERAL.sub("", change.after):
        return False
    pairs = list(zip(LITERAL.findall(change.before), LITERAL.findall(change.after), strict=False))
    changed = [(old, new) for old, new in pairs if old != new]
    return bool(changed) and all(
        " " in old and old[1:-1].lower() == re.sub(r"^XX|XX$", "", new[1:-1]).lower()
        for old, new in changed
    )


def function_of(mutant: str) -> str:
    """The function as people write it.

    >>> function_of("gitops_nb.argo.images.x__path__mutmut_5"), function_of("gitops_nb.a.xǁViewǁread__mutmut_1")
    ('_path', 'View.read')
    """
    name = mutant.rpartition(".")[2].rpartition("__mutmut_")[0]
    return name.removeprefix("xǁ").replace("ǁ", ".") if "ǁ" in name else name.removeprefix("x_")


def outcome_of(verdicts: Iterable[tuple[str, str, str]], equivalents: dict[Change, str]) -> Outcome:
    """Counts a module's mutants, given as (name, how it ended, diff), against what no test can notice."""
    counts: Counter[str] = Counter()
    survivors = []
    fitting = set()
    for name, status, diff in verdicts:
        change = change_of(function_of(name), diff)
        if change in equivalents:
            fitting.add(change)
        if status in ("killed", "timeout"):
            counts[status] += 1
        elif change in equivalents or is_wording(change):
            counts["excluded"] += 1
        else:
            counts["survived"] += 1
            lines = [line for line in diff.splitlines()[2:] if line.startswith(("-", "+"))]
            survivors.append("\n".join([f"{change.function} ({status})", *lines]))
    stale = tuple(change for change in equivalents if change not in fitting)
    return Outcome(counts, tuple(survivors), stale)


def _digest(folder: Path) -> str:
    """Of every file that a mutant's verdict may hang on."""
    whole = hashlib.sha256()
    names = (*COPIED, PLUGIN, "pyproject.toml")
    for path in sorted(p for name in names for p in _files(folder / name)):
        whole.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return whole.hexdigest()


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    elif path.is_dir():
        for one in path.rglob("*"):
            if (
                one.is_file()
                and "__pycache__" not in one.parts
                and ".ipynb_checkpoints" not in one.parts
            ):
                yield one


def _copy(folder: Path) -> None:
    """Brings the copy to what the working tree is; a file that is the same keeps its time, which mutmut goes by."""
    there = {path.relative_to(REPOSITORY) for name in COPIED for path in _files(REPOSITORY / name)}
    for name in COPIED:
        for path in list(_files(folder / name)):
            if path.relative_to(folder) not in there:
                path.unlink()
        for path in list(_files(folder / "mutants" / name)):
            known = path.relative_to(folder / "mutants")
            if known not in there and known.with_suffix("") not in there:
                path.unlink()
    for known in there:
        source, target = REPOSITORY / known, folder / known
        if not target.exists() or target.read_bytes() != source.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    shutil.copyfile(Path(__file__).with_name(PLUGIN), folder / PLUGIN)
    shared = folder / "shared"  # beside the copy of the tests, as it is beside the repository
    if (REPOSITORY.parent / "shared").is_dir() and not shared.exists():
        shared.symlink_to(REPOSITORY.parent / "shared")


def _write_settings(folder: Path, module: str, tests: Sequence[str]) -> None:
    toml = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    settings = {
        "source_paths": ["gitops_nb"],
        "only_mutate": [module],
        "also_copy": [*COPIED[2:], PLUGIN],
        # One process goes through many runs of pytest: what one left to the collector is no failure of the next.
        "pytest_add_cli_args": [
            "-p",
            "mutate_plugin",
            "-p",
            "no:unraisableexception",
            "--doctest-modules",
            "-m",
            TESTS,
        ],
        "pytest_add_cli_args_test_selection": [*tests, module],
    }
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    # The machine may be shared: a fifth of the speed is no endless loop.
    lines += ["timeout_multiplier = 5.0", "timeout_constant = 10.0", "track_dependencies = false"]
    lines += ["use_git_change_detection = false", 'on_dependency_change = "ignore"']
    text = toml + "\n[tool.mutmut]\n" + "\n".join(lines) + "\n"
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")


def _forget_survivors(meta: Path) -> None:
    """Those that no test noticed are tried again; what was killed stays so."""
    if meta.exists():
        found = json.loads(meta.read_text(encoding="utf-8"))
        codes = found["exit_code_by_key"]
        found["exit_code_by_key"] = {k: code if code == 1 else None for k, code in codes.items()}
        meta.write_text(json.dumps(found), encoding="utf-8")


def try_module(module: str, table: dict) -> Outcome:
    """Tries every mutant of a module that has no verdict yet.

    Raises:
        SystemExit: mutmut cannot run the tests; its words are on stderr.
    """
    folder = STATE / module.removesuffix(".py").replace("/", ".")
    meta = folder / "mutants" / f"{module}.meta"
    folder.mkdir(parents=True, exist_ok=True)
    _copy(folder)
    _write_settings(folder, module, tests_for(module, table["tests"]))
    now = _digest(folder)
    seen = folder / "seen"
    if not seen.exists() or seen.read_text(encoding="utf-8") != now:
        _forget_survivors(meta)
        (folder / "mutants" / "mutmut-stats.json").unlink(missing_ok=True)
        seen.write_text(now, encoding="utf-8")
    if None in _codes(meta).values() or not meta.exists():
        log = folder / "mutmut.log"
        with log.open("w", encoding="utf-8") as out:
            done = subprocess.run(
                (str(Path(sys.executable).with_name("mutmut")), "run"),
                cwd=folder,
                stdout=out,
                stderr=subprocess.STDOUT,
                check=False,
            )
        if done.returncode or None in _codes(meta).values():
            print(log.read_text(encoding="utf-8")[-3000:], file=sys.stderr)
            print(
                f"{module}: mutmut did not end (see {log}); run it again to go on", file=sys.stderr
            )
            raise SystemExit(2)
    entries = [one for one in table.get("equivalent", ()) if one["module"] == module]
    equivalents = {
        Change(one["function"], one["before"], one["after"]): one["reason"] for one in entries
    }
    return outcome_of(_verdicts(folder, module, meta), equivalents)


def _codes(meta: Path) -> dict[str, int | None]:
    if not meta.exists():
        return {}
    return dict(json.loads(meta.read_text(encoding="utf-8"))["exit_code_by_key"])


def _verdicts(folder: Path, module: str, meta: Path) -> Iterator[tuple[str, str, str]]:
    from mutmut.mutation.diff_apply import get_diff_for_mutant
    from mutmut.stats import status_by_exit_code

    with contextlib.chdir(folder):
        for name, code in _codes(meta).items():
            yield name, status_by_exit_code[code], get_diff_for_mutant(name, path=module)


def main(arguments: Sequence[str]) -> int:
    """Prints every module's numbers and survivors; 1 when one is below WANTED or has an entry out of date."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="*", help="paths of modules")
    parser.add_argument("--all", action="store_true", help="every module of the areas")
    parser.add_argument("--since", default="origin/main", help="the commit to compare with")
    chosen = parser.parse_args(arguments)
    table = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    modules = chosen.modules or (
        list(modules_of_areas()) if chosen.all else changed_modules(chosen.since)
    )
    if not modules:
        print(f"no module of {', '.join(AREAS)} differs from {chosen.since}")
    short = []
    for module in modules:
        outcome = try_module(module, table)
        counts = ", ".join(
            f"{outcome.counts[status]} {status}"
            for status in ("killed", "timeout", "survived", "excluded")
        )
        print(f"{module}: {outcome.share:.0%} noticed ({counts})")
        for survivor in outcome.survivors:
            print("  " + survivor.replace("\n", "\n    "))
        for change in outcome.stale:
            print(f"  {TABLE.name} is out of date: {change.function}: {change.before}")
        sys.stdout.flush()
        if outcome.share < WANTED or outcome.stale:
            short.append(module)
    if short:
        print(f"below {WANTED:.0%} or out of date: {', '.join(short)}")
    return 1 if short else 0


if __name__ == "__main__":
    # Whoever stops this stops mutmut too: `subprocess.run` ends its process when an exception leaves it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    raise SystemExit(main(sys.argv[1:]))
