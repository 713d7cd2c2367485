"""Argo CD: what its Applications did, told from a watch, because ``status.history`` is not the list of deployments.

History has resyncs and crash loops, lacks partial syncs, self-heals and failures, and is trimmed; a failure stands
only in the latest ``operationState``, which the next automated sync erases. So every snapshot of a watch is folded
into attempts, one per operation, and deployments are derived from all attempts of a service together.

Source: 84 recordings of Argo CD 3.0.11, which ``tests/dora/test_argocd.py`` folds; argo-cd#27875, devlake#8861.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from gitops_nb.argo import current_images, current_revisions, history_of, operation_state
from gitops_nb.argo.rollout import failed_workloads, failing_pods
from gitops_nb.argo.status import at, revisions_of
from gitops_nb.dora import fact_tables
from gitops_nb.dora.collectors.configuration import Collected
from gitops_nb.dora.collectors.version import image_tag
from gitops_nb.dora.schemas import ATTEMPT, KEYS, check
from gitops_nb.dora.store import FactStore, Merged
from gitops_nb.model import Json, parse_time
from gitops_nb.ports import ArgoReader, Snapshot

SOURCE = "argocd"
HEALTH_WINDOW_S = 900
"""An Application that is Degraded within this time after its sync did not deploy well."""
_FAILED = ("Failed", "Error")
_ENDED = ("Succeeded", *_FAILED)
_MAX_WATCHES = 64


@dataclass(frozen=True, slots=True)
class Place:
    """The service and environment of one Application, by its exact name in the fleet."""

    service: str
    environment: str


@dataclass(slots=True)
class _Operation:
    """What is known of one operation. Several may start in one second; ``number`` is its history id."""

    number: str
    started_s: int
    finished_s: int
    revision: str = ""
    phase: str = ""
    in_history: bool = False
    is_automated: bool = False
    is_heal: bool = False
    is_dry_run: bool = False
    is_degraded: bool = False
    is_proven: bool = False
    is_healthy: bool = False
    is_in_force: bool = False
    version: str = ""
    healthy_s: int | None = None
    degraded_s: int | None = None


@dataclass(slots=True)
class ApplicationLog:
    """Folds snapshots of one Application into its operations."""

    application: str
    place: Place
    _operations: dict[tuple[int, str], _Operation] = field(default_factory=dict)
    _observed: dict[int, tuple[str, str]] = field(default_factory=dict)

    def see(self, snapshot: Snapshot) -> None:
        """Takes in one snapshot; the same one again changes nothing."""
        application = snapshot.application or {}
        self._observe(application)
        for entry in history_of(application):
            self._synced(entry)
        state = operation_state(application)
        # With retries left the phase is Running although an end is set.
        if state.get("phase") in _ENDED and state.get("startedAt") and state.get("finishedAt"):
            self._finish(state)
        if state.get("phase") != "Running":
            self._judge(snapshot, application)

    def attempts(self, *, until_s: int) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
        """Attempts as the store keeps them, and ledger rows.

        Args:
            until_s: Until when the Application was seen; one whose health is still open then comes later.
        """
        rows: list[dict[str, Any]] = []
        left_out: list[dict[str, Any]] = []
        ordered = sorted(self._operations.values(), key=_order)
        for index, operation in enumerate(ordered):
            place = {"service": self.place.service, "environment": self.place.environment}
            if operation.is_dry_run and not operation.in_history:
                left_out.append(
                    {
                        **place,
                        "reason": "dry run",
                        "left_out_of": "deployments",
                        "sha": operation.revision,
                        "finished_s": operation.finished_s,
                        "detail": self.application,
                    }
                )
                continue
            is_last = index == len(ordered) - 1
            is_open = not (operation.is_healthy or operation.is_degraded)
            if (
                operation.phase == "Succeeded"
                and is_last
                and is_open
                and until_s < operation.finished_s + HEALTH_WINDOW_S
            ):
                continue
            rows.append(
                {
                    **place,
                    "application": self.application,
                    "number": operation.number,
                    "version": operation.version,
                    "revision": operation.revision,
                    "started_s": operation.started_s,
                    "finished_s": operation.finished_s,
                    "healthy_s": operation.healthy_s,
                    "degraded_s": operation.degraded_s,
                    "outcome": _outcome(operation),
                    "extent": _extent(operation),
                    "is_automated": operation.is_automated,
                }
            )
        return fact_tables.frame(ATTEMPT, rows), left_out

    def observations(self) -> pd.DataFrame:
        """What Argo CD said at the moments when it compared the Application, once for each change."""
        rows = [
            {
                "service": self.place.service,
                "environment": self.place.environment,
                "application": self.application,
                "observed_s": at_s,
                "sync": sync,
                "health": health,
            }
            for at_s, (sync, health) in sorted(self._observed.items())
        ]
        return fact_tables.frame(fact_tables.OBSERVATION, rows)

    def _observe(self, application: Json) -> None:
        status = at(application, "status")
        at_s = _seconds(status.get("reconciledAt"))
        said = (
            str(at(status, "sync").get("status") or "Unknown"),
            str(at(status, "health").get("status") or "Unknown"),
        )
        last = max(self._observed, default=0)
        if at_s > last and self._observed.get(last) != said:
            self._observed[at_s] = said

    def _synced(self, entry: Json) -> None:
        """Takes in a history entry: a full sync that succeeded."""
        deployed_s = _seconds(entry["deployedAt"])
        started_s = _seconds(entry.get("deployStartedAt")) or deployed_s
        revision = commit_of(revisions_of(entry))
        key = (started_s, str(entry.get("id", "")))
        if key not in self._operations:
            # The operation was seen just before its entry was written.
            early = self._operations.pop((started_s, f"Succeeded {revision}"), None)
            self._operations[key] = early or _Operation("", started_s, deployed_s)
        found = self._operations[key]
        found.number, found.in_history, found.phase = key[1], True, "Succeeded"
        found.revision, found.finished_s = revision, deployed_s
        found.is_automated = bool(at(entry, "initiatedBy").get("automated"))

    def _finish(self, state: Json) -> None:
        """Takes in a finished operation; what history says about it is worth more, as its fields may be old."""
        started_s, finished_s = _seconds(state["startedAt"]), _seconds(state["finishedAt"])
        phase = str(state["phase"])
        operation = state.get("operation") or {}
        asked = at(operation, "sync")
        revision = commit_of(revisions_of(at(state, "syncResult")) or revisions_of(asked))
        if phase == "Succeeded" and any(
            o.in_history and (o.started_s, o.revision) == (started_s, revision)
            for o in self._operations.values()
        ):
            return
        found = self._operations.setdefault(
            (started_s, f"{phase} {revision}"), _Operation("", started_s, finished_s)
        )
        found.finished_s, found.phase, found.revision = finished_s, phase, revision
        found.is_automated = bool(at(operation, "initiatedBy").get("automated"))
        found.is_heal = bool(asked.get("autoHealAttemptsCount"))
        found.is_dry_run = bool(asked.get("dryRun"))

    def _judge(self, snapshot: Snapshot, application: Json) -> None:
        """What health and comparison say about the newest operation."""
        newest = max(self._operations.values(), key=_order, default=None)
        if newest is None:
            return
        health = at(application, "status", "health")
        changed_s = _seconds(health.get("lastTransitionTime"))
        # A health that is older than the operation says nothing about it. Times are whole seconds, so one of the
        # same second is the state before, which a quick rollback from a crash still shows.
        is_fresh = newest.started_s < changed_s <= newest.finished_s + HEALTH_WINDOW_S
        if health.get("status") == "Degraded" and is_fresh:
            newest.is_degraded, newest.degraded_s = True, newest.degraded_s or changed_s
            newest.is_proven |= _has_cause(snapshot)
        if health.get("status") == "Healthy":
            newest.is_healthy = True
            if not newest.is_proven:
                newest.is_degraded, newest.degraded_s = False, None
            if changed_s >= newest.finished_s:
                newest.healthy_s = newest.healthy_s or changed_s
        sync = at(application, "status", "sync")
        if sync.get("status") == "Synced" and newest.revision in current_revisions(application):
            newest.is_in_force = True
        tags = {image_tag(image) for image in current_images(snapshot)}
        if len(tags) == 1 and "" not in tags and not newest.version:
            newest.version = tags.pop()


def collect_argocd(
    readers: Mapping[str, ArgoReader],
    store: FactStore,
    places: Mapping[str, Place],
    *,
    watch_s: float,
    now_s: int,
) -> Collected:
    """Watches the Applications of a fleet and derives the deployments of their services.

    Args:
        readers: Argo CD by the name of its cluster.
        store: Where facts go.
        places: Service and environment by the exact name of the Application; others go to the ledger.
        watch_s: How long to watch; 0 takes one look, which misses what is over by then.
        now_s: When the watch ends.
    """
    logs: list[tuple[ApplicationLog, ArgoReader, str]] = []
    left_out: list[dict[str, Any]] = []
    for cluster, reader in readers.items():
        for name in reader.names():
            place = places.get(name)
            if place is None:
                left_out.append(
                    {
                        "reason": "application is not in the fleet",
                        "left_out_of": "everything",
                        "detail": f"{cluster}/{name}",
                    }
                )
                continue
            logs.append((ApplicationLog(f"{cluster}/{name}", place), reader, name))
    with ThreadPoolExecutor(max_workers=_MAX_WATCHES) as pool:
        list(pool.map(lambda log: _watch(*log, watch_s=watch_s), logs))
    merged, rows = Merged(), 0
    touched: set[str] = set()
    for log, _, _ in logs:
        attempts, more = log.attempts(until_s=now_s)
        attempts = _keep_known(store, attempts)
        left_out += more
        rows += len(attempts)
        merged += store.merge("attempt", attempts)
        merged += store.merge("observation", log.observations())
        touched |= set(attempts["service"])
    merged += store.merge("exclusion", fact_tables.frame(fact_tables.EXCLUSION, left_out))
    merged += derive(store, tuple(sorted(touched)))
    return Collected(SOURCE, "", rows, merged, len(left_out))


def _keep_known(store: FactStore, attempts: pd.DataFrame) -> pd.DataFrame:
    """A later look sees less of an old operation: what a watch saw of its health and version stays."""
    key = list(KEYS["attempt"])
    before = store.read("attempt", tuple(attempts["service"].unique()))[
        [*key, "version", "healthy_s", "degraded_s", "outcome"]
    ]
    joined = attempts.merge(before, on=key, how="left", suffixes=("", "_before"))
    seen = joined["version_before"].fillna("") != ""
    joined.loc[seen, "version"] = joined["version_before"]
    joined.loc[joined["outcome_before"] == "degraded", "outcome"] = "degraded"
    for name in ("healthy_s", "degraded_s"):
        joined[name] = joined[f"{name}_before"].fillna(joined[name])
    return joined[list(ATTEMPT)].astype(dict(ATTEMPT))


def derive(store: FactStore, services: Sequence[str]) -> Merged:
    """Makes the deployments of services from all their stored attempts."""
    if not services:
        return Merged()
    attempts = store.read("attempt", services).assign(order=_numbers)
    rows = [
        row
        for _, group in attempts.groupby(["service", "environment"])
        for row in classify(
            group.sort_values(["finished_s", "started_s", "order"]).itertuples(index=False)
        )
    ]
    own = check("deployment", fact_tables.frame(fact_tables.DEPLOYMENT, rows))
    others = store.read("deployment", services)
    others = others[others["source"] != SOURCE]
    return store.replace("deployment", pd.concat([others, own]), services=services)


def _numbers(attempts: pd.DataFrame) -> pd.Series[int]:
    return pd.to_numeric(attempts["number"], errors="coerce").fillna(-1).astype("int64")


def classify(attempts: Iterable[Any]) -> list[dict[str, Any]]:
    """Deployments of one service in one environment from its attempts in order of time.

    The same revision on another cluster is the same deployment (fan-out); on the same one it is a resync, or a
    heal when Argo CD repaired drift. A revision that ran before, but not last, is a rollback. The first one is a
    seed: nobody knows what ran before it.
    """
    rows: list[dict[str, Any]] = []
    ran: list[str] = []
    current: dict[str, Any] = {}
    reached: set[str] = set()
    for attempt in attempts:
        row = {
            "deployment_id": f"{attempt.service}/{attempt.environment}@{attempt.revision[:12]}:{attempt.started_s}{_dash(attempt.number)}",
            "service": attempt.service,
            "environment": attempt.environment,
            "version": attempt.version,
            "revision": attempt.revision,
            "started_s": attempt.started_s,
            "finished_s": attempt.finished_s,
            "synced_s": attempt.finished_s,
            "healthy_s": attempt.healthy_s,
            "degraded_s": attempt.degraded_s,
            "outcome": attempt.outcome,
            "trigger": "automated" if attempt.is_automated else "promotion",
            "source": SOURCE,
            "is_seed": not ran and attempt.outcome != "failed",
            "is_censored": not ran and attempt.outcome != "failed",
        }
        if attempt.outcome == "failed":
            rows.append(row)
            continue
        if ran and attempt.revision == ran[-1]:
            if attempt.extent == "full" and attempt.application not in reached:
                reached.add(attempt.application)
                current["finished_s"] = attempt.finished_s
                if attempt.outcome == "degraded":
                    current["outcome"] = "degraded"
                continue
            row["trigger"] = "heal" if attempt.extent == "heal" else "resync"
            rows.append(row)
            continue
        if attempt.revision in ran:
            row["trigger"] = "rollback"
        ran.append(attempt.revision)
        current, reached = row, {attempt.application}
        rows.append(row)
    return rows


def _has_cause(snapshot: Snapshot) -> bool:
    """Right after a fix Argo CD may say Degraded, even newly, of what the fix replaced: then no workload shows why.

    Without workloads, as in a recording of Applications alone, its word stands.
    """
    workloads = snapshot.workloads
    return not workloads or bool(failing_pods(workloads) or failed_workloads(workloads))


def _dash(number: str) -> str:
    return f"-{number}" if number else ""


def commit_of(revisions: Sequence[str]) -> str:
    """The commit among the revisions of several sources: a chart's version is none.

    >>> commit_of(("2.6.2", "5dd95b4efd7e9b668c361bbddb8d7f1e56c32ac1"))
    '5dd95b4efd7e9b668c361bbddb8d7f1e56c32ac1'
    """
    commits = [r for r in revisions if len(r) == 40 and set(r) <= set("0123456789abcdef")]
    return next(iter(commits or revisions), "")


def _watch(log: ApplicationLog, reader: ArgoReader, name: str, *, watch_s: float) -> None:
    if watch_s <= 0:
        log.see(reader.snapshot(name))
        return
    for snapshot in reader.watch(name, timeout_s=watch_s):
        log.see(snapshot)


def _order(operation: _Operation) -> tuple[int, int, int]:
    number = int(operation.number) if operation.number.isdecimal() else -1
    return (operation.finished_s, operation.started_s, number)


def _outcome(operation: _Operation) -> str:
    if operation.phase in _FAILED:
        # After a failed PostSync hook the new version runs all the same.
        return "degraded" if operation.is_in_force else "failed"
    return "degraded" if operation.is_degraded else "succeeded"


def _extent(operation: _Operation) -> str:
    if operation.in_history or operation.phase in _FAILED:
        return "full"
    return "heal" if operation.is_heal else "partial"


def _seconds(moment: str | None) -> int:
    return int(parse_time(moment).timestamp()) if moment else 0
