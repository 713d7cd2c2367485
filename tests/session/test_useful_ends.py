"""Every end says what is so, and what to do next."""

from __future__ import annotations

import pytest

from gitops_nb.errors import Refused
from gitops_nb.model import Status
from gitops_nb.session.order import Order
from tests.session.platform_edits import commit, settle, without_approval


def test_a_text_in_a_file_that_looks_like_a_secret_is_named_with_its_file(runner):
    """Pushed beside the edit: the refusal says in which file, and what to do; taken out again the promotion goes on."""
    path = "apps/checkout/production/extra.yaml"
    text = "kind: ConfigMap\napiVersion: v1\nmetadata: {name: extra, annotations: {a: %s}}\n"
    token = "ghp_" + "0123456789abcdefghij" + "ABCDEFGHIJ012345"
    commit(runner, {path: text % token})
    settle(runner, "production", syncs=False)
    state, stop = runner.promote()
    assert isinstance(stop, Refused)
    assert f"holds a secret: GitHub token, in platform-config:{path}" in stop.message
    assert f"Take the text out of platform-config:{path} in Git" in stop.hint
    assert token not in str(state)
    commit(runner, {path: text % "plain"})
    settle(runner, "production", syncs=False)
    state, _ = runner.promote()
    assert state.status is Status.WAITING


@pytest.mark.parametrize("is_free", [True, False])
def test_a_plan_with_something_to_do_says_what_is_next(runner, is_free):
    """`--plan` changes nothing, and does not say that there is nothing to do."""
    if is_free:
        without_approval(runner)
    runner.order = Order(plan_only=True)
    state, _ = runner.promote()
    assert state.status is Status.SUCCEEDED
    document = (runner.workspace.reports / state.run / "report.json").read_text(encoding="utf-8")
    assert "Nothing to do." not in document
    assert "Run it without `--plan`" in document
    assert ("asks for 1 approval first" in document) is not is_free
