"""The notebook client of a headless run: nbclient on a kernel that the engine started and will end."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
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
        try:
            self.kc.start_channels(hb=False)
            await self.kc.wait_for_ready(timeout=READY_S)
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

    async def is_alive(self) -> bool:
        """Whether the process lives."""
        return self._kernel.exit_code is None

    _async_is_alive = is_alive
