"""Which store a workspace's records are in."""

from __future__ import annotations

from gitops_nb.adapters.folder import Folder
from gitops_nb.catalog.workspace import Workspace
from gitops_nb.ports import Store


def reports_store(workspace: Workspace) -> Store:
    """Where the ledgers are, and what run directories are copied to."""
    return Folder(workspace.reports)
