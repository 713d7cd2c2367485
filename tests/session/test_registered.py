"""What the register has is held against ledger, request and itself; junk in it is named and stops nobody."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gitops_nb.adapters.folder import Folder
from gitops_nb.adapters.git import Git
from gitops_nb.adapters.process import LocalProcesses
from gitops_nb.catalog.trust import RunnerKey, Trust
from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.model import Status, parse_time, to_json
from gitops_nb.record.approvals import read_answers, sign_answer
from gitops_nb.record.consents import consent_findings
from gitops_nb.record.findings import Finding
from gitops_nb.record.fold import EffectState, RunState, fold
from gitops_nb.record.journal import FILE
from gitops_nb.record.journal import read as read_journal
from gitops_nb.record.keys import open_runner_key
from gitops_nb.record.register import Believed, Chain, Entry, Kind, Register
from gitops_nb.record.registered import register_findings
from gitops_nb.session.verifying import verify_records
from tests.record.record_factories import make_records
from tests.session.test_threats import PATH, chain_of


@pytest.fixture
def done(runner):
    """A promotion that succeeded."""
    waiting, _ = runner.promote()
    runner.answer(waiting.run)
    state, stop = runner.promote(run=waiting.run)
    assert stop is None
    return state


def verified(runner, run: str):
    where = find_workspace(runner.workspace.root)
    return verify_records(where, [where.reports / run])


def git(runner, *arguments: str, text: str | None = None) -> str:
    folder = runner.workspace.root / ".gitops-nb/sandbox/git/platform-config.git"
    return subprocess.run(
        ("git", "-C", str(folder), "-c", "user.name=e", "-c", "user.email=e@x.org", *arguments),
        input=text, check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip


def ref(request: str) -> str:
    return f"refs/gitops-nb/register/{request.removeprefix('sha256:')}"


def test_a_register_put_back_to_its_start_is_found(runner, done):
    """The ledger has an end that was seen, the register the start alone: a mismatch; as it was it holds."""
    assert verified(runner, done.run).holds
    name = ref(done.request_digest)
    git(runner, "update-ref", name, f"{name}~1")
    (run,) = verified(runner, done.run).runs
    assert any("it was put back" in str(one) for one in run.problems)


def test_a_sandbox_of_another_time_proves_nothing(runner, done):
    """Register ref deleted and the sandbox's time set to later: nobody can tell, so it does not hold."""
    git(runner, "update-ref", "-d", ref(done.request_digest))
    assert verified(runner, done.run).is_wrong
    later = datetime.now(UTC).timestamp() + 3600
    os.utime(runner.workspace.root / ".gitops-nb/sandbox/origin", (later, later))
    checked = verified(runner, done.run)
    assert not checked.holds
    assert "sandbox was built anew" in " ".join(checked.runs[0].unchecked)


def test_junk_in_a_register_is_named_and_stops_nobody(runner):
    """Names that are no numbers, and a file under the next number: resume goes through, verify names each."""
    waiting, _ = runner.promote()
    runner.answer(waiting.run)
    blob = git(runner, "hash-object", "-w", "--stdin", text="junk")
    rows = "".join(f"100644 blob {blob}\t{name}\n" for name in ("000000.json", "000002.json", "x"))
    tree = git(runner, "mktree", text=rows)
    commit = git(runner, "commit-tree", tree, "-m", "junk")
    git(runner, "update-ref", ref(waiting.request_digest), commit)
    done, stop = runner.promote(run=waiting.run)
    assert (stop, done.status) == (None, Status.SUCCEEDED)
    kinds = [entry.kind for entry in chain_of(runner, done).entries]
    assert kinds == [None, Kind.START, None, Kind.END]
    (run,) = verified(runner, done.run).runs
    assert sum("the register" in str(one) for one in run.problems) == 3


def entries(*ats: datetime, prev: str = "") -> tuple[Entry, ...]:
    found: list[Entry] = []
    for number, at in enumerate(ats):
        kind = Kind.START if number % 2 == 0 else Kind.END
        body = {"prev": found[-1].digest if found else prev, "run": "r", "start": "0" * 64}
        found.append(Entry(number, f"{number}" * 64, kind, at, "key", body))
    return tuple(found)


def test_order_and_times_of_a_register_are_checked():
    """Links and times in order are no finding; an entry moved, one older than the one before or than the request is."""
    now = datetime.now(UTC)
    state = RunState(run="r", request={"created": now.isoformat()})

    def texts(chain: Chain) -> str:
        said = register_findings(state, chain, approvers=(), is_shared=True)
        return " ".join(str(one) for one in said)

    good = Chain("sha256:1", entries(now, now + timedelta(minutes=1)))
    assert "entry" not in texts(good)
    moved = Chain("sha256:1", entries(now, now, prev="f" * 64))
    assert "entry 0 does not follow the entry before it" in texts(moved)
    assert "entry 1 is older" in texts(Chain("sha256:1", entries(now, now - timedelta(hours=1))))
    assert "entry 0 is older" in texts(Chain("sha256:1", entries(now - timedelta(hours=1))))


@pytest.mark.parametrize("answer", ["withdraw", "reject", "approve"])
def test_a_requester_takes_back_what_they_asked_for(tmp_path, answer):
    """Their own withdrawal or rejection is no approval of their own; their own approval is found."""
    records = make_records(tmp_path)
    directory = records.runs[2]
    written, _ = read_journal(directory / FILE)
    state = fold(written)
    sign_answer(
        directory, processes=LocalProcesses(), key=tmp_path / "keys" / "priya", run=state.run,
        subject=state.request_digest, answer=answer, person="priya",
        at=parse_time(state.request["created"]), expires=parse_time(state.request["expires"]),
    )  # fmt: skip
    answers = read_answers(directory, processes=LocalProcesses(), trust=records.trust)
    given = next(one.approval for one in answers if one.approval.person == "priya")
    state = replace(state, approvals=(*state.approvals, to_json(given)))
    found = consent_findings(
        directory, state, written, trust=records.trust, processes=LocalProcesses()
    )
    assert [one for one in found if isinstance(one, Finding)] == [] or answer == "approve"
    assert any("the requester's own" in str(one) for one in found) is (answer == "approve")


def test_a_commit_counts_with_a_key_that_counted_then(runner, done):
    """A runner's key signs trailers only while it counts."""
    from gitops_nb.record.commits import signed_by

    platform = runner.platform()
    (commit,) = platform.git.log("platform-config", runner.tip(), limit=1)
    ask = {"realm": platform.trust.realm, "at": commit.committed_at}
    (runner_key,) = platform.trust.runners
    assert signed_by(commit.trailers, commit.parents[0], runners=(runner_key,), **ask)
    late = runner_key.model_copy(update={"valid_from": commit.committed_at + timedelta(days=1)})
    assert signed_by(commit.trailers, commit.parents[0], runners=(late,), **ask) is None


def test_nothing_below_the_own_folder_is_a_workspace(runner, monkeypatch):
    """A gitops-nb.yaml in the spool of a bucket is never opened; the workspace around it is."""
    folder = runner.workspace.root / ".gitops-nb" / "spool" / "bucket" / "run"
    folder.mkdir(parents=True)
    shutil.copy(runner.workspace.root / "gitops-nb.yaml", folder)
    monkeypatch.chdir(folder)
    assert find_workspace().root == runner.workspace.root


def test_a_key_that_is_taken_away_undoes_nothing(tmp_path):
    """A runner's start and end, a rejection: each forbids as long as it counted when it was signed; junk never does."""
    first, second = (open_runner_key(tmp_path / name) for name in ("one", "two"))
    keys = {
        one: RunnerKey(name=one, key=key.public)
        for one, key in (("first", first), ("second", second))
    }
    request = f"sha256:{'a' * 64}"
    now = datetime.now(UTC)

    def register(*believed: str, once: tuple[str, ...] = (), earlier=None) -> Register:
        def of(names):
            runners = tuple(keys[name] for name in names)
            return Believed(Trust(runners=runners), runners)

        return Register(
            Folder(tmp_path / "store"), believed=of(believed), processes=LocalProcesses(),
            once=(of(once),) if once else (), earlier=earlier,
        )  # fmt: skip

    def write(signer, kind: Kind, **body) -> None:
        one = register("first", "second")
        one.append(
            request,
            lambda chain: one.by_runner(signer, chain, kind, at=now, body={"run": "r", **body}),
        )

    write(first, Kind.START, attempt=1)
    (start,) = register("first").chain(request).starts
    gone = register("second").chain(request)
    assert (gone.starts, gone.open_start) == ((), None), "nobody ever believed it: junk"
    held = register("second", once=("first", "second")).chain(request)
    assert held.open_start.digest == start.digest
    assert not held.open_start.counts
    trust = Trust(runners=(keys["first"],))
    by_policy = register("second", earlier=lambda _: (Believed(trust, trust.runners),)).chain(
        request
    )
    assert by_policy.open_start.digest == start.digest
    # An end by the key that is gone ends its own start, and says that the request is used.
    write(first, Kind.END, start=start.digest, status="succeeded", effects={"commit": "c1"})
    after = register("second", once=("first",)).chain(request)
    assert (after.open_start, after.done) == (None, {"commit": "c1"})
    assert after.success is not None
    # It does not end what another runner began.
    write(second, Kind.START, attempt=2)
    other = register("second").chain(request).open_start
    write(first, Kind.END, start=other.digest, status="succeeded")
    assert register("second", once=("first",)).chain(request).open_start.digest == other.digest


@pytest.mark.parametrize("what", ["another file", "another value"])
def test_a_commit_wider_than_its_plan_is_found(runner, monkeypatch, what):
    """A notebook where nobody approves has the runner's commit change more: its trailers are signed, and verify finds it."""
    runner.workspace.replace(
        "runbooks/fleet.yaml", "approval_required: true", "approval_required: false"
    )
    real = Git._build

    def wider(self, repository, parent, files, message):
        more = (
            {PATH: files[PATH] + b"# and this\n"}
            if what == "another value"
            else {"x.yaml": b"a: 1\n"}
        )
        return real(self, repository, parent, {**files, **more}, message)

    with monkeypatch.context() as patched:
        patched.setattr(Git, "_build", wider)
        patched.setattr(Git, "_refuse_wider", lambda *_: None)
        state, stop = runner.promote()
    assert stop is None
    (run,) = verified(runner, state.run).runs
    said = " ".join(str(one) for one in run.problems)
    expected = (
        "is not what its plan makes of it" if what == "another value" else "it changes x.yaml"
    )
    assert expected in said


def no(number: int, kind: Kind, at: datetime, signer: str = "tomas") -> Entry:
    return Entry(number, f"{number}" * 64, kind, at, signer, {"reason": "x", "prev": ""})


def test_the_newest_withdrawal_counts_in_any_order():
    """Somebody puts a copy of the earlier one behind the later one: the approval in between stays taken back."""
    now = datetime.now(UTC)
    early, late = now - timedelta(hours=1), now
    chain = Chain("r", (no(0, Kind.WITHDRAW, early), no(1, Kind.WITHDRAW, late), no(2, Kind.WITHDRAW, early)))  # fmt: skip
    assert chain.withdrawn == {"tomas": late}


@pytest.mark.parametrize(
    ("kind", "signer", "found"),
    [
        (Kind.REJECT, "rita", True), (Kind.REJECT, "eve", False), (Kind.WITHDRAW, "mara", True),
        (Kind.WITHDRAW, "tomas", True), (Kind.WITHDRAW, "rita", False),
    ],
)  # fmt: skip
def test_effects_behind_a_no_are_found(kind, signer, found):
    """Begun after somebody who may said no, or took back the request or the approval that counted; the order is the register's."""
    now = datetime.now(UTC)
    started = Entry(
        1, "b" * 64, Kind.START, now, "key", {"prev": "0" * 64, "run": "r", "plan": "p"}
    )
    state = RunState(
        run="r",
        request={"created": now.isoformat(), "plan_digest": "p", "requester": {"name": "mara"}},
        approvals=({"person": "tomas", "answer": "approve", "at": now.isoformat()},),
        effects=(EffectState("commit", "effect", "apply", "commit", now.isoformat(), now.isoformat()),),
    )  # fmt: skip
    chain = Chain("r", (no(0, kind, now, signer), started))
    said = register_findings(state, chain, approvers={"tomas", "rita"}, is_shared=True)
    assert ("was begun after" in " ".join(str(one) for one in said)) is found
