"""External commands: deadlines hold, children end, secrets of the environment stay out."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gitops_nb.adapters.process import LocalProcesses
from gitops_nb.errors import UnavailableError


def run(code: str, **options):
    """Runs a Python snippet."""
    return LocalProcesses().run(
        (sys.executable, "-c", code), timeout_s=options.pop("timeout_s", 30), **options
    )


def test_exit_code_streams_and_input():
    """Whatever the exit code is, it is returned."""
    done = run(
        "import sys; print(sys.stdin.read()); sys.stderr.write('e'); sys.exit(3)", stdin=b"hi"
    )
    assert (done.exit_code, done.stdout.strip(), done.stderr) == (3, "hi", "e")


def test_only_named_variables_are_passed_on(monkeypatch):
    """A token in the environment of the runner does not reach a child."""
    monkeypatch.setenv("CLOUD_TOKEN", "canary")
    done = run(
        "import os; print(os.environ.get('CLOUD_TOKEN'), os.environ['ADDED'])",
        environment={"ADDED": "1"},
    )
    assert done.stdout.strip() == "None 1"


def test_a_command_that_does_not_end_is_stopped_with_its_children(tmp_path):
    """After the deadline neither the command nor what it started is left."""
    marker = f"gitops-nb-test-{tmp_path.name}"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)', '{marker}'])"
    with pytest.raises(UnavailableError, match="did not end within"):
        run(code, timeout_s=1.0)
    left = subprocess.run(
        ("pgrep", "-f", f"time.sleep.60.* {marker}"), capture_output=True, check=False
    )
    assert left.stdout == b""


def test_a_missing_program_says_what_to_install():
    """The error names the program."""
    with pytest.raises(UnavailableError, match="cannot start no-such-program"):
        LocalProcesses().run(("no-such-program",), timeout_s=5)


def test_programs_are_found_as_a_shell_finds_them(tmp_path):
    """The first folder of PATH that has it, relative to where the command runs, and again when that one is gone."""
    processes = LocalProcesses()
    for folder in ("first", "second", "here/bin"):
        (tmp_path / folder).mkdir(parents=True)
        program = tmp_path / folder / "which-one"
        program.write_text(f"#!/bin/sh\necho {folder}\n")
        program.chmod(0o755)
    closed = tmp_path / "closed"
    closed.mkdir()
    (closed / "which-one").write_text("")

    def found(*folders: str) -> str:
        path = ":".join(str(tmp_path / f) if f != "bin" else f for f in (*folders, "/bin"))
        done = processes.run(
            ("which-one",), timeout_s=20, cwd=tmp_path / "here", environment={"PATH": path}
        )
        return done.stdout.strip()

    assert found("closed", "nowhere", "first", "second") == "first"
    (tmp_path / "first" / "which-one").unlink()
    assert found("closed", "nowhere", "first", "second") == "second"
    assert found("bin", "second") == "here/bin"
    with pytest.raises(UnavailableError, match="cannot start which-one: Permission denied"):
        found("closed")


def test_a_command_reads_files_that_nobody_can_write():
    """An argument stands for a file: it is read, by name, and cannot be changed even by the command."""
    code = """
import sys
for name in sys.argv[1:]:
    print(open(name).read())
    try:
        open(name, "w")
    except OSError:
        print("sealed")
"""
    done = LocalProcesses().run(
        (sys.executable, "-c", code, "<one>", "<two>"),
        timeout_s=30,
        files={"<two>": b"2" * 100_000, "<one>": b"1"},
    )
    assert done.stdout.split() == ["1", "sealed", "2" * 100_000, "sealed"]


def test_a_command_is_not_told_who_vouches_for_servers(monkeypatch):
    """Git asks the machine's own authorities; a proxy's address is passed on."""
    monkeypatch.setenv("SSL_CERT_FILE", "/x")
    monkeypatch.setenv("SSL_CERT_DIR", "/x")
    monkeypatch.setenv("GIT_SSL_CAINFO", "/x")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example")
    done = run("import os; print([n for n in os.environ if 'SSL' in n], os.environ['HTTPS_PROXY'])")
    assert done.stdout.strip() == "[] http://proxy.example"


def test_a_command_that_goes_on_telling_is_limited_by_silence():
    """As long as something comes it may go on; one that says nothing is stopped long before its whole time is over."""
    telling = "import sys, time\nfor n in range(8):\n    print(n, file=sys.stderr, flush=True)\n    time.sleep(0.5)"
    assert run(telling, silence_s=20.0).exit_code == 0
    with pytest.raises(UnavailableError, match="said nothing for 2 s"):
        run("print(1, flush=True); import time; time.sleep(60)", silence_s=2.0, timeout_s=600)
