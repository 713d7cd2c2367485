"""What a person signs is what they were shown: a journal that shows one thing and asks for another gets no signature."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gitops_nb.cli.answering import answer
from gitops_nb.errors import Refused, WaitingForApproval
from gitops_nb.model import digest
from gitops_nb.record.runs import find_run
from tests.record.test_tampering import rewrite_journal

Rows = list[dict]


def body(rows: Rows, kind: str) -> dict:
    return next(row["body"] for row in rows if row["kind"] == kind)


def a_harmless_plan_in_place_of_the_real_one(rows: Rows) -> None:
    """The diff on the screen is harmless; what is signed covers another."""
    body(rows, "planned")["plan"]["changes"][0]["diff"] = []


def a_harmless_plan_with_its_own_digest(rows: Rows) -> None:
    planned = body(rows, "planned")
    planned["plan"]["summary"] = "a comment in a README"
    planned["digest"] = digest(planned["plan"])


def the_digest_of_another_request(rows: Rows) -> None:
    """The request that is shown is well signed; its digest is another one's."""
    body(rows, "requested")["digest"] = "sha256:" + "1" * 64


def another_environment_on_the_screen(rows: Rows) -> None:
    body(rows, "opened")["environment"] = "staging"


def other_parameters_on_the_screen(rows: Rows) -> None:
    body(rows, "opened")["parameters"] = {"application": "something else"}


@pytest.mark.parametrize(
    "change",
    [
        a_harmless_plan_in_place_of_the_real_one,
        a_harmless_plan_with_its_own_digest,
        the_digest_of_another_request,
        another_environment_on_the_screen,
        other_parameters_on_the_screen,
    ],
)
@pytest.mark.parametrize("kind", ["approve", "reject"])
def test_nothing_is_signed_that_was_not_shown(runner, change: Callable[[Rows], None], kind):
    """Refused before the key is used, and no answer lies there afterwards."""
    waiting, stop = runner.promote()
    assert isinstance(stop, WaitingForApproval)
    directory = find_run(runner.workspace.reports, waiting.run)
    rewrite_journal(directory, change)
    with pytest.raises(Refused, match="nothing was signed"):
        answer(
            waiting.run, kind, key=None, reason="x", yes=True,
            workspace=runner.workspace.root, reports=None,
        )  # fmt: skip
    assert not (directory / "approvals").exists()
