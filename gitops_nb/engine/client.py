"""The notebook client of a headless run: nbclient on a kernel that the engine started and will end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from queue import Empty
from typing import Any

from jupyter_client.asynchronous.client import AsyncKernelClient
from nbclient import NotebookClient

from gitops_nb.engine.document import Document
from gitops_nb.engine.kernels import Kernel

READY_S = 120


class Client(NotebookClient):
    """Sends cells and takes their outputs. Signals, timeouts and the kernel's life are the engine's.

    nbclient answers a signal by killing the kernel; the engine interrupts it once and lets it record what it did.
    """

    def __init__(self, document: Document, kernel: Kernel, **options: Any) -> None:
        super().__init__(document.notebook, timeout=None, store_widget_state=False, **options)
        self._document = document
        self._kernel = kernel

    @asynccontextmanager
    async def async_setup_kernel(self, **_: Any) -> AsyncGenerator[None, None]:
        """Context of a ready kernel."""
        self.kc = _KernelClient(self._kernel)
        # A connection that comes too early is tried again after 100 ms only.
        while not self._kernel.listens() and self._kernel.exit_code is None:  # noqa: ASYNC110  files tell no event
            await asyncio.sleep(0.005)
        try:
            self.kc.start_channels(hb=False)
            await self.kc.become_ready()
            self.kc.allow_stdin = False
            yield
        finally:
            self.kc.stop_channels()

    def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
        """Takes one message of a cell. Every output enters the document here and nowhere else."""
        self._document.has_changed = True
        return super().process_message(msg, cell, cell_index)


class _KernelClient(AsyncKernelClient):
    """Knows from the process whether the kernel lives, without a heartbeat and its thread."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(connection_file=str(kernel.connection))
        self._kernel = kernel
        self.load_connection_file()

    async def become_ready(self) -> None:
        """Waits until the kernel answers on both channels.

        jupyter_client's ``wait_for_ready`` also waits 0.2 s for messages that never come; nbclient passes over strangers' messages.

        Raises:
            RuntimeError: It died or did not answer in time.
        """
        deadline = time.monotonic() + READY_S
        while await self.is_alive() and time.monotonic() < deadline:
            self.kernel_info()
            with contextlib.suppress(Empty):
                await self.get_shell_msg(timeout=1)
                await self.get_iopub_msg(timeout=0.1)
                return
        raise RuntimeError("the kernel did not become ready")

    async def is_alive(self) -> bool:
        """Whether the process lives."""
        return self._kernel.exit_code is None

    _async_is_alive = is_alive
