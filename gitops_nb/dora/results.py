"""What measuring yields: plain values that round-trip through JSON and that cards and reports show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gitops_nb.dora.changepoints import Shift
from gitops_nb.dora.definition import DoraDefinition
from gitops_nb.dora.levels import Level
from gitops_nb.dora.statistics import Estimate
from gitops_nb.dora.windows import Window


@dataclass(frozen=True, slots=True)
class Change:
    """How a metric moved against the window before.

    ``kind`` is "ratio" (1 is no change) or "difference" (0 is). ``direction`` is "up", "down", "flat" (no
    clear change) or "unknown"; ``reason`` says why it is unknown. ``stratified`` counts the services whose own
    median, or pace, went (down, up), of those with enough values in both windows. ``compared`` is how many services
    were compared, those that both windows have; None when these are all. ``visible_millionths`` is the smallest change that
    would be told in four of five histories like this one: a share of the value before, or of shares their difference.
    """

    kind: str
    estimate: Estimate
    direction: str
    reason: str = ""
    stratified: tuple[int, int] = (0, 0)
    compared: int | None = None
    visible_millionths: int | None = None

    @property
    def visible(self) -> float | None:
        """The smallest change that would likely be told, or None where nobody can say."""
        return None if self.visible_millionths is None else self.visible_millionths / 1_000_000

    @property
    def disagrees(self) -> bool:
        """True when the pooled change has a direction and most single services went the other way."""
        down, up = self.stratified
        return (self.direction == "down" and up > down) or (self.direction == "up" and down > up)


@dataclass(frozen=True, slots=True)
class Target:
    """What a metric is held against: at least so much of a frequency, at most so much of all others.

    ``verdict`` is "met" or "missed" where the whole interval lies on one side, "not clear" where it does not, and "no data".
    """

    bound_millionths: int
    verdict: str

    @property
    def bound(self) -> float:
        """The bound in the metric's unit."""
        return self.bound_millionths / 1_000_000


@dataclass(frozen=True, slots=True)
class Metric:
    """One number with everything a reader needs to trust it.

    ``unit`` is "per week" (of one service), "s" or "ratio" (0 to 1). ``n`` of the estimates counts what was
    measured: services, versions, deployments, failures. ``counts`` names further counts, ``excluded`` the rows
    left out by reason. ``missing`` says why there is no value; it is "" when there is one. ``target`` is None where nobody set one.
    """

    key: str
    title: str
    question: str
    unit: str
    now: Estimate
    before: Estimate | None
    change: Change | None
    level: Level
    counts: Mapping[str, int] = field(default_factory=dict)
    excluded: Mapping[str, int] = field(default_factory=dict)
    missing: str = ""
    target: Target | None = None

    @property
    def has_value(self) -> bool:
        """True when there is a number to show."""
        return not self.missing and self.now.value is not None


@dataclass(frozen=True, slots=True)
class Week:
    """One ISO week of all services. ``period`` is "before", "now" or "partial"; lead times are in seconds."""

    start_s: int
    end_s: int
    period: str
    deployments: int
    failed: int
    rollbacks: int
    lead_n: int
    lead_low_s: int | None
    lead_median_s: int | None
    lead_high_s: int | None


@dataclass(frozen=True, slots=True)
class Service:
    """One service in the window; ``weeks`` are its deployments in the weeks of the window and after."""

    name: str
    deployments: int
    before: int
    per_week: float | None
    lead: Estimate
    failed: int
    fail_rate: Estimate
    rollbacks: int
    recovery: Estimate
    still_open: int
    last_s: int
    weeks: tuple[int, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Stage:
    """One step: the median time of what ended in the window, in seconds.

    A promotion of versions from ``source`` to ``target``, or a stage of changes between these two moments.
    ``before`` is that of the window before; ``excluded`` counts what has no time, by reason.
    """

    source: str
    target: str
    now: Estimate
    before: Estimate | None
    excluded: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Freeze:
    """A freeze window of the policy that touches what the charts show."""

    name: str
    start_s: int
    end_s: int


@dataclass(frozen=True, slots=True)
class SyncWeek:
    """What Argo CD said in one week, counted over what was observed of its Applications."""

    start_s: int
    observed: int
    synced: int
    healthy: int


@dataclass(frozen=True, slots=True)
class SyncStatus:
    """What Argo CD said, counted over applications; ``missing`` says why nothing was asked or answered."""

    total: int = 0
    synced: int = 0
    out_of_sync: int = 0
    healthy: int = 0
    out_of_sync_names: tuple[str, ...] = ()
    unhealthy_names: tuple[str, ...] = ()
    missing: str = ""


@dataclass(frozen=True, slots=True)
class Team:
    """One team in the window: its services that are there, and their numbers; no person stands in it.

    ``lead`` is the median of all lead times of its services, in seconds. ``targets`` are verdicts by metric.
    """

    name: str
    services: int
    deployments: int
    per_week_millionths: int | None
    lead: Estimate
    failed: int
    fail_rate: Estimate
    targets: Mapping[str, str] = field(default_factory=dict)

    @property
    def per_week(self) -> float | None:
        """Deployments of a service per week, the median of its services."""
        return None if self.per_week_millionths is None else self.per_week_millionths / 1_000_000


@dataclass(frozen=True, slots=True)
class Size:
    """Deployments that brought ``low`` to ``high`` changes (0: no upper end), and how many of them failed."""

    low: int
    high: int
    deployments: int
    failed: int
    fail_rate: Estimate


@dataclass(frozen=True, slots=True)
class Cause:
    """Failed deployments of one cause, and their recovery time in seconds; no value under five failures."""

    name: str
    failures: int
    still_open: int
    recovery: Estimate


@dataclass(frozen=True, slots=True)
class Month:
    """One calendar month: ``lead`` is the median over deployments of the median of their changes, in seconds."""

    start_s: int
    end_s: int
    deployments: int
    failed: int
    fail_rate: Estimate
    lead: Estimate


@dataclass(frozen=True, slots=True)
class Excluded:
    """Rows of the ledger with one reason; ``where`` names the services with the most of them."""

    reason: str
    left_out_of: str
    rows: int
    where: str


@dataclass(frozen=True, slots=True)
class Look:
    """One thing to look at; ``service`` is "" when it is about the whole fleet, ``ask`` a question to begin with."""

    service: str
    text: str
    ask: str = ""


@dataclass(frozen=True, slots=True)
class Cell:
    """One number of the what-if table in its unit, kept in whole millionths; ``missing`` says why there is none."""

    value_millionths: int | None
    n: int
    missing: str = ""

    @property
    def value(self) -> float | None:
        """The value, or None."""
        return None if self.value_millionths is None else self.value_millionths / 1_000_000


@dataclass(frozen=True, slots=True)
class WhatIf:
    """The same facts under another tool's definition; ``frequency_unit`` differs from tool to tool."""

    name: str
    note: str
    definition: str
    frequency_unit: str
    frequency: Cell
    lead_time: Cell
    fail_rate: Cell
    recovery: Cell


@dataclass(frozen=True, slots=True)
class Measured:
    """All numbers of one report.

    ``stages`` are the promotions on the way to the environment, ``split`` the stages of a change, ``shifts``
    the weeks where the pace of deployments changed, ``compared`` the what-if table, ``freezes`` the freeze
    windows of the time shown, ``sync_weeks`` the sync status over time. ``caveats`` say what a reader has to know before
    the numbers, ``notes`` what before the charts. ``is_last`` is False when versions are
    promoted further. ``team`` is the one whose services are measured, "" for all; ``teams`` are all of them. ``hours`` are
    deployments by weekday and hour, 168 from Monday on; ``sizes`` by the changes that they brought, ``causes`` why they failed, and
    ``months`` the last twelve. ``definition`` is the hash of ``options``.

    ``services`` and the rows behind every number are in Parquet files (``files``: SHA-256 by path below the
    run directory), not in here, so that the value stays small with 500 services.
    """

    environment: str
    first_environment: str
    window: Window
    before: Window | None
    complete_weeks: int
    time_zone: str
    definition: str
    metrics: tuple[Metric, ...]
    rollbacks: Metric
    sync: SyncStatus
    weeks: tuple[Week, ...]
    services: int
    seen: int
    excluded: tuple[Excluded, ...]
    title: str = ""
    sentence: str = ""
    look_at: tuple[Look, ...] = ()
    caveats: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    stages: tuple[Stage, ...] = ()
    shifts: tuple[Shift, ...] = ()
    split: tuple[Stage, ...] = ()
    compared: tuple[WhatIf, ...] = ()
    freezes: tuple[Freeze, ...] = ()
    sync_weeks: tuple[SyncWeek, ...] = ()
    options: DoraDefinition = field(default_factory=DoraDefinition)
    is_last: bool = True
    team: str = ""
    teams: tuple[Team, ...] = ()
    hours: tuple[int, ...] = ()
    sizes: tuple[Size, ...] = ()
    causes: tuple[Cause, ...] = ()
    months: tuple[Month, ...] = ()

    @property
    def summary(self) -> str:
        """The finding, for the run's list of steps."""
        return self.title

    def metric(self, key: str) -> Metric:
        """One metric by its key: frequency, lead_time, fail_rate, recovery, rework."""
        return next(metric for metric in self.metrics if metric.key == key)

    def _repr_html_(self) -> str:
        from gitops_nb.dora import cards  # cards read this module

        return cards.as_html(self.title, self.sentence, cards.measured_lines(self))

    def _repr_pretty_(self, printer: Any, _: Any) -> None:
        from gitops_nb.dora import cards

        printer.text(cards.as_text(self.title, cards.measured_lines(self)))
