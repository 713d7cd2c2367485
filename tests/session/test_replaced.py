"""A sync that replaces objects instead of patching them is named by the gate, whatever asks for that."""

from __future__ import annotations

import pytest

from gitops_nb.errors import Refused, WaitingForApproval
from tests.session.platform_edits import change_application, commit, settle
from tests.session.test_promotion_edits import PRODUCTION, change
from tests.session.test_proofs import SETTINGS, promotable

OPTIONS = "Replace=true,Force=true"
KEY = "argocd.argoproj.io/sync-options"
FOLDED = f"metadata:\n  annotations:\n    {KEY}: >-\n      Replace=true\n"
FILLED_IN = f"metadata:\n  annotations:\n    {KEY}: {{{{ .Values.options }}}}\n"


def by_application(runner) -> None:
    change_application(
        runner, "production", "      - CreateNamespace=true\n", "      - Replace=true\n"
    )


def by_object(runner) -> None:
    def annotated(text: bytes) -> bytes:
        new = f"metadata:\n  annotations:\n    argocd.argoproj.io/sync-options: {OPTIONS}\n"
        return text.replace(b"metadata:\n", new.encode(), 1)

    change(runner, PRODUCTION, annotated)


def by_folded_text(runner) -> None:
    change(runner, PRODUCTION, lambda text: text.replace(b"metadata:\n", FOLDED.encode(), 1))


def by_a_template(runner) -> None:
    commit(runner, {"apps/checkout/production/extra.tpl": FILLED_IN})


@pytest.fixture
def soaked(runner):
    """A workspace whose versions need no time in staging."""
    runner.workspace.replace("runbooks/policy.yaml", "at_least: 24h", "at_least: 0s")
    return runner


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (by_application, "checkout-production: sync option Replace=true"),
        (by_object, f"checkout-production: Force=true in {PRODUCTION}"),
        (by_folded_text, f"checkout-production: Replace=true in {PRODUCTION}"),
        (by_a_template, "extra.tpl names sync options that cannot be read"),
    ],
)
def test_options_that_replace_are_refused_by_name(soaked, edit, said):
    """The policy lets nothing be deleted or replaced: nobody is asked to sign that nothing is."""
    edit(soaked)
    before = soaked.tip()
    _, stop = soaked.promote()
    assert isinstance(stop, Refused), stop
    assert "destructive change" in stop.message
    assert said in stop.message
    assert soaked.tip() == before


def test_where_the_policy_allows_it_what_cannot_be_told_is_shown(soaked):
    """A template fills the options in: whoever approves reads that nobody can tell what they are."""
    soaked.workspace.replace("runbooks/policy.yaml", "allow: false", "allow: true")
    by_a_template(soaked)
    state, stop = soaked.promote()
    assert isinstance(stop, WaitingForApproval), stop
    assert any("sync options that cannot be read" in c["address"] for c in state.plan["changes"])
    said = next(v for v in state.decision["verdicts"] if v["gate"] == "destructive_change")
    assert said["passed"]
    assert "cannot be told whether something is deleted or replaced" in said["reason"]


def test_other_options_replace_nothing(soaked):
    """`CreateNamespace=true`, and an object that says Replace=false."""

    def annotated(text: bytes) -> bytes:
        new = b"metadata:\n  annotations: {argocd.argoproj.io/sync-options: Replace=false}\n"
        return text.replace(b"metadata:\n", new, 1)

    change(soaked, PRODUCTION, annotated)
    state, stop = soaked.promote()
    assert isinstance(stop, WaitingForApproval)
    assert all(change["action"] == "update" for change in state.plan["changes"])


def settings(runner, key):
    """A ConfigMap with the version in its name, and staging, which prunes by itself, one behind."""
    promotable(runner, f"{{file: settings.yaml, key: {key}}}")
    for environment, number in (("development", 2), ("staging", 1)):
        text = SETTINGS.format(f"level-{number}").replace("settings", f"settings-{number}")
        commit(runner, {f"apps/checkout/{environment}/settings.yaml": text})
        settle(runner, environment)
    runner.platform().view.clock.sleep(3600)


def test_another_name_where_argo_cd_prunes_is_a_deletion(soaked):
    """The ConfigMap that was is deleted as soon as Git names another one: nobody is asked to sign that nothing is."""
    settings(soaked, "metadata.name")
    before = soaked.tip()
    _, stop = soaked.promote(source="development", target="staging")
    assert isinstance(stop, Refused), stop
    assert "1 deleted or replaced" in stop.message
    assert "checkout-staging on staging, ConfigMap settings-1" in stop.message
    assert soaked.tip() == before


def test_a_field_where_argo_cd_prunes_deletes_nothing(soaked):
    """The same object with another level."""
    settings(soaked, "data.level")
    state, stop = soaked.promote(source="development", target="staging")
    assert isinstance(stop, WaitingForApproval), stop
    said = next(v for v in state.decision["verdicts"] if v["gate"] == "destructive_change")
    assert "nothing is deleted or replaced" in said["reason"]
