"""Records that fit themselves: whoever holds the runner's key wrote them. What people signed is all that is left to tell.

Every journal here is hashed anew, its files are sealed anew, and the ledger is signed anew with the runner's own key, with
no anchor outside. Nothing but the persons' signatures, and what the record says about itself, shows what is wrong.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gitops_nb.adapters.folder import Folder
from gitops_nb.adapters.process import LocalProcesses
from gitops_nb.model import canonical, digest, format_time, parse_time
from gitops_nb.record import journal
from gitops_nb.record.approvals import sign_answer
from gitops_nb.record.files import sha256_file
from gitops_nb.record.fold import fold
from gitops_nb.record.ledger import Ledger, Phase
from gitops_nb.record.runs import files_of
from gitops_nb.record.statement import body_of, subjects_of
from gitops_nb.record.verify import verify_run
from tests.record.record_factories import LEDGER, Records, make_records
from tests.record.test_tampering import rewrite_journal

Rows = list[dict]
FORGERIES: dict[str, tuple[Callable[..., object], str]] = {}


class Forger:
    """Somebody with the runner's key and the requester's, who rewrites the newest run; tomas's key they do not have."""

    def __init__(self, records: Records) -> None:
        self.records = records
        self.directory = records.runs[2]
        self.rows: Rows = []

    def row(self, kind: str) -> dict:
        return next(row["body"] for row in self.rows if row["kind"] == kind)

    def drop(self, *kinds: str) -> None:
        self.rows[:] = [row for row in self.rows if row["kind"] not in kinds]

    def forge(self, change: Callable[[Forger], object]) -> None:
        """Changes the journal's records, then makes everything fit: chain, seal, ledger."""

        def all_of_it(rows: Rows) -> None:
            self.rows = rows
            change(self)
            names = files_of(self.directory)
            rows[-1]["body"]["files"] = {n: sha256_file(self.directory / n) for n in names}

        rewrite_journal(self.directory, all_of_it)
        self._sign()

    def _sign(self) -> None:
        for number in (6, 7, 8):
            self.records.slot(number).unlink()
        ledger = Ledger(Folder(self.records.reports), LEDGER, self.records.signer)
        written, _ = journal.read(self.directory / journal.FILE)
        kinds = [record.kind for record in written]
        ends = {Phase.START: kinds.index("intent"), Phase.END: len(written)}
        if "waiting" in kinds:
            ends = {Phase.REQUESTED: kinds.index("waiting") + 1, **ends}
        for phase, end in ends.items():
            state = fold(written[:end])
            ledger.append(
                phase, run=state.run, attempt=1, subjects=subjects_of(phase, state, self.directory),
                body=body_of(phase, state, signer="engine", key_held="memory"),
            )  # fmt: skip

    def findings(self) -> list:
        found = self.records.audit()
        checked = verify_run(
            self.directory, ledger=found, trust=self.records.trust, processes=LocalProcesses()
        )
        return [*found.findings, *checked.problems]


def forges(code: str):
    """Registers a forgery and the code word that `verify` has for it."""

    def add(function):
        FORGERIES[function.__name__] = (function, code)
        return function

    return add


@pytest.fixture(scope="module")
def pristine(tmp_path_factory) -> Records:
    """Three runs, untouched, and no anchor."""
    return replace(make_records(tmp_path_factory.mktemp("records") / "a"), anchors=())


@pytest.fixture
def forger(pristine, tmp_path) -> Forger:
    """Of a copy."""
    return Forger(replace(pristine.copy(tmp_path / "records"), anchors=()))


def another_plan(forger: Forger, version: str = "v666") -> dict:
    """The plan with another version in it, and its digest in the decision."""
    plan = json.loads(json.dumps(forger.row("planned")["plan"]))
    plan["changes"][0]["after"] = version
    return {"plan": plan, "digest": digest(plan)}


# The plan


@forges("contradiction")
def another_plan_than_was_approved(forger):
    """Approve one plan, apply another: everything about the second fits itself."""
    forger.row("planned").update(another_plan(forger))
    forger.row("decision")["plan_digest"] = forger.row("planned")["digest"]


@forges("contradiction")
def another_plan_recorded_after_the_approval(forger):
    """The approved one stays in the journal, and a second one follows it."""
    at = next(i for i, row in enumerate(forger.rows) if row["kind"] == "decision")
    second = another_plan(forger)
    forger.rows.insert(at, {**forger.rows[at], "kind": "planned", "body": second})
    forger.row("decision")["plan_digest"] = second["digest"]


# What the request was about: run, runbook, notebook, package, parameters, environment, requester


def _opened_differs(name: str, value: object) -> None:
    def change(forger: Forger) -> None:
        forger.row("opened")[name] = value

    change.__name__ = f"the_request_was_about_another_{name}"
    forges("contradiction")(change)


for _name, _value in (
    ("runbook", "bootstrap"),
    ("notebook_digest", "sha256:2"),
    ("package", "9.9.9"),
    ("parameters", {"application": "everything"}),
    ("requester", {"name": "somebody", "kind": "person", "evidence": "x", "proof": "key"}),
):
    _opened_differs(_name, _value)


# Who said yes


@forges("approval")
def a_decision_that_needs_nobody(forger):
    """Approvals asked for and given by none: the decision says that none are needed."""
    forger.drop("requested", "waiting", "approval")
    forger.row("decision").update(approvals=[], approvals_needed=0)
    forger.row("attempt")["may"] = {"approvals": 1, "approve": ["tomas"]}


@forges("approval")
def fewer_yes_than_the_decision_needs(forger):
    forger.row("decision")["approvals_needed"] = 2


@forges("approval")
def fewer_yes_than_policy_asked_for(forger):
    forger.row("attempt")["may"] = {"approvals": 2, "approve": ["tomas", "lena"]}


@forges("approval")
def one_persons_yes_counted_twice(forger):
    at = next(i for i, row in enumerate(forger.rows) if row["kind"] == "approval")
    forger.rows.insert(at, forger.rows[at])
    forger.row("decision")["approvals_needed"] = 2


@forges("approval")
def a_yes_that_is_not_in_the_journal(forger):
    """The decision names an approval that nobody gave."""
    forger.drop("approval")


@forges("approval")
def a_yes_by_somebody_who_may_not(forger):
    forger.row("attempt")["may"] = {"approvals": 1, "approve": ["lena"]}


@forges("approval")
def a_no_counted_as_a_yes(forger):
    forger.row("approval")["answer"] = "reject"


@forges("approval")
def a_yes_to_another_run(forger):
    """Tomas said yes to the run before; the answer lies here now, under this request's digest."""
    (mine,) = (forger.directory / "approvals").iterdir()
    (theirs,) = (forger.records.runs[1] / "approvals").iterdir()
    mine.write_bytes(theirs.read_bytes())


@forges("approval")
def the_requester_under_the_name_of_the_ci_run(forger):
    """Tomas started the CI run that asked for it."""
    request = forger.row("requested")["request"]
    request["ci"] = {"actor": "priya", "triggering_actor": "tomas"}
    subject = digest(request)
    forger.row("requested")["digest"] = subject
    forger.row("approval")["subject"] = subject
    key = forger.records.root / "keys"
    from gitops_nb.record.approvals import REQUEST_PURPOSE
    from gitops_nb.record.signatures import sign

    forger.row("requested")["signature"] = sign(
        canonical(request), REQUEST_PURPOSE, key=key / "priya", processes=LocalProcesses()
    )
    (answer,) = (forger.directory / "approvals").iterdir()
    answer.unlink()
    _say_yes(forger, subject=subject)
    (forger.directory / "request.json").write_bytes(canonical(request) + b"\n")


def _say_yes(forger: Forger, **changes) -> None:
    """Tomas's own yes, as he would have signed it at another moment."""
    request = forger.row("requested")["request"]
    values = {
        "run": forger.directory.name, "subject": forger.row("requested")["digest"],
        "answer": "approve", "person": "tomas", "at": datetime.now(UTC),
        "expires": parse_time(request["expires"]), **changes,
    }  # fmt: skip
    sign_answer(
        forger.directory,
        processes=LocalProcesses(),
        key=forger.records.root / "keys" / "tomas",
        **values,
    )


def _move(forger: Forger, kind: str, by: timedelta) -> None:
    """Everything from the first record of a kind on happens later."""
    begin = next(i for i, row in enumerate(forger.rows) if row["kind"] == kind)
    for row in forger.rows[begin:]:
        row["at"] = format_time(parse_time(row["at"]) + by)


@forges("approval")
def an_effect_after_the_approval_expired(forger):
    """The request lasted four hours; the first effect began in the fifth."""
    _move(forger, "intent", timedelta(hours=5))


@forges("approval")
def a_yes_given_after_the_effect(forger):
    """Tomas signed in good faith what had been done an hour before."""
    for row in forger.rows:
        row["at"] = format_time(parse_time(row["at"]) - timedelta(hours=1))


@forges("approval")
def a_request_without_the_requesters_signature(forger):
    forger.row("requested")["signature"] = ""


@forges("contradiction")
def an_effect_under_a_decision_to_do_nothing(forger):
    forger.row("decision")["answer"] = "nothing to do"


def test_the_forger_forges_well(forger):
    """Without a change everything fits: what the rows find is their own."""
    forger.forge(lambda _: None)
    assert forger.findings() == []


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forgery_is_found(forger, name):
    """Each is found, under its code word, though every digest and every runner's signature holds."""
    change, code = FORGERIES[name]
    forger.forge(change)
    found = forger.findings()
    assert code in {finding.code for finding in found}, [str(f) for f in found]


def test_there_are_as_many_forgeries_as_before():
    """The list does not shrink unseen."""
    assert len(FORGERIES) >= 20
