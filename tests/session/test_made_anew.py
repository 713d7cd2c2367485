"""An Application that is deleted or made anew while a run goes on."""

from __future__ import annotations

import pytest

from gitops_nb.adapters.argocd import ArgoCD
from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.errors import ConflictError
from gitops_nb.model import ObjectRef, Status
from gitops_nb.session.lifecycle import recover
from gitops_nb.session.recorder import Recorder
from tests.session.platform_edits import patch_application, settle
from tests.session.test_bound import pushes_once, soaked, synced_of  # noqa: F401
from tests.session.test_interruptions import Killed, cut_off
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
        "Nothing brings checkout-production on production now: the Application does not exist. What made it, a parent or an "
        "ApplicationSet, makes it anew, and then it may sync what Git asks for."
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


def test_our_commit_that_a_colleague_synced_is_in_force(soaked, monkeypatch):  # noqa: F811
    """Killed behind the push; somebody syncs that very commit: the resumed run asks for nothing more, and ends well."""
    waiting, _ = soaked.promote()
    soaked.answer(waiting.run)
    cut_off(soaked, monkeypatch, waiting.run, where="after")
    recover(find_workspace(soaked.workspace.root))
    settle(soaked, "production")
    before = synced_of(soaked)
    state, stop = soaked.promote(run=waiting.run)

    assert (stop, state.status) == (None, Status.SUCCEEDED)
    assert synced_of(soaked) == before


def test_our_commit_that_a_colleague_synced_behind_our_question_is_in_force(soaked, monkeypatch):  # noqa: F811
    """Killed right when the sync is asked for, before Argo CD had it; a colleague brings the commit: no dead end."""
    waiting, _ = soaked.promote()
    soaked.answer(waiting.run)

    def sync(*_given, **_named):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(ArgoCD, "sync", sync)
        patched.setattr(Recorder, "_fail", lambda *_: None)
        with pytest.raises(Killed):
            soaked.promote(run=waiting.run)
    recover(find_workspace(soaked.workspace.root))
    settle(soaked, "production")
    state, stop = soaked.promote(run=waiting.run)

    assert (stop, state.status) == (None, Status.SUCCEEDED)
