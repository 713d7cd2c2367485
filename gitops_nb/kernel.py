"""The kernel of a headless run: ipykernel, without slow imports. Started as ``python -m gitops_nb.kernel``.

It is there before its run: it imports what it needs while the run is being made, and gets its order through a pipe.
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from copy import deepcopy
from functools import cache
from pathlib import Path
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
    """Ipykernel's application of this process, ready but for its connection and the kernel that serves this."""
    from ipykernel.kernelapp import IPKernelApp
    from traitlets.config import Config

    class Kernel(IPKernelApp):
        """Has its options in its configuration: a parser for all there are takes longer than everything else at its start."""

        def parse_command_line(self, argv: Any = None) -> None:
            """There is no command line."""

        def init_kernel(self) -> None:
            """The kernel takes the shell that is there, and if there is none makes one."""
            shell = _shell()
            super().init_kernel()  # type: ignore[no-untyped-call]
            if shell is not None:
                shell.parent = shell.kernel = self.kernel
                _settle(shell)

    app = Kernel.instance(
        config=Config(
            {
                "IPKernelApp": {"outstream_class": STREAM},
                # IPython's history would be one more file in the person's home, and one more thread.
                "HistoryManager": {"enabled": False},
            }
        )
    )
    _quieten(app)
    # What goes wrong here does so again at the kernel's own start, where there is a log for it.
    with contextlib.suppress(Exception, SystemExit):
        _prepare_shell(app)
    return app


def _prepare_shell(app: Any) -> None:
    """Makes the kernel's shell, which takes as long as everything else at its start.

    Ipykernel takes the one shell that a process has, and tells it where outputs go. Whoever configures IPython gets one that
    is made in the usual order.
    """
    from ipykernel.compiler import XCachingCompiler
    from ipykernel.zmqshell import ZMQInteractiveShell

    ours = deepcopy(app.config)
    app.init_profile_dir()
    app.init_config_files()
    app.load_config_file()
    if app.config != ours:
        return
    with _unchanged(vars(sys), vars(builtins), sys.modules, os.environ):
        shell: Any = ZMQInteractiveShell.instance(
            parent=app, profile_dir=app.profile_dir, compiler_class=XCachingCompiler
        )
    atexit.unregister(shell.atexit_operations)
    _ = shell.display_formatter.formatters  # made at the first output


@contextmanager
def _unchanged(*places: MutableMapping[str, Any]) -> Iterator[None]:
    """What is there before the block is there after it; what is new stays only among modules, which others may hold."""
    before = [dict(place) for place in places]
    try:
        yield
    finally:
        for place, kept in zip(places, before, strict=True):
            if place is not sys.modules:
                for name in place.keys() - kept.keys():
                    del place[name]
            place.update(kept)


def _shell() -> Any:
    """The shell that was made ahead, if one was."""
    from IPython.core.interactiveshell import InteractiveShell

    return InteractiveShell.instance() if InteractiveShell.initialized() else None


def _settle(shell: Any) -> None:
    """What a shell does to its process when it is made, in the order in which it does so."""
    shell.starting_dir = str(Path.cwd())
    shell.init_environment()
    shell.save_sys_module_state()
    shell.init_sys_modules()
    shell.init_builtins()
    shell.init_prompts()
    atexit.register(shell.atexit_operations)


def _serve(connection: str) -> None:
    """The life of the kernel."""
    app = application()
    app.connection_file = connection
    app.parent_handle = os.getppid()
    with uncollected():
        app.initialize([])
    _quieten(app)
    app.start()


def _quieten(app: Any) -> None:
    """By default its logger makes a record of everything, for its handler to drop nearly all."""
    app.log.setLevel(app.log_level)


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
