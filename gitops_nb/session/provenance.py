"""What a run's record says about where it comes from: the workspace's commit, the tools, and who may do what there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from gitops_nb.errors import UnavailableError
from gitops_nb.model import Json
from gitops_nb.policy import Rules
from gitops_nb.ports import Processes

_TOOLS = {"git": ("git", "--version"), "openssh": ("ssh", "-V")}
_OWN_FILES = ("gitops-nb.yaml", "runbooks", "notebooks")


def source_of(root: Path, processes: Processes) -> Mapping[str, Json]:
    """Commit and branch of the workspace, and whether its own files differ from them; empty outside of a repository."""
    if not any((folder / ".git").exists() for folder in (root, *root.parents)):
        return {}
    done = processes.run(
        (
            "git", "-C", str(root), "-c", "core.fsmonitor=false", "status", "--porcelain=v2", "--branch",
            "--", *_OWN_FILES,
        ),
        timeout_s=20,
    )  # fmt: skip
    if done.exit_code != 0:
        return {}
    said = {
        line.split(" ")[1]: line.split(" ", 2)[2]
        for line in done.stdout.splitlines()
        if line.startswith("# ")
    }
    return {
        "commit": said.get("branch.oid", ""),
        "branch": said.get("branch.head", ""),
        "dirty": any(not line.startswith("# ") for line in done.stdout.splitlines()),
    }


def tools_of(processes: Processes) -> Mapping[str, str]:
    """Versions of the programs that every run starts."""
    found: dict[str, str] = {}
    for name, argv in _TOOLS.items():
        try:
            done = processes.run(argv, timeout_s=10)
        except UnavailableError:
            found[name] = "not installed"
            continue
        match = re.search(r"\d+\.\d+[\w.]*", done.stdout + done.stderr)
        found[name] = match[0] if match else "unknown"
    return found


def may_of(rules: Rules) -> Mapping[str, Json]:
    """Who may do what in an environment, as its rules say now."""
    return {
        "environment": rules.environment,
        "automation_starts": rules.auto_deploy,
        "approvals": rules.approvals,
        "approve": sorted(one.person for one in rules.approvers),
        "break_glass": sorted(one.person for one in rules.approvers if one.break_glass),
        "workflows": [f"{w.repository}/{w.workflow}@{w.ref}" for w in rules.workflows],
    }
