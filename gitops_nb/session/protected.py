"""Fleet, policy and keys as the protected branch has them: a change cannot bring its own approver along.

In live mode ``policy.yaml``, ``trust.yaml`` and ``fleet.yaml`` are read from the branch that the workspace's remote
``origin`` calls its default, at one commit. The fleet too: who may say yes in production means nothing when the same change
says where production is. A workspace that is in no Git repository with such a remote has only its files; the record says
which of the two it was.
"""

from __future__ import annotations

import base64
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from gitops_nb.catalog.load import CONFIGURATION_FILES, Catalog, load_catalog
from gitops_nb.catalog.workspace import Workspace
from gitops_nb.errors import UnavailableError
from gitops_nb.model import digest
from gitops_nb.ports import Processes

_REMOTE_S = 60
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Branch:
    """The default branch of a workspace's origin, and the commit that it had when it was asked."""

    root: Path
    inside: str
    name: str
    commit: str


def protected(
    workspace: Workspace, catalog: Catalog, processes: Processes
) -> tuple[Catalog, Mapping[str, str]]:
    """The catalog with the rules of the protected branch, and where they come from.

    Raises:
        UnavailableError: There is a remote, and it does not answer.
        ConfigurationError: The branch's files are wrong.
    """
    branch = protected_branch(workspace, processes)
    if branch is None:
        return catalog, {"from": "workspace", "digest": _digest(catalog)}
    rules = _read(branch, branch.commit, processes)
    found = replace(catalog, fleet=rules.fleet, policy=rules.policy, trust=rules.trust)
    source = {"from": f"origin/{branch.name}", "commit": branch.commit, "digest": _digest(found)}
    return found, source


def protected_branch(workspace: Workspace, processes: Processes) -> Branch | None:
    """The default branch of origin, asked now; None where there is no such remote.

    Raises:
        UnavailableError: There is one, and it does not answer.
    """
    top = _git(workspace.root, ("rev-parse", "--show-toplevel"), processes)
    if top is None or _git(workspace.root, ("remote", "get-url", "origin"), processes) is None:
        return None
    name, commit = _fetch(workspace.root, processes)
    inside = workspace.runbooks.resolve().relative_to(Path(top).resolve()).as_posix()
    return Branch(workspace.root, inside, name, commit)


def rules_at(branch: Branch, commit: str, processes: Processes) -> tuple[Catalog | None, str]:
    """The rules of an earlier commit of the branch; or None, and "" when it surely is no commit of it, else why nobody can tell.

    Raises:
        ConfigurationError: The files were wrong there.
    """
    if not _COMMIT.fullmatch(commit):
        return None, ""
    if commit != branch.commit:
        asked = ("merge-base", "--is-ancestor", commit, branch.commit)
        if _git(branch.root, asked, processes) is None:
            is_shallow = _git(branch.root, ("rev-parse", "--is-shallow-repository"), processes)
            return None, "this clone is shallow" if is_shallow == "true" else ""
    return _read(branch, commit, processes), ""


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
        # A depth would cut off the history of a clone that has all of it.
        is_shallow = _git(root, ("rev-parse", "--is-shallow-repository"), processes) == "true"
        depth = ("--depth=1",) if is_shallow else ()
        _remote(root, ("fetch", "--quiet", "--no-tags", *depth, "origin", commit), processes)
    return branch, commit


def _read(branch: Branch, commit: str, processes: Processes) -> Catalog:
    """The rules of a commit, from Git's objects each time: a copy on disk could be edited like any file."""
    listed = _git(branch.root, ("ls-tree", "--name-only", f"{commit}:{branch.inside}"), processes)
    with tempfile.TemporaryDirectory(prefix="gitops-nb-") as temporary:
        folder = Path(temporary) / "runbooks"  # messages name a file with its folder
        folder.mkdir()
        for name in (listed or "").splitlines():
            if name in CONFIGURATION_FILES:
                blob = ("cat-file", "blob", f"{commit}:{branch.inside}/{name}")
                content = _git(branch.root, blob, processes)
                (folder / name).write_text(content or "", encoding="utf-8")
        return load_catalog(folder)


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
    done = processes.run(
        ("git", "-C", str(root), *arguments),
        timeout_s=20,
        # `git replace` would let a local ref stand in for a file of the branch.
        environment={"GIT_NO_REPLACE_OBJECTS": "1"},
    )
    return done.stdout.strip() if done.exit_code == 0 else None
