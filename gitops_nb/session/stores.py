"""Which stores a workspace's records and locks are in."""

from __future__ import annotations

import os

from gitops_nb.adapters.folder import Folder
from gitops_nb.adapters.gcs import DEADLINE_S, GOOGLE, Bucket, emulator
from gitops_nb.catalog.workspace import Workspace
from gitops_nb.errors import ConfigurationError
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
    return Bucket(url, deadline_s=_deadline_s())


def open_true_store(url: str) -> Store:
    """The same where what lies there decides about something real: Google's own, which no variable can stand in for.

    Raises:
        ConfigurationError: The environment names an emulator.
    """
    refuse_emulator(url)
    return Bucket(url, deadline_s=_deadline_s(), endpoint=GOOGLE)


def refuse_emulator(url: str) -> None:
    """Refuses to take an emulator for a bucket.

    Raises:
        ConfigurationError: The environment names one.
    """
    if named := emulator():
        raise ConfigurationError(
            f"STORAGE_EMULATOR_HOST says that {named} answers for {url}; nothing was done",
            hint="Unset it: in live mode nobody but Google does. The sandbox may use an emulator.",
        )


def _deadline_s() -> float:
    return float(os.environ.get(VARIABLE) or DEADLINE_S)
