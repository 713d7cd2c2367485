"""Every way in which consent can be wrong, one row each: what is decided, and that nothing changed."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from gitops_nb.adapters.process import LocalProcesses
from gitops_nb.catalog.fleet import Fleet
from gitops_nb.catalog.load import load_catalog
from gitops_nb.catalog.policies import Policy
from gitops_nb.catalog.trust import Trust
from gitops_nb.errors import ConfigurationError, Refused
from gitops_nb.model import (
    Action,
    Answer,
    Mode,
    Plan,
    ResourceChange,
    Verdict,
    canonical,
    to_json,
)
from gitops_nb.policy import Proof, Requester, RequesterKind, Rules, decide, rules_for
from gitops_nb.record import journal
from gitops_nb.record.approvals import sign_answer
from gitops_nb.record.files import sha256_file
from gitops_nb.record.fold import RunState, fold
from gitops_nb.record.journal import Journal
from gitops_nb.record.runs import create_run
from gitops_nb.record.signatures import public_key, sign
from gitops_nb.session.consent import Consent
from tests.record.record_factories import ssh_key

PROCESSES = LocalProcesses()
PRIYA = Requester("priya", RequesterKind.PERSON, "test", Proof.KEY)
RUN = "20261123T120000Z-promotion-production-0001"
PLAN = Plan(
    "promotion", "production", "cart v2 in production",
    (ResourceChange("config:cart.yaml", Action.UPDATE, "v1", "v2"),), {"config:cart.yaml": "a" * 40},
)  # fmt: skip
OPEN = (Verdict("soak", passed=True, reason="24 h"),)
PEOPLE = ("priya", "tomas", "tomas-second", "lena", "stranger")


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> Path:
    """One SSH key per name."""
    folder = tmp_path_factory.mktemp("keys")
    for name in PEOPLE:
        ssh_key(folder, name)
    return folder


@dataclass
class Table:
    """A run that waits in production, and everything that a row may change before it is decided."""

    directory: Path
    keys: Path
    approvals: int = 1
    requester: Requester = PRIYA
    signs_with: str = "priya"
    break_glass: str = ""
    plan: Plan = PLAN
    verdicts: tuple[Verdict, ...] = OPEN
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    persons: dict[str, dict[str, Any]] = field(default_factory=dict)
    approvers: dict[str, dict[str, Any]] = field(default_factory=dict)
    revoked: str = ""

    def __post_init__(self) -> None:
        def key(name: str) -> dict[str, Any]:
            return {"key": public_key(self.keys / name, PROCESSES)}

        self.persons = {
            "priya": {"aliases": ["priya@example.com"], "keys": [key("priya")]},
            "tomas": {
                "aliases": ["tomas@example.com"],
                "keys": [key("tomas"), key("tomas-second")],
            },
            "lena": {"keys": [key("lena")]},
        }
        self.approvers = {name: {"environments": ["production"]} for name in self.persons}

    @property
    def rules(self) -> Rules:
        fleet = Fleet.model_validate(
            {"environments": {e: {"auto_deploy": False, "approval_required": True} for e in ("staging", "production")}}
        )  # fmt: skip
        policy = Policy.model_validate(
            {
                "environments": {"production": {"approvals": self.approvals}},
                "approvers": [{"person": n, **v} for n, v in self.approvers.items()],
            }
        )
        trust = Trust.model_validate(
            {
                "persons": [{"person": n, **v} for n, v in self.persons.items()],
                "revoked": self.revoked,
            }
        )
        return rules_for(fleet, policy, trust, "production")

    @property
    def consent(self) -> Consent:
        platform = SimpleNamespace(
            processes=PROCESSES,
            requester_key=self.keys / self.signs_with,
            policy_source={"from": "test"},
            reviews=None,
            prove=None,
            mode=Mode.LIVE,
            fleet=SimpleNamespace(register_repository=""),
            trust=self.rules.trust,
            check_targets=lambda **_: (),
            check_identity=lambda *_: "",
        )
        workspace = SimpleNamespace(locks="")
        return Consent(workspace, platform, self.directory, self.journal.append)

    @property
    def journal(self) -> Journal:
        return self._journal

    def begin(self) -> None:
        """Writes the run up to its request."""
        create_run(
            self.directory.parent, RUN,
            {
                "runbook": "promotion", "notebook_digest": "sha256:1", "package": "0.1", "mode": "live",
                "environment": "production", "subject": "cart", "parameters": {"application": "cart"},
                "steps": [], "requester": to_json(self.requester),
            },
        )  # fmt: skip
        self._journal = Journal.open(self.directory)
        self.consent.request(
            self.state,
            PLAN,
            rules=self.rules,
            requester=self.requester,
            break_glass=self.break_glass,
        )

    @property
    def state(self) -> RunState:
        return fold(journal.read(self.directory / journal.FILE)[0])

    def answer(self, person: str = "tomas", *, key: str = "", **changes: Any) -> Path:
        state = self.state
        values = {
            "key": self.keys / (key or person), "run": RUN, "subject": state.request_digest,
            "answer": "approve", "person": person, "at": datetime.now(UTC),
            "expires": datetime.fromisoformat(state.request["expires"]), **changes,
        }  # fmt: skip
        return sign_answer(self.directory, processes=PROCESSES, **values)

    def outcome(self) -> str:
        """What is decided, with the last check before an effect."""
        state, rules = self.state, self.rules
        try:
            self.consent.refuse_unproven(state, rules)
            approvals, rejections = self.consent.answers(state, rules, now=self.now)
            decision = decide(
                self.plan, self.verdicts, rules=rules, gates=("soak",), requester=self.requester,
                approvals=approvals, rejections=rejections, break_glass=self.break_glass,
            )  # fmt: skip
            if decision.answer in (Answer.ALLOWED, Answer.WAITING):
                self.consent.refuse_stale(state, self.plan, self.rules, now=self.now)
            if decision.answer is Answer.ALLOWED:
                self.consent.refuse_expired(decision, now=self.now)
        except Refused:
            return "refused"
        return str(decision.answer)


ROWS: dict[str, tuple[Callable[[Table], object], str, dict[str, Any]]] = {}


def row(expected: str, **setup: Any):
    """One row of the table: what is arranged, and what has to be decided."""

    def add(function):
        ROWS[function.__name__] = (function, expected, setup)
        return function

    return add


def changed(table: Table, **changes: Any) -> None:
    table.plan = replace(PLAN, **changes)


def edit_answer(path: Path, **changes: Any) -> None:
    outer = json.loads(path.read_bytes())
    inner = {**json.loads(outer["statement"]), **changes}
    path.write_bytes(canonical({**outer, "statement": canonical(inner).decode()}))


# What counts


@row("allowed")
def one_good_approval(table):
    table.answer()


@row("allowed")
def the_persons_second_key(table):
    table.answer(key="tomas-second")


@row("allowed", approvals=2)
def two_of_two(table):
    table.answer(), table.answer("lena")


@row("allowed")
def more_than_needed(table):
    table.answer(), table.answer("lena")


@row("allowed")
def a_bad_one_beside_a_good_one(table):
    table.answer(key="stranger"), table.answer("lena")


# Who


@row("waiting")
def nobody(table): ...


@row("waiting")
def the_requester(table):
    table.answer("priya")


@row("waiting", requester=replace(PRIYA, name="tomas"), signs_with="tomas")
def the_requesters_second_key(table):
    table.answer("tomas", key="tomas-second")


@row("waiting", approvals=2)
def one_person_twice(table):
    table.answer(), table.answer()


@row("waiting", approvals=2)
def one_person_with_two_keys(table):
    table.answer(), table.answer(key="tomas-second")


@row("waiting", approvals=3)
def two_of_three(table):
    table.approvers["ana"] = {"environments": ["production"]}
    table.answer(), table.answer("lena")


@row("refused", approvals=3)
def more_than_there_are_approvers(table):
    table.answer(), table.answer("lena")


@row("waiting", approvals=2)
def a_good_one_and_the_requester(table):
    table.answer(), table.answer("priya")


@row("waiting")
def a_stranger_in_their_own_name(table):
    table.answer("stranger")


@row("waiting")
def a_stranger_in_tomas_name(table):
    table.answer("tomas", key="stranger")


@row("waiting")
def one_approver_in_anothers_name(table):
    table.answer("tomas", key="lena")


@row("waiting")
def a_name_that_is_only_an_alias(table):
    table.answer("tomas@example.com", key="tomas")


@row("waiting")
def an_approver_of_another_environment(table):
    table.approvers["tomas"]["environments"] = ["staging"]
    table.answer()


@row("waiting")
def somebody_who_is_no_approver_any_more(table):
    table.answer()
    del table.approvers["tomas"]


@row("waiting")
def somebody_who_left(table):
    table.answer()
    del table.approvers["tomas"], table.persons["tomas"]


# Keys


@row("waiting")
def a_key_revoked_before(table):
    table.persons["tomas"]["keys"][0]["revoked_since"] = datetime(2026, 1, 1, tzinfo=UTC)
    table.answer()


@row("waiting")
def a_key_revoked_while_waiting(table):
    table.answer()
    table.persons["tomas"]["keys"][0]["revoked_since"] = datetime.now(UTC)
    table.now += timedelta(seconds=5)


@row("waiting")
def a_key_that_has_expired(table):
    table.persons["tomas"]["keys"][0]["valid_until"] = datetime(2026, 1, 1, tzinfo=UTC)
    table.answer()


@row("waiting")
def a_key_of_next_year(table):
    table.persons["tomas"]["keys"][0]["valid_from"] = datetime(2099, 1, 1, tzinfo=UTC)
    table.answer()


@row("waiting")
def a_commit_signature(table):
    path = table.answer()
    outer = json.loads(path.read_bytes())
    signature = sign(
        outer["statement"].encode(), "git", key=table.keys / "tomas", processes=PROCESSES
    )
    path.write_bytes(canonical({**outer, "signature": signature}))


@row("waiting")
def a_request_signature_as_an_answer(table):
    path = table.answer()
    outer = json.loads(path.read_bytes())
    signature = sign(
        outer["statement"].encode(),
        "gitops-nb/request@v1",
        key=table.keys / "tomas",
        processes=PROCESSES,
    )
    path.write_bytes(canonical({**outer, "signature": signature}))


# About what


@row("refused")
def another_plan(table):
    table.answer(), changed(table, summary="cart v3 in production")


@row("refused")
def another_change(table):
    table.answer()
    changed(table, changes=(ResourceChange("config:cart.yaml", Action.UPDATE, "v1", "v3"),))


@row("refused")
def another_material(table):
    table.answer(), changed(table, materials={"config:cart.yaml": "b" * 40})


@row("refused")
def another_environment(table):
    table.answer(), changed(table, environment="staging")


@row("refused")
def another_parameter(table):
    table.answer(), changed(table, arguments={"version": "v3"})


@row("waiting")
def another_request(table):
    table.answer(subject="sha256:" + "0" * 64)


@row("waiting")
def another_run(table):
    table.answer(run=RUN[:-4] + "0002")


@row("waiting")
def a_statement_changed_after_signing(table):
    edit_answer(table.answer(), reason="anything")


@row("waiting")
def a_rejection_turned_into_an_approval(table):
    edit_answer(table.answer(answer="reject"), answer="approve")


@row("waiting")
def a_review_as_an_approval(table):
    table.answer(answer="review")


@row("waiting")
def an_unknown_word(table):
    table.answer(answer="maybe")


@row("waiting")
def a_name_twice(table):
    path = table.answer()
    path.write_bytes(b'{"signature":"",' + path.read_bytes()[1:])


@row("waiting")
def an_answer_of_another_version(table):
    edit_answer(table.answer(), v=2)


@row("waiting")
def a_file_that_is_too_large(table):
    path = table.answer()
    path.write_bytes(path.read_bytes() + b" " * 70_000)


# Keys in OpenSSH's key revocation list, as `ssh-keygen -k` writes it


def revoke(table: Table, *names: str) -> None:
    path = table.directory.parent / "revoked.krl"
    files = [str(table.keys / f"{name}.pub") for name in names]
    subprocess.run(("ssh-keygen", "-q", "-k", "-f", str(path), *files), check=True)
    table.revoked = base64.b64encode(path.read_bytes()).decode()


@row("waiting")
def a_key_in_the_revocation_list(table):
    table.answer()
    revoke(table, "lena", "tomas")


@row("allowed")
def the_persons_other_key_in_the_revocation_list(table):
    table.answer()
    revoke(table, "tomas-second")


@row("allowed")
def an_empty_revocation_list(table):
    table.answer()
    revoke(table)


@row("refused")
def the_requesters_key_in_the_revocation_list(table):
    table.answer()
    revoke(table, "priya")


# When


@row("waiting")
def one_that_has_expired(table):
    table.answer(expires=datetime.now(UTC) - timedelta(seconds=1))


@row("refused")
def one_that_expires_while_waiting_for_the_lock(table):
    table.answer()
    table.now += timedelta(hours=4, seconds=1)


@row("waiting")
def one_from_the_future(table):
    table.answer(at=datetime.now(UTC) + timedelta(minutes=3))


@row("allowed")
def one_of_a_clock_that_is_a_minute_ahead(table):
    table.answer(at=datetime.now(UTC) + timedelta(seconds=60))


@row("waiting")
def one_from_before_the_request(table):
    table.answer(at=datetime.now(UTC) - timedelta(minutes=3))


@row("waiting")
def one_that_claims_to_last_longer(table):
    table.answer(expires=datetime.now(UTC) + timedelta(hours=9))


# Who asks


@row("refused", requester=Requester("priya", RequesterKind.PERSON, "login name, not proven"))
def a_requester_without_proof(table):
    table.answer()


@row("refused", requester=Requester("priya", RequesterKind.AUTOMATION, "test", Proof.KEY))
def automation_in_production(table):
    table.answer()


@row("refused", requester=Requester("lena", RequesterKind.PERSON, "test", Proof.KEY))
def a_request_signed_with_another_persons_key(table):
    table.answer()


@row("refused")
def a_requester_whose_key_was_revoked(table):
    table.persons["priya"]["keys"][0]["revoked_since"] = datetime(2026, 1, 1, tzinfo=UTC)
    table.answer()


# A no, and closed gates


@row("refused")
def a_rejection(table):
    table.answer(answer="reject", reason="not today")


@row("refused")
def a_rejection_beside_an_approval(table):
    table.answer(), table.answer("lena", answer="reject")


@row("waiting")
def the_requesters_own_rejection(table):
    table.answer("priya", answer="reject")


@row("refused", verdicts=(Verdict("soak", passed=False, reason="1 h"),))
def a_closed_gate(table):
    table.answer()


@row("refused", verdicts=())
def a_gate_that_nobody_answered(table):
    table.answer()


# Broken glass


@row("allowed", break_glass="the site is down")
def the_glass_broken_by_whom_it_may(table):
    table.approvers["priya"]["break_glass"] = True


@row("refused", break_glass="the site is down")
def the_glass_broken_by_another(table):
    table.approvers["tomas"]["break_glass"] = True


@row("refused", break_glass="x", verdicts=(Verdict("freeze", passed=False, reason="year end"),))
def the_glass_opens_no_gate(table):
    table.approvers["priya"]["break_glass"] = True


@row("refused", break_glass="x")
def the_glass_in_another_environment(table):
    table.approvers["priya"] |= {"break_glass": True, "environments": ["staging"]}


def test_the_table_is_long_enough():
    """It does not shrink unseen."""
    assert len(ROWS) >= 62


@pytest.mark.parametrize("name", ROWS)
def test_consent(name, keys, tmp_path):
    """Each row is decided as the table says, and deciding writes nothing and begins nothing."""
    arrange, expected, setup = ROWS[name]
    table = Table(tmp_path / "reports" / RUN, keys, **setup)
    table.begin()
    arrange(table)
    before = {p: sha256_file(p) for p in table.directory.rglob("*") if p.is_file()}
    assert table.outcome() == expected
    after = {p: sha256_file(p) for p in table.directory.rglob("*") if p.is_file()}
    assert after == before
    assert table.state.effects == ()


def test_an_answer_of_another_run_is_none(keys, tmp_path):
    """A good answer copied into the next run's directory answers nothing there."""
    first = Table(tmp_path / "a" / RUN, keys)
    first.begin()
    path = first.answer()
    second = Table(tmp_path / "b" / RUN, keys)
    second.begin()
    (second.directory / "approvals").mkdir()
    shutil.copy(path, second.directory / "approvals" / path.name)
    assert first.outcome() == "allowed"
    assert second.outcome() == "waiting"


@pytest.mark.parametrize(
    "person", ["*", "*@example.com", "tomas,lena", "tomas lena", "!tomas", 'tomas" namespaces="x']
)
def test_a_wildcard_is_no_person(tmp_path, workspace, person):
    """A principal that would match several people is refused with its line; nothing is loaded."""
    trust = {"kind": "Trust", "persons": [{"person": person, "keys": []}]}
    workspace.write("runbooks/trust.yaml", yaml.safe_dump(trust))
    with pytest.raises(ConfigurationError, match=r"trust.yaml:\d+: persons\[0\].person"):
        load_catalog(workspace.root / "runbooks")


@pytest.mark.parametrize(
    "key",
    [
        "cert-authority ssh-ed25519 AAAA",
        'namespaces="git" ssh-ed25519 AAAA',
        "ssh-dss AAAA",
        "ssh-ed25519",
    ],
)
def test_a_key_with_options_is_no_key(workspace, key):
    """Lines that would widen what a key may sign are refused."""
    trust = {"kind": "Trust", "persons": [{"person": "a", "keys": [{"key": key}]}]}
    workspace.write("runbooks/trust.yaml", yaml.safe_dump(trust))
    with pytest.raises(ConfigurationError, match="key"):
        load_catalog(workspace.root / "runbooks")


@pytest.mark.parametrize("text", ["no base64!", "c3NoLWVkMjU1MTk=", "U1NIS1JM"])
def test_what_is_no_revocation_list_is_refused(workspace, text):
    """A typing error in it must not read as "nobody is revoked": the file is refused with its line."""
    trust = {"kind": "Trust", "persons": [], "revoked": text}
    workspace.write("runbooks/trust.yaml", yaml.safe_dump(trust))
    with pytest.raises(ConfigurationError, match=r"trust.yaml:\d+: revoked"):
        load_catalog(workspace.root / "runbooks")


def test_a_key_that_cannot_sign_asks_for_nothing(keys, tmp_path):
    """Without the requester's signature no request is written."""
    table = Table(tmp_path / "reports" / RUN, keys)
    table.keys = tmp_path / "nowhere"
    with pytest.raises(Refused, match="cannot be signed"):
        table.begin()
    assert not (table.directory / "request.json").exists()
    assert table.state.request is None
