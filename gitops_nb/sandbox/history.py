"""The seeded history of the sandbox's configuration repository: months of releases, rollbacks and incidents.

Everything follows from one seed and the moment of creation, so that two sandboxes made at the same moment hold the same
commits. The people and the shop are invented.
"""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from gitops_nb.catalog.fleet import Fleet

SEED = 20_240
HOUR_S = 3600
DAY_S = 24 * HOUR_S
SPAN_D = 170
FRESH_H = 50
OPENS_H, CLOSES_H, FRIDAY = 7, 17, 4
ROLLBACK_RATIO, TROUBLE_RATIO = 0.05, 0.08
MAJORS = (2, 1, 4)
PEOPLE = ("Mara Lindqvist", "Tomasz Zielinski", "Amina Diallo", "Kenji Mori", "Lucia Ferreira")
TROUBLES = (
    "Error rate above 5 %",
    "Latency of the slowest percent doubled",
    "Requests time out",
    "Memory grows until pods are evicted",
)
DEPLOYMENT = """\
# {application} in {environment}; owned by team {application}, see #team-{application}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {application}
  labels:
    app.kubernetes.io/name: {application}
    app.kubernetes.io/part-of: shop
spec:
  replicas: {replicas}
  progressDeadlineSeconds: 300  # a release that is not up after five minutes is Degraded
  selector:
    matchLabels:
      app.kubernetes.io/name: {application}
  template:
    metadata:
      labels:
        app.kubernetes.io/name: {application}
    spec:
      containers:
        - name: {application}
          image: registry.example/shop/{application}:{version}  # promoted by gitops-nb, do not edit by hand
          ports:
            - containerPort: 8080
          env:
            - name: LOG_LEVEL
              value: "{level}"
          resources:
            requests: {{cpu: 100m, memory: 128Mi}}
"""
SERVICE = """\
apiVersion: v1
kind: Service
metadata:
  name: {application}
spec:
  selector:
    app.kubernetes.io/name: {application}
  ports:
    - port: 80
      targetPort: 8080
"""
APPLICATION = """\
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata:
  name: {name}
  namespace: {namespace}
  annotations:
    argocd.argoproj.io/sync-wave: "{wave}"
spec:
  project: default
  source:
    repoURL: {url}
    targetRevision: {branch}
    path: {path}
  destination:
    server: https://kubernetes.default.svc
    namespace: {application}
  syncPolicy:
{automated}    syncOptions:
      - CreateNamespace=true
"""


@dataclass(frozen=True, slots=True)
class Change:
    """One commit to make."""

    at_s: int
    author: str
    subject: str
    files: dict[str, str]


@dataclass
class Story:
    """What happened, told forwards; versions and replicas are those of the moment that is being told."""

    fleet: Fleet
    repository: str
    now_s: int
    changes: list[tuple[int, str, str, str, str]] = field(default_factory=list)
    incidents: list[tuple[str, ...]] = field(default_factory=list)
    random: random.Random = field(default_factory=lambda: random.Random(SEED))  # noqa: S311  no secret

    @property
    def applications(self) -> list[str]:
        """The repository's applications; the first is the one with a fresh release."""
        names = self.fleet.applications
        return [name for name in names if names[name].repository == self.repository]

    @property
    def line(self) -> list[str]:
        """The environments in the order in which a release passes them."""
        line = list(self.fleet.first_environments[:1])
        while following := self.fleet.promotes_to.get(line[-1], ()):
            line.append(following[0])
        return line

    def tell(self) -> list[Change]:
        """All commits, oldest first."""
        for index, application in enumerate(self.applications):
            self._releases(application, index)
        first = self.now_s - SPAN_D * DAY_S
        versions = {
            (a, e): _version(i, 0) for i, a in enumerate(self.applications) for e in self.line
        }
        told = [Change(first, PEOPLE[0], "Import the shop's configuration", self._all(versions))]
        for at, application, environment, version, subject in sorted(self.changes):
            versions[application, environment] = version
            path, text = self._deployment(application, environment, version)
            told.append(Change(at, self.random.choice(PEOPLE), subject, {path: text}))
        return told

    def incidents_csv(self) -> str:
        """Incidents as CSV: id, service, environment, started, resolved, severity, title."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(
            ("id", "service", "environment", "started", "resolved", "severity", "title")
        )
        for number, row in enumerate(sorted(self.incidents, key=lambda r: r[2]), start=1):
            writer.writerow((f"INC-{1000 + number}", *row))
        return out.getvalue()

    def _releases(self, application: str, index: int) -> None:
        line = self.line
        at = self.now_s - SPAN_D * DAY_S + (index + 2) * DAY_S
        number, before = 1, _version(index, 0)
        while at < self.now_s - 6 * DAY_S:
            version = _version(index, number)
            moment = at
            for environment in line:
                moment = self._at_work(moment)
                self._deploy(moment, application, environment, version)
                moment += int(self.random.uniform(3, 30) * HOUR_S)
            deployed = self.changes[-1][0]
            luck = self.random.random() if at < self.now_s - 15 * DAY_S else 1.0
            after = deployed
            if luck < ROLLBACK_RATIO:
                after = self._rolled_back(application, version, before, deployed)
            elif luck < ROLLBACK_RATIO + TROUBLE_RATIO:
                after = self._troubled(application, deployed)
            number, before = number + 1, version
            at = max(after, at + int(self.random.uniform(2, 5) * DAY_S))
        if index == 0:
            version = _version(index, number)
            for hours, environment in zip((FRESH_H, FRESH_H - 3), line[:-1], strict=False):
                self._deploy(self.now_s - hours * HOUR_S, application, environment, version)
        if index == len(self.applications) - 1:
            started = self.now_s - 20 * DAY_S
            times = (started, started + 95 * 60)
            self._incident(application, times, severity=3, title="Provider's DNS is down")

    def _at_work(self, at: int) -> int:
        """The same moment, or the next in working hours (UTC) when that is at night or on a weekend."""
        hour = at % DAY_S // HOUR_S
        if hour >= CLOSES_H or hour < OPENS_H:
            at += (OPENS_H - hour) % 24 * HOUR_S
        while datetime.fromtimestamp(at, UTC).weekday() > FRIDAY:
            at += DAY_S
        return at

    def _deploy(self, at: int, application: str, environment: str, version: str) -> None:
        subject = f"Promote {application} {version} to {environment}"
        if environment == self.line[0]:
            subject = f"Release {application} {version} to {environment}"
        self.changes.append((at, application, environment, version, subject))

    def _rolled_back(self, application: str, version: str, before: str, deployed: int) -> int:
        started = deployed + self.random.randint(10, 45) * 60
        back = started + self.random.randint(15, 70) * 60
        title = f"{self.random.choice(TROUBLES)} after {version}"
        self._incident(application, (started, back + 6 * 60), severity=1, title=title)
        production = self.line[-1]
        subject = f"Roll back {application} to {before} in {production}"
        self.changes.append((back, application, production, before, subject))
        return back

    def _troubled(self, application: str, deployed: int) -> int:
        started = deployed + self.random.randint(20, 300) * 60
        resolved = started + self.random.randint(30, 240) * 60
        title = self.random.choice(TROUBLES)
        self._incident(application, (started, resolved), severity=2, title=title)
        return resolved

    def _incident(self, service: str, times: tuple[int, int], *, severity: int, title: str) -> None:
        written = [datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") for at in times]
        self.incidents.append((service, self.line[-1], *written, str(severity), title))

    def _all(self, versions: dict[tuple[str, str], str]) -> dict[str, str]:
        files = {
            "README.md": "# platform-config\n\nWhat runs where. Argo CD follows the branch main.\n"
        }
        for (application, environment), version in versions.items():
            path, text = self._deployment(application, environment, version)
            files[path] = text
            files[path.replace("deployment.yaml", "service.yaml")] = SERVICE.format(
                application=application
            )
        for environment in self.line:
            files |= dict(self._applications(environment))
        return files

    def _deployment(self, application: str, environment: str, version: str) -> tuple[str, str]:
        place = self.line.index(environment)
        text = DEPLOYMENT.format(
            application=application,
            environment=environment,
            version=version,
            replicas=place + 1,
            level=("debug", "info", "warning")[min(place, 2)],
        )
        return f"{self.fleet.path(application, environment)}/deployment.yaml", text

    def _applications(self, environment: str) -> Iterator[tuple[str, str]]:
        """Application manifests; the first application of the fleet comes in the last wave."""
        clusters = self.fleet.clusters_of(environment)
        if not clusters:
            return  # nothing deploys there: only Git says what should run
        install = self.fleet.argocd
        folder = (install.path if install else "argocd/{environment}").replace(
            "{environment}", environment
        )
        repository = self.fleet.repositories[self.repository]
        is_automated = self.fleet.environments[environment].auto_deploy
        cluster = self.fleet.clusters[clusters[0]]
        for wave, application in enumerate(reversed(self.applications)):
            text = APPLICATION.format(
                name=self.fleet.argocd_name(application, environment),
                namespace=cluster.argocd.namespace,
                wave=wave,
                url=repository.url,
                branch=repository.branch,
                path=self.fleet.path(application, environment),
                application=application,
                automated="    automated:\n      prune: true\n      selfHeal: true\n"
                if is_automated
                else "",
            )
            yield f"{folder}/{application}.yaml", text


def fast_import(changes: list[Change], branch: str) -> bytes:
    """The commits as a stream for ``git fast-import``."""
    out = bytearray()
    for change in changes:
        mail = change.author.lower().replace(" ", ".") + "@shop.example"
        who = f"{change.author} <{mail}> {change.at_s} +0000"
        message = change.subject.encode()
        out += f"commit refs/heads/{branch}\nauthor {who}\ncommitter {who}\n".encode()
        out += b"data %d\n%s\n" % (len(message), message)
        for path, text in change.files.items():
            content = text.encode()
            out += f"M 100644 inline {path}\ndata {len(content)}\n".encode() + content + b"\n"
        out += b"\n"
    return bytes(out)


def _version(index: int, number: int) -> str:
    """Versions in the order of their numbers: v2.31.0, v2.31.1, v2.31.2, v2.32.0, ..."""
    return f"v{MAJORS[index % len(MAJORS)]}.{19 + number // 3}.{number % 3}"
