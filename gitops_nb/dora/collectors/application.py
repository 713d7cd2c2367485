"""Application repositories: the changes behind each deployed version, by the commit graph."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from gitops_nb.dora import fact_tables
from gitops_nb.dora.collect import EARLIEST_S, NO_TIME, refuse
from gitops_nb.dora.collectors.configuration import Collected
from gitops_nb.dora.collectors.containment import arrivals, brought_by, first_containing
from gitops_nb.dora.joining import deployments_of
from gitops_nb.dora.schemas import HOP, check
from gitops_nb.dora.store import FactStore, Merged
from gitops_nb.errors import UsageError
from gitops_nb.model import digest
from gitops_nb.ports import GraphCommit, HistoryReader
from gitops_nb.revisions import FULL_ID

LABEL_COLUMNS = ("version", "revision")
_ABBREVIATED = re.compile(r"(?:.*[-_.+])?g?([0-9a-f]{7,40})")
"""``3d6c674``, ``release-3d6c674`` and ``git describe``'s ``v1.2-4-g3d6c674``; decimal numbers never reach git."""
SEED = "contained in the first recorded deployment (seed)"
REPEATED = "same patch as a change that arrived before (cherry-pick)"
NEGATIVE = "written after its deployment (clock)"
LEAD_TIME = "change lead time"
NO_COMMIT = "no commit is known for the version"


@dataclass(frozen=True, slots=True)
class ApplicationSource:
    """Where a service's code is; ``folders`` are its paths in a repository of several services (empty: all)."""

    service: str
    repository: str
    branch: str
    folders: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PullRequest:
    """What a pull request knows about the commit that it became. Times are UTC epoch seconds."""

    sha: str
    first_authored_s: int | None
    opened_s: int
    merged_s: int
    branch: str = ""
    labels: str = ""


def read_labels(path: Path) -> dict[str, str]:
    """Commits by image tag or digest, from a CSV with the columns version and revision.

    ``revision`` is what the image's label org.opencontainers.image.revision says, 40 hex digits.

    Raises:
        UsageError: The file cannot be read, lacks a column, or holds lines that cannot be right.
    """
    found: dict[str, str] = {}
    problems: list[str] = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            missing = [name for name in LABEL_COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise UsageError(
                    f"{path.name}:1: no column {', '.join(missing)}",
                    hint=f"Give the file the columns {', '.join(LABEL_COLUMNS)}.",
                )
            for row in reader:
                version, sha = row["version"].strip(), row["revision"].strip().lower()
                where = f"{path.name}:{reader.line_num}"
                if not version or not FULL_ID.fullmatch(sha):
                    problems.append(f"{where}: revision: {sha!r} is not a full commit id")
                elif found.setdefault(version, sha) != sha:
                    problems.append(f"{where}: version: {version!r} has another revision above")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path.name}: cannot be read as CSV: {error}") from error
    refuse(problems)
    return found


def trace(
    git: HistoryReader, repository: str, versions: Iterable[str], labels: Mapping[str, str]
) -> dict[str, tuple[str, str]]:
    """The commit of each version and how it was found: label, tag, sha, or unknown with no commit.

    A label says what was built, so it comes first; then a Git tag of that name (also with a leading v), then a
    version that is or ends in a commit id. Nothing else is guessed.
    """
    asked = tuple(dict.fromkeys(versions))
    names: dict[str, list[tuple[str, str]]] = {}
    for version in asked:
        # Of an image that names tag and digest, the tag may be one of Git too.
        tag = version.partition("@")[0]
        choices = [("tag", f"refs/tags/{tag}"), ("tag", f"refs/tags/v{tag}")]
        match = _ABBREVIATED.fullmatch(tag)
        if match and not match[1].isdecimal():
            choices.append(("sha", match[1]))
        label = labels.get(version) or labels.get(tag)
        if label:
            choices.insert(0, ("label", label))
        names[version] = choices
    known = git.resolve_all(repository, [name for found in names.values() for _, name in found])
    return {
        version: next(
            ((method, known[name]) for method, name in choices if name in known), ("unknown", "")
        )
        for version, choices in names.items()
    }


def collect_application(
    git: HistoryReader,
    store: FactStore,
    source: ApplicationSource,
    *,
    labels: Mapping[str, str] | None = None,
    pull_requests: Iterable[PullRequest] = (),
) -> Collected:
    """Finds the changes of a service and the first deployment of each environment that contains them.

    Deployments and their versions have to be in the store; a version whose commit is unknown delays its changes
    to the next known one and is in the ledger.

    Args:
        git: Reads the repository.
        store: Where deployments are and changes go.
        source: The service and its code.
        labels: As ``read_labels`` gives them.
        pull_requests: Those whose merge gave a commit of this repository.
    """
    name = f"application {source.service} {source.repository}"
    deployments = deployments_of(store, (source.service,))
    pulls = {pull.sha: pull for pull in pull_requests}
    tip = git.tip(source.repository, source.branch)
    point = {
        "tip": tip,
        "folders": list(source.folders),
        "inputs": digest(
            {
                "deployments": deployments["deployment_id"].tolist(),
                "labels": dict(labels or {}),
                "pulls": [
                    [p.sha, p.first_authored_s, p.opened_s, p.merged_s, p.branch, p.labels]
                    for p in pulls.values()
                ],
            }
        ),
    }
    if store.resume_point(name) == point:
        return Collected(name, tip, 0, Merged())
    git.refresh(source.repository)
    traced = trace(git, source.repository, deployments["version"], labels or {})
    shas = sorted({sha for _, sha in traced.values() if sha})
    graph = git.graph(source.repository, [tip, *shas])
    own = graph
    if source.folders:
        own = git.graph(source.repository, [tip, *shas], folders=source.folders)
    # A merge brings changes and is none.
    changes = [commit for commit in own if len(commit.parents) < 2]
    read = _Read(source, deployments, traced, graph, changes, pulls)
    hop, change, arrived, left_out = _build(git, store, read)
    services = (source.service,)
    merged = store.merge("hop", hop) + store.replace("change", change, services=services)
    merged += store.replace("change_deployment", arrived, services=services)
    merged += _replace_exclusions(store, left_out, source.service)
    store.set_resume_point(name, point)
    return Collected(name, tip, len(change), merged, len(left_out))


def _replace_exclusions(store: FactStore, rows: pd.DataFrame, service: str) -> Merged:
    """What was left out of lead time before is judged anew, and may count now."""
    before = store.read("exclusion", (service,))
    others = before[before["left_out_of"] != LEAD_TIME]
    return store.replace("exclusion", pd.concat([others, rows]), services=(service,))


@dataclass(frozen=True, slots=True)
class _Read:
    """What was read of a service: its deployments, the commits of their versions, and the graph around them."""

    source: ApplicationSource
    deployments: pd.DataFrame
    traced: Mapping[str, tuple[str, str]]
    graph: Sequence[GraphCommit]
    changes: Sequence[GraphCommit]
    pulls: Mapping[str, PullRequest]

    def ran(self) -> dict[str, list[Any]]:
        """Deployments with a known commit by environment, in order of time; failed ones never ran."""
        found: dict[str, list[Any]] = {}
        ordered = self.deployments.sort_values(["finished_s", "deployment_id"])
        rows: Iterable[Any] = ordered.itertuples(index=False)
        for row in rows:
            if row.outcome != "failed" and self.traced[row.version][1]:
                found.setdefault(row.environment, []).append(row)
        return found

    def pulls_by_change(self) -> dict[str, PullRequest]:
        """The pull request that brought each commit: a squash is one, a merge brings those of its branch."""
        parents = {commit.sha: commit.parents for commit in self.graph}
        merges = [commit.sha for commit in reversed(self.graph) if commit.sha in self.pulls]
        return {sha: self.pulls[merge] for sha, merge in brought_by(parents, merges).items()}

    def unknown(self) -> list[dict[str, Any]]:
        """Ledger rows of the deployments whose commit is unknown."""
        rows: Iterable[Any] = self.deployments.itertuples(index=False)
        return [
            {
                "reason": NO_COMMIT,
                "service": row.service,
                "environment": row.environment,
                "version": row.version,
                "finished_s": row.finished_s,
            }
            for row in rows
            if not self.traced[row.version][1]
        ]


def _build(
    git: HistoryReader, store: FactStore, read: _Read
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    parents = {commit.sha: commit.parents for commit in read.graph}
    ran = read.ran()
    contained = {
        name: first_containing(parents, [read.traced[row.version][1] for row in rows])
        for name, rows in ran.items()
    }
    # What every environment had from its first record on is no change; what only one had still has to arrive.
    recent = [
        commit
        for commit in read.changes
        if not ran or any(found.get(commit.sha) != 0 for found in contained.values())
    ]
    patches = _patch_ids(git, store, read.source, recent)
    arrived: list[dict[str, Any]] = []
    left_out = read.unknown()
    for environment, rows in ran.items():
        good, bad = _arrive(read, recent, patches, rows, contained[environment])
        place = {"service": read.source.service, "environment": environment}
        arrived += [{**row, **place, "repository": read.source.repository} for row in good]
        left_out += [{**row, **place} for row in bad]
    hops = [
        {
            "service": read.source.service,
            "version": version,
            "repository": read.source.repository if sha else "",
            "sha": sha,
            "method": method,
        }
        for version, (method, sha) in read.traced.items()
    ]
    lead = {"left_out_of": LEAD_TIME}
    return (
        check("hop", fact_tables.frame(HOP, hops)),
        check("change", _change_frame(read.source, recent, patches, read.pulls_by_change())),
        check("change_deployment", fact_tables.frame(fact_tables.CHANGE_DEPLOYMENT, arrived)),
        check(
            "exclusion",
            fact_tables.frame(fact_tables.EXCLUSION, [{**row, **lead} for row in left_out]),
        ),
    )


def _arrive(
    read: _Read,
    recent: Sequence[GraphCommit],
    patches: Mapping[str, str],
    rows: Sequence[Any],
    contained: Mapping[str, int],
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Changes that arrived in one environment, and those that the ledger gets."""
    starts = {
        pull.sha: pull.first_authored_s
        for pull in read.pulls.values()
        if pull.first_authored_s is not None
    }
    found, repeated = arrivals(recent, contained, patches, starts)
    committed = {commit.sha: commit.committed_s for commit in recent}
    left_out: list[dict[str, Any]] = [{"sha": sha, "reason": REPEATED} for sha in repeated]
    left_out += [
        {"sha": commit.sha, "reason": SEED, "finished_s": rows[0].finished_s}
        for commit in read.changes
        if contained.get(commit.sha) == 0
    ]
    arrived: list[dict[str, Any]] = []
    for arrival in found:
        finished_s = rows[arrival.deployment].finished_s
        if arrival.deployment == 0:
            continue
        if min(arrival.start_s, committed[arrival.sha]) < EARLIEST_S:
            left_out.append({"sha": arrival.sha, "reason": NO_TIME, "finished_s": finished_s})
            continue
        if arrival.start_s > finished_s:
            left_out.append({"sha": arrival.sha, "reason": NEGATIVE, "finished_s": finished_s})
            continue
        arrived.append(
            {
                "sha": arrival.sha,
                "deployment_id": rows[arrival.deployment].deployment_id,
                "authored_s": arrival.start_s,
                "finished_s": finished_s,
            }
        )
    return arrived, left_out


def _patch_ids(
    git: HistoryReader,
    store: FactStore,
    source: ApplicationSource,
    commits: Sequence[GraphCommit],
) -> dict[str, str]:
    """Patch ids, from the store where they are known: a commit never changes."""
    before = store.read("change", (source.service,))
    before = before[(before["repository"] == source.repository) & (before["patch_id"] != "")]
    known = dict(zip(before["sha"], before["patch_id"], strict=True))
    missing = [commit.sha for commit in commits if commit.sha not in known]
    return {**known, **git.patch_ids(source.repository, missing)}


def _change_frame(
    source: ApplicationSource,
    commits: Sequence[GraphCommit],
    patches: Mapping[str, str],
    pulls: Mapping[str, PullRequest],
) -> pd.DataFrame:
    rows = []
    for commit in commits:
        pull = pulls.get(commit.sha)
        # Commits that a merge kept have their own times; a squash has only the merge's.
        first_s = pull.first_authored_s if pull and pull.sha == commit.sha else None
        rows.append(
            {
                "service": source.service,
                "repository": source.repository,
                "sha": commit.sha,
                "authored_s": commit.authored_s if first_s is None else first_s,
                "committed_s": commit.committed_s,
                "opened_s": pull.opened_s if pull else None,
                "merged_s": pull.merged_s if pull else None,
                "branch": pull.branch if pull else "",
                "labels": pull.labels if pull else "",
                "patch_id": patches.get(commit.sha, ""),
                "is_bot": commit.is_bot,
                "is_revert_of": commit.is_revert_of,
            }
        )
    return fact_tables.frame(fact_tables.CHANGE, rows)
