"""Fleet, policy and keys as the protected branch has them: a change cannot bring its own approver along.

In live mode ``policy.yaml``, ``trust.yaml`` and ``fleet.yaml`` are read from the branch that is pinned for the workspace
(``session.origins``), else from the one that its remote ``origin`` calls its default, at one commit. The fleet too: who may
say yes in production means nothing when the same change says where production is. A workspace that is in no Git repository
with such a remote has only its files; the record says which of the two it was.

A pinned branch is read from a repository of our own (``adapters.git_pinned``): settings, objects and history of the
workspace's repository belong to whoever writes there.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from gitops_nb.adapters.git_pinned import PinnedRepository
from gitops_nb.adapters.git_proven import UNMOVED, ProvenObjects
from gitops_nb.adapters.git_settings import as_variables
from gitops_nb.adapters.git_words import reason_of
from gitops_nb.catalog.fleet import Fleet
from gitops_nb.catalog.load import CONFIGURATION_FILES, Catalog, parse_catalog
from gitops_nb.catalog.policies import Policy
from gitops_nb.catalog.trust import Trust
from gitops_nb.catalog.workspace import FILE, Workspace, locks_of
from gitops_nb.errors import ConfigurationError, UnavailableError
from gitops_nb.model import digest
from gitops_nb.ports import Completed, Processes
from gitops_nb.session import origins
from gitops_nb.session.origins import pinned, pinned_roots

_REMOTE_S = 60
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Branch:
    """The protected branch of a workspace's origin, and the commit that it had when it was asked.

    ``url`` is where Git really goes for origin; ``is_pinned`` says that somebody trusts exactly that for this workspace. Then
    ``repository`` has it; else the workspace's own repository does.
    """

    root: Path
    inside: str
    name: str
    commit: str
    url: str
    is_pinned: bool
    repository: PinnedRepository | None = None


EarlierRules = Callable[[str], tuple[Catalog | None, str]]
"""The rules of an earlier commit of the protected branch, or why there are none; see ``rules_at``."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What counts now: fleet, policy and keys, where they were read, and how to read what counted before.

    ``source`` goes into records: ``from``, ``origin``, ``commit`` and ``digest``, as far as they are there. ``at`` is None where
    there is no branch that could say what was true earlier.
    """

    fleet: Fleet
    policy: Policy
    trust: Trust
    source: Mapping[str, str]
    is_pinned: bool = False
    at: EarlierRules | None = None


def protected(workspace: Workspace, catalog: Catalog, processes: Processes) -> Ground:
    """The rules of the protected branch as they are now.

    Raises:
        UnavailableError: There is a remote, and it does not answer.
        ConfigurationError: The branch's files are wrong, or origin is another one than is pinned.
    """
    branch = protected_branch(workspace, processes)
    if branch is None:
        source = {"from": "workspace", "digest": _digest(catalog)}
        return Ground(catalog.fleet, catalog.policy, catalog.trust, source)
    files = _files(branch, branch.commit, processes)
    rules = parse_catalog(files)
    source = {
        "from": f"origin/{branch.name}",
        "origin": branch.url,
        "commit": branch.commit,
        "digest": _digest(rules),
    }
    edited = _edited(workspace, files)
    if edited:
        # Whoever edits a file and runs at once has to read that the run does not know of it.
        source["not_in_force"] = ", ".join(edited)
    return Ground(
        rules.fleet,
        rules.policy,
        rules.trust,
        source,
        is_pinned=branch.is_pinned,
        at=lambda commit: rules_at(branch, commit, processes),
    )


def _edited(workspace: Workspace, files: Mapping[str, bytes]) -> list[str]:
    """Files of the workspace that say something else than the branch's do."""
    found: list[str] = []
    for name in CONFIGURATION_FILES:
        path = workspace.runbooks / name
        here = path.read_bytes() if path.is_file() else b""
        if here.strip() != files.get(name, b"").strip():
            found.append(name)
    return found


def protected_branch(workspace: Workspace, processes: Processes) -> Branch | None:
    """The protected branch of origin, asked now; None where there is no such remote.

    Raises:
        UnavailableError: There is one, and it does not answer.
        ConfigurationError: It is another one than is pinned for this workspace.
    """
    root = workspace.root
    url = origin_url(root, processes)
    inside = rules_folder(workspace, processes) if url else None
    trusted = pinned(root)
    if trusted is None:
        _refuse_beside_pins(workspace, processes)
    if inside is None:
        if trusted is not None:
            raise ConfigurationError(
                f"this workspace has no origin, and {trusted.url} is pinned for it",
                hint="Set the remote origin, or pin another one with `gitops-nb trust origin`.",
            )
        return None
    if trusted is None:
        name, commit = _fetch(root, url, processes)
        found = Branch(root, inside, name, commit, url, is_pinned=False)
        _refuse_other_locks(workspace, found, processes)
        return found
    if trusted.url != url:
        raise ConfigurationError(
            f"origin is {url}, and {trusted.url} is pinned for this workspace; nothing was done",
            hint="Find out who changed it; if it moved, pin the new one with `gitops-nb trust origin`.",
        )
    if trusted.inside not in (None, inside):
        # One branch may hold rules of many places, and examples: which are meant is no choice of the workspace.
        raise ConfigurationError(
            f"rules are in {inside}, and {trusted.inside} is pinned for this workspace; nothing was done",
            hint="Find out who changed it; if it moved, pin it again with `gitops-nb trust origin`.",
        )
    repository = _repository(url, processes)
    name, commit = repository.tip(trusted.branch)
    repository.ensure(name, commit)
    found = Branch(root, inside, name, commit, url, is_pinned=True, repository=repository)
    _refuse_other_locks(workspace, found, processes)
    return found


def _refuse_beside_pins(workspace: Workspace, processes: Processes) -> None:
    """A workspace without a pin, where one with a pin is meant: a folder in it, around it or beside it, or a variable's choice.

    Raises:
        ConfigurationError: Whoever writes the working tree, or sets a variable, would choose whose rules count.
    """
    root = workspace.root.resolve()
    top = Path(_git(root, ("rev-parse", "--show-toplevel"), processes) or root).resolve()
    for other in pinned_roots():
        is_near = root.is_relative_to(other) or other.is_relative_to(root)
        if is_near or other.is_relative_to(top):
            raise ConfigurationError(
                f"nobody pinned an origin for {root}, and {other} has one: which of the two is meant is no choice of files there",
                hint=f"Go there, or name it: --workspace {other}. If this one is yours, pin it with `gitops-nb trust origin`.",
            )
        if workspace.named_by:
            raise ConfigurationError(
                f"{workspace.named_by} names {root}, for which nobody pinned an origin; {other} has one on this machine",
                hint="Unset it, name the workspace with --workspace, or pin its origin with `gitops-nb trust origin`.",
            )


def _refuse_other_locks(workspace: Workspace, branch: Branch, processes: Processes) -> None:
    """Locks and register are where the branch's gitops-nb.yaml says: elsewhere they would be empty.

    Raises:
        ConfigurationError: The working tree says another place.
    """
    top = workspace.runbooks.resolve()
    for _ in Path(branch.inside).parts:
        top = top.parent
    folder = workspace.root.resolve().relative_to(top)
    objects = _objects(branch, processes)
    content = objects.files(branch.commit, folder.as_posix(), (FILE,)).get(FILE, b"")
    said = locks_of(content)
    if said != workspace.locks:
        raise ConfigurationError(
            f"{FILE} of the work tree has its locks and register in {workspace.locks or 'no bucket'}, "
            f"and origin/{branch.name} in {said or 'no bucket'}; nothing was done",
            hint="Find out who changed it; a new place counts once it is merged.",
        )


def rules_folder(workspace: Workspace, processes: Processes) -> str | None:
    """The folder of fleet, policy and keys in the workspace's repository; None where there is no such repository.

    Raises:
        ConfigurationError: It is outside of the repository.
    """
    top = _git(workspace.root, ("rev-parse", "--show-toplevel"), processes)
    if top is None:
        return None
    try:
        return workspace.runbooks.resolve().relative_to(Path(top).resolve()).as_posix()
    except ValueError:
        raise ConfigurationError(
            f"{workspace.runbooks} is in no folder of the repository {top}",
            hint="Rules are read from a branch: keep them in the repository.",
        ) from None


def origin_url(root: Path, processes: Processes) -> str:
    """Where Git really goes for a workspace's remote ``origin``, "" when it has none.

    Raises:
        ConfigurationError: Git goes to another place for that address than for the remote.
    """
    url = _git(root, ("remote", "get-url", "origin"), processes)
    if not url:
        return ""
    # A rule or a remote of the same name may rewrite what another rule wrote.
    again = _git(root, ("ls-remote", "--get-url", "--", url), processes)
    if again != url:
        raise ConfigurationError(
            f"origin is {url}, and settings of Git make {again} of that; nothing was done",
            hint="Find out who set `insteadOf`: `git config --show-origin --get-regexp insteadof`.",
        )
    return url


def default_branch(url: str, processes: Processes) -> str:
    """What a remote calls its default branch; no setting of a workspace has a say in it.

    Raises:
        UnavailableError: It does not answer, or has none.
    """
    return _repository(url, processes).tip("")[0]


def _repository(url: str, processes: Processes) -> PinnedRepository:
    return PinnedRepository(
        url,
        home=origins.HOME,
        caches=origins.CACHES,
        processes=processes,
        credentials=_github_credentials(),
    )


def rules_at(branch: Branch, commit: str, processes: Processes) -> tuple[Catalog | None, str]:
    """The rules of an earlier commit of the branch; or None, and "" when it surely is no commit of it, else why nobody can tell.

    Raises:
        ConfigurationError: The files were wrong there.
    """
    if not _COMMIT.fullmatch(commit):
        return None, ""
    if branch.repository is not None:
        if not _objects(branch, processes).is_ancestor(commit, branch.commit):
            return None, ""
    elif commit != branch.commit:
        asked = ("merge-base", "--is-ancestor", commit, branch.commit)
        if _git(branch.root, asked, processes) is None and _is_shallow(branch.root, processes):
            # Whether a commit is one of the branch is told by its history, and nothing else.
            more = ("fetch", "--quiet", "--no-tags", "--unshallow", branch.url, branch.commit)
            try:
                _remote(branch.root, more, processes)
            except UnavailableError as error:
                return None, f"this clone is shallow, and {error.message}"
        if _git(branch.root, asked, processes) is None:
            return None, ""
    return parse_catalog(_files(branch, commit, processes)), ""


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


def _fetch(root: Path, url: str, processes: Processes) -> tuple[str, str]:
    """Name and commit of a remote's default branch, asked now; the workspace's repository then has the commit."""
    listed = _remote(root, ("ls-remote", "--symref", "--", url, "HEAD"), processes).splitlines()
    if len(listed) < 2 or not listed[0].startswith("ref: refs/heads/"):
        raise UnavailableError("origin names no default branch", hint="Set one on the Git host.")
    branch = listed[0].removeprefix("ref: refs/heads/").split("\t")[0]
    commit = listed[1].split("\t")[0]
    if _git(root, ("cat-file", "-e", f"{commit}^{{commit}}"), processes) is None:
        # A depth would cut off the history of a clone that has all of it.
        depth = ("--depth=1",) if _is_shallow(root, processes) else ()
        _remote(root, ("fetch", "--quiet", "--no-tags", *depth, "--", url, commit), processes)
    return branch, commit


def _is_shallow(root: Path, processes: Processes) -> bool:
    return _git(root, ("rev-parse", "--is-shallow-repository"), processes) == "true"


def _files(branch: Branch, commit: str, processes: Processes) -> Mapping[str, bytes]:
    """Fleet, policy and keys of a commit, from Git's objects each time: a copy on disk could be edited like any file."""
    return _objects(branch, processes).files(commit, branch.inside, CONFIGURATION_FILES)


def _objects(branch: Branch, processes: Processes) -> ProvenObjects:
    """Objects of the repository that has the branch."""
    if branch.repository is not None:
        return ProvenObjects(branch.repository.folder, branch.repository.ask)

    def ask(arguments: tuple[str, ...], stdin: bytes) -> Completed:
        return _run(branch.root, arguments, processes, stdin)

    return ProvenObjects(branch.root, ask)


def _remote(root: Path, arguments: tuple[str, ...], processes: Processes) -> str:
    done = processes.run(
        ("git", "-C", str(root), *arguments),
        timeout_s=_REMOTE_S,
        environment={"GIT_TERMINAL_PROMPT": "0", **as_variables(_github_credentials())},
    )
    if done.exit_code != 0:
        raise UnavailableError(
            f"origin does not answer: {reason_of(done)}",
            hint="Policy is read from its default branch: make it reachable.",
        )
    return done.stdout


def _github_credentials() -> tuple[tuple[str, str], ...]:
    """The workflow's own token for its own server: a checkout that keeps no credentials can still be asked."""
    server, token = os.environ.get("GITHUB_SERVER_URL", ""), os.environ.get("GITHUB_TOKEN", "")
    if os.environ.get("GITHUB_ACTIONS") != "true" or not server or not token:
        return ()
    basic = base64.b64encode(f"x-access-token:{token}".encode()).decode()
    return ((f"http.{server}/.extraheader", f"AUTHORIZATION: basic {basic}"),)


def _git(root: Path, arguments: tuple[str, ...], processes: Processes) -> str | None:
    done = _run(root, arguments, processes)
    return done.stdout.strip() if done.exit_code == 0 else None


def _run(
    root: Path, arguments: tuple[str, ...], processes: Processes, stdin: bytes = b""
) -> Completed:
    return processes.run(
        ("git", "-C", str(root), *arguments), timeout_s=20, stdin=stdin, environment=UNMOVED
    )
