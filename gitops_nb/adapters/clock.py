"""The wall clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class WallClock:
    """Real time; implements ``ports.Clock``."""

    def now(self) -> datetime:
        """The present moment, in UTC."""
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        """Waits."""
        time.sleep(max(0.0, seconds))
