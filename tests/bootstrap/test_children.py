"""The Applications below the root one, also those that others make, are judged; what holds a wave is named with its cause."""

from __future__ import annotations

import re

import pytest

from gitops_nb.bootstrap.children import check_children, check_healthy, find_children
from gitops_nb.errors import Failed
from gitops_nb.model import ObjectRef
from tests.bootstrap.test_brings import FOLDER, context_of, push
from tests.samples import few

ARGO = "argoproj.io/v1alpha1"
SET = ObjectRef(ARGO, "ApplicationSet", "teams", "argocd")
TEAMS = f"apiVersion: {ARGO}\nkind: ApplicationSet\nmetadata: {{name: teams, namespace: argocd}}\nspec: {{generators: []}}\n".encode()  # fmt: skip


def text_of(bootstrapper, path: str) -> str:
    git = bootstrapper.platform.git
    return git.read("platform-config", git.tip("platform-config", "main"), path).content.decode()


def say(bootstrapper, **conditions: str) -> None:
    """What Argo CD says of the set."""
    found = [{"type": kind, "status": status, "message": "why"} for kind, status in conditions.items()]  # fmt: skip
    bootstrapper.cluster.merge_patch(SET, {"status": {"conditions": found}})


def made(bootstrapper, name: str, path: str) -> None:
    """An Application as the set's controller makes it."""
    like = ObjectRef(ARGO, "Application", "payments-development", "argocd")
    spec = bootstrapper.cluster.get(like)["spec"]
    owner = {
        "apiVersion": ARGO, "kind": "ApplicationSet", "name": "teams",
        "uid": bootstrapper.cluster.get(SET)["metadata"].get("uid"),
    }  # fmt: skip
    bootstrapper.cluster.apply({
        "apiVersion": ARGO, "kind": "Application",
        "metadata": {"name": name, "namespace": "argocd", "ownerReferences": [owner]},
        "spec": {**spec, "source": {**spec["source"], "path": path}},
    })  # fmt: skip


def test_what_an_application_set_makes_is_looked_for(bootstrapper):
    """Not made yet, with an error, made and missing its folder, and in order: only the last one holds."""
    push(bootstrapper, {f"{FOLDER}/set.yaml": TEAMS})
    state, stop = bootstrapper.run(timeout="2m")
    # The sandbox has no such controller: nobody has made them, and no end is green.
    assert isinstance(stop, Failed), stop
    assert "ApplicationSet teams: Argo CD has not said that it made the Applications" in stop.message  # fmt: skip
    assert not check_healthy(context_of(bootstrapper)).holds
    say(bootstrapper, ErrorOccurred="True", ResourcesUpToDate="False")
    assert "ApplicationSet teams: why" in check_children(context_of(bootstrapper)).sentence
    say(bootstrapper, ErrorOccurred="False", ResourcesUpToDate="True")
    made(bootstrapper, "team-a", "apps/nothing")
    bootstrapper.platform.view.clock.sleep(200)
    context = context_of(bootstrapper)
    assert "team-a" in find_children(context).every
    found = check_healthy(context)
    assert not found.holds
    assert "team-a: " in found.sentence
    assert "app path does not exist" in found.sentence
    made(bootstrapper, "team-a", "apps/payments/development")
    bootstrapper.platform.view.clock.sleep(200)
    state, stop = bootstrapper.run(timeout="5m")
    assert stop is None, stop
    rows = [row for row in state.outcome["tables"][0]["rows"] if row[0].startswith("8.")]
    assert "1 of them made by others" in rows[0][2]
    assert "team-a" in rows[0][2]


def test_a_set_below_a_child_is_looked_for_too(bootstrapper):
    """Whatever depth it stands in: an Application that nobody saw is in no green sentence."""
    _, stop = bootstrapper.run()
    assert stop is None
    child = ObjectRef(ARGO, "Application", "payments-development", "argocd")
    resources = bootstrapper.cluster.get(child)["status"]["resources"]
    below = {"group": "argoproj.io", "kind": "ApplicationSet", "name": "nested", "status": "Synced"}
    assert check_healthy(context_of(bootstrapper)).holds
    bootstrapper.cluster.merge_patch(child, {"status": {"resources": [*resources, below]}})
    for check in (check_children, check_healthy):
        found = check(context_of(bootstrapper))
        assert not found.holds
        assert "ApplicationSet nested is not there yet" in found.sentence


@pytest.mark.parametrize(
    ("what", "told"),
    few(
        [
            ("crash", "crash holds the wave: .*CrashLoopBackOff"),
            ("path", "crash holds the wave: .*app path does not exist"),
            ("root", r"root: .*CrashLoopBackOff"),
        ],
        keep=2,
    ),
)
def test_what_holds_the_wave_is_named_with_its_cause(bootstrapper, what, told):
    """Pods that crash, a folder that is not there, an object of the root's own: the end says which, not only who waits."""
    application = text_of(bootstrapper, f"{FOLDER}/payments.yaml").replace("payments-development", "crash")  # fmt: skip
    workload = text_of(bootstrapper, "apps/payments/development/deployment.yaml")
    tag = next(line for line in workload.splitlines() if "image:" in line)
    workload = workload.replace(tag, f"{tag.rpartition(':')[0]}:v1-crash")
    if what == "root":
        workload = workload.replace("name: payments\n", "name: crash\n", 1)
        files = {f"{FOLDER}/crash.yaml": workload}
    else:
        files = {f"{FOLDER}/crash.yaml": application.replace("apps/payments/development", "apps/crash")}  # fmt: skip
        if what == "crash":
            files["apps/crash/deployment.yaml"] = workload
    push(bootstrapper, {path: text.encode() for path, text in files.items()})
    _, stop = bootstrapper.run(timeout="2m")
    assert isinstance(stop, Failed), stop
    assert "not there yet: " in stop.message
    assert re.search(told, stop.message), stop.message


def test_what_nobody_can_judge_is_in_the_title(bootstrapper):
    """A CronJob beside a Deployment of an Application: the end holds, and says what it does not cover."""
    cron = b"apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: nightly}\nspec: {schedule: '0 3 * * *'}\n"
    push(bootstrapper, {"apps/payments/development/cron.yaml": cron})
    state, stop = bootstrapper.run()
    assert stop is None, stop
    assert state.outcome["title"].endswith("and its applications; 1 object not judged")
    assert (
        "Nobody here can judge CronJob nightly of payments-development."
        in state.outcome["sentence"]
    )
