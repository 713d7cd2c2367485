"""The embedded platform: its history, its people, and one world for many processes."""

from __future__ import annotations

import csv
import errno
import os
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from gitops_nb.argo import Expectation, State, current_revisions, healthy_since, judge
from gitops_nb.catalog.fleet import Fleet
from gitops_nb.errors import ConfigurationError, ConflictError, RecordError, UnavailableError
from gitops_nb.model import ObjectRef
from gitops_nb.sandbox import Sandbox, open_sandbox
from gitops_nb.sandbox.control import ApplicationController
from gitops_nb.sandbox.opening import MANIFEST

ROOT = Path(__file__).parents[2]
FLEET = ROOT / "runbooks/fleet.yaml"
MADE_S = 1_795_400_000.0


@pytest.fixture(scope="session")
def fleet() -> Fleet:
    """The platform's own fleet."""
    return Fleet.model_validate(yaml.safe_load(FLEET.read_text()))


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory, fleet: Fleet) -> Sandbox:
    """A sandbox made at a fixed moment; the tests here leave it as it is, or use names of their own."""
    directory = tmp_path_factory.mktemp("sandbox") / "sandbox"
    return open_sandbox(directory, fleet, wall=lambda: MADE_S)


@pytest.fixture(scope="session")
def busy(tmp_path_factory: pytest.TempPathFactory, fleet: Fleet) -> Sandbox:
    """A sandbox on the wall clock, for tests that change it."""
    return open_sandbox(tmp_path_factory.mktemp("busy") / "sandbox", fleet)


def _git(folder: Path, *arguments: str) -> str:
    argv = ["git", "-C", str(folder), *arguments]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def _subjects(sandbox: Sandbox) -> list[str]:
    return _git(sandbox.repositories["platform-config"], "log", "--format=%s", "main").splitlines()


def _versions(sandbox: Sandbox) -> dict[str, str]:
    return {
        name: sandbox.argo[cluster]
        .snapshot(name)
        .workloads[0]["spec"]["template"]["spec"]["containers"][0]["image"]
        .rpartition(":")[2]
        for cluster in ("development", "staging", "production")
        for name in sandbox.argo[cluster].names()
        if name != "root"
    }


def test_everything_is_healthy_at_the_tip(sandbox: Sandbox) -> None:
    """Every Application of every seeded cluster is deployed at the tip of the repository."""
    tip = _git(sandbox.repositories["platform-config"], "rev-parse", "main").strip()
    for cluster in ("development", "staging", "production"):
        argo = sandbox.argo[cluster]
        children = {name: argo.snapshot(name) for name in argo.names()}
        assert set(children) == {
            "root",
            f"catalog-{cluster}",
            f"checkout-{cluster}",
            f"payments-{cluster}",
        }
        for snapshot in children.values():
            judgement = judge(snapshot, Expectation(tip), children=children)
            assert judgement.state is State.DEPLOYED, judgement.sentence


def test_checkout_is_one_soaked_release_ahead_in_staging(sandbox: Sandbox) -> None:
    """Staging runs a newer checkout than production, healthy for more than a day; the others are level."""
    versions = _versions(sandbox)
    assert versions["checkout-development"] == versions["checkout-staging"]
    assert versions["checkout-staging"] > versions["checkout-production"]
    for application in ("catalog", "payments"):
        assert len({v for name, v in versions.items() if name.startswith(application)}) == 1
    since = healthy_since(sandbox.argo["staging"].snapshot("checkout-staging").application)
    age = datetime.fromtimestamp(MADE_S, UTC) - since
    assert timedelta(hours=24) < age < timedelta(days=3)


def test_newcomer_is_empty(sandbox: Sandbox) -> None:
    """The second cluster of development has neither Argo CD nor anything else to start with."""
    cluster = sandbox.clusters["newcomer"]
    assert sandbox.argo["newcomer"].names() == ()
    assert cluster.get(ObjectRef("v1", "Namespace", "argocd")) is None
    assert cluster.list("apps/v1", "Deployment") == ()


def test_the_history_holds_months_of_work(sandbox: Sandbox) -> None:
    """The repository holds hundreds of commits by several people, releases in all environments and rollbacks."""
    folder = sandbox.repositories["platform-config"]
    subjects = _subjects(sandbox)
    words = Counter(subject.split()[0] for subject in subjects)
    assert len(subjects) > 200
    assert words["Roll"] >= 2
    assert words["Release"] > 60
    assert words["Promote"] > 120
    assert len(set(_git(folder, "log", "--format=%an").splitlines())) == 5
    times = [int(line) for line in _git(folder, "log", "--format=%ct").splitlines()]
    assert times == sorted(times, reverse=True)
    assert MADE_S - times[-1] > 160 * 86_400
    assert 1.9 * 86_400 < MADE_S - times[0] < 3 * 86_400


def test_incidents_have_their_columns_and_times(sandbox: Sandbox) -> None:
    """The incidents beside the repository are in production, resolved after they started, and severe enough."""
    with sandbox.incidents.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) >= 5
    assert {row["environment"] for row in rows} == {"production"}
    assert {row["severity"] for row in rows} == {"1", "2", "3"}
    for row in rows:
        started, resolved = (datetime.fromisoformat(row[name]) for name in ("started", "resolved"))
        assert started.tzinfo is not None
        assert started < resolved
    assert len({row["id"] for row in rows}) == len(rows)


def test_the_same_moment_makes_the_same_history(
    sandbox: Sandbox, tmp_path: Path, fleet: Fleet
) -> None:
    """Two sandboxes made at the same moment differ only where their own addresses stand."""
    other = open_sandbox(tmp_path / "sandbox", fleet, wall=lambda: MADE_S)
    folders = [s.repositories["platform-config"] for s in (sandbox, other)]
    logs = [_git(folder, "log", "--format=%an %at %s") for folder in folders]
    trees = [_git(folder, "rev-parse", "main:apps") for folder in folders]
    assert logs[0] == logs[1]
    assert trees[0] == trees[1]
    assert sandbox.incidents.read_text() == other.incidents.read_text()


def test_three_people_with_keys_that_sign(sandbox: Sandbox, tmp_path: Path) -> None:
    """All invented people have a key pair that ssh-keygen signs and verifies with."""
    message = tmp_path / "message"
    message.write_text("x")
    assert len({person.name for person in sandbox.persons}) == 3
    for person in sandbox.persons:
        argv = ["ssh-keygen", "-q", "-Y", "sign", "-n", "test", "-f", str(person.private_key)]
        subprocess.run([*argv, str(message)], check=True, capture_output=True)
        signers = tmp_path / "signers"
        signers.write_text(f"{person.name} {person.public_key}\n")
        verify = ["ssh-keygen", "-Y", "verify", "-n", "test", "-f", str(signers)]
        verify += ["-I", person.name, "-s", f"{message}.sig"]
        subprocess.run(verify, input=b"x", check=True, capture_output=True)
        Path(f"{message}.sig").unlink()


def test_other_processes_see_the_same_world(busy: Sandbox) -> None:
    """What one process does, and how far it moved the clock, another process sees."""
    directory, first = busy.incidents.parent, busy
    program = f"""
import yaml
from pathlib import Path
from gitops_nb.catalog.fleet import Fleet
from gitops_nb.sandbox import open_sandbox
fleet = Fleet.model_validate(yaml.safe_load(Path({str(FLEET)!r}).read_text()))
sandbox = open_sandbox(Path({str(directory)!r}), fleet)
sandbox.clusters["newcomer"].apply({{"apiVersion": "v1", "kind": "Namespace", "metadata": {{"name": "theirs"}}}})
sandbox.clock.sleep(3600)
"""
    before = first.clock.now()
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
    assert first.clusters["newcomer"].get(ObjectRef("v1", "Namespace", "theirs")) is not None
    assert first.clock.now() - before > timedelta(hours=1)


def test_processes_that_write_together_lose_nothing(busy: Sandbox) -> None:
    """Three processes that write at once end with all that each of them wrote, under versions of their own."""
    directory = busy.incidents.parent
    program = f"""
import sys, yaml
from pathlib import Path
from gitops_nb.catalog.fleet import Fleet
from gitops_nb.sandbox import open_sandbox
fleet = Fleet.model_validate(yaml.safe_load(Path({str(FLEET)!r}).read_text()))
cluster = open_sandbox(Path({str(directory)!r}), fleet).clusters["newcomer"]
for number in range(20):
    metadata = {{"name": f"{{sys.argv[1]}}-{{number}}", "namespace": "default"}}
    cluster.apply({{"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}})
"""
    argv = [sys.executable, "-c", program]
    running = [subprocess.Popen([*argv, name], cwd=ROOT) for name in ("a", "b", "c")]
    assert [process.wait(timeout=60) for process in running] == [0, 0, 0]
    found = busy.clusters["newcomer"].list("v1", "ConfigMap", namespace="default")
    names = {f"{name}-{number}" for name in ("a", "b", "c") for number in range(20)}
    assert {item["metadata"]["name"] for item in found} == names
    assert len({item["metadata"]["resourceVersion"] for item in found}) == 60


def test_waiting_takes_no_time_and_moves_the_clusters(sandbox: Sandbox) -> None:
    """Sleeping and watching move the clusters' clock; the wall clock of this test stands still."""
    before = sandbox.clock.now()
    sandbox.clock.sleep(30)
    list(sandbox.clusters["newcomer"].watch(ObjectRef("v1", "Namespace", "default"), timeout_s=60))
    passed = (sandbox.clock.now() - before).total_seconds()
    assert passed == pytest.approx(90, abs=0.01)


def test_another_fleet_is_refused(sandbox: Sandbox, fleet: Fleet) -> None:
    """A sandbox that was built from another fleet is not opened, and says what to remove; it is left alone."""
    directory = sandbox.incidents.parent
    before = (directory / "state.json").read_bytes()
    other = fleet.model_copy(update={"applications": {}})
    with pytest.raises(ConfigurationError, match="another fleet") as caught:
        open_sandbox(directory, other)
    assert "Remove that directory" in caught.value.hint
    assert (directory / "state.json").read_bytes() == before


def test_a_build_that_was_interrupted_is_begun_again(tmp_path: Path, fleet: Fleet) -> None:
    """What an interrupted build left behind does not count as a sandbox, and does not stay."""
    left = tmp_path / ".sandbox.building" / "keys"
    left.mkdir(parents=True)
    (left / "mara.lindqvist").write_text("half a key")
    assert open_sandbox(tmp_path / "sandbox", fleet).persons[0].public_key.startswith("ssh-ed25519")
    assert not left.exists()


def test_a_turn_that_fails_changes_nothing(sandbox: Sandbox) -> None:
    """An apply that is refused half way leaves the world as it was, on disk and in memory."""
    cluster = sandbox.clusters["newcomer"]
    sandbox.clock.sleep(0)
    before = (sandbox.incidents.parent / "state.json").read_bytes()
    manifest = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "x", "namespace": "no"},
    }
    with pytest.raises(ConflictError):
        cluster.apply(manifest)
    assert (sandbox.incidents.parent / "state.json").read_bytes() == before
    assert cluster.get(ObjectRef("v1", "ConfigMap", "x", "no")) is None


def test_metrics_answer_where_argo_cd_runs(sandbox: Sandbox) -> None:
    """The controller's metrics list each Application; where nothing is installed, nothing answers."""
    source = "service://argocd/argocd-metrics:8082/metrics"
    text = sandbox.clusters["staging"].fetch_metrics(source)
    assert 'argocd_app_info{name="checkout-staging",namespace="argocd",sync_status="Synced"' in text
    with pytest.raises(UnavailableError):
        sandbox.clusters["newcomer"].fetch_metrics(source)


def test_the_manifest_comes_with_its_digest(sandbox: Sandbox) -> None:
    """The sandbox hands out its stand-in manifest for the digest that its fleet names, and for no other."""
    manifest = sandbox.fleet.argocd.manifest
    assert sandbox.fetch(manifest.path, sha256=manifest.sha256) == MANIFEST.read_bytes()
    with pytest.raises(ConfigurationError):
        sandbox.fetch(manifest.path, sha256="0" * 64)


def test_argo_cd_acts_only_where_it_is_installed(busy: Sandbox) -> None:
    """An Application without a controller stays as it is; once the manifest is applied, it comes to life."""
    sandbox = busy
    cluster = sandbox.clusters["newcomer"]
    items = list(yaml.safe_load_all(MANIFEST.read_text()))
    definitions = [item for item in items if item["kind"] == "CustomResourceDefinition"]
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "argocd"}})
    for item in definitions:
        cluster.apply(item)
    sandbox.clock.sleep(5)
    root = sandbox.clusters["development"].get(
        ObjectRef("argoproj.io/v1alpha1", "Application", "root", "argocd")
    )
    metadata = {"name": "root", "namespace": "argocd"}
    cluster.apply({**{k: root[k] for k in ("apiVersion", "kind", "spec")}, "metadata": metadata})
    sandbox.clock.sleep(600)
    assert "status" not in sandbox.argo["newcomer"].snapshot("root").application
    for item in items:
        if item not in definitions:
            item["metadata"]["namespace"] = "argocd"
            cluster.apply(item)
    sandbox.clock.sleep(60)
    argo = sandbox.argo["newcomer"]
    children = {name: argo.snapshot(name) for name in argo.names()}
    assert len(children) == 4
    revision = current_revisions(children["root"].application)[0]
    judgement = judge(children["root"], Expectation(revision), children=children)
    assert judgement.state is State.DEPLOYED, judgement.sentence


def test_a_push_is_stale_for_three_minutes(busy: Sandbox) -> None:
    """Without a refresh the old revision stays Synced and Healthy for 180 s after a push."""
    sandbox = busy
    folder = sandbox.repositories["platform-config"]
    argo = sandbox.argo["staging"]
    before = current_revisions(argo.snapshot("checkout-staging").application)
    stream = "commit refs/heads/main\ncommitter T <t@x> now\ndata 1\nx\nfrom refs/heads/main^0\n"
    stream += "M 100644 inline apps/checkout/staging/new.yaml\ndata <<END\n"
    stream += "{apiVersion: v1, kind: ConfigMap, metadata: {name: new}}\nEND\n\n"
    argv = ["git", "-C", str(folder), "fast-import", "--quiet", "--date-format=now"]
    subprocess.run(argv, input=stream, text=True, check=True)
    sandbox.clock.sleep(175)
    snapshot = argo.snapshot("checkout-staging")
    assert current_revisions(snapshot.application) == before
    assert snapshot.application["status"]["sync"]["status"] == "Synced"
    sandbox.clock.sleep(30)
    snapshot = argo.snapshot("checkout-staging")
    assert current_revisions(snapshot.application) != before
    assert judge(snapshot, Expectation(current_revisions(snapshot.application)[0])).state is (
        State.DEPLOYED
    )


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_a_sandbox_that_cannot_be_written_is_named(sandbox, fleet, monkeypatch, code):
    """Another user's, or one on a read-only disk: a named error, and nothing is built beside it."""
    directory = sandbox.incidents.parent
    before = sorted(directory.parent.iterdir())

    def denied(path, *_, **__):
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(RecordError, match=f"sandbox.lock: {os.strerror(code)}"):
        open_sandbox(directory, fleet, wall=lambda: MADE_S)
    assert sorted(directory.parent.iterdir()) == before


def test_a_fleet_without_clusters_has_a_sandbox(tmp_path: Path, fleet: Fleet) -> None:
    """Nothing happens in it, and it opens again; what a build left behind there is no sandbox."""
    alone = fleet.model_copy(update={"clusters": {}})
    (tmp_path / "sandbox").mkdir()
    (tmp_path / "sandbox" / "origin").write_text("left behind")
    for _ in range(2):
        opened = open_sandbox(tmp_path / "sandbox", alone, wall=lambda: MADE_S)
        assert dict(opened.clusters) == {}
        assert _git(opened.repositories["platform-config"], "rev-list", "--count", "main").strip() != "0"  # fmt: skip


def test_an_operation_whose_application_was_taken_over_ends_there():
    """What it applied made the Application another one: nothing of the operation is left to go on with."""
    scheduled = []
    world = SimpleNamespace(
        memory=lambda *_: {}, time=0, schedule=lambda *given: scheduled.append(given)
    )
    ApplicationController(None)._go_on(world, "c", "k", "apply", 1.0)
    assert scheduled == []
