"""Whoever approves a sync reads all that it brings: what could not be compared is said, and nothing hides behind another line."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import Any

import pytest

from gitops_nb.adapters.argocd import ArgoCD
from gitops_nb.errors import ConflictError, NeedsAttention, WaitingForApproval
from gitops_nb.model import ObjectRef, Status
from tests.session.platform_edits import (
    DEPLOYMENT,
    IMAGE,
    adopt_fleet,
    commit,
    patch_application,
    put_images_into_manifests,
    read,
    settle,
    version,
    without_approval,
)
from tests.session.test_bound import is_planted
from tests.session.test_neighbours import WAY

FOLDER = "apps/checkout/production"
FILE = DEPLOYMENT.format("production")
WORKLOAD = ObjectRef("apps/v1", "Deployment", "checkout", "checkout")
ROLE = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: planted, namespace: checkout}\ndata: {a: b}\n"


@pytest.fixture
def soaked(runner):
    """A release has run for long enough as soon as it runs."""
    runner.workspace.replace("runbooks/policy.yaml", "at_least: 24h", "at_least: 0s")
    return runner


def shown(runner, **parameters):
    """What an approver reads: before, after and changed lines of each change, by its address."""
    waiting, stop = runner.promote(**parameters)
    assert isinstance(stop, WaitingForApproval), stop
    found = {}
    for change in waiting.plan["changes"]:
        lines = [line["sign"] + line["text"] for line in change["diff"] if line["sign"].strip()]
        found.setdefault(change["address"], []).append((change["before"], change["after"], lines))
    return found


def text_of(found) -> str:
    return json.dumps(found)


def scale(runner, replicas: int) -> None:
    """Somebody scales production by hand, and Argo CD sees it."""
    cluster = runner.platform().view.clusters["production"].as_manager("kubectl-scale")
    cluster.merge_patch(WORKLOAD, {"spec": {"replicas": replicas}})
    settle(runner, "production", syncs=False)


def in_a_clone(runner, *commands) -> None:
    """Somebody works in a clone and pushes what they made."""
    bare = runner.workspace.root / ".gitops-nb/sandbox/git/platform-config.git"
    work = runner.workspace.root.parent / "work"
    subprocess.run(("git", "clone", "-q", bare, work), check=True)
    who = ("-c", "user.name=t", "-c", "user.email=t@x.example")
    for command in commands:
        if callable(command):
            command(work)
        else:
            subprocess.run(("git", *who, *command), cwd=work, check=True)
    shutil.rmtree(work)


def rewritten(runner) -> None:
    """The branch begins anew with the same files, and no cache of ours has what was before."""
    in_a_clone(
        runner,
        ("checkout", "-q", "--orphan", "other"),
        ("commit", "-qm", "All of it, without its past"),
        ("push", "-qf", "origin", "other:main"),
    )
    shutil.rmtree(runner.workspace.root / ".gitops-nb/sandbox/git-cache", ignore_errors=True)


def test_a_commit_that_is_gone_is_said_to_be_unknown(soaked):
    """History was rewritten: what was synced last is no commit any more, and what comes with the sync cannot be told."""
    soaked.platform()
    rewritten(soaked)
    commit(soaked, {f"{FOLDER}/extra.yaml": ROLE})
    for environment in ("staging", "production"):
        settle(soaked, environment, syncs=environment == "staging")
    found = shown(soaked)
    ((before, after, _),) = found["Application checkout-production"][:1]
    assert before == "what was synced last is not known"
    assert "what somebody changed on the cluster is undone" in after


@pytest.mark.parametrize("file", [f"{FOLDER}/service.yaml", FILE])
def test_drift_beside_a_push_is_said_to_be_unknown(soaked, file):
    """A comment that was pushed hides nothing: either may be why objects differ, and that is what is said."""
    scale(soaked, 8)
    commit(soaked, {file: read(soaked, file) + "# a comment\n"})
    settle(soaked, "production", syncs=False)
    found = shown(soaked)
    address = "Application checkout-production on production, what somebody changed on the cluster"
    assert found[address] == [
        ("cannot be told apart from what comes into force", "the sync undoes it where Git says otherwise", [])
    ]  # fmt: skip


def test_drift_of_a_child_is_named(soaked):
    """A parent renders it: what its objects differ by is its own."""
    put_images_into_manifests(soaked, ("staging", "production"))
    platform = soaked.platform()
    argo = platform.open_writers(bool, environment="production", files=frozenset()).argo
    argo["production"].sync("checkout-production", revision=soaked.tip(), identifier="somebody")
    platform.view.clock.sleep(60)
    scale(soaked, 8)
    found = shown(soaked)
    address = "Application checkout-production on production, Deployment checkout is OutOfSync"
    assert found[address][0][1] == "as Git has it: the sync undoes that change"


@pytest.mark.torture
def test_what_is_left_of_earlier_files_is_told_and_ends_no_circle(runner):
    """A file was taken out of Git: its object stays, and the end says how to be rid of it, not that a sync is missing."""
    without_approval(runner)
    commit(runner, {f"{FOLDER}/extra.yaml": ROLE})
    for environment in ("staging", "production"):
        settle(runner, environment)
    in_a_clone(runner, ("rm", "-q", f"{FOLDER}/extra.yaml"), ("commit", "-qm", "x"), ("push", "-q"))
    for environment in ("staging", "production"):
        settle(runner, environment)
    state, stop = runner.promote(timeout="2m", patience="20s")
    assert isinstance(stop, NeedsAttention)
    drift = {c["address"]: (c["before"], c["after"]) for c in state.plan["changes"]}
    address = "Application checkout-production on production, ConfigMap planted"
    assert drift[address] == ("not in Git any more", "left there: the sync prunes nothing")
    said = state.outcome["next_step"]
    assert "stays OutOfSync by ConfigMap planted: not in Git any more" in said
    assert "argocd app sync checkout-production --prune" in said
    assert "a sync is missing" not in said


def test_a_second_key_that_was_pushed_is_shown(soaked):
    """The plan says the version; another key's new value in the same file is said by nothing else."""
    key = 'key: "spec.template.spec.containers[name=checkout].image", part: tag}'
    soaked.workspace.replace("runbooks/fleet.yaml", f"{{file: deployment.yaml, {key}]", f"{{file: deployment.yaml, {key}, {{file: deployment.yaml, key: spec.replicas}}]")  # fmt: skip
    adopt_fleet(soaked)
    staging = re.search(r"replicas: (\d+)", read(soaked, DEPLOYMENT.format("staging")))[1]
    text = read(soaked, FILE)
    own = re.search(r"replicas: (\d+)", text)[1]
    assert own != staging
    commit(soaked, {FILE: text.replace(f"replicas: {own}", f"replicas: {staging}")})
    settle(soaked, "production", syncs=False)
    assert f"+  replicas: {staging}" in text_of(shown(soaked))


def test_two_clusters_are_two_differences(soaked):
    """One cluster has what was pushed, the other has not: what it brings there is shown."""
    soaked.workspace.replace("runbooks/fleet.yaml", "newcomer: {environment: development", "newcomer: {environment: production")  # fmt: skip
    adopt_fleet(soaked)
    soaked.platform()
    path = soaked.workspace.root / ".gitops-nb/sandbox/state.json"
    state = json.loads(path.read_text())
    state["clusters"]["newcomer"] = json.loads(json.dumps(state["clusters"]["production"]))
    for part in ("memory", "tips"):
        state[part] |= {
            key.replace("production|", "newcomer|", 1): json.loads(json.dumps(value))
            for key, value in state[part].items()
            if key.startswith("production|")
        }
    path.write_text(json.dumps(state))
    more = read(soaked, FILE).replace(
        "      containers:\n", "      hostPID: true\n      containers:\n"
    )
    commit(soaked, {FILE: more})
    platform = soaked.platform()
    argo = platform.open_writers(bool, environment="production", files=frozenset()).argo["newcomer"]
    argo.refresh("checkout-production")
    platform.view.clock.sleep(10)
    argo.sync("checkout-production", revision=soaked.tip(), identifier="somebody")
    platform.view.clock.sleep(60)
    commit(soaked, {FILE: more.replace(version(soaked, "production"), "v2.32.1")})
    settle(soaked, "production", syncs=False)
    argo = soaked.platform().open_writers(bool, environment="production", files=frozenset()).argo
    argo["newcomer"].refresh("checkout-production")
    soaked.platform().view.clock.sleep(10)
    assert "+      hostPID: true" in text_of(shown(soaked))


@pytest.mark.parametrize("where", ["notes/extra.yaml", "../../other/extra.yaml"])
def test_a_file_that_becomes_part_of_it_is_shown_whole(soaked, where):
    """It lay there all the time and nothing used it; one line of a kustomization brings it."""
    listed = "resources: [deployment.yaml, service.yaml{}]\n"
    own = f"{FOLDER}/kustomization.yaml"
    path = f"{FOLDER}/{where}" if where.startswith("notes") else "apps/other/extra.yaml"
    service = read(soaked, f"{FOLDER}/service.yaml").replace("8080", "8081")
    commit(soaked, {own: listed.format(""), path: ROLE, f"{FOLDER}/service.yaml": service})
    for environment in ("staging", "production"):
        settle(soaked, environment)
    commit(soaked, {own: listed.format(f", {where}")})
    settle(soaked, "production", syncs=False)
    (change,) = shown(soaked)[f"platform-config:{path}"]
    assert change[0] == "no part of it"
    assert "+kind: ConfigMap" in change[2]


def test_a_folder_that_is_taken_otherwise_is_shown_whole(soaked):
    """The Application recurses into its folder from now on: what lies there was no part of it."""
    commit(soaked, {f"{FOLDER}/notes/extra.yaml": ROLE})
    for environment in ("staging", "production"):
        settle(soaked, environment)
    patch_application(soaked, "production", {"spec": {"source": {"directory": {"recurse": True}}}})
    settle(soaked, "production", syncs=False)
    (change,) = shown(soaked)[f"platform-config:{FOLDER}/notes/extra.yaml"]
    assert "+kind: ConfigMap" in change[2]


def test_sources_at_several_commits_are_not_taken_for_one(soaked):
    """Somebody held the second source back: what it has now cannot be told by the first one's commit."""
    path = "argocd/production/checkout.yaml"
    text = read(soaked, path)
    block = re.search(r"  source:\n((?:    .*\n)+)", text)
    own = re.search(r"repoURL: (\S+)", block[1])[1]
    first = f"    - {block[1].strip()}\n".replace("\n    ", "\n      ")
    second = f"    - repoURL: {own}\n      targetRevision: main\n      path: addons\n"
    commit(soaked, {path: text.replace(block[0], f"  sources:\n{first}{second}"), "addons/a.yaml": ROLE})  # fmt: skip
    for environment in ("staging", "production"):
        settle(soaked, environment)
    old = soaked.tip()
    commit(soaked, {"addons/a.yaml": ROLE.replace("a: b", "a: other")})
    platform = soaked.platform()
    argo = platform.open_writers(bool, environment="production", files=frozenset()).argo
    argo["production"].refresh("checkout-production")
    platform.view.clock.sleep(30)
    argo["production"].sync("checkout-production", revision=f"{soaked.tip()},{old}", identifier="somebody")  # fmt: skip
    platform.view.clock.sleep(60)
    found = shown(soaked)
    assert found["Application checkout-production"][0][0] == "what was synced last is not known"
    assert "changed on the cluster since the last sync" not in text_of(found)


PROOF = (
    "    path: argocd/{environment}\n"
    "    promotable: [{file: values.yaml, key: checkout.tag, proof: {image: registry.example/shop/checkout}}]"
)


def into_a_chart(folder) -> None:
    """The manifests of a folder become the templates of a chart there, with checkout's tag as its value."""
    (folder / "templates").mkdir()
    for path in folder.glob("*.yaml"):
        path.rename(folder / "templates" / path.name)
    template = folder / "templates/checkout.yaml"
    tag = re.search(r"shop/checkout:(\S+)", template.read_text())[1]
    template.write_text(
        template.read_text().replace(f"checkout:{tag}", "checkout:{{ .Values.checkout.tag }}")
    )
    (folder / "Chart.yaml").write_text("apiVersion: v2\nname: umbrella\nversion: 1.0.0\n")
    (folder / "values.yaml").write_text(f"checkout:\n  tag: {tag}\n")


@pytest.fixture
def charted(soaked):
    """Root is a chart and syncs by itself; checkout, its child, waits for a sync of ours."""
    put_images_into_manifests(soaked, ("staging", "production"))
    folders = [f"argocd/{name}" for name in ("staging", "production")]
    in_a_clone(
        soaked,
        *(lambda work, folder=folder: into_a_chart(work / folder) for folder in folders),
        ("add", "-A"),
        ("commit", "-qm", "Charts"),
        ("push", "-q"),
    )
    for environment in ("staging", "production"):
        settle(soaked, environment)
    soaked.workspace.replace("runbooks/fleet.yaml", IMAGE, PROOF)
    adopt_fleet(soaked)
    return soaked


TEMPLATE = "argocd/production/templates/checkout.yaml"


def with_a_second_source(text: str) -> str:
    block = re.search(r"  source:\n((?:    .*\n)+)", text)
    own = re.search(r"repoURL: (\S+)", block[1])[1]
    first = f"    - {block[1].strip()}\n".replace("\n    ", "\n      ")
    second = f"    - repoURL: {own}\n      targetRevision: main\n      path: other\n"
    return text.replace(block[0], f"  sources:\n{first}{second}")


@pytest.mark.parametrize(
    "changed",
    [
        with_a_second_source,
        pytest.param(
            lambda text: text.replace("project: default", "project: other"),
            marks=pytest.mark.torture,
        ),
        lambda text: text.replace("namespace: checkout", "namespace: kube-system"),
        None,
    ],
)
def test_a_child_that_its_parent_makes_another_one_is_not_synced(charted, changed):
    """Pushed after the approval, before Argo CD looked: the parent brings it by itself, and the child is not synced."""
    waiting, stop = charted.promote()
    assert isinstance(stop, WaitingForApproval), stop
    charted.answer(waiting.run)
    if changed is not None:
        text = read(charted, TEMPLATE)
        assert changed(text) != text
        commit(charted, {TEMPLATE: changed(text), "other/extra.yaml": ROLE})
    state, stop = charted.promote(run=waiting.run)
    if changed is None:
        assert (stop, state.status) == (None, Status.SUCCEEDED)
        return
    assert isinstance(stop, ConflictError), stop
    assert "checkout-production asks for something else than when this was planned" in stop.message
    assert state.aftermath["back"]
    assert not is_planted(charted)


@pytest.mark.parametrize("is_pushed", [True, pytest.param(False, marks=pytest.mark.torture)])
def test_a_hub_that_argo_cd_has_not_looked_at_brings_nothing_of_others(runner, is_pushed):
    """A value that was pushed moves production's Application; the comparison right before the sync says so."""
    runner.workspace.replace("runbooks/policy.yaml", "gates: {soak: {at_least: 1h}}", "gates: {source_healthy: false}")  # fmt: skip
    put_images_into_manifests(runner, ("development", "staging"))

    def make_hub(work) -> None:
        (work / "hub/templates").mkdir(parents=True)
        for path in (work / "argocd/production").glob("*.yaml"):
            text = path.read_text().replace("path: apps/payments/", "path: {{ .Values.folder }}/")
            (work / "hub/templates" / path.name).write_text(text)
        (work / "hub/Chart.yaml").write_text("apiVersion: v2\nname: hub\nversion: 1.0.0\n")
        (work / "hub/values.yaml").write_text("folder: apps/payments\n")

    in_a_clone(runner, make_hub, ("add", "-A"), ("commit", "-qm", "Hub"), ("push", "-q"))
    platform = runner.platform()
    argo = platform.open_writers(bool, environment="staging", files=frozenset()).argo["staging"]
    own = platform.view.argo["staging"].snapshot("root").application["spec"]["source"]
    sources = [{**own, "path": "argocd/staging"}, {**own, "path": "hub"}]
    cluster = platform.view.clusters["staging"].as_manager("kubectl-edit")
    root = ObjectRef("argoproj.io/v1alpha1", "Application", "root", "argocd")
    cluster.merge_patch(root, {"spec": {"source": None, "sources": sources, "syncPolicy": None}})
    argo.refresh("root")
    platform.view.clock.sleep(30)
    argo.sync("root", revision=",".join([runner.tip()] * 2), identifier="somebody")
    platform.view.clock.sleep(60)

    def path() -> str:
        found = runner.platform().view.argo["staging"].snapshot("payments-production")
        return found.application["spec"]["source"]["path"]

    if is_pushed:
        commit(runner, {"hub/values.yaml": "folder: other\n"})
    waiting, stop = runner.promote(**WAY)
    assert isinstance(stop, WaitingForApproval), stop
    runner.answer(waiting.run)
    state, stop = runner.promote(run=waiting.run, **WAY)
    assert path() == "apps/payments/production"
    if is_pushed:
        assert isinstance(stop, ConflictError), stop
        assert "root also brings Application payments-production of production" in stop.message
        assert state.aftermath["back"]
    else:
        assert stop is None, stop


def test_another_destination_is_shown(soaked):
    """Argo CD keeps no past of it: what the sync creates, what it leaves and where it goes stand in what is signed."""
    path = "argocd/production/checkout.yaml"
    text = read(soaked, path)
    commit(soaked, {path: text.replace("    namespace: checkout\n", "    namespace: elsewhere\n")})
    settle(soaked, "production", syncs=False)
    waiting, stop = soaked.promote()
    assert isinstance(stop, WaitingForApproval), stop
    found = {change["address"]: change["after"] for change in waiting.plan["changes"]}
    on = "Application checkout-production on production, Deployment checkout"
    assert found[f"{on} in elsewhere"] == "created by the sync"
    assert found[on] == "left there: the sync prunes nothing"
    (placement,) = waiting.plan["arguments"]["placements"]
    assert placement["where"].startswith("project default, elsewhere on ")
    shown_to_sign = soaked.workspace.run("approve", waiting.run, "--yes", "--reason", "seen").stdout
    assert "project default, elsewhere on" in shown_to_sign


def a_branch(name: str, content: str) -> tuple[Any, ...]:
    """A branch with an object in `addons`, as somebody makes it in a clone."""

    def make(work) -> None:
        (work / "addons").mkdir(exist_ok=True)
        (work / "addons/a.yaml").write_text(content)

    start = ("checkout", "-q", "-B", name, "origin/main")
    return (start, make, ("add", "-A"), ("commit", "-qm", name), ("push", "-qf", "origin", name))


def test_a_childs_other_source_does_not_follow_to_a_revision_called_like_the_version(charted):
    """An image was promoted: that another source is moved to a branch of that name is something else than was shown."""
    before, after = (
        re.search(r"tag: (\S+)", read(charted, f"argocd/{environment}/values.yaml"))[1]
        for environment in ("production", "staging")
    )
    evil = ROLE.replace("planted", "planted-evil")
    in_a_clone(charted, *a_branch(before, ROLE), *a_branch(after, evil))
    text = with_a_second_source(read(charted, TEMPLATE)).replace(
        "targetRevision: main\n      path: other", f"targetRevision: {before}\n      path: addons"
    )
    commit(charted, {TEMPLATE: text})
    for environment in ("staging", "production"):
        settle(charted, environment)
    waiting, stop = charted.promote()
    assert isinstance(stop, WaitingForApproval), stop
    addresses = [change["address"] for change in waiting.plan["changes"]]
    assert not [address for address in addresses if address.endswith("targetRevision")]
    charted.answer(waiting.run)
    commit(
        charted, {TEMPLATE: text.replace(f"targetRevision: {before}", f"targetRevision: {after}")}
    )
    _, stop = charted.promote(run=waiting.run)

    assert isinstance(stop, ConflictError), stop
    assert "asks for something else than when this was planned" in stop.message
    cluster = charted.platform().view.clusters["production"]
    assert cluster.get(ObjectRef("v1", "ConfigMap", "planted-evil", "checkout")) is None


def test_what_a_child_asks_for_behind_the_edit_is_shown(charted):
    """Field by field, with both texts: nothing else of it may change before it is synced."""
    waiting, _ = charted.promote()
    (change,) = (c for c in waiting.plan["changes"] if ", spec." in c["address"])
    assert change["address"].startswith(
        "Application checkout-production on production, spec.source."
    )
    assert "where root makes it so" in change["after"]


APPLICATION = ObjectRef("argoproj.io/v1alpha1", "Application", "checkout-production", "argocd")


def test_what_an_application_has_a_sync_do_is_shown(soaked):
    """Labels of the namespace, no validation, fields that are left alone: each is read by whoever approves, the usual is not."""
    cluster = soaked.platform().view.clusters["production"].as_manager("kubectl-edit")
    labels = {"pod-security.kubernetes.io/enforce": "privileged"}
    policy = {
        "syncOptions": ["CreateNamespace=true", "Validate=false"],
        "managedNamespaceMetadata": {"labels": labels},
    }
    ignored = [
        {"kind": "Deployment", "group": "apps", "jsonPointers": ["/spec/template/spec/hostNetwork"]}
    ]
    cluster.merge_patch(APPLICATION, {"spec": {"syncPolicy": policy, "ignoreDifferences": ignored}})
    found = shown(soaked)
    ((_, after, lines),) = found["Application checkout-production, how it is synced"]
    text = "\n".join(lines)
    assert after == "in force with this sync"
    for word in ("privileged", "Validate=false", "hostNetwork"):
        assert word in text
    assert "CreateNamespace" not in text


def test_all_files_of_an_application_without_a_past_are_shown(soaked, monkeypatch):
    """Nobody knows what was synced last, as with a history of length 0: what comes is read as a whole."""
    commit(soaked, {"apps/checkout/production/role.yaml": ROLE}, "Beside")
    settle(soaked, "production", syncs=False)
    there = ArgoCD.snapshot

    def forgetful(self, name):
        found = there(self, name)
        if name == "checkout-production":
            found.application["status"]["history"] = []
        return found

    monkeypatch.setattr(ArgoCD, "snapshot", forgetful)
    found = shown(soaked)
    assert "+kind: ConfigMap" in "\n".join(
        found["platform-config:apps/checkout/production/role.yaml"][0][2]
    )
    assert "platform-config:apps/checkout/production/service.yaml" in found
    assert (
        found["Application checkout-production, its sources"][0][0]
        == "none is known that was synced last"
    )
