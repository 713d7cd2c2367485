"""What all metrics of one report share: its windows, definition, and what the facts can tell."""

from __future__ import annotations

from dataclasses import dataclass
from zoneinfo import ZoneInfo

from gitops_nb.dora.definition import DoraDefinition, Failure
from gitops_nb.dora.windows import Window


@dataclass(frozen=True, slots=True)
class Scope:
    """What all metrics of one report share.

    ``window`` and ``before`` are clipped to what is known. ``no_trend`` says why no change is judged, ""
    when it may be. ``has_incidents`` is False without an incidents file. ``is_last`` is True when nothing is
    promoted further, so that the Quick Check's words about production apply. ``shown`` is what the charts
    over time show. ``freezes`` are left out of the time that frequency is about, ``pauses`` are all freezes: weeks
    with one are not compared. ``stayed`` are the services that changes compare (None: all of them), and
    ``no_failures`` says why failures cannot be compared.
    """

    environment: str
    window: Window
    before: Window | None
    zone: ZoneInfo
    definition: DoraDefinition
    no_trend: str
    has_incidents: bool
    is_last: bool
    shown: Window
    first_environment: str = ""
    freezes: tuple[Window, ...] = ()
    pauses: tuple[Window, ...] = ()
    stayed: frozenset[str] | None = None
    no_failures: str = ""

    @property
    def knows_failures(self) -> bool:
        """Whether the facts can tell what failed: incidents are there, or the definition does without them."""
        return self.has_incidents or Failure.INCIDENT not in self.definition.failures

    @property
    def periods(self) -> tuple[Window, ...]:
        """The window, and the window before where there is one."""
        return (self.window,) if self.before is None else (self.window, self.before)
