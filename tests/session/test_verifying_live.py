"""`gitops-nb verify` on live records: whose signatures count is what the protected branch says, not the work tree."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
import yaml

from gitops_nb.adapters.process import LocalProcesses
from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.errors import UnavailableError
from gitops_nb.record.keys import open_runner_key
from gitops_nb.record.signatures import public_key
from gitops_nb.session.verifying import Checked, verify_records
from tests.record.record_factories import Records, make_records
from tests.record.test_forgeries import Forger
from tests.record.test_tampering import rechain
from tests.session.test_protected import cloned, git  # noqa: F401  a fixture


def people(records: Records) -> list[dict]:
    """Entries of trust.yaml."""
    return [
        {"person": name, "keys": [{"key": public_key(records.root / "keys" / name, LocalProcesses())}]}
        for name in ("priya", "tomas")
    ]  # fmt: skip


def publish(workspace, *, persons, runners, approvers, approvals=1) -> str:
    """Merges trust and policy into the default branch; returns its commit."""
    trust = {"kind": "Trust", "persons": persons, "runners": runners}
    policy = {
        "kind": "Policy", "approvers": approvers,
        "environments": {"production": {"approvals": approvals}},
    }  # fmt: skip
    workspace.write("runbooks/trust.yaml", yaml.safe_dump(trust))
    workspace.write("runbooks/policy.yaml", yaml.safe_dump(policy))
    git(workspace.root, "add", "runbooks")
    git(workspace.root, "commit", "--quiet", "--allow-empty", "-m", "Rules")
    git(workspace.root, "push", "--quiet", "origin", "HEAD:main")
    return git(workspace.root, "rev-parse", "HEAD")


TOMAS = [{"person": "tomas", "environments": ["production"]}]


class Live:
    """A workspace with three live runs, whose trust and policy are merged."""

    def __init__(self, workspace) -> None:
        self.workspace = workspace
        self.records = replace(make_records(workspace.root), anchors=())
        self.runner = [{"name": "here", "key": self.records.signer.public}]
        self.commit = self.publish()
        self.read_policy_at(self.commit)

    def publish(self, **changes) -> str:
        rules = {
            "persons": people(self.records), "runners": self.runner, "approvers": TOMAS, **changes,
        }  # fmt: skip
        return publish(self.workspace, **rules)

    def publish_files(self, *, approvals: int) -> None:
        """Edits the workspace's own policy."""
        policy = {
            "kind": "Policy", "approvers": TOMAS,
            "environments": {"production": {"approvals": approvals}},
        }  # fmt: skip
        self.workspace.write("runbooks/policy.yaml", yaml.safe_dump(policy))

    def read_policy_at(self, commit: str) -> None:
        """The newest run says that it read its policy there; ledger and all say so too."""
        forger = Forger(self.records)
        forger.forge(lambda one: one.row("attempt").update(policy={"commit": commit}, may=MAY))

    def verify(self, *, whole: bool = False) -> Checked:
        """Checks the newest run, the one that says where it read its policy; with ``whole`` the others too."""
        runs = self.records.runs if whole else self.records.runs[-1:]
        return verify_records(find_workspace(self.workspace.root), runs)

    def codes(self) -> set[str]:
        checked = self.verify()
        problems = [p for one in (*checked.ledgers, *checked.runs) for p in one.problems]
        return {str(problem.code) for problem in problems}

    def notes(self) -> str:
        checked = self.verify()
        return "\n".join(n for one in (*checked.ledgers, *checked.runs) for n in one.notes)


MAY = {"approvals": 1, "approve": ["tomas"], "break_glass": []}


@pytest.fixture
def live(cloned) -> Live:  # noqa: F811
    """Records that hold."""
    return Live(cloned)


def test_live_records_hold_and_say_whose_word_counts(live):
    """The report names branch and commit of the keys."""
    live.read_policy_at(live.commit)
    assert live.codes() == set()
    assert f"keys of trust.yaml as in origin/main at {live.commit[:8]}" in live.notes()


def test_a_ledger_signed_anew_by_a_runner_of_the_work_tree_is_found(live):
    """Somebody replaces the whole ledger, and lists their own key in their copy of trust.yaml."""
    other = open_runner_key(live.workspace.root / "other")
    text = yaml.safe_load((live.workspace.root / "runbooks" / "trust.yaml").read_text())
    text["runners"].append({"name": "mine", "key": other.public})
    live.workspace.write("runbooks/trust.yaml", yaml.safe_dump(text))
    first = live.records.slot(0)
    first.write_bytes(other.seal(payload(first)))
    rechain(live.records, 1, other)
    assert "untrusted-key" in live.codes()


def payload(path) -> bytes:
    from gitops_nb.record import dsse

    return dsse.parse(path.read_bytes()).payload


def test_an_approver_of_the_work_tree_is_none(live):
    """Tomas's key is swapped for another in the work tree: the branch's own still counts, and only that."""
    text = yaml.safe_load((live.workspace.root / "runbooks" / "trust.yaml").read_text())
    text["persons"] = [{"person": "eve", "keys": []}]
    live.workspace.write("runbooks/trust.yaml", yaml.safe_dump(text))
    live.workspace.write("runbooks/policy.yaml", "kind: Policy\napprovers: []\n")
    assert live.codes() == set()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"approvals": 2}, {"approval"}),
        ({"approvers": [{"person": "priya", "environments": ["production"]}]}, {"approval"}),
        ({"approvers": [{"person": "tomas", "environments": ["staging"]}]}, {"approval"}),
        ({}, set()),
    ],
)
def test_consent_is_held_against_the_policy_of_its_time(live, changes, expected):
    """What the run wrote down about who may approve is not believed; a policy of later on does not count."""
    live.read_policy_at(live.publish(**changes))
    live.publish()
    assert live.codes() == expected


def test_a_policy_that_was_never_merged_is_found(live):
    """The run names a commit of a branch of its own, that no branch of origin's default has."""
    git(live.workspace.root, "checkout", "--quiet", "-b", "mine")
    git(live.workspace.root, "commit", "--quiet", "--allow-empty", "-m", "Mine")
    live.read_policy_at(git(live.workspace.root, "rev-parse", "HEAD"))
    assert live.codes() == {"approval"}
    for odd in ("0" * 40, "HEAD", "--help"):
        live.read_policy_at(odd)
        # This machine remembers the ledger of before, too.
        assert live.codes() == {"approval", "truncated"}, odd


def test_a_run_that_names_no_policy_commit_is_found(live):
    """Effects by rules of files, where a protected branch has rules: what the record says of them is not believed."""
    first, _, newest = live.verify(whole=True).runs
    assert ["names no commit of the policy" in str(one) for one in first.problems] == [True]
    assert newest.problems == ()


def test_an_origin_that_does_not_answer_proves_nothing(live):
    """The files of the work tree do not step in for it."""
    git(live.workspace.root, "remote", "set-url", "origin", str(live.workspace.root / "gone.git"))
    with pytest.raises(UnavailableError, match="origin does not answer"):
        live.verify()


def test_without_an_origin_the_report_says_so(live):
    """The files are all there is, and each ledger's notes say that."""
    shutil.rmtree(live.workspace.root / ".git")
    assert live.codes() == set()
    (run,) = live.verify().runs
    assert any("has no origin, and its files prove nothing" in text for text in run.unchecked)
    assert not live.verify().holds
    live.publish_files(approvals=2)
    assert live.codes() == {"approval"}
    assert "keys of trust.yaml as in files of this workspace" in live.notes()
