"""Small invented histories: a fake configuration repository, and requests over it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from gitops_nb import dora
from gitops_nb.catalog.fleet import Fleet
from gitops_nb.errors import UnavailableError
from gitops_nb.ports import FileChange, Snapshot, View
from gitops_nb.record.fold import RunState
from gitops_nb.report.dora import render_dora, render_interactive

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)  # a Monday
NOW_S = int(NOW.timestamp())
HOUR = 3600
DAY = 24 * HOUR
WEEK = 7 * DAY

FLEET = Fleet.model_validate(
    yaml.safe_load(
        """
        environments:
          development: {auto_deploy: true, approval_required: false}
          staging: {auto_deploy: true, approval_required: true}
          production: {auto_deploy: false, approval_required: true}
        promotes_to: {development: [staging], staging: [production]}
        clusters: {production: {environment: production, server: "https://production.example"}}
        repositories: {platform-config: {url: "https://git.example/config.git"}}
        applications:
          checkout: &application
            repository: platform-config
            path: apps/{application}/{environment}
            promotable: [{file: deployment.yaml, key: "spec.image", part: tag}]
          catalog: *application
        versions:
          - repository: platform-config
            path: apps/{service}/{environment}/deployment.yaml
            key: spec.containers[0].image
            part: tag
        """
    )
)
PARAMETERS = {
    "environment": "production",
    "services": (),
    "window": "90d",
    "compare_to": "previous",
    "time_zone": "UTC",
    "definition": (),
    "deployments": "",
    "incidents": "",
}


@dataclass
class History:
    """Commits, oldest first; each names one service, environment and version."""

    changes: list[FileChange] = field(default_factory=list)

    def commit(self, at_s: int, service: str, environment: str, version: str | None) -> History:
        """Adds a commit; a version of None removes the file."""
        content = None
        if version is not None:
            content = f"spec: {{containers: [{{image: 'shop/{service}:{version}'}}]}}\n".encode()
        return self.add(at_s, f"apps/{service}/{environment}/deployment.yaml", content)

    def add(self, at_s: int, path: str, content: bytes | None) -> History:
        """Adds a commit of any file."""
        sha = f"{len(self.changes):040x}"
        status = "D" if content is None else "M"
        self.changes.append(FileChange(sha, at_s, at_s, path, status, content))
        return self

    def begin(self, at_s: int, *services: str, version: str = "v0") -> History:
        """Adds the first commit, which says what ran already."""
        for service in services:
            for environment in FLEET.environments:
                self.commit(at_s, service, environment, version)
        first = self.changes[0].sha
        self.changes = [
            FileChange(first, c.authored_s, c.committed_s, c.path, "A", c.content)
            for c in self.changes
        ]
        return self


@dataclass
class FakeGit:
    """The part of GitReader that the dora runbook asks for."""

    history: History

    def tip(self, repository: str, branch: str) -> str:
        return "f" * 40

    def changes(self, repository: str, revision: str, *, wanted: Callable[[str], bool]) -> Any:
        return (change for change in self.history.changes if wanted(change.path))


@dataclass
class FakeArgo:
    """Applications by name, each as (sync status, health); None: Argo CD does not answer."""

    applications: Mapping[str, tuple[str, str]] | None

    def names(self) -> tuple[str, ...]:
        if self.applications is None:
            raise UnavailableError("connection refused")
        return tuple(self.applications)

    def snapshot(self, name: str) -> Snapshot:
        assert self.applications is not None
        sync, health = self.applications[name]
        return Snapshot(name, {"status": {"sync": {"status": sync}, "health": {"status": health}}})


def view(history: History, applications: Mapping[str, tuple[str, str]] | None = None) -> View:
    """A view of a fake repository, and of Argo CD in production when applications are given."""
    argo = {} if applications is None else {"production": FakeArgo(applications)}
    return View(FakeGit(history), {}, argo, None, None)  # type: ignore[arg-type]


def request(tmp_path: Path, **parameters: object) -> dora.DoraRequest:
    """A request with the catalog's defaults, except those given; the run directory is ``tmp_path/run``."""
    run = tmp_path / "run"
    run.mkdir(exist_ok=True)
    return dora.request(
        FLEET, {**PARAMETERS, **parameters}, workdir=run, now=NOW, base=tmp_path, time_zone="UTC"
    )


def incidents(tmp_path: Path, rows: Iterable[tuple[str, str, int, int | None]]) -> str:
    """Writes incidents of production as (id, service, started, resolved); returns the file's name."""
    lines = ["id,service,environment,started,resolved,severity"]
    for number, service, started, resolved in rows:
        end = "" if resolved is None else stamp(resolved)
        lines.append(f"{number},{service},production,{stamp(started)},{end},2")
    (tmp_path / "incidents.csv").write_text("\n".join(lines) + "\n")
    return "incidents.csv"


def stamp(moment_s: int) -> str:
    """RFC 3339 of epoch seconds."""
    return datetime.fromtimestamp(moment_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def measure(tmp_path: Path, history: History, **parameters: object) -> dora.Measured:
    """Observes and measures a history."""
    asked = request(tmp_path, **parameters)
    return dora.measure(asked, dora.observe(view(history), asked))


def steady(
    weeks: int, *, service: str = "checkout", per_week: int = 2, lead_s: int = HOUR
) -> History:
    """A history that ends now: each version reaches development, and production ``lead_s`` later."""
    history = History().begin(NOW_S - weeks * WEEK, service)
    number = 0
    for week in range(weeks, 0, -1):
        for place in range(per_week):
            number += 1
            at = NOW_S - week * WEEK + DAY + place * (5 * DAY // per_week)
            history.commit(at, service, "development", f"v{number}")
            history.commit(at + lead_s, service, "production", f"v{number}")
    return history


def many(services: int, *, weeks: int = 28, names: str = "service-{:03d}") -> History:
    """Many services of different pace; some fail, some stop, one was never deployed."""
    chance = random.Random(20_240)
    commits: list[tuple[int, str, str, str]] = []
    history = History()
    everything = [names.format(number) for number in range(services)]
    history.begin(NOW_S - weeks * WEEK, *everything)
    for number, name in enumerate(everything[1:], start=1):
        at = NOW_S - weeks * WEEK + chance.randrange(WEEK)
        end = NOW_S if number % 11 else NOW_S - 9 * WEEK
        version = 0
        while at < end:
            version += 1
            lead = int(chance.lognormvariate(10, 0.8)) * (8 if number % 17 == 0 else 1)
            commits.append((at, name, "development", f"v{version}"))
            commits.append((at + lead, name, "production", f"v{version}"))
            if chance.random() < 0.04 and version > 1:
                commits.append((at + lead + HOUR, name, "production", f"v{version - 1}"))
            at += lead + int(chance.expovariate(1 / (DAY * (1 + number % 9))))
    for commit in sorted(c for c in commits if c[0] < NOW_S):
        history.commit(*commit)
    return history


def page(
    tmp_path: Path, history: History, *, mode: str = "sandbox", **parameters: object
) -> tuple[dora.Measured, str]:
    """Measures a history and renders its report."""
    asked = request(tmp_path, **parameters)
    state = dora.observe(view(history), asked)
    measured = dora.measure(asked, state)
    run = RunState(run="20261123T120000Z-dora-production-7c1e", opened={"mode": mode})
    return measured, render_dora(run, measured, state, directory=asked.workdir, now=NOW)


def interactive(tmp_path: Path, history: History, **parameters: object) -> str:
    """Measures a history and renders the interactive charts beside its report."""
    asked = request(tmp_path, **parameters)
    measured = dora.measure(asked, dora.observe(view(history), asked))
    run = RunState(run="20261123T120000Z-dora-production-7c1e", opened={"mode": "sandbox"})
    return render_interactive(run, measured, directory=asked.workdir)
