"""A person answers on a machine that is no runner of trust.yaml: what they sign counts, and the machine's key signs nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gitops_nb.catalog.trust import RunnerKey, Trust
from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.cli import answering
from gitops_nb.cli.answering import answer, withdraw
from gitops_nb.errors import Refused
from gitops_nb.model import Status
from gitops_nb.policy import rules_for
from gitops_nb.record.keys import open_runner_key
from gitops_nb.record.register import Kind
from gitops_nb.record.runs import read_run
from gitops_nb.session import beginnings, lifecycle, platform, pruning
from gitops_nb.session.glass import is_reviewed
from gitops_nb.session.lifecycle import recover
from gitops_nb.session.order import Order
from gitops_nb.session.pruning import old_runs, prune
from gitops_nb.session.registers import register_of
from gitops_nb.session.stores import reports_store
from gitops_nb.session.verifying import verify_records
from tests.session.test_break_glass import lets_break_glass


@pytest.fixture
def elsewhere(runner, monkeypatch):
    """Makes this machine one that is no runner, as an approver's own is."""
    other = Ed25519PrivateKey.generate().public_key()
    key = other.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()

    def patched():
        context = monkeypatch.context()
        context.__enter__().setattr(platform, "runner_key", lambda _: key)
        return context

    return patched


def where_of(runner):
    return find_workspace(runner.workspace.root)


def ledger(runner) -> tuple[str, ...]:
    return tuple(reports_store(where_of(runner)).list("ledger/"))


def registered(runner, state) -> list[Kind]:
    """What the register has about a run's request."""
    known = runner.platform()
    rules = rules_for(known.fleet, known.policy, known.trust, state.environment)
    register = register_of(where_of(runner), known.fleet, rules, known.processes, is_sandbox=True)
    return [entry.kind for entry in register.chain(state.request_digest).entries]


def problems(runner, run: str) -> list:
    checked = verify_records(where_of(runner), [where_of(runner).reports / run])
    return [
        *(p for one in (*checked.ledgers, *checked.runs) for p in one.problems),
        *(text for one in checked.runs for text in one.unchecked),
    ]


def say_no(kind: str, runner, run: str) -> None:
    given = {"key": None, "reason": "wait", "workspace": runner.workspace.root, "reports": None}
    if kind == "reject":
        answer(run, "reject", yes=True, **given)
    else:
        withdraw(run, **given)


@pytest.mark.parametrize("kind", ["reject", "withdraw"])
def test_a_no_from_a_machine_that_is_no_runner_is_witnessed_later(runner, elsewhere, kind, capsys):
    """Register and file have it at once, the ledger nothing of it; a runner ends the run, and the record holds before and after."""
    waiting, _ = runner.promote()
    before, signed = runner.tip(), ledger(runner)
    context = elsewhere()
    say_no(kind, runner, waiting.run)
    context.__exit__(None, None, None)
    said = capsys.readouterr().out
    assert f"`gitops-nb resume {waiting.run}` on one that is ends the run" in said
    now = read_run(where_of(runner).reports / waiting.run)
    assert (now.status, now.records) == (Status.WAITING, waiting.records)
    assert ledger(runner) == signed
    assert registered(runner, waiting) == [Kind(kind)]
    assert list((where_of(runner).reports / waiting.run / "approvals").glob(f"{kind}-*"))
    assert problems(runner, waiting.run) == []
    ended, stop = runner.promote(run=waiting.run)
    assert isinstance(stop, Refused)
    assert (ended.status, ended.effects, runner.tip()) == (Status.REFUSED, (), before)
    assert len(ledger(runner)) == len(signed) + 1
    assert problems(runner, waiting.run) == []


@pytest.mark.parametrize("kind", ["reject", "withdraw"])
def test_a_no_from_a_runner_ends_the_run_at_once(runner, kind):
    """Beside it: nobody has to come later."""
    waiting, _ = runner.promote()
    say_no(kind, runner, waiting.run)
    assert read_run(where_of(runner).reports / waiting.run).status is Status.REFUSED
    assert problems(runner, waiting.run) == []


def test_a_review_from_a_machine_that_is_no_runner_counts(runner, elsewhere, capsys):
    """The register has the person's own signature; the ledger nothing; verify, list and a second review know of it."""
    lets_break_glass(runner.workspace)
    runner.order = Order(break_glass="the site is down")
    state, stop = runner.promote()
    assert stop is None
    signed = ledger(runner)
    assert not is_reviewed(where_of(runner), state)
    context = elsewhere()
    given = {"key": None, "reason": "seen", "workspace": runner.workspace.root, "reports": None}
    answer(state.run, "approve", yes=True, **given)
    context.__exit__(None, None, None)
    assert "reviewed by tomasz.zielinski: in the register, entry" in capsys.readouterr().out
    assert ledger(runner) == signed
    assert registered(runner, state)[-1] is Kind.REVIEW
    assert is_reviewed(where_of(runner), state)
    (checked,) = verify_records(where_of(runner), [where_of(runner).reports / state.run]).runs
    assert (checked.problems, checked.unchecked) == ((), ())
    assert "glass broken by mara.lindqvist, reviewed by tomasz.zielinski" in checked.notes
    assert "broken glass" not in runner.workspace.run("list", "runs").stdout
    with pytest.raises(Refused, match="is reviewed already"):
        answer(state.run, "approve", yes=True, **given)


def test_a_review_in_the_register_is_witnessed_before_its_run_is_pruned(runner, elsewhere):
    """The run goes, and with it whatever told of its request: the tombstone holds, because a runner signed the review before it."""
    lets_break_glass(runner.workspace)
    runner.order = Order(break_glass="the site is down")
    state, _ = runner.promote()
    context = elsewhere()
    given = {"key": None, "reason": "seen", "workspace": runner.workspace.root, "reports": None}
    answer(state.run, "approve", yes=True, **given)
    context.__exit__(None, None, None)
    (old,) = old_runs(where_of(runner), lambda _: timedelta(0)).removable
    prune(where_of(runner), [old])
    assert verify_records(where_of(runner), []).holds


@pytest.mark.parametrize("what", ["no runner", "it went on"])
def test_nothing_is_pruned_that_nobody_would_believe(runner, monkeypatch, what):
    """A tombstone of a machine that is no runner, or of a run that is not as it was shown: refused, and all is there."""
    state, _ = runner.promote(source="development", target="staging", application="catalog")
    signed = ledger(runner)
    (old,) = old_runs(where_of(runner), lambda _: timedelta(0)).removable
    if what == "no runner":
        monkeypatch.setattr(pruning, "is_believed_here", lambda *_: False)
    else:
        old = replace(old, head="0" * 64)
    with pytest.raises(Refused, match="nothing was removed"):
        prune(where_of(runner), [old])
    assert ledger(runner) == signed
    assert (where_of(runner).reports / state.run / "report.html").is_file()


def test_a_review_that_nobody_would_see_is_not_signed(runner, elsewhere, monkeypatch):
    """The register of a machine that is no runner is seen by nobody: refused, and nothing is there."""
    lets_break_glass(runner.workspace)
    runner.order = Order(break_glass="the site is down")
    state, _ = runner.promote()
    context = elsewhere()

    def own_register(*given, **named):
        register = register_of(*given, **named)
        register.is_shared = False
        return register

    monkeypatch.setattr(answering, "register_of", own_register)
    with pytest.raises(Refused, match="nobody would see the review"):
        answer(
            state.run, "approve", key=None, reason="seen", yes=True,
            workspace=runner.workspace.root, reports=None,
        )  # fmt: skip
    context.__exit__(None, None, None)
    assert Kind.REVIEW not in registered(runner, state)


@pytest.mark.parametrize("listed", [True, False])
def test_a_dead_run_is_closed_by_a_runner_alone(runner, monkeypatch, listed):
    """A run that another machine began, whose process died: a machine whose word counts nowhere leaves it, and signs nothing."""
    where = where_of(runner)
    session = runner.open()
    run = session.run
    session._recorder._journal.close()
    session._recorder._lock.release()
    state = read_run(where.reports / run)
    key = open_runner_key(where.root).public if listed else "ssh-ed25519 AAAAother x"
    trust = Trust(runners=(RunnerKey(name="ci", key=key),)) if listed else Trust()
    rules = SimpleNamespace(now=SimpleNamespace(trust=trust))
    monkeypatch.setattr(beginnings, "LiveRules", lambda *_: rules)
    live = replace(state, opened={**state.opened, "mode": "live"})
    assert beginnings.is_believed_here(where, live) is listed
    monkeypatch.setattr(lifecycle, "open_here", lambda _: {})
    monkeypatch.setattr(lifecycle, "was_begun", lambda *_: True)
    monkeypatch.setattr(lifecycle, "is_believed_here", lambda *_: listed)
    assert recover(where) == ((run,) if listed else ())
    assert bool(ledger(runner)) is listed
