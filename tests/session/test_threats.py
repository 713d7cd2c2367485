"""What each attacker of the threat table can do and what stops them; beside each refusal the legitimate way goes through."""

from __future__ import annotations

import contextlib
import importlib
import json
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

import pytest

from gitops_nb import policy
from gitops_nb.catalog.load import load_catalog
from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.errors import (
    ConflictError,
    GitOpsError,
    NeedsAttention,
    RecordError,
    Refused,
    WaitingForApproval,
)
from gitops_nb.model import Mode, Status, format_time
from gitops_nb.policy import rules_for
from gitops_nb.record.journal import Journal
from gitops_nb.record.register import Kind
from gitops_nb.record.runs import read_run
from gitops_nb.session import warrant
from gitops_nb.session.lifecycle import recover, refuse_earlier
from gitops_nb.session.order import Order
from gitops_nb.session.platform import open_platform
from gitops_nb.session.registers import register_of
from tests.record.test_tampering import rewrite_journal
from tests.samples import few
from tests.session.test_interruptions import cut_off

PATH = "apps/checkout/production/deployment.yaml"


@pytest.fixture
def waiting(runner):
    """A promotion to production that waits, with nobody's answer."""
    state, stop = runner.promote()
    assert isinstance(stop, WaitingForApproval)
    return state


@pytest.fixture
def approved(runner, waiting):
    """The same, with a good approval."""
    runner.answer(waiting.run)
    return waiting


def world(runner) -> tuple[str, int]:
    """What an attack must not change: the branch, and what Argo CD was asked for in production."""
    application = runner.platform().view.argo["production"].snapshot("checkout-production")
    return runner.tip(), len((application.application or {})["status"].get("history") or ())


def append(runner, run: str, *records: tuple[str, dict]) -> None:
    """What anybody writes who may write into the reports folder: records with a chain that holds."""
    journal = Journal.open(runner.workspace.reports / run)
    for kind, body in records:
        journal.append(kind, **body)
    journal.close()


def allowed(state) -> dict:
    """A decision that allows the plan, as a journal has it."""
    return {
        **state.decision, "answer": "allowed", "reasons": ["approved by tomasz.zielinski"],
        "approvals": [], "approvals_needed": 0,
    }  # fmt: skip


def chain_of(runner, state):
    """The register's entries about a run's request."""
    where = find_workspace(runner.workspace.root)
    platform = open_platform(where, load_catalog(where.runbooks), Mode.SANDBOX)
    rules = rules_for(platform.fleet, platform.policy, platform.trust, state.environment)
    register = register_of(where, platform.fleet, rules, platform.processes, is_sandbox=True)
    return register.chain(state.request_digest)


# A writer of reports/ or of the bucket


@pytest.mark.parametrize("what", ["decision", "intent", "done", "everything"])
def test_a_journal_that_says_yes_is_no_consent(runner, waiting, what):
    """Decision, apply, intent and done appended to a waiting run begin nothing; with a signature it goes through."""
    before = world(runner)
    effect = {"key": "commit", "kind": "effect", "step": "apply", "sentence": "commit"}
    found = {"revision": before[0], "parent": before[0], "attempts": 1}
    records = [
        ("decision", allowed(waiting)),
        ("step", {"step": "decide", "status": "succeeded", "sentence": "approved"}),
        ("step", {"step": "apply", "kind": "effect", "status": "running"}),
        ("intent", effect),
        ("done", {"key": "commit", "result": found, "adopted": False}),
    ]
    upto = {"decision": 2, "intent": 4, "done": 5, "everything": 5}[what]
    append(runner, waiting.run, *records[:upto])
    _, stop = runner.promote(run=waiting.run)
    assert isinstance(stop, WaitingForApproval)
    assert world(runner) == before
    assert chain_of(runner, waiting).entries == ()
    runner.answer(waiting.run)
    done, stop = runner.promote(run=waiting.run)
    if what in ("done", "everything"):
        # The record says that it was pushed, and nothing shows it: nobody can tell, so nothing is pushed twice.
        assert isinstance(stop, NeedsAttention)
        assert runner.tip() == before[0]
    else:
        assert (stop, done.status) == (None, Status.SUCCEEDED)


def test_a_journal_with_another_plan_is_not_carried_out(runner, approved):
    """An approved run whose journal now holds another plan, with digest, decision and intent: refused, nothing changed."""
    before = world(runner)

    def other(rows) -> None:
        from gitops_nb.model import digest

        for row in rows:
            if row["kind"] == "planned":
                row["body"]["plan"]["arguments"]["edits"][0]["after"] = "v6.6.6"
                row["body"]["digest"] = digest(row["body"]["plan"])

    rewrite_journal(runner.workspace.reports / approved.run, other)
    effect = {"key": "commit", "kind": "effect", "step": "apply", "sentence": "commit"}
    append(runner, approved.run, ("intent", effect))
    done, stop = runner.promote(run=approved.run)
    # The plan is made anew from the world; what was approved is what is done, or nothing.
    assert "v6.6.6" not in json.dumps(done.plan)
    assert isinstance(stop, GitOpsError) or done.plan_digest == approved.plan_digest
    assert stop is None or world(runner) == before


def test_a_run_written_from_nothing_changes_nothing(runner, waiting):
    """A whole run directory that nobody asked for, copied under another name with its own identity: refused."""
    before = world(runner)
    reports = runner.workspace.reports
    forged = waiting.run[:-4] + "f0f0"
    shutil.copytree(reports / waiting.run, reports / forged)

    def rename(rows) -> None:
        for row in rows:
            if row["kind"] == "opened":
                row["body"]["run"] = forged

    rewrite_journal(reports / forged, rename)
    state = read_run(reports / forged)
    append(runner, forged, ("decision", allowed(state)))
    _, stop = runner.promote(run=forged)
    assert isinstance(stop, (Refused, WaitingForApproval))
    assert world(runner) == before


@pytest.mark.parametrize("name", few(["jinja2.py", "gitops_nb/__init__.py", "ipython_config.py", "sitecustomize.py", "usercustomize.py", "json.py"], keep=2))  # fmt: skip
def test_nothing_below_reports_is_executed(runner, approved, name):
    """A module, a package or a configuration planted in the run's folder is neither imported nor obeyed."""
    directory = runner.workspace.reports / approved.run
    mark = runner.workspace.root / "executed"
    planted = directory / name
    planted.parent.mkdir(exist_ok=True)
    planted.write_text(f"open({str(mark)!r}, 'w').close()\nraise SystemExit(7)\n")
    done = runner.workspace.run("resume", approved.run)
    assert not mark.exists()
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_workspace_planted_below_reports_is_none(runner, approved):
    """A gitops-nb.yaml in a run's folder does not make it the workspace of a command that is called there."""
    directory = runner.workspace.reports / approved.run
    (directory / "gitops-nb.yaml").write_text("kind: Workspace\nmode: live\n")
    assert find_workspace_from(directory) == runner.workspace.root


def find_workspace_from(folder: Path) -> Path:
    """Which workspace a command opens that is called in a folder."""
    import os

    here = Path.cwd()
    os.chdir(folder)
    try:
        return find_workspace().root
    finally:
        os.chdir(here)


def test_a_rejection_stays_when_its_file_is_deleted(runner, waiting):
    """It stands in the register too: whoever deletes the file and edits the journal gets no effect."""
    copy = runner.workspace.root / "copy"
    shutil.copytree(runner.workspace.reports / waiting.run, copy)
    before = world(runner)
    done = runner.workspace.run("reject", waiting.run, "--reason", "not today")
    assert done.returncode == 0, done.stderr
    directory = runner.workspace.reports / waiting.run
    shutil.rmtree(directory)
    shutil.copytree(copy, directory)
    runner.answer(waiting.run)
    _, stop = runner.promote(run=waiting.run)
    assert isinstance(stop, Refused)
    assert "tomasz.zielinski rejected it: not today" in stop.message
    assert world(runner) == before


def test_a_withdrawn_approval_or_request_begins_nothing(runner, approved):
    """The requester takes the request back after the approval: resume is refused, and nothing changes."""
    before = world(runner)
    done = runner.workspace.run("withdraw", approved.run, "--reason", "it has a fault")
    assert done.returncode == 0, done.stderr
    _, stop = runner.promote_again(approved.run)
    assert isinstance(stop, Refused)
    assert world(runner) == before


# A replayer of a second copy


def test_one_approval_is_used_once_by_two_copies(runner, approved):
    """Two copies of an approved reports folder: the first carries the request out, the second is told so."""
    copy = runner.workspace.root / "copy"
    shutil.copytree(runner.workspace.reports / approved.run, copy)
    done, stop = runner.promote(run=approved.run)
    assert (stop, done.status) == (None, Status.SUCCEEDED)
    take_back(runner)
    before = world(runner)
    directory = runner.workspace.reports / approved.run
    shutil.rmtree(directory)
    shutil.copytree(copy, directory)
    _, stop = runner.promote(run=approved.run)
    assert isinstance(stop, GitOpsError)
    assert world(runner) == before
    entries = [entry.kind for entry in chain_of(runner, approved).entries]
    assert entries == [Kind.START, Kind.END]


def test_what_the_repository_witnesses_is_not_pushed_again(runner, approved):
    """Reports and branch put back, and an empty register in its place: the run's own reference says that it pushed."""
    reports, copy = runner.workspace.reports, runner.workspace.root / "copy"
    shutil.copytree(reports, copy)
    platform = runner.workspace.root / ".gitops-nb/sandbox/state.json"
    state_before = platform.read_bytes()
    before, bare = (
        runner.tip(),
        runner.workspace.root / ".gitops-nb/sandbox/git/platform-config.git",
    )
    done, stop = runner.promote(run=approved.run)
    assert (stop, done.status) == (None, Status.SUCCEEDED)
    # A revert would make the plan stale by itself, and so would what Argo CD remembers.
    subprocess.run(("git", "-C", str(bare), "update-ref", "refs/heads/main", before), check=True)
    platform.write_bytes(state_before)
    before = world(runner)
    shutil.rmtree(reports)
    shutil.copytree(copy, reports)
    register = f"refs/gitops-nb/register/{approved.request_digest.removeprefix('sha256:')}"
    subprocess.run(("git", "-C", str(bare), "update-ref", "-d", register), check=True)
    state, stop = runner.promote(run=approved.run)
    assert isinstance(stop, Refused)
    assert f"refs/gitops-nb/pushed/{approved.run}" in stop.message
    assert "the register knows of no start; nothing was pushed" in stop.message
    assert world(runner) == before
    assert not [effect for effect in state.effects if effect.ended and not effect.failed]


def take_back(runner) -> None:
    """Somebody reverts the newest commit by hand, and Argo CD brings that."""
    platform = runner.platform()
    tip = runner.tip()
    parent = platform.git.log("platform-config", tip, limit=1)[0].parents[0]
    before = platform.git.read("platform-config", parent, PATH)
    platform.git.commit(
        "platform-config", branch="main", parent=tip, files={PATH: before.content}, message="Revert"
    )


def test_a_commit_that_was_taken_back_is_not_synced(runner, approved, monkeypatch):
    """Killed after the push, reverted by hand, resumed: the commit is found, and what it asked for is not brought."""
    cut_off(runner, monkeypatch, approved.run, where="after")
    recover(find_workspace(runner.workspace.root))
    take_back(runner)
    before = world(runner)
    state, stop = runner.promote(run=approved.run)
    assert isinstance(stop, ConflictError)
    assert "was taken back" in stop.message
    assert world(runner) == before
    assert state.status is Status.REFUSED
    said = read_run(runner.workspace.reports / approved.run)
    told = " ".join(str(text) for text in said.aftermath.values())
    assert "unknown" not in told
    assert "does not ask for checkout v2.33.0 in production any more" in told
    assert "brings v2.33.0" not in told
    checked = runner.workspace.run("verify", approved.run)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_stop_line_is_said_before_anybody_is_asked(runner):
    """Nobody signs anything for an environment that is stopped, and decide refuses."""
    waiting, _ = runner.promote()
    assert waiting.status is Status.WAITING
    policy = runner.workspace.root / "runbooks/policy.yaml"
    text = policy.read_text(encoding="utf-8")
    policy.write_text(f"{text}\nstop: [{{environments: [production], reason: an incident}}]\n")
    done = runner.workspace.run("approve", waiting.run, "--yes")
    assert done.returncode == 3, done.stdout
    assert "production is stopped by policy.yaml: an incident" in done.stderr
    runner.answer(waiting.run)
    state, stop = runner.promote(run=waiting.run)
    assert isinstance(stop, Refused)
    assert "production is stopped by policy.yaml: an incident" in stop.message
    assert (state.status, state.effects) == (Status.REFUSED, ())
    runner.order = Order(plan_only=True)
    _, stop = runner.promote()
    assert "taken out of the protected branch" in state.hint
    page = (runner.workspace.reports / state.run / "report.html").read_text(encoding="utf-8")
    assert "taken out of the protected branch" in page
    assert "what the gates name" not in page, "every gate passed"
    assert isinstance(stop, Refused), "a plan says it too, and not that approvals are missing"


def test_what_is_in_doubt_is_never_refused_for_good(runner, approved, monkeypatch):
    """The world is gone that would say who asked: the run stays one that can be looked at again, and says what is not known."""
    cut_off(runner, monkeypatch, approved.run, where="after")
    recover(find_workspace(runner.workspace.root))
    assert read_run(runner.workspace.reports / approved.run).in_doubt
    shutil.rmtree(runner.workspace.root / ".gitops-nb/sandbox")
    for _ in range(2):
        state, stop = runner.promote(run=approved.run)
        assert isinstance(stop, GitOpsError)
        assert state.status is Status.NEEDS_ATTENTION
        assert "whether this happened is not known: commit" in state.reason


def test_nothing_is_written_behind_a_record_of_the_future(runner, approved):
    """A clock set back: neither closing a run nor going on with it adds a line, and the cause is named."""
    path = runner.workspace.reports / approved.run / "journal.jsonl"
    newest = read_run(path.parent)
    with pytest.raises(RecordError, match="this machine's clock says"):
        refuse_earlier(format_time(datetime.now(UTC) + timedelta(hours=2)))
    refuse_earlier(format_time(datetime.now(UTC) + timedelta(seconds=60)))
    before = path.read_bytes()
    earlier = datetime.now(UTC) - timedelta(hours=2)
    with clock_at(earlier), pytest.raises(RecordError, match="clock"):
        runner.promote(run=newest.run)
    assert path.read_bytes() == before


@contextlib.contextmanager
def clock_at(now: datetime):
    """What the code that goes on with a run takes for now."""

    class Set(datetime):
        @classmethod
        def now(cls, tz=None):
            return now.astimezone(tz)

    with mock.patch("gitops_nb.session.lifecycle.datetime", Set):
        yield


def test_what_has_ended_is_not_withdrawn_and_verify_holds(runner, approved):
    """After success nothing is left to take back; after an end that can go on, the sealed folder stays as it is."""
    done, _ = runner.promote(run=approved.run)
    assert done.status is Status.SUCCEEDED
    late = runner.workspace.run("withdraw", approved.run, "--reason", "too late")
    assert late.returncode == 3, late.stdout
    assert "was carried out: nothing is left that could begin" in late.stderr
    assert runner.workspace.run("verify", approved.run).returncode == 0


def test_a_plan_stays_a_plan_when_it_is_resumed(runner):
    """`--plan` that could not finish: its resume plans, and changes nothing."""
    git = runner.workspace.root / ".gitops-nb/sandbox/git/platform-config.git"
    runner.platform()
    git.rename(git.with_suffix(".away"))
    ended = runner.workspace.run(
        "run", "promotion", "-p", "application=checkout", "-p", "source=development",
        "-p", "target=staging", "-p", "stable_for=0s", "--plan",
    )  # fmt: skip
    assert ended.returncode not in (0, 2), ended.stdout
    git.with_suffix(".away").rename(git)
    before = world(runner)
    done = runner.workspace.run("resume", "last")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "planned only" in done.stdout
    assert world(runner) == before


def test_trailers_that_somebody_copies_are_not_ours(runner, approved, monkeypatch):
    """A commit with a run's trailers, pushed by somebody else on another parent, is not taken for the run's own."""
    module = importlib.import_module("gitops_nb.promotion.apply")
    real = module._message
    seen: list[str] = []

    def message(*arguments):
        seen.append(real(*arguments))
        return seen[-1]

    monkeypatch.setattr(module, "_message", message)
    cut_off(runner, monkeypatch, approved.run, where="after")
    recover(find_workspace(runner.workspace.root))
    take_back(runner)
    platform = runner.platform()
    tip = runner.tip()
    blob = platform.git.read("platform-config", tip, PATH)
    after = approved.plan["arguments"]["edits"][0]
    content = blob.content.replace(
        f":{approved.plan['arguments']['version_before']}".encode(), f":{after['after']}".encode()
    )
    assert content != blob.content
    (commit,) = platform.git.log("platform-config", tip, limit=1)
    forged = platform.git.commit(
        "platform-config", branch="main", parent=tip, files={PATH: content}, message=seen[-1]
    )
    assert commit.sha != forged
    state, stop = runner.promote(run=approved.run)
    found = next(e.result for e in state.effects if e.key == "commit")
    # The run's own commit is found behind it; the forged one is nobody's.
    assert found["revision"] != forged
    # It was taken back, and what stands there now is somebody else's: nothing is synced.
    assert isinstance(stop, ConflictError)
    assert f"commit {forged[:8]} set it again" in stop.message
    assert [effect.key for effect in state.effects] == ["commit"]


# Two runners


def test_a_start_that_another_runner_holds_refuses(runner, approved, monkeypatch):
    """A second runner of the same approved request is told who began it; when that one is gone by a person's word it goes on."""
    from dataclasses import replace

    real = warrant.this_process
    with monkeypatch.context() as patched:
        patched.setattr(
            warrant,
            "this_process",
            lambda *a: replace(real(*a), boot="elsewhere", host="runner-7"),
        )
        cut_off(runner, monkeypatch, approved.run, where="before")
    recover(find_workspace(runner.workspace.root))
    before = world(runner)
    _, stop = runner.promote(run=approved.run)
    assert isinstance(stop, NeedsAttention)
    assert "runner-7" in stop.message
    assert f"gitops-nb unlock {approved.run}" in stop.hint
    assert world(runner) == before
    done = runner.workspace.run("unlock", approved.run, "--reason", "the machine is gone")
    assert done.returncode == 0, done.stderr
    done, stop = runner.promote(run=approved.run)
    assert (stop, done.status) == (None, Status.SUCCEEDED)


def test_a_runner_that_stalled_writes_nothing_more(runner, approved, monkeypatch):
    """Between its start and its push somebody says that it is gone: the push is not made."""
    module = importlib.import_module("gitops_nb.promotion.apply")
    real = module._message

    def stalled(*arguments):
        where = find_workspace(runner.workspace.root)
        platform = runner.platform()
        rules = rules_for(platform.fleet, platform.policy, platform.trust, "production")
        register = register_of(where, platform.fleet, rules, platform.processes, is_sandbox=True)
        held = register.chain(approved.request_digest).open_start
        from gitops_nb.model import canonical
        from gitops_nb.record.unlocks import signed_unlock

        signed = signed_unlock(
            what=approved.run, holder="x", digest=held.digest, person=platform.second_person,
            at=datetime.now(UTC), reason="it hangs", key=platform.signing_key,
            processes=platform.processes, realm=platform.trust.realm,
        )  # fmt: skip
        register.append(approved.request_digest, lambda _: canonical(signed))
        return real(*arguments)

    monkeypatch.setattr(module, "_message", stalled)
    before = world(runner)
    _, stop = runner.promote(run=approved.run)
    assert isinstance(stop, Refused)
    assert world(runner) == before


# Policy, keys and time


def test_the_stop_line_forbids_effects_and_not_the_looking(runner, approved, monkeypatch):
    """Written after the push: the commit is found, nothing is synced, and the end says what stopped it."""
    cut_off(runner, monkeypatch, approved.run, where="after")
    recover(find_workspace(runner.workspace.root))
    policy = runner.workspace.root / "runbooks/policy.yaml"
    text = policy.read_text(encoding="utf-8")
    policy.write_text(f"{text}\nstop: [{{environments: [production], reason: an incident}}]\n")
    before = world(runner)
    state, stop = runner.promote(run=approved.run)
    assert isinstance(stop, GitOpsError)
    assert "production is stopped by policy.yaml: an incident" in stop.message
    assert next(e for e in state.effects if e.key == "commit").adopted
    assert world(runner) == before
    policy.write_text(text)


class Later(datetime):
    """The wall clock, some hours on."""

    hours = 5

    @classmethod
    def now(cls, tz=None):
        return datetime.now(tz) + timedelta(hours=cls.hours)


@pytest.mark.parametrize(("hours", "goes_on"), [(5, True), (23, True), (25, False)])
def test_expiry_is_waived_for_what_the_world_shows_for_a_day(
    runner, approved, monkeypatch, hours, goes_on
):
    """The push is there: hours after the approval expired it is brought to its end, a day later it is only looked at."""
    cut_off(runner, monkeypatch, approved.run, where="after")
    recover(find_workspace(runner.workspace.root))
    before = world(runner)
    monkeypatch.setattr(Later, "hours", hours)
    monkeypatch.setattr(warrant, "datetime", Later)
    done, stop = runner.promote(run=approved.run)
    assert (stop is None) is goes_on, stop
    assert (done.status is Status.SUCCEEDED) is goes_on
    assert goes_on or world(runner) == before


def test_an_approver_taken_out_of_the_policy_counts_no_more(runner, approved):
    """Two approvals are asked for since: the greater number counts, and nothing is begun."""
    before = world(runner)
    runner.workspace.replace(
        "runbooks/policy.yaml",
        "{allow: false}}\n    approvals: 1",
        "{allow: false}}\n    approvals: 2",
    )
    _, stop = runner.promote(run=approved.run)
    assert isinstance(stop, GitOpsError)
    assert world(runner) == before


def test_code_that_was_mended_looks_and_begins_nothing(runner, approved, monkeypatch):
    """After the push the package is another one: the commit is found, nothing is synced; with the old one it is finished."""
    cut_off(runner, monkeypatch, approved.run, where="after")
    recover(find_workspace(runner.workspace.root))
    before = world(runner)
    with monkeypatch.context() as patched:
        patched.setattr(warrant, "code_of", lambda _: {"package": "sha256:other", "slice": ""})
        state, stop = runner.promote(run=approved.run)
    assert isinstance(stop, GitOpsError)
    assert "other code looks at what was begun" in stop.message
    assert next(e for e in state.effects if e.key == "commit").adopted
    assert world(runner) == before
    done, stop = runner.promote(run=approved.run)
    assert (stop, done.status) == (None, Status.SUCCEEDED)


def test_a_runner_of_another_environment_begins_nothing(runner, approved, monkeypatch):
    """Its key is listed for staging: production is refused before the register has a start; its own way goes on."""
    from gitops_nb.session import platform as platforms

    before = world(runner)
    real = platforms.SandboxTrust

    def only_staging(**values):
        listed = tuple(
            one.model_copy(update={"environments": ("staging",)}) for one in values["runners"]
        )
        return real(**{**values, "runners": listed})

    with monkeypatch.context() as patched:
        patched.setattr(platforms, "SandboxTrust", only_staging)
        _, stop = runner.promote_again(approved.run)
    assert isinstance(stop, Refused)
    assert "lists no runner with this key" in stop.message
    assert world(runner) == before
    assert chain_of(runner, approved).entries == ()


def test_a_request_of_another_register_is_refused(runner, approved, monkeypatch):
    """A workspace that keeps its register elsewhere would know nothing of a start: it may not begin one."""
    before = world(runner)
    elsewhere = {"kind": "bucket", "at": "gs://elsewhere/x", "name": ""}
    with monkeypatch.context() as patched:
        patched.setattr(warrant, "place_of", lambda *_, **__: elsewhere)
        _, stop = runner.promote(run=approved.run)
    assert isinstance(stop, Refused)
    assert "keeps its register in bucket gs://elsewhere/x" in stop.message
    assert world(runner) == before
    assert chain_of(runner, approved).entries == ()


def test_what_a_sandbox_signed_counts_nowhere_else(runner, approved):
    """The same request and answer, checked with the same keys as a live trust: neither signature holds."""
    from gitops_nb.catalog.trust import Trust
    from gitops_nb.record.approvals import read_answers, request_problem

    platform = runner.platform()
    live = Trust(persons=platform.trust.persons)
    state = read_run(runner.workspace.reports / approved.run)
    directory = runner.workspace.reports / approved.run
    for trust, counts in ((platform.trust, True), (live, False)):
        problem = request_problem(state, trust=trust, processes=platform.processes)
        (answer,) = read_answers(directory, processes=platform.processes, trust=trust)
        assert (problem == "", answer.approval is not None) == (counts, counts)


@pytest.mark.parametrize("what", ["the stop line", "a rejection", "the approval is gone"])
def test_what_is_said_while_it_runs_stops_the_next_effect(runner, approved, monkeypatch, what):
    """Between the push and the sync somebody says no: the push is there, nothing is synced, and a person is told."""
    module = importlib.import_module("gitops_nb.promotion.apply")
    real = module._deliver
    directory = runner.workspace.reports / approved.run
    policy = runner.workspace.root / "runbooks/policy.yaml"

    def meanwhile(*arguments, **named):
        if what == "the stop line":
            text = policy.read_text(encoding="utf-8")
            policy.write_text(f"{text}\nstop: [{{environments: [production], reason: fire}}]\n")
        elif what == "a rejection":
            runner.answer(approved.run, "reject")
        else:
            shutil.rmtree(directory / "approvals")
        return real(*arguments, **named)

    monkeypatch.setattr(module, "_deliver", meanwhile)
    before = world(runner)
    state, stop = runner.promote(run=approved.run)
    assert isinstance(stop, Refused)
    after = world(runner)
    assert after[0] != before[0]
    assert after[1] == before[1]
    assert state.status is (Status.NEEDS_ATTENTION if "line" in what else Status.FAILED)
    assert [effect.key for effect in state.effects if not effect.failed] == ["commit"]
    assert state.aftermath, "the end says what Git asks for and the way back"


# Where effects land


def elsewhere(plan: dict, what: str) -> dict:
    """A plan of staging that would change production."""
    changed = json.loads(json.dumps(plan))
    arguments = changed["arguments"]
    if what == "the path":
        for edit in arguments["edits"]:
            edit["path"] = edit["path"].replace("/staging/", "/production/")
    elif what == "the cluster":
        for placement in arguments["placements"]:
            placement["cluster"] = "production"
    elif what == "the application":
        for placement in arguments["placements"]:
            placement["name"] = "checkout-production"
    else:
        arguments["branch"] = "other"
    return changed


@pytest.mark.parametrize(
    "what", few(["the path", "the cluster", "the application", "the branch"], keep=2)
)
def test_a_plan_reaches_nothing_but_its_environment(runner, what):
    """A plan for staging, which nobody has to approve there, that names production's files or clusters: nothing begins."""
    from gitops_nb import promotion
    from gitops_nb.model import Plan, from_json, to_json

    runner.workspace.replace(
        "runbooks/fleet.yaml",
        "staging: {auto_deploy: true, approval_required: true",
        "staging: {auto_deploy: true, approval_required: false",
    )
    runner.workspace.replace("runbooks/policy.yaml", "at_least: 1h", "at_least: 0s")
    before = world(runner)
    looking = runner.open(source="development", target="staging")
    older = looking.step(promotion.observe).target.spells[-2].version
    looking.close()
    session = runner.open(source="development", target="staging", revision=older)

    def plan(request, state):
        return from_json(Plan, elsewhere(to_json(promotion.plan(request, state)), what))

    session.step(promotion.observe)
    session.step(plan)
    stopped = None
    try:
        import asyncio

        asyncio.run(session.gate(promotion.gates))
        session.step(promotion.apply)
    except GitOpsError as stop:
        stopped = stop
    finally:
        session.close()
    assert isinstance(stopped, Refused)
    assert "the plan is not of what was asked for" in stopped.message
    assert world(runner) == before
    done, stop = runner.promote(source="development", target="staging", revision=older)
    assert stop is None, stop
    assert done.status is Status.SUCCEEDED


def test_a_record_of_another_environment_than_its_parameters_begins_nothing(runner, approved):
    """The journal says development, the parameters production: the rules are production's, and the record is refused."""
    before = world(runner)

    def say_development(rows) -> None:
        for row in rows:
            if row["kind"] == "opened":
                row["body"]["environment"] = "development"

    rewrite_journal(runner.workspace.reports / approved.run, say_development)
    _, stop = runner.promote_again(approved.run)
    assert isinstance(stop, Refused)
    assert world(runner) == before


def test_a_journal_without_its_attempts_is_looked_up_in_the_register(runner, approved, monkeypatch):
    """Killed after the push, reverted by hand, and the waiting artifact put back without its attempts: nothing is pushed again."""
    directory = runner.workspace.reports / approved.run
    copy = runner.workspace.root / "copy"
    shutil.copytree(directory, copy)
    cut_off(runner, monkeypatch, approved.run, where="after")
    recover(find_workspace(runner.workspace.root))
    take_back(runner)
    before = world(runner)
    shutil.rmtree(directory)
    shutil.copytree(copy, directory)
    rewrite_journal(
        directory, lambda rows: rows.__setitem__(slice(None), [r for r in rows if r["kind"] != "attempt"])
    )  # fmt: skip
    _, stop = runner.promote_again(approved.run)
    assert isinstance(stop, ConflictError)
    assert "was taken back" in stop.message
    assert world(runner) == before


def test_the_artifact_of_the_waiting_state_goes_on_after_its_runner_was_lost(
    runner, approved, monkeypatch
):
    """The runner is lost after the push, and its record with it: the waiting copy finds the commit and brings it to its end."""
    directory = runner.workspace.reports / approved.run
    copy = runner.workspace.root / "copy"
    shutil.copytree(directory, copy)
    from dataclasses import replace

    real = warrant.this_process
    with monkeypatch.context() as patched:
        patched.setattr(
            warrant, "this_process", lambda *a: replace(real(*a), pid=1 << 22, started="1")
        )
        cut_off(runner, monkeypatch, approved.run, where="after")
    tip = runner.tip()
    shutil.rmtree(directory)
    shutil.copytree(copy, directory)
    done, stop = runner.promote(run=approved.run)
    assert (stop, done.status) == (None, Status.SUCCEEDED)
    assert runner.tip() == tip
    assert next(e for e in done.effects if e.key == "commit").adopted


def test_who_withdrew_may_approve_again(runner, approved, monkeypatch):
    """An approver takes the approval back and gives it again once that is surely the later word."""
    before = world(runner)
    key = str(runner.platform().signing_key)
    done = runner.workspace.run("withdraw", approved.run, "--reason", "wait", "--key", key)
    assert done.returncode == 0, done.stderr
    _, stop = runner.promote(run=approved.run)
    assert isinstance(stop, WaitingForApproval)
    assert world(runner) == before
    early = runner.workspace.run("approve", approved.run, "--yes")
    assert early.returncode == 3, (
        "by a clock that is ahead it could be the approval that was taken back"
    )
    assert "Clocks may differ" in early.stderr
    runner.answer(approved.run)
    _, stop = runner.promote(run=approved.run)
    assert isinstance(stop, WaitingForApproval)
    assert world(runner) == before
    monkeypatch.setattr(policy, "CLOCK_SKEW", timedelta(0))
    monkeypatch.setattr(warrant, "CLOCK_SKEW", timedelta(0))
    done, stop = runner.promote(run=approved.run)
    assert (stop, done.status) == (None, Status.SUCCEEDED)
