"""What a record says about its surroundings, also where something is missing."""

from __future__ import annotations

import re

from gitops_nb.adapters.process import LocalProcesses
from gitops_nb.session.provenance import source_of, tools_of
from gitops_nb.session.requester import ci_identity


def test_a_missing_tool_is_said_and_stops_nothing(monkeypatch, tmp_path):
    """A run needs neither version; what it needs says so itself."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert tools_of(LocalProcesses()) == {"git": "not installed", "openssh": "not installed"}


def test_versions_are_the_programs_own():
    """As they print them."""
    found = tools_of(LocalProcesses())
    assert set(found) == {"git", "openssh"}
    assert all(re.match(r"\d+\.\d+", version) for version in found.values())


def test_outside_of_a_repository_there_is_no_source(tmp_path):
    """An empty value, not a wrong one."""
    assert source_of(tmp_path, LocalProcesses()) == {}
    (tmp_path / ".git").mkdir()
    assert source_of(tmp_path, LocalProcesses()) == {}


def test_a_name_that_nobody_proves_is_one_line(monkeypatch):
    """It stands in the commit's message: a second line there could be a trailer that names a ledger or a run."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_TRIGGERING_ACTOR", "eve\n\nGitops-Nb-Ledger: 9:0:0\x1b[31m")
    asks = ci_identity()
    assert asks is not None
    assert asks.name == "eve  Gitops-Nb-Ledger: 9:0:0 [31m"
