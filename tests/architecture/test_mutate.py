"""`make mutate` tells which breaks no test notices, goes on where it ended, and its table fits the code."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

MODULE = "gitops_nb/argo/sizes.py"
CODE = '''"""Sizes."""


def is_big(size):
    return size > 10


def is_asked(size):
    return size < 5
'''
ALL_NOTICED = """
    assert not sizes.is_asked(5)
    assert sizes.is_asked(4)
    assert not sizes.is_big(10)
    assert sizes.is_big(11)
"""
TEST = """import subprocess
import sys

from gitops_nb.argo import sizes


def test_big():
    assert sizes.is_big(11)
    assert not sizes.is_big(10)


def test_by_a_process():
    assert sizes.is_asked(4)
    subprocess.run((sys.executable, "-c", "raise SystemExit(1)"), check=True)
"""


def _tool():
    spec = importlib.util.spec_from_file_location("mutate", REPOSITORY / "tools" / "mutate.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["mutate"] = module
    spec.loader.exec_module(module)
    return module


mutate = _tool()
TABLE = tomllib.loads(mutate.TABLE.read_text(encoding="utf-8"))


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A repository with one module, one commit ago as it is now."""
    root = tmp_path / "project"
    for name, text in {
        MODULE: CODE,
        "gitops_nb/__init__.py": "",
        "gitops_nb/argo/__init__.py": "",
        "tests/test_sizes.py": TEST,
        "pyproject.toml": '[tool.pytest.ini_options]\nmarkers = ["live", "torture", "browser", "slow"]\n',
        ".gitignore": ".cache/\n",
        "mutants.toml": '[tests]\n"gitops_nb/*" = ["tests"]\n',
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    for arguments in (("init", "-qb", "main"), ("add", "."), ("commit", "-qm", "one")):
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        subprocess.run(("git", *who, *arguments), cwd=root, check=True, timeout=30)
    monkeypatch.setattr(mutate, "REPOSITORY", root)
    monkeypatch.setattr(mutate, "STATE", root / ".cache" / "mutate")
    monkeypatch.setattr(mutate, "TABLE", root / "mutants.toml")
    return root


def _survivors(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip().startswith("+")]


@pytest.mark.torture
def test_what_no_test_notices_is_shown_until_one_does(project, capsys, monkeypatch):
    """A survivor is printed and fails the command; a run stopped halfway goes on; a test for it ends it."""
    assert mutate.main([MODULE]) == 1
    said = capsys.readouterr().out
    assert f"{MODULE}: 50% noticed (2 killed, 0 timeout, 2 survived, 0 excluded)" in said
    assert _survivors(said) == ["+    return size <= 5", "+    return size < 6"]
    meta = mutate.STATE / "gitops_nb.argo.sizes" / "mutants" / f"{MODULE}.meta"
    calls = []
    started = subprocess.run
    monkeypatch.setattr(
        subprocess, "run", lambda *a, **k: calls.append(a[0][0]) or started(*a, **k)
    )

    assert mutate.main([MODULE]) == 1
    assert calls == []  # everything has its verdict

    meta.write_text(meta.read_text().replace('mutmut_1": 1,', 'mutmut_1": null,'))
    assert mutate.main([MODULE]) == 1
    assert [Path(call).name for call in calls] == ["mutmut"]
    assert "2 killed" in capsys.readouterr().out

    (project / "tests" / "test_more.py").write_text(
        f"from gitops_nb.argo import sizes\n\n\ndef test_all():{ALL_NOTICED}"
    )
    assert mutate.main([MODULE]) == 0
    assert f"{MODULE}: 100% noticed (4 killed" in capsys.readouterr().out
    status = ("git", "status", "--short")
    left = subprocess.run(status, cwd=project, capture_output=True, text=True, check=True)
    assert left.stdout == "?? tests/test_more.py\n"


def test_a_test_that_starts_the_package_notices_nothing(project, capsys):
    """It is skipped, although it would fail here: the process would run the package unmutated."""
    mutate.main([MODULE])
    said = capsys.readouterr().out
    assert "is_asked (survived)" in said
    assert "is_big" not in said


def test_modules_that_differ_are_tried(project, capsys):
    """From a commit on, in the working tree; an unknown commit is told, and nothing runs."""
    assert mutate.changed_modules("HEAD") == []
    assert mutate.main(["--since", "HEAD"]) == 0
    (project / MODULE).write_text(CODE + "\n")
    (project / "gitops_nb" / "argo" / "new.py").write_text("")
    (project / "gitops_nb" / "cli.py").write_text("")
    assert mutate.changed_modules("HEAD") == ["gitops_nb/argo/new.py", MODULE]
    with pytest.raises(SystemExit) as refused:
        mutate.main([])
    assert refused.value.code == 2
    assert "SINCE=COMMIT" in capsys.readouterr().err


DIFF = "--- a\n+++ a\n@@ -1 +1 @@\n-    if {}:\n+    if {}:\n     b"


def test_an_equivalent_is_excluded_until_its_line_changes():
    """Its entry is out of date then, and the mutant counts."""
    entries = {mutate.Change("View.read", "if a:", "if a or False:"): "the same"}
    name = "gitops_nb.argo.a.xǁViewǁread__mutmut_7"
    fitting = mutate.outcome_of([(name, "survived", DIFF.format("a", "a or False"))], entries)
    assert (fitting.counts, fitting.share, fitting.stale) == ({"excluded": 1}, 1.0, ())
    other = mutate.outcome_of([(name, "survived", DIFF.format("c", "c or False"))], entries)
    assert (other.counts, other.share) == ({"survived": 1}, 0.0)
    assert other.stale == tuple(entries)


@pytest.mark.parametrize(
    ("before", "after", "is_wording"),
    [
        ('say("no version")', 'say("NO VERSION")', True),
        ('say("no version", "phase")', 'say("no version", "PHASE")', False),
        ('say("no version")', "say(None)", False),
        ('say("no version") and a', 'say("no version") or a', False),
    ],
)
def test_only_the_letters_of_sentences_are_wording(before, after, is_wording):
    """Keys, values that are given and conditions stay in the count."""
    assert mutate.is_wording(mutate.Change("f", before, after)) is is_wording


def test_the_table_fits_the_code():
    """Every module has tests that exist; every entry has a reason and a line that its module still has."""
    for module in mutate.modules_of_areas():
        for path in mutate.tests_for(module, TABLE["tests"]):
            assert (REPOSITORY / path).exists(), path
    for entry in TABLE.get("equivalent", ()):
        code = " ".join((REPOSITORY / entry["module"]).read_text(encoding="utf-8").split())
        assert " ".join(entry["before"].split()) in code, entry
        assert len(entry["reason"].split()) > 3, entry
