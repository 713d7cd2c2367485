"""Promotion in JupyterLab, driven like a person would: Run All, the gate, the answer, the report."""

from __future__ import annotations

import importlib.util
import itertools
import re
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gitops_nb.adapters.process import LocalProcesses
from gitops_nb.model import Status, parse_time
from gitops_nb.record.approvals import sign_answer
from gitops_nb.record.journal import Journal
from gitops_nb.record.runs import seal
from gitops_nb.record.verify import verify_run
from tests.browser.jupyterlab import Lab, Workspace, notebook, running_lab, until
from tests.report.run_factories import Script, succeeded, waiting

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        importlib.util.find_spec("jupyterlab") is None
        or importlib.util.find_spec("ipywidgets") is None,
        reason="the extra `lab` (jupyterlab, ipywidgets) is not installed",
    ),
]


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Iterator[Lab]:
    with running_lab(tmp_path_factory.mktemp("lab")) as server:
        yield server


@pytest.fixture
def workspace(lab) -> Callable[..., Workspace]:
    names = itertools.count(1)

    def make() -> Workspace:
        root = Path(lab.root, f"team-{len(list(lab.root.iterdir()))}-{next(names)}")
        made = Workspace(root)
        Workspace(lab.root).command("init", str(root))
        made.set_parameter("application", '"checkout"')
        return made

    return make


def run_all(browser, lab: Lab, notebook: Path):
    """Opens a notebook and runs all its cells."""
    visit = browser.open(lab.address(notebook), width=1400, height=1000)
    page = visit.page
    page.set_default_timeout(120_000)
    page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    page.get_by_role("menuitem", name="Run", exact=True).first.click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    return visit


def prompts(page) -> list[str]:
    """The execution marks of the code cells: [1] done, [*] busy, [ ] not run."""
    return page.locator(".jp-CodeCell .jp-InputPrompt").all_inner_texts()


def test_second_person_of_the_sandbox_approves(browser, lab, workspace):
    """Run All stops at the gate with diff and gates; the sandbox's second person approves; the run ends; the report opens."""
    made = workspace()
    visit = run_all(browser, lab, made.notebook)
    page = visit.page
    approve = page.get_by_role("button", name="approve as")
    approve.wait_for()
    assert "(second person of the sandbox)" in approve.inner_text()
    gate = page.locator(".jp-CodeCell", has_text="await session.gate").inner_text()
    for wanted in (
        "SANDBOX",
        "source healthy",
        "soak",
        "registry.example/shop/checkout",
        "Request digest",
    ):
        assert wanted in gate, wanted
    assert made.run.status is Status.WAITING
    assert made.run.effects == ()
    approve.click()
    page.get_by_text("Open the report").last.wait_for()
    assert not page.get_by_role("button", name="approve as").is_visible()
    run = made.run
    assert run.status is Status.SUCCEEDED
    assert run.approvals[-1]["person"] != run.opened["requester"]["name"]
    made.command("verify", "last")
    page.get_by_text("Open the report").last.click()
    title = page.frame_locator("iframe").locator("h1")
    title.wait_for()
    assert "runs in production" in title.inner_text()
    assert [url for url in visit.requests if not url.startswith((lab.url, "data:", "blob:"))] == []


@pytest.mark.torture
def test_second_person_of_the_sandbox_rejects(browser, lab, workspace):
    """A rejection with its reason ends the run calmly: no traceback, later cells do not run, nothing is changed."""
    made = workspace()
    page = run_all(browser, lab, made.notebook).page
    page.get_by_placeholder("reason for a rejection").fill("not before the load test")
    page.get_by_role("button", name="reject as").click()
    until(lambda: made.run.ended, "the run ends")
    page.get_by_text("not before the load test").first.wait_for()
    until(lambda: "[*]:" not in prompts(page), "no cell is busy")
    assert prompts(page)[-3:] == ["[ ]:"] * 3
    assert "Traceback" not in page.locator(".jp-Notebook").inner_text()
    assert made.run.status is Status.REFUSED
    assert made.run.effects == ()


def test_reloaded_while_waiting_then_approved_in_a_terminal(browser, lab, workspace):
    """A page reloaded while the run waits loses nothing: it is approved in a terminal, ends right, its report is complete."""
    made = workspace()
    page = run_all(browser, lab, made.notebook).page
    page.get_by_role("button", name="approve as").wait_for()
    page.reload()
    page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
    assert made.run.status is Status.WAITING
    made.command("approve", "last", "--yes")
    # A run that waits is sealed too: its report is whole once the one of its end is there.
    until(lambda: made.run.ended and "runs in production" in made.report(), "the run ends")
    run = made.run
    assert run.status is Status.SUCCEEDED
    assert [step.status for step in run.steps] == [Status.SUCCEEDED] * 5
    assert run.in_doubt == ()
    html = made.report()
    for wanted in ("runs in production", "Approved by", run.approvals[-1]["person"], "How to undo"):
        assert wanted in html, wanted
    made.command("verify", "last")


@pytest.mark.torture
def test_gate_that_timed_out_never_continues(browser, lab, workspace):
    """When nobody answers in time the run is refused; a late approval changes nothing, and the cells after the gate never ran."""
    made = workspace()
    policy = made.root / "runbooks" / "policy.yaml"
    text = policy.read_text("utf-8")
    assert "approval_lifetime: 4h" in text
    policy.write_text(text.replace("approval_lifetime: 4h", "approval_lifetime: 4s"), "utf-8")
    page = run_all(browser, lab, made.notebook).page
    page.get_by_text("nobody approved before the request expired").first.wait_for()
    until(lambda: "[*]:" not in prompts(page), "no cell is busy")
    assert prompts(page)[-3:] == ["[ ]:"] * 3
    assert not page.get_by_role("button", name="approve as").is_visible()
    assert "expired" in page.locator(".jp-CodeCell", has_text="await session.gate").inner_text()
    run = made.run
    assert (run.status, run.effects) == (Status.REFUSED, ())
    made.command("approve", "last", "--yes", exit_code=64)
    assert made.run.records == run.records


LIVE_SETUP = """
from pathlib import Path
from gitops_nb.adapters.process import LocalProcesses
from gitops_nb.catalog.trust import PersonKey, Trust, TrustedPerson
from gitops_nb.model import Answer, Decision, from_json
from gitops_nb.notebook.panel import Panel, wait_for_decision
from gitops_nb.notebook.place import is_interactive
from gitops_nb.record.approvals import read_answers
from gitops_nb.record.runs import read_run
import dataclasses

directory = Path("RUN")
run = read_run(directory)
approver = TrustedPerson(person="tomas-b", keys=(PersonKey(key=Path("tomas-b.pub").read_text().strip()),))

def poll():
    answers = [a.approval for a in read_answers(directory, processes=LocalProcesses(), trust=Trust(persons=(approver,)))]
    valid = tuple(a for a in answers if a and a.subject == run.request_digest and a.answer == "approve")
    waiting = from_json(Decision, run.decision)
    return dataclasses.replace(waiting, answer=Answer.ALLOWED, approvals=valid) if valid else None
"""
LIVE_GATE = """
assert is_interactive()
panel = Panel(run)
panel.show()
decision = await wait_for_decision(panel, poll, 60)
print("goes on with", decision.approvals[0].person)
"""


def test_live_panel_goes_on_when_the_signature_arrives(browser, lab, tmp_path):
    """In live mode the panel has no button; it shows digest and command, and goes on when another person's signature arrives."""
    folder = Path(lab.root, "live")
    folder.mkdir()
    script = Script()
    script.now = datetime.now(UTC) - timedelta(seconds=90)
    run = waiting(script).write(folder)
    key = tmp_path / "tomas-b"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "tomas-b", "-f", str(key)],
        check=True,
        timeout=20,
    )
    (folder / "tomas-b.pub").write_text((tmp_path / "tomas-b.pub").read_text())
    notebook(folder / "live.ipynb", LIVE_SETUP.replace("RUN", run.run), LIVE_GATE)
    page = run_all(browser, lab, folder / "live.ipynb").page
    page.get_by_text("Request digest").wait_for()
    shown = page.locator(".jp-OutputArea").last.inner_text()
    digest = run.request_digest.removeprefix("sha256:")
    assert f"{digest[:4]} {digest[4:8]} {digest[8:12]}" in shown
    assert f"gitops-nb approve {run.run}" in shown
    assert re.search(r"in\s3\sh\s5\d\smin", shown)
    assert page.get_by_role("button", name="approve").count() == 0
    sign_answer(
        folder / run.run,
        processes=LocalProcesses(),
        key=key,
        run=run.run,
        subject=run.request_digest,
        answer="approve",
        person="tomas-b",
        at=datetime.now(UTC),
        expires=parse_time(run.request["expires"]),
    )
    page.get_by_text("goes on with tomas-b").wait_for()
    assert "approved" in page.locator(".jp-CodeCell", has_text="panel.show").inner_text()


@pytest.mark.torture
def test_kernel_ended_while_waiting_then_resumed_in_a_terminal(browser, lab, workspace):
    """A notebook saved and shut down while its run waits is approved and resumed from a terminal, with the same parameters."""
    made = workspace()
    page = run_all(browser, lab, made.notebook).page
    page.get_by_role("button", name="approve as").wait_for()
    page.get_by_role("menuitem", name="File", exact=True).click()
    page.locator(".lm-Menu-item[data-command='docmanager:save']").first.click()
    until(lambda: "Request digest" in made.notebook.read_text("utf-8"), "the notebook is saved")
    page.get_by_role("menuitem", name="Kernel", exact=True).click()
    page.locator(".lm-Menu-item[data-command='kernelmenu:shutdown']").first.click()
    page.get_by_text("No Kernel").first.wait_for()
    made.command("approve", "last", "--yes")
    made.command("resume", "last")
    run = made.run
    assert run.status is Status.SUCCEEDED
    assert len(run.attempts) == 2
    assert "runs in production" in made.report()
    made.command("verify", "last")


def choose(page, menu: str, command: str) -> None:
    """An item of JupyterLab's menus."""
    page.get_by_role("menuitem", name=menu, exact=True).first.click()
    page.locator(f".lm-Menu-item[data-command='{command}']").first.click()


@pytest.mark.torture
def test_a_card_whose_cell_was_stopped_says_what_happened_elsewhere(browser, lab, workspace):
    """Interrupted at the gate without a traceback; approved and resumed in a terminal; the card then says so, also after a reload."""
    made = workspace()
    page = run_all(browser, lab, made.notebook).page
    page.get_by_role("button", name="approve as").wait_for()
    choose(page, "Kernel", "kernelmenu:interrupt")
    gate = page.locator(".jp-CodeCell", has_text="await session.gate")
    gate.get_by_text("this cell has stopped waiting").first.wait_for()
    shown = gate.inner_text()
    assert "Not run here: apply, verify and finish." in shown
    assert f"gitops-nb approve {made.run.run}\ngitops-nb resume {made.run.run}" in shown
    assert "Traceback" not in shown
    assert made.run.status is Status.WAITING
    made.command("approve", "last", "--yes", "--reason", "CHG-4711")
    made.command("resume", "last")
    gate.get_by_text("answered elsewhere, succeeded").wait_for()
    assert "CHG-4711" in gate.inner_text()
    choose(page, "File", "docmanager:save")
    until(
        lambda: "answered elsewhere, succeeded" in made.notebook.read_text("utf-8"), "it is saved"
    )
    page.reload()
    gate.get_by_text("answered elsewhere, succeeded").wait_for()


@pytest.mark.torture
def test_the_report_opens_in_a_lab_that_was_started_beside_the_notebooks(browser, workspace):
    """README's own way: the server serves notebooks/ alone, and the card holds the report; a second run says which it shows."""
    made = workspace()
    with running_lab(made.notebook.parent) as own:
        visit = run_all(browser, own, made.notebook)
        page = visit.page
        page.get_by_role("button", name="approve as").click()
        page.get_by_text("Open the report").last.click()
        title = page.frame_locator(".jp-OutputArea iframe").last.locator("h1")
        title.wait_for()
        assert "runs in production" in title.inner_text()
        first = made.run.run
        page.get_by_role("menuitem", name="Run", exact=True).first.click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        line = page.get_by_text("From here on this notebook shows")
        line.wait_for(state="attached")
        until(lambda: made.run.run != first and made.run.ended, "the second run ends")
        assert made.run.run in line.text_content()
        assert first in line.text_content()
        outside = [u for u in visit.requests if not u.startswith((own.url, "data:", "blob:"))]
        assert [url for url in outside if not url.startswith("about:")] == []


@pytest.mark.torture
def test_after_a_kernel_restart_the_hint_names_the_commands_that_work(browser, lab, workspace):
    """The run before it still waits: the new one is refused, and says approve, then resume; both do what they say."""
    made = workspace()
    page = run_all(browser, lab, made.notebook).page
    page.get_by_role("button", name="approve as").wait_for()
    waits = made.run.run
    choose(page, "Kernel", "kernelmenu:shutdown")
    page.get_by_text("No Kernel").first.wait_for()
    again = made.command("run", "promotion", "-p", "application=checkout", exit_code=3)
    hint = f"`gitops-nb approve {waits}`, then `gitops-nb resume {waits}`"
    assert hint in again
    made.command("approve", waits, "--yes")
    made.command("resume", waits)


def test_report_opened_in_jupyterlab_is_no_mismatch(tmp_path):
    """The checkpoint that JupyterLab writes beside a report when a person opens it does not spoil the record."""
    run = succeeded().write(tmp_path)
    directory = tmp_path / run.run
    journal = Journal.open(directory)
    seal(directory, journal)
    journal.close()
    assert verify_run(directory).problems == ()
    (directory / ".ipynb_checkpoints").mkdir()
    (directory / ".ipynb_checkpoints" / "report-checkpoint.html").write_text("a copy")
    assert verify_run(directory).problems == ()
