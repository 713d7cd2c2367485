"""The shipped runbooks' cells in this process, and what they leave in the world."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from gitops_nb import bootstrap, dora, promotion
from gitops_nb.catalog.load import load_catalog
from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.errors import WaitingForApproval
from gitops_nb.model import Mode, Status, digest, parse_time
from gitops_nb.record.approvals import sign_answer
from gitops_nb.record.ledger import ledger_names, read_entry, slots
from gitops_nb.record.runs import read_run, run_directories
from gitops_nb.session import open_session
from gitops_nb.session.lifecycle import recover
from gitops_nb.session.order import given
from gitops_nb.session.platform import Platform, open_platform
from gitops_nb.session.stores import reports_store
from gitops_nb.session.verifying import verify_records
from tests.conftest import Workspace

PARAMETERS = {
    "promotion": {"application": "checkout", "stable_for": "0s"},
    "bootstrap": {"cluster": "newcomer"},
    "dora": {"window": "4w", "compare_to": "none"},
}


class Flow:
    """One runbook in a workspace that can be put back to its beginning."""

    def __init__(self, name: str, workspace: Workspace, untouched: Path) -> None:
        self.name = name
        self.runbook = "promotion" if name == "approval" else name
        self.root = workspace.root
        self._untouched = untouched

    def reset(self) -> None:
        """The workspace as it was."""
        shutil.rmtree(self.root)
        shutil.copytree(self._untouched, self.root, symlinks=True)

    def run(self) -> None:
        """All cells of the notebook: a new run, or the next attempt of the one that is there, and what a person does between."""
        where = find_workspace(self.root)
        recover(where)
        runs = run_directories(where.reports)
        if runs and read_run(runs[0]).status is Status.SUCCEEDED:
            return
        try:
            self.cells(runs[0].name if runs else "")
        except WaitingForApproval:
            directory = run_directories(where.reports)[0]
            self.approve(directory)
            self.cells(directory.name)

    def cells(self, run: str = "") -> None:
        told = replace(given(), run=run)
        session = open_session(
            self.runbook, workspace=self.root, order=told, **PARAMETERS[self.runbook]
        )
        try:
            if self.runbook == "dora":
                for verb in (dora.observe, dora.measure, dora.verify):
                    session.step(verb)
            else:
                verbs = {"promotion": promotion, "bootstrap": bootstrap}[self.runbook]
                session.step(verbs.observe)
                session.step(verbs.plan)
                asyncio.run(session.gate(verbs.gates))
                session.step(verbs.apply)
                session.step(verbs.verify)
            session.finish()
        finally:
            session.close()

    def approve(self, directory: Path) -> None:
        """The answer of the sandbox's second person."""
        state = read_run(directory)
        platform = self._platform()
        sign_answer(
            directory,
            processes=platform.processes,
            key=platform.signing_key,
            run=state.run,
            subject=state.request_digest,
            answer="approve",
            person=platform.second_person,
            at=datetime.now(UTC),
            expires=parse_time(state.request["expires"]),
            reason="",
            realm=platform.trust.realm,
        )

    def _platform(self) -> Platform:
        where = find_workspace(self.root)
        return open_platform(where, load_catalog(where.runbooks), Mode.SANDBOX)

    def world(self) -> dict[str, object]:
        """What the runs left: their ends, and how often each effect is to be seen outside."""
        where = find_workspace(self.root)
        recover(where)
        platform = self._platform()
        runs = run_directories(where.reports)
        states = [read_run(path) for path in runs]
        tip = platform.git.tip("platform-config", "main")
        log = platform.git.log("platform-config", tip, limit=20)
        applications = {
            f"{cluster}/{name}": platform.view.argo[cluster].snapshot(name).application
            for cluster, name in (("production", "checkout-production"), ("newcomer", "platform"))
        }
        return {
            "statuses": [str(state.status) for state in states],
            "outcome": (states[0].outcome or {}).get("result"),
            "open": [effect.key for state in states for effect in state.in_doubt],
            "records hold": verify_records(where, runs).holds,
            "phases": self._phases(where, states),
            "half written": [
                path.name
                for run in runs
                for part in ("*.tmp", "evidence/*.tmp")
                for path in run.glob(part)
            ],
            "commits": sum("Gitops-Nb-Run" in commit.trailers for commit in log),
            "histories": {
                name: len((found or {}).get("status", {}).get("history", ()))
                for name, found in applications.items()
            },
            "objects": self._objects(platform),
        }

    def _phases(self, where, states) -> list[list[str]]:
        """Which phases of each run the ledger has."""
        store = reports_store(where)
        entries = [
            read_entry(store, key) for name in ledger_names(store) for key in slots(store, name)
        ]
        return [sorted({e.phase for e in entries if e.run == state.run}) for state in states]

    def _objects(self, platform) -> str:
        names = sorted(
            f"{kind} {item['metadata'].get('namespace', '')}/{item['metadata']['name']}"
            for api, kind in (("v1", "Namespace"), ("argoproj.io/v1alpha1", "Application"), ("argoproj.io/v1alpha1", "AppProject"), ("apps/v1", "Deployment"))
            for item in platform.view.clusters["newcomer"].list(api, kind)
        )  # fmt: skip
        return digest(names)
