"""The kernel of a headless run: ipykernel, without slow imports. Started as ``python -m gitops_nb.kernel``."""

from __future__ import annotations

import signal
import sys

from gitops_nb.adapters.process import prepare
from gitops_nb.adapters.warden import die_with_parent
from gitops_nb.imports import skip_debugger, skip_slow_imports


def main() -> None:
    """Serves the connection file of the command line until the engine ends it, and never longer than the engine lives."""
    die_with_parent(signal.SIGKILL)
    skip_slow_imports()
    serve(sys.argv[1:])


def serve(arguments: list[str]) -> None:
    """Runs the kernel application in this process."""
    skip_debugger()
    prepare()
    from ipykernel import kernelapp

    # IPython's history would be one more file in the person's home, and one more thread.
    kernelapp.launch_new_instance(["--HistoryManager.enabled=False", *arguments])


if __name__ == "__main__":
    main()
