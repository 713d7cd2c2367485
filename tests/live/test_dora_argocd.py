"""Facts from a real Argo CD: good syncs, a crash, a rollback, a failed hook and a self-heal, told apart while they happen."""

from __future__ import annotations

import threading
import time

import pytest

from gitops_nb.dora.collectors.argocd import Place, collect_argocd
from gitops_nb.dora.store import FactStore
from gitops_nb.model import ObjectRef
from tests.contract.conftest import live_platform  # noqa: F401  a fixture
from tests.contract.platforms import Platform, deployment

pytestmark = pytest.mark.live
WATCH_S = 180
HOOK = """\
apiVersion: batch/v1
kind: Job
metadata:
  name: before
  annotations: {argocd.argoproj.io/hook: PreSync}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      containers: [{name: main, image: "example/before:v1-crash"}]
"""


def test_what_a_real_argocd_did_is_told_apart(live_platform: Platform, tmp_path):  # noqa: F811
    """A watch during six operations of ours and a repair by Argo CD gives each its trigger and outcome."""
    name = live_platform.new_name()
    live_platform.namespace(name)

    def push(tag: str, hook: str | None = None) -> str:
        files = {f"{name}/d.yaml": deployment("web", tag, deadline=5), f"{name}/hook.yaml": hook}
        return live_platform.push(
            {path: text for path, text in files.items() if text or path in seen}
        )

    def sync(revision: str, identifier: str) -> None:
        live_platform.argo.sync(name, revision=revision, identifier=identifier)
        live_platform.until(name, lambda s: _ended(s.application, identifier))
        time.sleep(1.0)  # Argo CD's times are whole seconds, and its history alone has numbers

    def health(word: str) -> None:
        live_platform.until(name, lambda s: s.application["status"]["health"]["status"] == word)

    seen: set[str] = set()
    first = push("v1")
    live_platform.application(name, name)
    store = FactStore(tmp_path / "facts")
    reader = _Only(live_platform.argo, name)
    now_s = int(time.time()) + WATCH_S
    watch = threading.Thread(
        target=collect_argocd,
        args=({"lab": reader}, store, {name: Place("web", "production")}),
        kwargs={"watch_s": WATCH_S, "now_s": now_s},
    )
    watch.start()
    sync(first, "one")
    health("Healthy")
    second = push("v2")
    sync(second, "two")
    health("Healthy")
    sync(push("v3-crash"), "crash")
    health("Degraded")
    sync(second, "back")
    health("Healthy")
    failing = push("v4", HOOK)
    sync(failing, "hook")
    seen.add(f"{name}/hook.yaml")
    sync(push("v5"), "good")
    health("Healthy")
    heal = {"spec": {"syncPolicy": {"automated": {"selfHeal": True}}}}
    live_platform.change("Application", "argocd", name, heal)
    live_platform.change("Deployment", name, "web", {"spec": {"replicas": 3}})
    web = ObjectRef("apps/v1", "Deployment", "web", name)
    ends = time.monotonic() + 30
    while live_platform.cluster.get(web)["spec"]["replicas"] != 1 and time.monotonic() < ends:
        time.sleep(0.2)  # waits for another system, no test of time
    watch.join()

    table = store.read("deployment").sort_values(["finished_s", "started_s"])
    found = [f"{t} {o}" for t, o in zip(table["trigger"], table["outcome"], strict=True)]
    assert [row for row in found if not row.startswith("heal")] == [
        "promotion succeeded",
        "promotion succeeded",
        "promotion degraded",
        "rollback succeeded",
        "promotion failed",
        "promotion succeeded",
    ]
    assert "heal succeeded" in found
    versions = [v for v, o in zip(table["version"], table["outcome"], strict=True) if o != "failed"]
    assert versions[:4] == ["v1", "v2", "v3-crash", "v2"]


class _Only:
    """One Application of an Argo CD that others use as well, until the repair has ended."""

    def __init__(self, argo, name: str) -> None:
        self.argo, self.name = argo, name

    def names(self) -> tuple[str, ...]:
        return (self.name,)

    def snapshot(self, name: str):
        return self.argo.snapshot(name)

    def watch(self, name: str, *, timeout_s: float):
        for snapshot in self.argo.watch(name, timeout_s=timeout_s):
            yield snapshot
            if _healed(snapshot.application):
                return


def _healed(application) -> bool:
    state = application["status"].get("operationState") or {}
    is_heal = (state.get("operation") or {}).get("sync", {}).get("autoHealAttemptsCount", 0) > 0
    is_healthy = application["status"]["health"]["status"] == "Healthy"
    return is_heal and state.get("phase") == "Succeeded" and is_healthy


def _ended(application, identifier: str) -> bool:
    state = application["status"].get("operationState") or {}
    info = (state.get("operation") or {}).get("info") or ()
    mine = any(item.get("value") == identifier for item in info)
    return mine and state.get("phase") in ("Succeeded", "Failed", "Error")
