"""Bootstrap from nothing, again, and with what it refuses or waits for."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import pytest

from gitops_nb.errors import ConfigurationError, Failed, UnavailableError
from gitops_nb.model import ObjectRef, Status
from gitops_nb.sandbox.cluster import SandboxCluster
from tests.samples import few

SETTINGS = ObjectRef("v1", "ConfigMap", "argocd-cm", "argocd")
RBAC = ObjectRef("v1", "ConfigMap", "argocd-rbac-cm", "argocd")


def rows(state) -> dict[str, tuple[str, str]]:
    """Result and finding by number of the step."""
    table = state.outcome["tables"][0]["rows"]
    return {title.partition(".")[0]: (result, found) for title, result, found in table}


def test_from_nothing_and_again(bootstrapper):
    """Each step says whether it changed something, came about, or held before; the second run writes nothing."""
    state, stop = bootstrapper.run()
    assert stop is None
    assert state.status is Status.SUCCEEDED
    found = rows(state)
    assert len(found) == 10
    assert found["1"][0] == "held already"
    changed, came_about = (
        {number for number, (result, _) in found.items() if result == how}
        for how in ("changed", "came about")
    )
    # Argo CD compares a new root by itself; whether it has done so at the first look is a matter of moments.
    assert {"2", "5", "6"} <= changed <= {"2", "5", "6", "7"}
    assert came_about == {"3", "4", "7", "8", "9", "10"} - changed
    assert found["5"][1].endswith("it opens without credentials")
    # The sentence of the step counts effects, not steps.
    assert state.step("apply").sentence == f"{len(changed)} effects, each with its result recorded"
    keys = [effect.key for effect in state.effects]
    assert keys == ["install", "repository", "root", "revision"][: len(changed)]
    before = bootstrapper.written()
    again, stop = bootstrapper.run()
    assert (stop, again.outcome["result"]) == (None, "nothing to do")
    assert {result for result, _ in rows(again).values()} == {"held already"}
    assert again.effects == ()
    assert bootstrapper.written() == before


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    few(
        [
            (
                "policy.csv",
                "p, role:dev, applications, get, */*",
                "line 1: .* has 5 fields; p has 6",
            ),
            (
                "policy.ops.csv",
                "g, ops, role:admin\nx, y",
                "line 2: 'x, y' begins with neither p nor g",
            ),
            ("scopes", "groups", "'groups' is not a list"),
        ],
        keep=2,
    ),
)
def test_access_rules_that_argocd_cannot_read_are_named(bootstrapper, key, value, problem):
    """Somebody else broke them on the cluster: the next bootstrap says so before it changes anything."""
    _, stop = bootstrapper.run()
    assert stop is None
    bootstrapper.cluster.merge_patch(RBAC, {"data": {key: value}})
    before = bootstrapper.written()
    state, stop = bootstrapper.run()
    assert isinstance(stop, ConfigurationError)
    assert re.search(f"argocd-rbac-cm on the cluster: {key} {problem}", stop.message)
    assert state.effects == ()
    assert bootstrapper.written() == before


def test_the_admin_is_not_disabled_before_others_could_log_in(bootstrapper):
    """SSO and `admin.enabled: false` come in two runs; with SSO there from before, the second one is taken."""
    _, stop = bootstrapper.run()
    assert stop is None
    sso = "    url: https://argocd.example\n    oidc.config: |\n      issuer: https://id.example\n      clientID: argocd\n"
    bootstrapper.workspace.replace("runbooks/fleet.yaml", "  settings:\n", f"  settings:\n{sso}    admin.enabled: 'false'\n")  # fmt: skip
    before = bootstrapper.written()
    _, stop = bootstrapper.run()
    assert isinstance(stop, ConfigurationError)
    assert "comes together with the first SSO settings" in stop.message
    assert bootstrapper.written() == before
    bootstrapper.workspace.replace("runbooks/fleet.yaml", "    admin.enabled: 'false'\n", "")
    state, stop = bootstrapper.run()
    assert stop is None
    assert rows(state)["4"] == ("changed", "4 settings of fleet.yaml in place; https://id.example answers")  # fmt: skip
    bootstrapper.workspace.replace("runbooks/fleet.yaml", sso, f"{sso}    admin.enabled: 'false'\n")
    _, stop = bootstrapper.run()
    assert stop is None
    assert bootstrapper.cluster.get(SETTINGS)["data"]["admin.enabled"] == "false"


def test_waves_that_do_not_wait_are_named(bootstrapper):
    """Without the health of Applications Argo CD 3 starts every wave at once; the fix goes through fleet.yaml."""
    text = (bootstrapper.workspace.root / "runbooks/fleet.yaml").read_text()
    begin, end = text.index("  settings:\n"), text.index("  rbac:\n")
    bootstrapper.workspace.write("runbooks/fleet.yaml", text[:begin] + text[end:])
    _, stop = bootstrapper.run()
    assert isinstance(stop, ConfigurationError)
    assert "3 waves, and none waits for the one before" in stop.message
    bootstrapper.workspace.write("runbooks/fleet.yaml", text)
    state, stop = bootstrapper.run()
    assert stop is None
    assert rows(state)["4"][0] == "changed"


def test_an_application_that_nobody_syncs_holds_its_wave_by_name(bootstrapper):
    """The first wave's Application has no automated sync: the end names it, and promises nothing of it."""
    path = "argocd/development/payments.yaml"
    git = bootstrapper.platform.git
    tip = git.tip("platform-config", "main")
    text = git.read("platform-config", tip, path).content.decode()
    assert "    automated:\n" in text
    lines = text.splitlines(keepends=True)
    at = lines.index("    automated:\n")
    end = next(n for n in range(at + 1, len(lines)) if not lines[n].startswith("      "))
    manual = "".join(lines[:at] + lines[end:])
    git.commit("platform-config", branch="main", parent=tip, files={path: manual.encode()}, message="By hand")  # fmt: skip
    state, stop = bootstrapper.run(timeout="3m")
    assert isinstance(stop, Failed), stop
    assert "payments-development holds the wave: it has no automated sync" in stop.message
    assert "when somebody syncs it" in state.aftermath["by_itself"]


def test_a_component_that_does_not_start_fails_by_name(bootstrapper):
    """The step's time ends; the run says which component it waits for, and changed nothing else."""
    _, stop = bootstrapper.run()
    assert stop is None
    server = ObjectRef("apps/v1", "Deployment", "argocd-repo-server", "argocd")
    # A field that the manifest does not set is its owner's: bootstrap leaves it, and says what it does.
    bootstrapper.cluster.merge_patch(server, {"spec": {"template": {"spec": {"containers": crashing(bootstrapper, server)}}}})  # fmt: skip
    bootstrapper.platform.view.clock.sleep(60)
    state, stop = bootstrapper.run(timeout="1m")
    assert isinstance(stop, Failed), stop
    assert "argocd-repo-server" in stop.message
    assert state.status is Status.FAILED


@pytest.mark.parametrize(("seconds", "survives"), [(60, True), (300, False)])
def test_a_bootstrap_outlives_an_api_server_that_is_away(
    bootstrapper, monkeypatch, seconds, survives
):
    """A minute without an answer while a step is waited for ends nothing; a longer one is told, with the way back."""
    real = SandboxCluster.get
    clock = bootstrapper.platform.view.clock
    left: list[datetime] = []

    def get(self, ref):
        there = real(self, ref)
        if ref.kind == "Deployment" and there is not None:
            left.append(clock.now())
            if clock.now() < left[0] + timedelta(seconds=seconds):
                raise UnavailableError("connection refused")
        return there

    monkeypatch.setattr(SandboxCluster, "get", get)
    state, stop = bootstrapper.run()
    assert (stop is None) is survives
    if not survives:
        assert isinstance(stop, UnavailableError)
        assert state.aftermath["command"]


def crashing(bootstrapper, ref) -> list:
    """The containers of a workload, and one more that crashes."""
    live = bootstrapper.cluster.get(ref)
    containers = live["spec"]["template"]["spec"]["containers"]
    return [
        *containers,
        {**containers[0], "name": "sidecar", "image": "registry.example/x:v1-crash"},
    ]


def test_what_somebody_undoes_twice_is_brought_twice(bootstrapper):
    """The same damage makes the same plan: that an earlier run mended it is no reason to leave it this time."""
    _, stop = bootstrapper.run()
    assert stop is None
    for _ in range(2):
        damage = {"data": {"policy.default": "role:admin"}}
        bootstrapper.cluster.as_manager("gitops-nb").merge_patch(RBAC, damage)
        state, stop = bootstrapper.run()
        assert stop is None
        assert state.effects
        assert bootstrapper.cluster.get(RBAC)["data"]["policy.default"] == "role:readonly"
