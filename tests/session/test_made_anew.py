"""An Application that is deleted or made anew while a run goes on."""

from __future__ import annotations

from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.errors import ConflictError
from gitops_nb.model import ObjectRef
from gitops_nb.session.lifecycle import recover
from tests.session.platform_edits import patch_application
from tests.session.test_bound import pushes_once, soaked, synced_of  # noqa: F401
from tests.session.test_interruptions import cut_off
from tests.session.test_observation import remove

REFERENCE = ObjectRef("argoproj.io/v1alpha1", "Application", "checkout-production", "argocd")


def test_an_application_that_is_gone_is_brought_by_nobody(soaked, monkeypatch):  # noqa: F811
    """Deleted right behind the commit: the end says that nothing syncs it, and not what was planned."""
    waiting, _ = soaked.promote()
    soaked.answer(waiting.run)
    pushes_once(
        monkeypatch, "_commit", lambda: remove(soaked, "production", REFERENCE), behind=True
    )
    state, stop = soaked.promote(run=waiting.run)

    assert stop is not None
    assert state.aftermath["by_itself"] == (
        "Nothing brings checkout-production on production: the Application does not exist any more."
    )


def test_an_application_that_was_made_anew_is_not_synced(soaked, monkeypatch):  # noqa: F811
    """Killed behind the push; the Application is another one now: the run says so, and nobody claims that it was synced."""
    waiting, _ = soaked.promote()
    soaked.answer(waiting.run)
    cut_off(soaked, monkeypatch, waiting.run, where="after")
    recover(find_workspace(soaked.workspace.root))
    patch_application(
        soaked, "production", {"metadata": {"uid": "another"}, "status": {"history": []}}
    )
    before = synced_of(soaked)
    _, stop = soaked.promote(run=waiting.run)

    assert isinstance(stop, ConflictError), stop
    assert "was made anew since this was planned" in stop.message
    assert "Run the promotion again" in stop.hint
    assert synced_of(soaked) == before
