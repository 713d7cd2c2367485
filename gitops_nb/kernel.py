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
import sys
import uuid
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

from gitops_nb.adapters.process import prepare
from gitops_nb.adapters.warden import die_with_parent
from gitops_nb.ahead import ProcessAhead
from gitops_nb.imports import skip_headless_imports, uncollected
from gitops_nb.session.order import Order
from gitops_nb.session.order import obey as accept

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


class KernelProcess(ProcessAhead):
    """A kernel started ahead. Implements ``engine.kernels.Waiting``."""

    def __init__(self) -> None:
        super().__init__("gitops_nb.kernel", without=NOT_FOR_NOTEBOOKS)


def main() -> None:
    """Obeys an order that comes on standard input, and never lives longer than the engine."""
    die_with_parent(signal.SIGKILL, parent=int(sys.argv[1]))
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
        pipe: Descriptor of JSON with ``connection``, ``log``, ``cwd``, ``environment`` and ``order``; when nothing comes
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
    accept(Order(**order["order"]))
    _redirect(order["log"])
    _serve(order["connection"])


@cache
def application() -> Any:
    """Ipykernel's application of this process with its kernel, ready but for the connection that this serves."""
    from ipykernel.ipkernel import IPythonKernel
    from ipykernel.kernelapp import IPKernelApp
    from traitlets import Type
    from traitlets.config import Config

    class Kernel(IPythonKernel):
        """A kernel that can be there before its connection: one of it and its shell takes as long as the rest of its start."""

        @classmethod
        def instance(cls, *arguments: Any, **connection: Any) -> Any:
            """The one of this process, made now or before; ipykernel hands over everything that belongs to its connection."""
            was_there = cls.initialized()
            kernel = super().instance(*arguments, **connection)
            if was_there:
                kernel.connect(connection)
            return kernel

        def connect(self, connection: Mapping[str, Any]) -> None:
            """Does what a kernel does with its connection when it is made."""
            for name, value in connection.items():
                setattr(self, name, value)
            self.ident = str(uuid.uuid4())
            self._stdout, self._stderr = sys.stdout, sys.stderr
            shell: Any = self.shell
            shell.displayhook.session = shell.display_pub.session = self.session
            shell.displayhook.pub_socket = shell.display_pub.pub_socket = self.iopub_socket
            shell.displayhook.topic = f"kernel.{self.ident}.execute_result".encode()
            _settle(shell)

    class Application(IPKernelApp):
        """Has its options in its configuration: a parser for all there are takes longer than everything else at its start."""

        kernel_class = Type(Kernel, klass="ipykernel.kernelbase.Kernel").tag(config=True)  # type: ignore[assignment]

        def parse_command_line(self, argv: Any = None) -> None:
            """There is no command line."""

        def prepare(self: Any) -> None:
            """Makes the kernel. Whoever configures IPython gets one that is made in the usual order."""
            ours = deepcopy(self.config)
            self.init_profile_dir()
            self.init_config_files()
            self.load_config_file()
            if self.config == ours:
                # There is nothing to be read once more.
                self.init_config_files = self.load_config_file = lambda: None
                with _unchanged(vars(sys), vars(builtins), sys.modules, os.environ):
                    kernel = Kernel.instance(
                        parent=self, log=self.log, profile_dir=self.profile_dir, user_ns=None
                    )
                atexit.unregister(kernel.shell.atexit_operations)
                _ = kernel.shell.display_formatter.formatters  # made at the first output

    app = Application.instance(
        config=Config(
            {
                # Code is imported from where packages are, never from a working directory.
                "IPKernelApp": {"outstream_class": STREAM, "ignore_cwd": True},
                # IPython's history would be one more file in the person's home, and one more thread.
                "HistoryManager": {"enabled": False},
            }
        )
    )
    _quieten(app)
    # What goes wrong here does so again at the kernel's own start, where there is a log for it.
    with contextlib.suppress(Exception, SystemExit):
        app.prepare()
    return app


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
