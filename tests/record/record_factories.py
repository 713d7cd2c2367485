"""Records as runs leave them, made without running anything: journal, files, signed approval, ledger."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gitops_nb.adapters.folder import Folder
from gitops_nb.adapters.process import LocalProcesses
from gitops_nb.catalog.trust import PersonKey, RunnerKey, Trust, TrustedPerson
from gitops_nb.model import (
    Action,
    Answer,
    Decision,
    Plan,
    ResourceChange,
    canonical,
    digest,
    to_json,
)
from gitops_nb.record import journal
from gitops_nb.record.approvals import REQUEST_PURPOSE, new_request, read_answers, sign_answer
from gitops_nb.record.audit import Anchor, Audit, audit
from gitops_nb.record.findings import Finding
from gitops_nb.record.fold import fold
from gitops_nb.record.journal import Journal
from gitops_nb.record.keys import RunnerSigner, open_runner_key
from gitops_nb.record.ledger import Ledger, Phase
from gitops_nb.record.runs import create_run, run_directories, seal
from gitops_nb.record.signatures import public_key, sign
from gitops_nb.record.statement import body_of, subjects_of
from gitops_nb.record.verify import verify_run

LEDGER = "production"
HERE = {"code": {}, "targets": {}, "register": {"kind": "this machine", "at": "", "name": ""}}
"""What a request says about code and places, where a test is not about them."""


@dataclass(frozen=True)
class Records:
    """A reports folder with three runs, and whose signatures count."""

    root: Path
    signer: RunnerSigner
    trust: Trust
    anchors: tuple[Anchor, ...]

    @property
    def reports(self) -> Path:
        return self.root / "reports"

    @property
    def store(self) -> Folder:
        return Folder(self.reports)

    @property
    def runs(self) -> list[Path]:
        """Oldest first."""
        return sorted(run_directories(self.reports))

    def slot(self, number: int) -> Path:
        return self.reports / "ledger" / LEDGER / f"{number:012}.json"

    def audit(self, *, now: datetime | None = None) -> Audit:
        return audit(
            self.store,
            LEDGER,
            runners=self.trust.runners,
            now=now or datetime.now(UTC),
            anchors=self.anchors,
        )

    def findings(self) -> list[Finding]:
        """Everything that `gitops-nb verify` would say about the folder."""
        checked = self.audit()
        found = [*checked.findings]
        for directory in self.runs:
            found += verify_run(
                directory, ledger=checked, trust=self.trust, processes=LocalProcesses()
            ).problems
        present = {path.name for path in self.runs}
        found += [
            Finding("deleted-run", run, "gone") for run in checked.by_run if run not in present
        ]
        return found

    def copy(self, to: Path) -> Records:
        shutil.copytree(self.root, to, symlinks=True)
        return Records(to, self.signer, self.trust, self.anchors)


def ssh_key(folder: Path, name: str) -> Path:
    """A new SSH key without a passphrase."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    subprocess.run(
        ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(path)), check=True
    )
    return path


def make_records(root: Path) -> Records:
    """Three promotions of different versions, asked for by priya, approved by tomas, done; one anchor behind the second."""
    key = ssh_key(root / "keys", "tomas")
    asks = ssh_key(root / "keys", "priya")
    signer = open_runner_key(root)
    trust = Trust(
        persons=(
            TrustedPerson(person="tomas", keys=(PersonKey(key=public_key(key, LocalProcesses())),)),
            TrustedPerson(
                person="priya",
                aliases=("priya@example.com",),
                keys=(PersonKey(key=public_key(asks, LocalProcesses())),),
            ),
        ),
        runners=(RunnerKey(name="here", key=signer.public),),
    )
    ledger = Ledger(Folder(root / "reports"), LEDGER, signer)
    for number in range(3):
        make_run(root, ledger, key, trust, number)
    last = ledger.last()
    assert last is not None
    anchor = Anchor(last.seq + 1, last.hash, ledger.genesis, "commit 1234", last.run)
    return Records(root, signer, trust, (anchor,))


def make_run(root: Path, ledger: Ledger, key: Path, trust: Trust, number: int) -> Path:
    """One run from request to end."""
    reports = root / "reports"
    run = f"20261123T12000{number}Z-promotion-production-000{number}"
    plan = Plan(
        "promotion", LEDGER, f"cart v{number} in production",
        (ResourceChange("config:cart.yaml", Action.UPDATE, "v0", f"v{number}"),), {"config:cart.yaml": "a" * 40},
    )  # fmt: skip
    requester = {"name": "priya", "kind": "person", "evidence": "test", "proof": "key"}
    directory, _ = create_run(
        reports,
        run,
        {
            "runbook": "promotion", "title": "Promote", "notebook_digest": "sha256:1", "package": "0.1.0",
            "python": "3.11", "mode": "live", "environment": LEDGER, "subject": "cart", "steps": ["apply"],
            "parameters": {"application": "cart"}, "requester": requester,
        },
    )  # fmt: skip
    (directory / "evidence").mkdir()
    (directory / "evidence" / "plan.json").write_text(json.dumps(to_json(plan)))
    (directory / "notebook.ipynb").write_text(json.dumps({"cells": [], "run": run}))
    open_journal = Journal.open(directory)
    now = datetime.now(UTC)

    def attest(phase: Phase) -> None:
        state = fold(journal.read(directory / journal.FILE)[0])
        ledger.append(
            phase, run=run, attempt=1, subjects=subjects_of(phase, state, directory),
            body=body_of(phase, state, signer="engine", key_held="memory"),
        )  # fmt: skip

    open_journal.append("attempt", number=1, front="gitops-nb run", who="priya", host="h")
    open_journal.append("planned", plan=plan, digest=plan.digest)
    request, subject = new_request(
        run=run, runbook="promotion", mode="live", notebook_digest="sha256:1", package="0.1.0", **HERE,
        parameters={"application": "cart"}, environment=LEDGER, plan_digest=plan.digest,
        materials=dict(plan.materials), requester=requester, created=now, expires=now + timedelta(hours=4),
    )  # fmt: skip
    (directory / "request.json").write_text(json.dumps(request))
    asks = key.with_name("priya")
    signature = sign(canonical(request), REQUEST_PURPOSE, key=asks, processes=LocalProcesses())
    open_journal.append("requested", request=request, digest=subject, signature=signature)
    open_journal.append("waiting", reason="waiting")
    attest(Phase.REQUESTED)
    sign_answer(
        directory, processes=LocalProcesses(), key=key, run=run, subject=subject, answer="approve",
        person="tomas", at=now, expires=now + timedelta(hours=4),
    )  # fmt: skip
    (answered,) = read_answers(directory, processes=LocalProcesses(), trust=trust)
    approval = answered.approval
    open_journal.append("approval", **to_json(approval))
    decision = Decision(
        Answer.ALLOWED, plan.digest, LEDGER, ("approved by tomas",), (), (approval,), (), 1
    )
    open_journal.append("decision", **to_json(decision))
    attest(Phase.START)
    open_journal.append("intent", key="commit", kind="effect", step="apply", sentence="commit")
    open_journal.append("done", key="commit", result={"revision": digest(run)}, adopted=False)
    open_journal.append("ended", status="succeeded", exit_code=0, reason=f"cart v{number} runs")
    seal(directory, open_journal)
    open_journal.close()
    attest(Phase.END)
    return directory
