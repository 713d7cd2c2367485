"""A promotion from its request to its end, on the sandbox."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from gitops_nb.edits import read_part
from gitops_nb.errors import ConfigurationError, Failed, Refused, UsageError, WaitingForApproval
from gitops_nb.model import Status
from gitops_nb.record.runs import run_directories
from gitops_nb.record.verify import verify_run
from gitops_nb.sandbox.cluster import SandboxCluster
from tests.session.platform_edits import version


def test_production_waits_and_goes_on_after_an_approval(runner):
    """Without an approval nothing is changed; with one the version runs, in one commit by this run."""
    before = runner.tip()
    waiting, stop = runner.promote()
    assert isinstance(stop, WaitingForApproval)
    assert waiting.status is Status.WAITING
    assert runner.tip() == before
    runner.answer(waiting.run)
    done, stop = runner.promote(run=waiting.run)
    assert stop is None
    assert done.status is Status.SUCCEEDED
    assert done.outcome["result"] == "deployed"
    commit = runner.platform().git.log("platform-config", runner.tip(), limit=1)[0]
    assert commit.parents == (before,)
    assert commit.trailers["Gitops-Nb-Run"] == waiting.run
    assert commit.trailers["Gitops-Nb-Plan"] == done.plan_digest
    assert commit.trailers["Gitops-Nb-Journal"] in {
        r["hash"] for r in journal_of(runner, waiting.run)
    }
    assert verify_run(runner.workspace.reports / waiting.run).problems == ()


def test_what_already_runs_is_nothing_to_do(runner):
    """No commit, no approval, success."""
    before = runner.tip()
    state, stop = runner.promote(
        source="development", target="staging", revision=version(runner, "staging")
    )
    assert stop is None
    assert state.status is Status.SUCCEEDED
    assert state.outcome["result"] == "nothing to do"
    assert state.effects == ()
    assert state.request is None
    assert runner.tip() == before


def test_a_plan_that_went_stale_is_refused(runner):
    """An approval of a plan is not an approval of another one: the target's file changed meanwhile."""
    waiting, _ = runner.promote()
    runner.answer(waiting.run)
    platform = runner.platform()
    path = "apps/checkout/production/deployment.yaml"
    tip = runner.tip()
    blob = platform.git.read("platform-config", tip, path)
    moved = platform.git.commit(
        "platform-config",
        branch="main",
        parent=tip,
        files={path: blob.content + b"# touched by somebody else\n"},
        message="Touch",
    )
    state, stop = runner.promote(run=waiting.run)
    assert isinstance(stop, Refused)
    assert "stale" in stop.message
    assert path in stop.message
    assert state.status is Status.REFUSED
    assert runner.tip() == moved


def test_commits_to_other_files_do_not_make_a_plan_stale(runner):
    """Others commit every minute; only the plan's materials count."""
    waiting, _ = runner.promote()
    runner.answer(waiting.run)
    platform = runner.platform()
    platform.git.commit(
        "platform-config",
        branch="main",
        parent=runner.tip(),
        files={"README.md": b"hello\n"},
        message="Readme",
    )
    state, stop = runner.promote(run=waiting.run)
    assert stop is None
    assert state.outcome["result"] == "deployed"


def test_a_rejection_ends_the_run(runner):
    """One signed no is enough; nothing is changed."""
    before = runner.tip()
    waiting, _ = runner.promote()
    runner.answer(waiting.run, "reject", reason="not today")
    state, stop = runner.promote(run=waiting.run)
    assert isinstance(stop, Refused)
    assert "not today" in stop.message
    assert state.status is Status.REFUSED
    assert runner.tip() == before


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        ({"subject": "sha256:" + "0" * 64}, "another request"),
        ({"run": "20260101T000000Z-promotion-production-0000"}, "another run"),
        ({"expires": timedelta(hours=9)}, "a longer life"),
        ({"at": timedelta(minutes=9)}, "the future"),
        ({"at": timedelta(minutes=-9)}, "before the request"),
        ({"expires": timedelta(seconds=-1)}, "expired"),
        ({"person": "mara.lindqvist"}, "a name that is not the key's"),
        ({"person": "nobody"}, "an unknown person"),
    ],
)
def test_a_damaged_approval_counts_nothing(runner, damage, what):
    """An approval that is not exactly for this request, by this person, now, leaves the run waiting."""
    before = runner.tip()
    waiting, _ = runner.promote()
    now = datetime.now(UTC)
    changes = {k: now + v if isinstance(v, timedelta) else v for k, v in damage.items()}
    runner.answer(waiting.run, **changes)
    state, stop = runner.promote(run=waiting.run)
    assert isinstance(stop, WaitingForApproval), what
    assert state.status is Status.WAITING
    assert runner.tip() == before


def test_the_requester_cannot_approve(runner):
    """The person who asks is not the second person, whatever key signs."""
    waiting, _ = runner.promote()
    platform = runner.platform()
    asks = platform.requester.name
    runner.answer(waiting.run, person=asks, key=platform.signing_key.with_name(asks))
    _, stop = runner.promote(run=waiting.run)
    assert isinstance(stop, WaitingForApproval)


def test_an_approval_of_one_run_is_useless_in_another(runner):
    """Copied into a second run's directory, a good approval answers another request."""
    first, _ = runner.promote()
    runner.answer(first.run)
    other, _ = runner.promote(application="catalog", revision=earlier_version(runner, "catalog"))
    source = runner.workspace.reports / first.run / "approvals"
    target = runner.workspace.reports / other.run / "approvals"
    target.mkdir(exist_ok=True)
    for path in source.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    _, stop = runner.promote(
        run=other.run, application="catalog", revision=earlier_version(runner, "catalog")
    )
    assert isinstance(stop, WaitingForApproval)


def test_a_twin_is_refused(runner):
    """While one run waits for the same application and environment, a second one is refused and says which."""
    waiting, _ = runner.promote()
    state, stop = runner.promote()
    assert isinstance(stop, Refused)
    assert waiting.run in stop.message
    assert state.request is None


def test_a_crashing_version_fails_and_names_the_pod_and_the_way_back(runner):
    """Argo CD says Succeeded and Synced while pods crash; the run says failed, with pod, reason and command."""
    good = version(runner, "staging")
    commit_image(
        runner,
        "apps/checkout/development/deployment.yaml",
        version(runner, "development"),
        "v9.9.9-crash",
    )
    runner.workspace.replace(
        "runbooks/fleet.yaml",
        "staging: {auto_deploy: true, approval_required: true",
        "staging: {auto_deploy: true, approval_required: false",
    )
    _, stop = runner.promote(source="development", target="staging")
    assert isinstance(stop, Refused)
    assert "development" in stop.message
    assert version(runner, "staging") == good
    # The source is healthy with the same tag once its own pods behave otherwise: only staging crashes.
    runner.workspace.replace(
        "runbooks/policy.yaml", "gates: {soak: {at_least: 1h}}", "gates: {source_healthy: false}"
    )
    state, stop = runner.promote(source="development", target="staging")
    assert isinstance(stop, Failed), stop
    assert state.status is Status.FAILED
    assert state.exit_code == 1
    facts = {fact["label"]: fact["text"] for fact in state.outcome["facts"]}
    assert facts["Pod"].startswith("checkout-")
    assert "CrashLoopBackOff" in facts["Reason"]
    assert facts["Version before"] == good
    assert state.outcome["command"].endswith(
        f"-p source=development -p target=staging -p revision={good}"
    )


def test_without_the_right_to_sync_nothing_is_committed(runner, monkeypatch):
    """A commit that nobody brings would leave Git and cluster apart: the right is asked for before."""
    waiting, _ = runner.promote()
    runner.answer(waiting.run)
    tip = runner.tip()
    with monkeypatch.context() as patched:
        patched.setattr(SandboxCluster, "allows", lambda *_: False)
        state, stop = runner.promote(run=waiting.run)
    assert isinstance(stop, ConfigurationError)
    assert "we may not patch checkout-production" in stop.message
    assert (state.status, state.effects) == (Status.FAILED, ())
    assert runner.tip() == tip
    # With the right it goes on: nothing had begun, and the approval was not used up.
    done, stop = runner.promote(run=waiting.run)
    assert stop is None
    assert done.outcome["result"] == "deployed"


def test_the_way_back_works(runner):
    """After a promotion the version before can be promoted again, although the source no longer runs it."""
    old = version(runner, "production")
    approve_and_finish(runner, {})
    assert version(runner, "production") != old
    back = approve_and_finish(runner, {"revision": old})
    assert back.outcome["result"] == "deployed"
    assert version(runner, "production") == old


def test_several_keys_go_back_together(runner):
    """The way back of an application with two keys restores both, as they were when the version last ran."""
    one = 'promotable: [{file: deployment.yaml, key: "spec.template.spec.containers[name=checkout].image", part: tag}]'
    two = f"{one[:-1]}, {{file: deployment.yaml, key: metadata.labels.release}}]"
    runner.workspace.replace("runbooks/fleet.yaml", one, two)
    for environment, release in (("development", "r2"), ("staging", "r2"), ("production", "r1")):
        path = f"apps/checkout/{environment}/deployment.yaml"
        platform = runner.platform()
        content = platform.git.read("platform-config", runner.tip(), path).content
        labelled = content.replace(
            b"  labels:\n", f"  labels:\n    release: {release}\n".encode(), 1
        )
        assert labelled != content
        platform.git.commit(
            "platform-config",
            branch="main",
            parent=runner.tip(),
            files={path: labelled},
            message="Label",
        )
    for environment in ("staging", "production"):
        opened = runner.platform().open_writers(bool, environment=environment, files=frozenset())
        opened.argo[environment].refresh(f"checkout-{environment}")
    runner.workspace.replace("runbooks/policy.yaml", "at_least: 24h", "at_least: 0s")
    runner.workspace.replace(
        "runbooks/policy.yaml",
        "gates: {soak: {at_least: 0s}",
        "gates: {source_healthy: false, soak: {at_least: 0s}",
    )
    old = version(runner, "production")
    approve_and_finish(runner, {})
    assert release_of(runner) == "r2"
    back = approve_and_finish(runner, {"revision": old})
    assert back.outcome["result"] == "deployed"
    assert (version(runner, "production"), release_of(runner)) == (old, "r1")
    state, stop = runner.promote(revision="v99.0.0")
    assert isinstance(stop, UsageError)
    assert state.effects == ()


def release_of(runner):
    """The second key in production."""
    blob = runner.platform().git.read(
        "platform-config", runner.tip(), "apps/checkout/production/deployment.yaml"
    )
    return read_part(blob.content, "metadata.labels.release", "value")


def test_a_version_that_never_ran_is_refused(runner):
    """A revision that neither the source runs nor the target ran before has no evidence of health."""
    before = runner.tip()
    state, stop = runner.promote(revision="v99.0.0")
    assert isinstance(stop, Refused)
    assert "never asked for" in stop.message
    assert state.status is Status.REFUSED
    assert runner.tip() == before


def test_a_freeze_refuses_and_says_until_when(runner):
    """Inside a freeze window nothing is promoted, not even with an approval at hand."""
    now = datetime.now(UTC)
    # As people write it: with the offset of where they are.
    ends = (now + timedelta(hours=5)).astimezone(timezone(timedelta(hours=1)))
    until = ends.isoformat(timespec="seconds")
    runner.workspace.replace(
        "runbooks/policy.yaml", "2026-12-23T12:00:00+01:00", now.isoformat(timespec="seconds")
    )
    runner.workspace.replace("runbooks/policy.yaml", "2027-01-04T08:00:00+01:00", until)
    state, stop = runner.promote()
    assert isinstance(stop, Refused)
    assert f"“year end” is open until {ends.isoformat(sep=' ', timespec='minutes')}" in stop.message
    assert stop.hint == f"It could clear at {now + timedelta(hours=5):%Y-%m-%d %H:%M} UTC."
    assert state.decision["verdicts"][2]["clears_at"] is not None


def test_soak_refuses_a_young_version(runner):
    """A version that has not run long enough in the source does not go on."""
    runner.workspace.replace("runbooks/policy.yaml", "at_least: 24h", "at_least: 30d")
    _, stop = runner.promote()
    assert isinstance(stop, Refused)
    assert "soak" in stop.message


def test_every_run_leaves_a_report(runner):
    """A waiting run and a refused one have report, JSON and index, too."""
    runner.promote()
    runner.promote()
    runs = run_directories(runner.workspace.reports)
    assert len(runs) == 2
    for directory in runs:
        assert (directory / "report.html").is_file()
        document = json.loads((directory / "report.json").read_text(encoding="utf-8"))
        assert document["run"] == directory.name
    assert (runner.workspace.reports / "index.html").is_file()


def journal_of(runner, run):
    """The journal's records as JSON."""
    text = (runner.workspace.reports / run / "journal.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def earlier_version(runner, application):
    """A version that production ran before the present one."""
    platform = runner.platform()
    path = f"apps/{application}/production/deployment.yaml"
    key = f"spec.template.spec.containers[name={application}].image"
    versions = [
        read_part(change.content, key, "tag")
        for change in platform.git.changes("platform-config", runner.tip(), folders=(path,))
    ]
    return next(v for v in reversed(versions) if v != versions[-1])


def commit_image(runner, path, old, new):
    """Somebody commits another image by hand."""
    platform = runner.platform()
    tip = runner.tip()
    blob = platform.git.read("platform-config", tip, path)
    content = blob.content.replace(f":{old}".encode(), f":{new}".encode())
    assert content != blob.content
    return platform.git.commit(
        "platform-config", branch="main", parent=tip, files={path: content}, message="By hand"
    )


def approve_and_finish(runner, parameters):
    """Run, approval, resume."""
    waiting, stop = runner.promote(**parameters)
    assert isinstance(stop, WaitingForApproval), stop
    runner.answer(waiting.run)
    state, stop = runner.promote(run=waiting.run, **parameters)
    assert stop is None, stop
    return state
