"""Which stores a workspace's records and locks are in."""

from __future__ import annotations

import os

from gitops_nb.adapters.folder import Folder
from gitops_nb.adapters.gcs import DEADLINE_S, Bucket
from gitops_nb.catalog.workspace import Workspace
from gitops_nb.ports import Store

VARIABLE = "GITOPS_NB_STORE_S"
"""How many seconds one call to a bucket may take with all its tries, where a minute is not right."""


def reports_store(workspace: Workspace) -> Store:
    """Where the ledgers are: the reports folder, or the bucket that run directories are copied to."""
    return bucket_store(workspace) or Folder(workspace.reports)


def bucket_store(workspace: Workspace) -> Store | None:
    """The bucket of ``reports: gs://…``, or None where reports are a folder."""
    return open_store(workspace.bucket) if workspace.bucket else None


def locks_store(workspace: Workspace) -> Store | None:
    """The bucket of ``locks: gs://…``, or None where locks are for this machine."""
    return open_store(workspace.locks) if workspace.locks else None


def open_store(url: str) -> Store:
    """A bucket by its name, ``gs://BUCKET/PREFIX``."""
    return Bucket(url, deadline_s=float(os.environ.get(VARIABLE) or DEADLINE_S))
