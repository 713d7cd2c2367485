"""A session as a notebook opens it."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from gitops_nb.errors import Refused, WaitingForApproval
from gitops_nb.model import Answer, Decision, Status, digest
from gitops_nb.notebook import front, open_session
from gitops_nb.notebook.cards import Report
from gitops_nb.notebook.front import is_served, report_of, second_person, server_root
from gitops_nb.promotion import apply, gates, observe, plan, verify
from gitops_nb.record.journal import Journal


@pytest.fixture
def session(workspace, monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython", None)
    opened = open_session("promotion", workspace=workspace.root, application="checkout")
    yield opened
    opened.close()


async def test_headless_it_never_waits(session, capsys):
    """Without a person in front the gate ends the run as waiting, and each step has left one line of text."""
    session.step(observe)
    session.step(plan)
    with pytest.raises(WaitingForApproval):
        await session.gate(gates)
    assert session.state.status is Status.WAITING
    assert session.state.effects == ()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0].split()[-1] for line in lines] == ["observe", "plan", "decide"]


async def test_second_person_signs_what_the_session_accepts(session, monkeypatch):
    """What the panel's approve button does is a signed approval by another person that the session's own check accepts."""
    monkeypatch.setattr(front.NotebookFront, "is_interactive", True)
    shown: list[str] = []

    async def click(panel, poll, timeout_s: float) -> Decision | None:
        shown.append(panel.html())
        assert poll() is None
        assert timeout_s > 0
        panel._second.approve(panel._run)
        return poll()

    monkeypatch.setattr(front, "wait_for_decision", click)
    session.step(observe)
    session.step(plan)
    decision = await session.gate(gates)
    assert decision.answer is Answer.ALLOWED
    assert decision.approvals[0].person == session.platform.second_person
    assert session.state.request_digest.removeprefix("sha256:")[:4] in shown[0]
    session.step(apply)
    session.step(verify)
    assert session.finish().status is Status.SUCCEEDED


@pytest.mark.parametrize("kind", ["approve", "reject"])
async def test_a_button_signs_nothing_that_was_put_in_later(session, monkeypatch, kind):
    """Another request that somebody adds to the journal, of the same run and well signed, gets no answer of who saw the first."""
    monkeypatch.setattr(front.NotebookFront, "is_interactive", True)

    async def click(panel, poll, timeout_s: float) -> Decision | None:
        asked = session.state.request
        other = {**asked, "parameters": {**asked["parameters"], "application": "payments"}}
        journal = Journal.open(session.directory)
        journal.append("requested", request=other, digest=digest(other))
        journal.close()
        assert session.state.request_digest == digest(other)
        panel.tick()
        assert "asks for another request" in panel.html()
        reason = () if kind == "approve" else ("no",)
        with pytest.raises(Refused, match="than the one that is shown here"):
            getattr(panel._second, kind)(panel._run, *reason)
        assert not list((session.directory / "approvals").glob("*"))
        raise WaitingForApproval("seen")

    monkeypatch.setattr(front, "wait_for_decision", click)
    session.step(observe)
    session.step(plan)
    with pytest.raises(WaitingForApproval, match="seen"):
        await session.gate(gates)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, None),
        ({"confirm": True}, "tomasz.zielinski"),
        ({"confirm": True, "person": "somebody.else"}, None),
        ({"confirm": True, "requester": True}, None),
        ({"confirm": True, "key": None}, None),
    ],
)
def test_in_live_mode_only_a_key_that_asks_signs(session, monkeypatch, change, expected):
    """Any cell can make a loaded key sign unseen: without one that asks each time there is only the command."""
    platform = session.platform
    assert second_person(session).asks_each_time is False
    persons = tuple(
        person.model_copy(
            update={
                "person": change.get("person", person.person),
                "keys": tuple(
                    key.model_copy(update={"confirm": change.get("confirm", False)})
                    for key in person.keys
                ),
            }
        )
        for person in platform.trust.persons
    )
    key = platform.requester_key if change.get("requester") else platform.signing_key
    live = dataclasses.replace(
        platform,
        second_person="",
        trust=platform.trust.model_copy(update={"persons": persons}),
        signing_key=change.get("key", key),
    )
    monkeypatch.setattr(session, "_platform", live)
    found = second_person(session)
    assert (found.name if found else None) == expected
    assert found is None or found.asks_each_time


def test_link_only_to_a_report_that_is_there(session):
    """A run has no link before its report is written; headless it lies beside the notebook."""
    assert report_of(session.directory, session.state) == Report()
    (session.directory / "report.html").write_text("a report")
    assert report_of(session.directory, session.state) == Report(link="report.html")


class Shell:
    """What says where a kernel's connection file is."""

    def __init__(self, folder: Path) -> None:
        self.kernel = SimpleNamespace(
            parent=SimpleNamespace(connection_file=str(folder / "kernel-1.json"))
        )


@pytest.mark.parametrize("started_in", ["", "notebooks", "elsewhere", "unknown"])
def test_a_report_opens_wherever_the_server_was_started(session, monkeypatch, tmp_path, started_in):
    """Below the server's folder it is a link; otherwise the card holds the page, and names the file."""
    (session.directory / "report.html").write_text("<!doctype html><title>the page</title>")
    root = tmp_path if started_in == "elsewhere" else session.workspace.root / started_in
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    (runtime / "jpserver-77.json").write_text(json.dumps({"root_dir": str(root)}))
    monkeypatch.setenv("JPY_PARENT_PID", "78" if started_in == "unknown" else "77")
    monkeypatch.setattr(front, "running_shell", lambda: Shell(runtime))
    monkeypatch.setattr(front, "is_interactive", lambda: True)
    monkeypatch.chdir(session.workspace.root / "notebooks")
    found = report_of(session.directory, session.state)
    if started_in == "":
        assert found == Report(link=f"../reports/{session.run}/report.html")
    else:
        assert found.link == ""
        assert "the page" in found.page
        assert found.path == str(session.directory / "report.html")


def test_a_hidden_folder_is_not_served(tmp_path):
    """JupyterLab gives nothing from folders whose names begin with a dot, where copies of a bucket's runs are."""
    assert is_served(tmp_path / "reports" / "report.html", tmp_path)
    assert not is_served(tmp_path / ".gitops-nb" / "spool" / "report.html", tmp_path)
    assert not is_served(tmp_path / "report.html", tmp_path / "notebooks")
    assert server_root(None) is None
