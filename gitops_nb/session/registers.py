"""Where a workspace's register of requests is, and how it is opened.

The bucket of its locks; else refs of a configuration repository; else, where there is neither, a folder of this machine. A copy
of a reports folder carries none of them. The place stands in the signed request, so that a runner elsewhere cannot choose
another, empty one.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from gitops_nb.adapters.folder import Folder
from gitops_nb.adapters.git_cache import Remote
from gitops_nb.adapters.git_refs import GitRefs
from gitops_nb.catalog.fleet import Fleet
from gitops_nb.catalog.load import load_catalog
from gitops_nb.catalog.trust import RunnerKey, SandboxTrust, Trust
from gitops_nb.catalog.workspace import Workspace
from gitops_nb.errors import ConfigurationError
from gitops_nb.model import Json, digest
from gitops_nb.policy import Rules, rules_for
from gitops_nb.ports import Processes, Store
from gitops_nb.record.fold import RunState
from gitops_nb.record.keys import open_runner_key
from gitops_nb.record.locks import Owner
from gitops_nb.record.register import Believed, Chain, Earlier, Kind, Register
from gitops_nb.session.allowances import LiveRules
from gitops_nb.session.protected import Ground
from gitops_nb.session.stores import open_true_store

BUCKET, GIT, HERE = "bucket", "git", "this machine"
_AUTHOR = ("gitops-nb", "gitops-nb@localhost")


def place_of(workspace: Workspace, fleet: Fleet, *, is_sandbox: bool) -> Mapping[str, Json]:
    """Where the register is: ``kind``, and ``at`` with a bucket's name or a repository's address."""
    if workspace.locks and not is_sandbox:
        return {"kind": BUCKET, "at": workspace.locks, "name": ""}
    name = fleet.register_repository
    if name:
        url = "sandbox" if is_sandbox else fleet.repositories[name].url
        return {"kind": GIT, "at": url, "name": name}
    return {"kind": HERE, "at": "", "name": ""}


def is_shared(place: Mapping[str, Json]) -> bool:
    """Whether other machines see it."""
    return place.get("kind") in (BUCKET, GIT)


def open_register(
    workspace: Workspace,
    place: Mapping[str, Json],
    *,
    trust: Trust,
    processes: Processes,
    is_sandbox: bool,
    approvers: Iterable[str] = (),
    once: tuple[Believed, ...] = (),
    earlier: Earlier | None = None,
) -> Register:
    """A register by its place; nothing is asked before it is needed.

    Args:
        workspace: Whose caches and sandbox.
        place: See ``place_of``.
        trust: People and runners whose entries count.
        processes: Runs git and ssh-keygen.
        is_sandbox: The register of the workspace's sandbox is meant.
        approvers: People who may say that a start's holder is gone.
        once: Who was believed when the request was made, see ``Register``.
        earlier: The same at the policy commit that a start names.
    """
    return Register(
        _store(workspace, place, processes, is_sandbox=is_sandbox),
        believed=Believed(trust, trust.runners, frozenset(approvers)),
        processes=processes,
        is_shared=is_shared(place),
        once=once,
        earlier=earlier,
    )


def register_of(
    workspace: Workspace,
    fleet: Fleet,
    rules: Rules,
    processes: Processes,
    *,
    is_sandbox: bool,
    earlier: Earlier | None = None,
) -> Register:
    """The register of a workspace, read with the rules of an environment."""
    return open_register(
        workspace,
        place_of(workspace, fleet, is_sandbox=is_sandbox),
        trust=rules.trust,
        processes=processes,
        is_sandbox=is_sandbox,
        approvers=(one.person for one in rules.approvers),
        once=tuple(believed_by(each) for each in rules.once),
        earlier=earlier,
    )


def register_under(
    workspace: Workspace, ground: Ground, rules: Rules, processes: Processes, *, is_sandbox: bool
) -> Register:
    """The register with the rules of an environment; starts are also judged by the policy commit that they name."""

    def earlier(body: Mapping[str, Json]) -> tuple[Believed, ...]:
        policy = body.get("policy")
        commit = str(policy.get("commit") or "") if isinstance(policy, Mapping) else ""
        if ground.at is None or not commit or commit == ground.source.get("commit"):
            return ()
        try:
            then, _ = ground.at(commit)
        except ConfigurationError:
            return ()
        if then is None or rules.environment not in then.fleet.environments:
            return ()
        return (believed_by(rules_for(then.fleet, then.policy, then.trust, rules.environment)),)

    return register_of(
        workspace, ground.fleet, rules, processes, is_sandbox=is_sandbox, earlier=earlier
    )


def believed_by(rules: Rules) -> Believed:
    """Whose entries count by some rules."""
    return Believed(
        rules.trust, rules.trust.runners, frozenset(one.person for one in rules.approvers)
    )


def _store(
    workspace: Workspace, place: Mapping[str, Json], processes: Processes, *, is_sandbox: bool
) -> Store:
    if place["kind"] == BUCKET:
        return open_true_store(str(place["at"]))
    if place["kind"] != GIT:
        return Folder(workspace.own / ("sandbox-register" if is_sandbox else "register"))
    name = str(place["name"])
    url = str(workspace.sandbox / "git" / f"{name}.git") if is_sandbox else str(place["at"])
    return GitRefs(
        name,
        Remote(url, "main"),
        cache=workspace.sandbox / "git-cache" if is_sandbox else workspace.own / "git",
        processes=processes,
        author=_AUTHOR,
    )


def register_end(workspace: Workspace, state: RunState, *, processes: Processes) -> None:
    """Writes into the register how a start of this runner's ended; does nothing where it began none, or others went on.

    Args:
        workspace: Of the run.
        state: The run, ended and sealed. Of one whose end nobody saw the register says that.
        processes: Runs git.

    Raises:
        UnavailableError: The register does not answer, or nobody says where it is.
        ConfigurationError: What says where it is is wrong.
    """
    begun = state.begun
    if not begun:
        return
    # Where to ask is never the journal's word: whoever wrote that would choose whom this machine talks to.
    catalog = load_catalog(workspace.runbooks)
    fleet = catalog.fleet if state.is_sandbox else LiveRules(workspace, catalog).now.fleet
    place = place_of(workspace, fleet, is_sandbox=state.is_sandbox)
    if begun.get("register") != place:
        return
    signer = open_runner_key(workspace.root)
    own = (RunnerKey(name="this-runner", key=signer.public),)
    trust = (SandboxTrust if state.is_sandbox else Trust)(runners=own)
    register = open_register(
        workspace,
        place,
        trust=trust,
        processes=processes,
        is_sandbox=state.is_sandbox,
    )
    started = str(begun["start"])

    def write(chain: Chain) -> bytes:
        _refuse_others(chain, started)
        body: dict[str, Json] = {
            "start": started,
            "run": state.run,
            "attempt": len(state.attempts),
            "status": state.status if state.witnessed else "not witnessed",
            "exit_code": state.exit_code,
            "observed": (state.outcome or {}).get("title", ""),
            "effects": {e.key: str(e.result.get("revision", "")) for e in state.touched if e.ended},
            "files": digest(dict(state.files)),
            "journal": state.head,
        }
        kind = Kind.END if state.witnessed else Kind.CLOSED
        return register.by_runner(signer, chain, kind, at=datetime.now(UTC), body=body)

    with contextlib.suppress(_Others):
        register.append(state.request_digest, write)


class _Others(Exception):
    """The start is not open any more, or its holder lives."""


def _refuse_others(chain: Chain, started: str) -> None:
    held = chain.open_start
    if held is None or held.digest != started:
        raise _Others
    owner = Owner(**held.body["holder"])
    if not owner.is_here or (owner.pid != os.getpid() and not owner.is_proven_dead):
        raise _Others
