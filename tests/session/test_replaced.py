"""A sync that replaces objects instead of patching them is named by the gate, whatever asks for that."""

from __future__ import annotations

import pytest

from gitops_nb.errors import Refused, WaitingForApproval
from tests.session.platform_edits import change_application
from tests.session.test_promotion_edits import PRODUCTION, change

OPTIONS = "Replace=true,Force=true"


def by_application(runner) -> None:
    change_application(
        runner, "production", "      - CreateNamespace=true\n", "      - Replace=true\n"
    )


def by_object(runner) -> None:
    def annotated(text: bytes) -> bytes:
        new = f"metadata:\n  annotations:\n    argocd.argoproj.io/sync-options: {OPTIONS}\n"
        return text.replace(b"metadata:\n", new.encode(), 1)

    change(runner, PRODUCTION, annotated)


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


def test_other_options_replace_nothing(soaked):
    """`CreateNamespace=true`, and an object that says Replace=false."""

    def annotated(text: bytes) -> bytes:
        new = b"metadata:\n  annotations: {argocd.argoproj.io/sync-options: Replace=false}\n"
        return text.replace(b"metadata:\n", new, 1)

    change(soaked, PRODUCTION, annotated)
    state, stop = soaked.promote()
    assert isinstance(stop, WaitingForApproval)
    assert all(change["action"] == "update" for change in state.plan["changes"])
