"""Whether a run is real says its command, else the workspace's file; a variable says it only where both leave it open."""

from __future__ import annotations

import pytest

from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.errors import ConfigurationError
from gitops_nb.model import Mode
from gitops_nb.session import order
from gitops_nb.session.opening import choose_mode
from gitops_nb.session.order import Order


@pytest.fixture(autouse=True)
def _no_order(monkeypatch):
    monkeypatch.setattr(order, "_GIVEN", [])


@pytest.fixture
def where(workspace):
    """A workspace whose file says live, or what is asked for."""

    def open_it(mode: str = "mode: live\n"):
        workspace.write("gitops-nb.yaml", f"kind: Workspace\n{mode}")
        return find_workspace(workspace.root)

    return open_it


@pytest.mark.parametrize(("said", "other"), [("live", "sandbox"), ("sandbox", "live")])
def test_a_variable_does_not_make_a_run_another_one(where, monkeypatch, said, other):
    """A job of a live workspace does not end green in the sandbox, nor the other way round; the same word is no matter."""
    opened = where(f"mode: {said}\n")
    monkeypatch.setenv("GITOPS_NB_MODE", other)
    with pytest.raises(ConfigurationError, match=f"GITOPS_NB_MODE says '{other}', and gitops-nb"):
        choose_mode(opened, None)
    assert choose_mode(opened, other) is Mode(other)
    monkeypatch.setenv("GITOPS_NB_MODE", said)
    assert choose_mode(opened, None) is Mode(said)


def test_a_variable_says_what_the_file_leaves_open(where, monkeypatch):
    """Without either nobody knows."""
    opened = where("")
    with pytest.raises(ConfigurationError, match="nobody said"):
        choose_mode(opened, None)
    monkeypatch.setenv("GITOPS_NB_MODE", "sandbox")
    assert choose_mode(opened, None) is Mode.SANDBOX


def test_a_run_s_process_takes_the_mode_of_its_command(where, monkeypatch):
    """The command chose; the file and the variables of the process do not choose again."""
    opened = where()
    monkeypatch.setenv("GITOPS_NB_MODE", "live")
    order.obey(Order(mode="sandbox"))
    assert choose_mode(opened, None) is Mode.SANDBOX


def test_a_job_that_a_variable_would_play_is_refused(workspace):
    """Nothing ran, and its exit code says so; said to the command it is played, and told so to later steps."""
    workspace.write("gitops-nb.yaml", "kind: Workspace\nmode: live\n")
    asked = ("run", "bootstrap", "-p", "cluster=newcomer", "--plan")
    done = workspace.run(*asked, GITOPS_NB_MODE="sandbox")
    assert (done.returncode, list(workspace.reports.glob("2*"))) == (78, [])
    assert "Unset it, or say it to the command: --mode sandbox" in done.stderr
    output = workspace.root / "output"
    done = workspace.run(*asked, "--mode", "sandbox", GITHUB_OUTPUT=str(output))
    assert done.returncode == 0, done.stderr
    assert "mode=sandbox" in output.read_text().splitlines()
