"""The notebook client of a headless run: nbclient, without signal handlers of its own.

nbclient answers a signal by killing the kernel. The engine interrupts it once instead and lets it record what it did.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from nbclient import NotebookClient


class Client(NotebookClient):
    """Starts the kernel, hands over, and ends it; signals are the engine's."""

    @asynccontextmanager
    async def async_setup_kernel(self, **options: Any) -> AsyncGenerator[None, None]:
        """Context of a running kernel; see ``NotebookClient.async_setup_kernel``."""
        await self.async_start_new_kernel(**options)
        await self.async_start_new_kernel_client()
        try:
            yield
        finally:
            await self._async_cleanup_kernel()
