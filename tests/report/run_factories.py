"""Journals of every kind of run, with chosen times; read back and checked by the package itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from gitops_nb.model import (
    Action,
    Answer,
    Approval,
    Decision,
    Fact,
    Line,
    Outcome,
    Plan,
    ResourceChange,
    Result,
    Status,
    Table,
    Verdict,
    canonical,
    digest,
    format_time,
    to_json,
)
from gitops_nb.record import journal
from gitops_nb.record.fold import RunState, fold

START = datetime(2026, 11, 23, 9, 14, 12, tzinfo=UTC)
NOW = datetime(2026, 11, 23, 9, 40, 0, tzinfo=UTC)
ZONE = "Europe/Berlin"
KEY = "SHA256:kX3vXl1rT5b4Tq0mJ8m1w8m3h0m1cZbYk3Qm0a9Qm0"
SIGNED = "y" * 10_240
HOSTILE = "<script>alert(1)</script>\x1b[31m\u202egnp.exe\u200b\r::add-mask::x"


class Script:
    """A journal written ahead: records with chosen times, chained as the package chains them."""

    def __init__(self, run: str = "20261123T091412Z-promotion-production-7c1e") -> None:
        self.run = run
        self.now = START
        self.lines: list[bytes] = []
        self._prev = journal.ZERO

    def wait(self, seconds: float) -> Script:
        self.now += timedelta(seconds=seconds)
        return self

    def add(self, kind: str, /, **body: Any) -> Script:
        value = {
            "seq": len(self.lines),
            "at": format_time(self.now),
            "kind": kind,
            "body": to_json(body),
            "prev": self._prev,
        }
        self._prev = hashlib.sha256(canonical(value)).hexdigest()
        self.lines.append(canonical({**value, "hash": self._prev}))
        return self

    def step(self, name: str, seconds: float, sentence: str = "", **more: Any) -> Script:
        self.add("step", step=name, kind=more.pop("kind", "read"), status=Status.RUNNING)
        self.wait(seconds)
        took = int(seconds * 1000)
        more.setdefault("status", Status.SUCCEEDED)
        return self.add("step", step=name, sentence=sentence, took_ms=took, **more)

    def effect(self, key: str, seconds: float, sentence: str, **result: Any) -> Script:
        self.add("intent", key=key, kind="effect", step="apply", sentence=sentence)
        return self.wait(seconds).add("done", key=key, result=result)

    def write(self, reports: Path) -> RunState:
        directory = reports / self.run
        directory.mkdir(parents=True)
        (directory / journal.FILE).write_bytes(b"\n".join(self.lines) + b"\n")
        records, problems = journal.read(directory / journal.FILE)
        assert not problems, problems
        return fold(records)

    def state(self) -> RunState:
        """The fold without a file."""
        values = [json.loads(line) for line in self.lines]
        return fold(journal.Record(**value) for value in values)


def diff(old: str = "v2.30.4", new: str = "v2.31.1") -> tuple[Line, ...]:
    return (
        Line(" ", 11, "    spec:"),
        Line(" ", 12, "      containers:"),
        Line("-", 13, f'        - image: "registry.example.com/checkout:{old}"  # promoted'),
        Line("+", 13, f'        - image: "registry.example.com/checkout:{new}"  # promoted'),
        Line(" ", 14, "          ports: [{containerPort: 8080}]"),
    )


def plan(environment: str = "production", **more: Any) -> Plan:
    change = ResourceChange(
        f"platform-config:apps/checkout/{environment}/deployment.yaml",
        Action.UPDATE,
        "v2.30.4",
        "v2.31.1",
        diff(),
    )
    more.setdefault("changes", (change,))
    more.setdefault("summary", f"checkout v2.30.4 -> v2.31.1 in {environment}")
    return Plan(
        "promotion",
        environment,
        materials={"platform-config:apps/checkout/production/deployment.yaml": "9b1e" * 10},
        arguments={"application": "checkout", "revision": "v2.31.1"},
        **more,
    )


def gates(*closed: Verdict) -> tuple[Verdict, ...]:
    passed = (
        Verdict(
            "source_healthy", True, "checkout v2.31.1 is synced and healthy in staging at 5b1e07c9"
        ),
        Verdict("soak", True, "26 h 12 min without a break in staging; policy asks for 24 h"),
        Verdict("freeze", True, "no freeze now; “peak-trade” starts 2026-11-26 12:00+01:00"),
        Verdict("destructive_change", True, "1 changes, nothing is deleted or replaced"),
    )
    names = {verdict.gate for verdict in closed}
    return tuple(closed) + tuple(verdict for verdict in passed if verdict.gate not in names)


def decision(of: Plan, answer: Answer, *reasons: str, **more: Any) -> dict[str, Any]:
    more.setdefault("verdicts", gates())
    more.setdefault("approvals_needed", 1)
    value = Decision(answer, of.digest, of.environment, reasons, **more)
    return dict(to_json(value))


def opened(script: Script, environment: str = "production", **more: Any) -> Script:
    body = {
        "run": script.run,
        "runbook": "promotion",
        "title": "Promotion",
        "owner": "platform",
        "risk": "change",
        "rollback": "Promote the version before; it makes a new commit and asks for its own approval.",
        "notebook_digest": "sha256:" + "5c2d46f194b5" * 5 + "5c2d",
        "package": "0.1.0",
        "mode": "live",
        "environment": environment,
        "source": "staging",
        "subject": "checkout",
        "parameters": {"application": "checkout", "source": "staging", "target": environment},
        "requester": {"name": "priya-k", "kind": "person", "evidence": "Git user.email"},
        "steps": ["observe", "plan", "decide", "apply", "verify"],
        "workspace": "platform",
        **more,
    }
    return script.add("opened", **body).add("attempt", host="build-7", pid=4711)


def planned(script: Script, of: Plan) -> Script:
    script.wait(0.2).step("observe", 9, "staging and production read from Git and Argo CD")
    script.step("plan", 0.4, f"{len(of.changes)} change; digest {of.digest[7:19]}")
    return script.add("planned", plan=of, digest=of.digest)


def requested(script: Script, of: Plan) -> str:
    said = script.state().opened
    request = {
        "v": 1,
        "run": script.run,
        "runbook": "promotion",
        "notebook_digest": said["notebook_digest"],
        "package": said["package"],
        "parameters": said["parameters"],
        "mode": said["mode"],
        "environment": of.environment,
        "plan_digest": of.digest,
        "materials": of.materials,
        "requester": {"name": "priya-k", "kind": "person", "evidence": "Git user.email"},
        "created": script.now,
        "expires": script.now + timedelta(hours=4),
        "nonce": "00" * 16,
    }
    value = to_json(request)
    script.add("requested", request=value, digest=digest(value))
    return digest(value)


def waiting(script: Script | None = None, of: Plan | None = None) -> Script:
    script = opened(script or Script())
    of = of or plan()
    planned(script, of)
    script.step("decide", 0.1, "1 of 1 approvals missing", status=Status.WAITING)
    script.add("decision", **decision(of, Answer.WAITING, "1 of 1 approvals missing"))
    requested(script, of)
    return script.add(
        "waiting",
        reason="1 of 1 approvals missing",
        hint="Another person runs the command.",
        command=f"gitops-nb approve {script.run}",
    )


def approved(script: Script, of: Plan) -> Script:
    subject = script.state().request_digest
    script.wait(449)
    yes = Approval(
        script.run, subject, "approve", "tomas-b", KEY, script.now, script.now + timedelta(hours=3)
    )
    script.add("approval", **to_json(yes))
    script.add("attempt", host="build-9", pid=4712)
    planned(script, of)
    script.step("decide", 0.1, "approved by tomas-b")
    return script.add(
        "decision", **decision(of, Answer.ALLOWED, "approved by tomas-b", approvals=(yes,))
    )


def applied(script: Script) -> Script:
    script.add("target", system="cluster production", address="https://10.0.0.2")
    script.add(
        "target", system="repository platform-config", address="git@example.com:platform-config.git"
    )
    script.add("step", step="apply", kind="effect", status=Status.RUNNING)
    script.effect(
        "commit", 7, "commit to main, parent checked", revision="c752601b" * 5, branch="main"
    )
    script.effect(
        "sync", 9, "Argo CD syncs checkout to this commit", operation="7c1e-1", phase="Succeeded"
    )
    return script.add(
        "step",
        step="apply",
        status=Status.SUCCEEDED,
        sentence="2 effects, each read back",
        took_ms=16000,
    )


def pods(version: str, *states: tuple[str, str, str]) -> Table:
    return Table(
        "Pods",
        ("Pod", "Version", "State", "Restarts"),
        tuple((n, version, s, r) for n, s, r in states),
    )


UNDO = "gitops-nb run promotion -p application=checkout -p source=staging -p target=production -p revision=v2.30.4"


def succeeded(script: Script | None = None) -> Script:
    script = waiting(script)
    applied(approved(script, plan()))
    script.step("verify", 146, "Rolled out in 1 min 26 s, then stable for 60 s")
    names = [
        f"checkout-6c8d5f7b9-{tail}"
        for tail in ("4h2wm", "9kq7c", "d8v5x", "jz6tn", "p2l9r", "w7c4b")
    ]
    outcome = Outcome(
        Result.DEPLOYED,
        "checkout v2.31.1 runs in production",
        "It replaced v2.30.4. All 6 pods are ready and stayed so for 60 s.",
        facts=(Fact("Revision", "c752601b6f17"), Fact("Sync", "Synced"), Fact("Health", "Healthy")),
        tables=(pods("v2.31.1", *((name, "ready", "0") for name in names)),),
        next_step="Nothing to do.",
        undo=UNDO,
    )
    script.add("outcome", outcome=outcome)
    return script.add("ended", status=Status.SUCCEEDED, exit_code=0, reason="")


def failed() -> Script:
    script = waiting()
    applied(approved(script, plan()))
    script.step("verify", 100, "Stopped at the third restart of x2kqp", status=Status.FAILED)
    old = [
        (f"checkout-5f6b9c7d8-{tail}", "ready", "0")
        for tail in ("2tq8n", "6gk4j", "bv9ml", "hs3xw", "r7d5z")
    ]
    new = [
        (f"checkout-7d9f8b6c54-{tail}", "CrashLoopBackOff", "3")
        for tail in ("x2kqp", "m5d9t", "zr4hc")
    ]
    outcome = Outcome(
        Result.FAILED,
        "checkout v2.31.1 crashes in production",
        "5 of 6 pods still serve v2.30.4. The 3 new pods exit at start with code 1.",
        facts=(
            Fact("Pod", "checkout-7d9f8b6c54-x2kqp, and 2 more with the same reason"),
            Fact("Container", "checkout"),
            Fact("Reason", "CrashLoopBackOff, exit code 1, 3 restarts in 71 s"),
            Fact("Last line", "config: PAYMENTS_CALLBACK_URL is not set"),
            Fact("Before", "v2.30.4"),
        ),
        tables=(
            Table(
                "Pods at the end",
                ("Pod", "State", "Restarts"),
                (*new, *old),
            ),
        ),
        next_step="Git now asks for v2.31.1, so Argo CD keeps trying. This puts v2.30.4 back.",
        command=UNDO,
        undo=UNDO,
    )
    script.add("outcome", outcome=outcome)
    return script.add(
        "ended",
        status=Status.FAILED,
        exit_code=1,
        reason="3 pods of checkout are in CrashLoopBackOff",
    )


def refused() -> Script:
    script = opened(Script("20261123T091412Z-promotion-production-11aa"))
    of = plan()
    planned(script, of)
    script.step("decide", 0.1, "freeze: “peak-trade” is open", status=Status.REFUSED)
    closed = Verdict("freeze", False, "“peak-trade” is open", datetime(2026, 12, 1, 7, tzinfo=UTC))
    script.add(
        "decision",
        **decision(of, Answer.REFUSED, "freeze: “peak-trade” is open", verdicts=gates(closed)),
    )
    return script.add(
        "ended",
        status=Status.REFUSED,
        exit_code=3,
        reason="freeze: “peak-trade” is open",
        hint="Run it again after the freeze.",
    )


def rejected() -> Script:
    script = waiting(Script("20261123T091412Z-promotion-production-22bb"))
    subject = script.state().request_digest
    script.wait(220)
    no = Approval(
        script.run,
        subject,
        "reject",
        "tomas-b",
        KEY,
        script.now,
        script.now,
        "not before the load test",
    )
    script.add("approval", **to_json(no))
    script.add("step", step="decide", status=Status.REFUSED, sentence="tomas-b rejected it")
    return script.add(
        "ended",
        status=Status.REFUSED,
        exit_code=3,
        reason="tomas-b rejected it: not before the load test",
    )


def needs_attention() -> Script:
    script = waiting(Script("20261123T091412Z-promotion-production-33cc"))
    approved(script, plan())
    script.add("step", step="apply", kind="effect", status=Status.RUNNING)
    script.add(
        "intent",
        key="commit",
        kind="effect",
        step="apply",
        sentence="commit to main, parent checked",
    )
    script.wait(31)
    script.add(
        "step",
        step="apply",
        status=Status.NEEDS_ATTENTION,
        sentence="the reply was lost",
        took_ms=31000,
    )
    return script.add(
        "ended",
        status=Status.NEEDS_ATTENTION,
        exit_code=4,
        reason="Was the commit pushed? The remote did not answer within 30 s.",
        hint="Look whether platform-config has a commit with this run's trailer, then resume.",
        command=f"gitops-nb resume {script.run}",
    )


def cancelled() -> Script:
    script = waiting(Script("20261123T091412Z-promotion-production-44dd"))
    approved(script, plan())
    script.add("step", step="apply", kind="effect", status=Status.RUNNING)
    script.effect("commit", 7, "commit to main, parent checked", revision="c752601b" * 5)
    script.add(
        "step", step="apply", status=Status.CANCELLED, sentence="stopped by SIGINT", took_ms=7000
    )
    return script.add("ended", status=Status.CANCELLED, exit_code=130, reason="stopped by SIGINT")


def killed() -> Script:
    script = waiting(Script("20261123T091412Z-promotion-production-55ee"))
    approved(script, plan())
    script.add("step", step="apply", kind="effect", status=Status.RUNNING)
    script.effect("commit", 7, "commit to main, parent checked", revision="c752601b" * 5)
    return script.add(
        "intent", key="sync", kind="effect", step="apply", sentence="Argo CD syncs checkout"
    )


def lost_race() -> Script:
    script = waiting(Script("20261123T091412Z-promotion-production-45dd"))
    approved(script, plan())
    script.add("step", step="apply", kind="effect", status=Status.RUNNING)
    script.add(
        "intent",
        key="commit",
        kind="effect",
        step="apply",
        sentence="commit to main, parent checked",
    )
    script.wait(2).add("void", key="commit", reason="main moved to 77aa in the meantime")
    script.add(
        "step", step="apply", status=Status.FAILED, sentence="main moved to 77aa", took_ms=2000
    )
    reason = "main moved to 77aa in the meantime"
    return script.add("ended", status=Status.REFUSED, exit_code=3, reason=reason)


def nothing_to_do() -> Script:
    script = opened(Script("20261123T091412Z-promotion-production-66ff"))
    of = plan(changes=(), summary="checkout v2.31.1 already runs in production")
    planned(script, of)
    script.step("decide", 0.1, "nothing to do")
    script.add(
        "decision", **decision(of, Answer.NOTHING, of.summary, verdicts=(), approvals_needed=0)
    )
    for name in ("apply", "verify"):
        script.add("step", step=name, status=Status.SKIPPED, sentence="nothing to do")
    return script.add("ended", status=Status.SUCCEEDED, exit_code=0, reason="")


def plan_only() -> Script:
    script = opened(Script("20261123T091412Z-promotion-production-77aa"))
    of = plan()
    planned(script, of)
    script.step("decide", 0.1, "1 of 1 approvals missing")
    script.add("decision", **decision(of, Answer.WAITING, "1 of 1 approvals missing"))
    return script.add(
        "ended", status=Status.SUCCEEDED, exit_code=0, reason="stopped after decide: --plan"
    )


BOOTSTRAP_STEPS = (
    "cluster",
    "argo-cd",
    "components",
    "settings",
    "repository",
    "root-application",
    "revision",
    "children",
    "healthy",
    "monitored",
)


def bootstrap() -> Script:
    script = Script("20261123T091412Z-bootstrap-development-88bb")
    opened(
        script,
        "development",
        runbook="bootstrap",
        title="Bootstrap",
        subject="development, 3 applications",
        source="",
        mode="sandbox",
        rollback="Delete the root application; its children go with it.",
    )
    changes = tuple(
        ResourceChange(f"development:{name}", Action.CREATE, after=f"{name} is set up")
        for name in BOOTSTRAP_STEPS
    )
    of = Plan("bootstrap", "development", "10 steps bring development up.", changes)
    planned(script, of)
    script.step("decide", 0.1, "development needs no approval")
    passed = (Verdict("destructive_change", True, "10 changes, nothing is deleted or replaced"),)
    script.add(
        "decision",
        **decision(
            of, Answer.ALLOWED, "development needs no approval", verdicts=passed, approvals_needed=0
        ),
    )
    script.add("step", step="apply", kind="idempotent", status=Status.RUNNING)
    for name in BOOTSTRAP_STEPS:
        script.effect(name, 3, f"{name}: checked, set up, read back", changed=1)
    script.add("step", step="apply", status=Status.SUCCEEDED, sentence="10 effects", took_ms=30000)
    script.step("verify", 12, "all healthy at 5b1e07c9")
    rows = tuple(
        (str(n), name, "holds", f"{n * 3} objects") for n, name in enumerate(BOOTSTRAP_STEPS, 1)
    )
    outcome = Outcome(
        Result.DEPLOYED,
        "development runs with 3 applications, synced and healthy",
        "All ten steps hold at revision 5b1e07c9.",
        tables=(Table("Ten steps", ("Step", "Name", "Post-condition", "Seen"), rows),),
    )
    script.add("outcome", outcome=outcome)
    return script.add("ended", status=Status.SUCCEEDED, exit_code=0, reason="")


def hostile() -> Script:
    script = Script("20261123T091412Z-promotion-production-99cc")
    opened(
        script,
        HOSTILE,
        subject=HOSTILE,
        title=HOSTILE,
        parameters={HOSTILE: HOSTILE},
        requester={"name": HOSTILE, "kind": "person", "evidence": HOSTILE},
        mode="sandbox",
    )
    long = "x" * 10_240
    change = ResourceChange(
        HOSTILE, Action.UPDATE, HOSTILE, SIGNED, (Line("-", 1, HOSTILE), Line("+", 1, SIGNED))
    )
    of = plan(changes=(change,), summary=HOSTILE)
    planned(script, of)
    script.add(
        "decision",
        **decision(of, Answer.ALLOWED, HOSTILE, verdicts=(Verdict(HOSTILE, False, long),)),
    )
    script.add("step", step="apply", kind="effect", status=Status.RUNNING)
    script.effect(HOSTILE, 1, HOSTILE, **{"commit": HOSTILE, HOSTILE: long})
    outcome = Outcome(
        Result.FAILED,
        HOSTILE,
        long,
        facts=(
            Fact(HOSTILE, long),
            Fact("annotation", '" onmouseover="alert(1)" data-commandlinker-command="x'),
        ),
        tables=(
            Table(
                HOSTILE, (HOSTILE, "b"), ((HOSTILE, long), ("javascript:alert(1)", "{{ 7 * 7 }}"))
            ),
        ),
        next_step=HOSTILE,
        command=HOSTILE,
        undo=HOSTILE,
    )
    script.add("outcome", outcome=outcome)
    return script.add("ended", status=Status.FAILED, exit_code=1, reason=HOSTILE, hint=HOSTILE)


SCENARIOS: dict[str, Callable[[], Script]] = {
    "succeeded": succeeded,
    "waiting": waiting,
    "failed": failed,
    "refused": refused,
    "rejected": rejected,
    "needs_attention": needs_attention,
    "cancelled": cancelled,
    "killed": killed,
    "lost_race": lost_race,
    "nothing_to_do": nothing_to_do,
    "plan_only": plan_only,
    "bootstrap": bootstrap,
    "hostile": hostile,
}
