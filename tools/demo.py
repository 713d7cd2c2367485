"""make demo: the three runbooks in the sandbox, headlessly, with the second person's approval between."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMMAND = str(Path(sys.executable).with_name("gitops-nb"))


def call(*arguments: str, expected: int = 0) -> str:
    """Runs one command, shows it, and stops the demo when its exit code is not the expected one."""
    print(f"\n$ gitops-nb {' '.join(arguments)}", flush=True)
    done = subprocess.run((COMMAND, *arguments), cwd=ROOT, check=False)
    if done.returncode != expected:
        sys.exit(f"the demo stops: exit code {done.returncode} where {expected} was due")
    return subprocess.run(
        (COMMAND, "report", "last"), cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()


def main() -> None:
    """Starts from a new sandbox, so that there is always something to promote.

    The demo plays a person, also where it runs in CI: automation may not start a promotion to production.
    """
    for name in ("CI", "GITHUB_ACTIONS"):
        os.environ.pop(name, None)
    shutil.rmtree(ROOT / ".gitops-nb" / "sandbox", ignore_errors=True)
    reports = [call("run", "bootstrap", "-p", "cluster=newcomer")]
    call("run", "promotion", "-p", "application=checkout", expected=2)
    call("approve", "last", "--yes", "--reason", "demo")
    reports.append(call("resume", "last"))
    reports.append(call("run", "dora"))
    call("verify", "last")
    print("\nReports of the demo, all of them SANDBOX:")
    for report in reports:
        print(f"  {report}")
    print(f"  {ROOT / 'reports' / 'index.html'}  (all runs)")


if __name__ == "__main__":
    main()
