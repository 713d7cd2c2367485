"""The kernel of a headless run: ipykernel, without slow imports. Started as ``python -m gitops_nb.kernel``.

It is there before its run: it imports what it needs while the run is being made, and gets its order through a pipe.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
from functools import cache
from typing import Any, Self

from gitops_nb.adapters.process import prepare
from gitops_nb.adapters.warden import die_with_parent
from gitops_nb.imports import skip_headless_imports, uncollected

NEEDED = (
    "ipykernel.kernelapp",
    "ipykernel.debugger",
    "tornado.platform.asyncio",
    "gitops_nb.notebook.front",
    "gitops_nb.notebook.streams",
    "gitops_nb.sandbox",
)
STREAM = "gitops_nb.notebook.streams.Stream"

NOT_FOR_NOTEBOOKS = frozenset(
    {"GITOPS_NB_RUNNER_KEY", "ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"}
)
"""Variables that hold or open what only the engine may use."""


class KernelProcess:
    """A kernel started ahead: it imports while its run is being made. Implements ``engine.kernels.Waiting``.

    A context: one that got no order is gone when that ends.
    """

    def __init__(self) -> None:
        read, self._pipe = os.pipe()
        self.child = subprocess.Popen(
            (sys.executable, "-m", "gitops_nb.kernel"),
            env={k: v for k, v in os.environ.items() if k not in NOT_FOR_NOTEBOOKS},
            stdin=read,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(read)

    def order(self, content: str) -> None:
        """Says what to serve, once."""
        # One that died already is noticed by its exit code.
        with (
            contextlib.suppress(BrokenPipeError),
            open(self._pipe, "w", encoding="utf-8") as pipe,  # noqa: PTH123  a descriptor
        ):
            self._pipe = -1
            pipe.write(content)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        self.child.kill()
        self.child.wait()

    def _close(self) -> None:
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1


def main() -> None:
    """Obeys an order that comes on standard input, and never lives longer than the engine."""
    die_with_parent(signal.SIGKILL)
    skip_headless_imports()
    # What cannot be imported is told when it is needed: only then there is a log.
    with uncollected(), contextlib.suppress(ImportError):
        for name in NEEDED:
            importlib.import_module(name)
        application()
    obey(0)


def obey(pipe: int) -> None:
    """Waits for the order, then serves the connection file that it names until the engine ends this process.

    Args:
        pipe: Descriptor of JSON with ``connection``, ``log``, ``cwd`` and ``environment``; when nothing comes
            there is no run, and this process ends.
    """
    prepare()
    with open(pipe, encoding="utf-8", closefd=False) as file:
        content = file.read()
    os.close(pipe)
    if not content:
        os._exit(0)
    order = json.loads(content)
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["cwd"])
    _redirect(order["log"])
    _serve(order["connection"])


@cache
def application() -> Any:
    """Ipykernel's application of this process, that knows everything but its connection."""
    from ipykernel.kernelapp import IPKernelApp
    from traitlets.config import Config

    class Kernel(IPKernelApp):
        """Has its options in its configuration: a parser for all there are takes longer than everything else at its start."""

        def parse_command_line(self, argv: Any = None) -> None:
            """There is no command line."""

    return Kernel.instance(
        config=Config(
            {
                "IPKernelApp": {"outstream_class": STREAM},
                # IPython's history would be one more file in the person's home, and one more thread.
                "HistoryManager": {"enabled": False},
            }
        )
    )


def _serve(connection: str) -> None:
    """The life of the kernel."""
    app = application()
    app.connection_file = connection
    app.parent_handle = os.getppid()
    with uncollected():
        app.initialize([])
    # Its logger makes a record of everything, for its handler to drop nearly all.
    app.log.setLevel(app.log_level)
    app.start()


def _redirect(log: str) -> None:
    """Standard input from nowhere, standard output and error into a file."""
    nowhere = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for descriptor, number in ((nowhere, 0), (output, 1), (output, 2)):
        if descriptor != number:
            os.dup2(descriptor, number)
            os.set_inheritable(number, True)


if __name__ == "__main__":
    main()
