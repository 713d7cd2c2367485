"""Policy and keys as the protected branch has them: a change cannot bring its own approver along.

In live mode ``policy.yaml``, ``trust.yaml`` and the environments of ``fleet.yaml`` are read from the branch that the
workspace's remote ``origin`` calls its default, at one commit. A workspace that is in no Git repository with such a
remote has only its files; the record says which of the two it was.
"""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from gitops_nb.catalog.fleet import Fleet
from gitops_nb.catalog.load import CONFIGURATION_FILES, Catalog, load_catalog
from gitops_nb.catalog.workspace import Workspace
from gitops_nb.errors import UnavailableError
from gitops_nb.model import digest
from gitops_nb.ports import Processes

_REMOTE_S = 60


def protected(
    workspace: Workspace, catalog: Catalog, processes: Processes
) -> tuple[Catalog, Mapping[str, str]]:
    """The catalog with the rules of the protected branch, and where they come from.

    Raises:
        UnavailableError: There is a remote, and it does not answer.
        ConfigurationError: The branch's files are wrong.
    """
    top = _git(workspace.root, ("rev-parse", "--show-toplevel"), processes)
    if top is None or _git(workspace.root, ("remote", "get-url", "origin"), processes) is None:
        return catalog, {"from": "workspace", "digest": _digest(catalog)}
    branch, commit = _fetch(workspace.root, processes)
    inside = workspace.runbooks.resolve().relative_to(Path(top).resolve()).as_posix()
    folder = workspace.own / "protected" / commit / "runbooks"
    if not folder.is_dir():
        _export(workspace.root, commit, inside, folder, processes)
    rules = load_catalog(folder)
    fleet = catalog.fleet.model_copy(update={"environments": _environments(catalog, rules.fleet)})
    found = replace(catalog, fleet=fleet, policy=rules.policy, trust=rules.trust)
    return found, {"from": f"origin/{branch}", "commit": commit, "digest": _digest(found)}


def _environments(catalog: Catalog, fleet: Fleet) -> Mapping[str, object]:
    """Environments of the workspace with the branch's rules; one that the branch does not know keeps its own."""
    return {**catalog.fleet.environments, **fleet.environments}


def _digest(catalog: Catalog) -> str:
    """Over everything that decides who may do what."""
    return digest(
        {
            "environments": {
                name: {"auto_deploy": one.auto_deploy, "approval_required": one.approval_required}
                for name, one in catalog.fleet.environments.items()
            },
            "policy": catalog.policy.model_dump(mode="json"),
            "trust": catalog.trust.model_dump(mode="json"),
        }
    )


def _fetch(root: Path, processes: Processes) -> tuple[str, str]:
    """Name and commit of origin's default branch, asked now."""
    listed = _remote(root, ("ls-remote", "--symref", "origin", "HEAD"), processes).splitlines()
    if len(listed) < 2 or not listed[0].startswith("ref: refs/heads/"):
        raise UnavailableError("origin names no default branch", hint="Set one on the Git host.")
    branch = listed[0].removeprefix("ref: refs/heads/").split("\t")[0]
    commit = listed[1].split("\t")[0]
    if _git(root, ("cat-file", "-e", f"{commit}^{{commit}}"), processes) is None:
        _remote(root, ("fetch", "--quiet", "--no-tags", "--depth=1", "origin", commit), processes)
    return branch, commit


def _export(root: Path, commit: str, inside: str, folder: Path, processes: Processes) -> None:
    """Writes the branch's files beside the workspace's; they appear together."""
    names = _git(root, ("ls-tree", "--name-only", f"{commit}:{inside}"), processes) or ""
    building = folder.with_name(f".{os.getpid()}.new")
    building.mkdir(parents=True, exist_ok=True)
    for name in names.splitlines():
        if name in CONFIGURATION_FILES:
            content = _git(root, ("cat-file", "blob", f"{commit}:{inside}/{name}"), processes)
            (building / name).write_text(content or "", encoding="utf-8")
    try:
        building.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
        shutil.rmtree(building)  # another process was first


def _remote(root: Path, arguments: tuple[str, ...], processes: Processes) -> str:
    done = processes.run(
        ("git", "-C", str(root), *arguments),
        timeout_s=_REMOTE_S,
        environment={"GIT_TERMINAL_PROMPT": "0", **_github_credentials()},
    )
    if done.exit_code != 0:
        raise UnavailableError(
            f"origin does not answer: {done.stderr.strip()[-200:]}",
            hint="Policy is read from its default branch: make it reachable.",
        )
    return done.stdout


def _github_credentials() -> Mapping[str, str]:
    """The workflow's own token for its own server: a checkout that keeps no credentials can still be asked."""
    server, token = os.environ.get("GITHUB_SERVER_URL", ""), os.environ.get("GITHUB_TOKEN", "")
    if os.environ.get("GITHUB_ACTIONS") != "true" or not server or not token:
        return {}
    basic = base64.b64encode(f"x-access-token:{token}".encode()).decode()
    return {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"http.{server}/.extraheader",
        "GIT_CONFIG_VALUE_0": f"AUTHORIZATION: basic {basic}",
    }


def _git(root: Path, arguments: tuple[str, ...], processes: Processes) -> str | None:
    done = processes.run(("git", "-C", str(root), *arguments), timeout_s=20)
    return done.stdout.strip() if done.exit_code == 0 else None
