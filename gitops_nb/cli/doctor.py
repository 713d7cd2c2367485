"""``gitops-nb doctor``: is everything there that a run needs, and if not, what to do."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import click

from gitops_nb import __version__
from gitops_nb.adapters.process import LocalProcesses
from gitops_nb.catalog.durations import format_duration
from gitops_nb.catalog.load import Catalog, load_catalog
from gitops_nb.catalog.workspace import Workspace, find_workspace
from gitops_nb.errors import ExitCode, GitOpsError
from gitops_nb.model import Mode
from gitops_nb.policy import rules_for
from gitops_nb.ports import ClusterReader, GitReader
from gitops_nb.record.keys import HELD_HERE, custody, open_runner_key
from gitops_nb.record.signatures import person_of, public_key
from gitops_nb.report.text import terminal_lines
from gitops_nb.session.lifecycle import runbook_of
from gitops_nb.session.opening import choose_mode
from gitops_nb.session.platform import Platform, open_git, open_platform
from gitops_nb.session.registers import is_shared, open_register, place_of
from gitops_nb.session.variables import READ

LIVE_TOOLS = ("kubectl", "helm", "tofu", "terragrunt")
"""Tools of a workstation; gitops_nb itself starts only git and ssh-keygen."""
MAX_SKEW_S = 60.0
_NO_REQUEST = f"sha256:{'0' * 64}"
"""What the register has nothing about; it has to answer all the same."""


@dataclass(frozen=True, slots=True)
class Examined:
    """One question and its answer. ``is_required`` tells whether a run fails without it."""

    what: str
    holds: bool
    found: str
    fix: str = ""
    is_required: bool = True


def examine(
    *, mode: str | None, as_json: bool, workspace: Path | None, reports: Path | None
) -> int:
    """Prints every answer with its fix; returns 78 when something required is wrong."""
    where = find_workspace(workspace, reports=reports)
    answers = list(_examine(where, mode))
    if as_json:
        click.echo(json.dumps([asdict(answer) for answer in answers], indent=2))
    else:
        for answer in answers:
            word, colour = (
                ("ok", "green")
                if answer.holds
                else ("WRONG", "red")
                if answer.is_required
                else ("missing", "yellow")
            )
            click.secho(f"{word:<8}", fg=colour, nl=False)
            click.echo(f"{answer.what:<22} {terminal_lines(answer.found, ' ' * 31)}")
            if not answer.holds and answer.fix:
                click.echo(f"{'':<8}{'':<22} {terminal_lines(answer.fix, ' ' * 31)}")
    wrong = any(not answer.holds and answer.is_required for answer in answers)
    return ExitCode.CONFIGURATION if wrong else ExitCode.SUCCEEDED


def _examine(where: Workspace, given: str | None) -> Iterator[Examined]:
    for program, argv in (("git", ("git", "--version")), ("ssh-keygen", ("ssh", "-V"))):
        yield _program(program, argv)
    yield _writable(where.reports)
    try:
        catalog = load_catalog(where.runbooks)
        mode = choose_mode(where, given)
    except GitOpsError as error:
        yield Examined("configuration", False, error.message, error.hint)
        return
    yield Examined(
        "configuration",
        True,
        f"{len(catalog.runbooks)} runbooks, {len(catalog.fleet.environments)} environments",
    )
    yield from _versions(where, catalog)
    try:
        platform = open_platform(where, catalog, mode)
    except GitOpsError as error:
        # Without the rules in force the files here are all there is.
        yield from _environments(catalog)
        yield _runner(where, catalog, mode)
        yield Examined(f"{mode} platform", False, error.message, error.hint)
        if mode is Mode.LIVE:
            # A kubeconfig that is missing says nothing of Git, the register and the tools.
            yield from _repositories(catalog, open_git(where, catalog, mode))
            yield _register(where, catalog, mode)
            yield from _tools()
        yield from _variables()
        return
    in_force = replace(catalog, fleet=platform.fleet, policy=platform.policy, trust=platform.trust)
    yield from _environments(in_force)
    yield _runner(where, in_force, mode)
    yield from _platform(platform)
    yield _register(where, in_force, mode)
    if mode is Mode.LIVE:
        yield _origin(platform)
        yield from _tools()
    yield from _variables()


def _origin(platform: Platform) -> Examined:
    """Whether somebody said on this machine whose branch says who may approve."""
    source = platform.policy_source
    found = f"{source.get('origin', 'no origin')}, {source['from']}"
    needed = any(one.approval_required for one in platform.fleet.environments.values())
    return Examined(
        "origin",
        platform.is_pinned or not needed,
        f"{found}, {'pinned' if platform.is_pinned else 'not pinned on this machine'}",
        "Check the address, then run `gitops-nb trust origin`; nothing that needs approval is changed before.",
        is_required=False,
    )


def _register(where: Workspace, catalog: Catalog, mode: Mode) -> Examined:
    """Where it is kept that a request was begun, and whether it answers."""
    is_sandbox = mode is Mode.SANDBOX
    place = place_of(where, catalog.fleet, is_sandbox=is_sandbox)
    name = place["name"] or place["at"] or where.own
    register = open_register(
        where, place, trust=catalog.trust, processes=LocalProcesses(), is_sandbox=is_sandbox
    )
    try:
        register.chain(_NO_REQUEST)
    except GitOpsError as error:
        return Examined("register", False, error.message, error.hint)
    return Examined(
        "register",
        is_shared(place),
        f"{place['kind']} {name}",
        "Another machine does not see what was begun here: name `locks: gs://…`, or a repository in fleet.yaml.",
        is_required=False,
    )


def _variables() -> Iterator[Examined]:
    """What is read from the environment; none of it is a permission."""
    for name, use in READ.items():
        if name in os.environ:
            yield Examined(f"${name}", True, f"set; {use}")


def _runner(where: Workspace, catalog: Catalog, mode: Mode) -> Examined:
    """The key that signs the ledger; in live mode `verify` counts it only once trust.yaml lists it."""
    try:
        signer = open_runner_key(where.root)
    except GitOpsError as error:
        return Examined("runner key", False, error.message, error.hint, is_required=False)
    body = signer.public.split(" ")[1]
    named = [one.name for one in catalog.trust.runners if one.key.split(" ")[1] == body]
    if named or mode is Mode.SANDBOX:
        held = custody()
        is_open = held == HELD_HERE
        strict = [
            name
            for name, one in catalog.policy.environments.items()
            if one.runner_proof == "held" and catalog.fleet.environments[name].approval_required
        ]
        if is_open and mode is Mode.LIVE and strict:
            return Examined(
                "runner key",
                False,
                f"{signer.keyid} is in a file, and {', '.join(strict)} believes only keys that no notebook can read",
                "Let CI hold it in GITOPS_NB_RUNNER_KEY, or write `runner_proof: told` there into policy.yaml.",
                is_required=False,
            )
        where_held = f"in a {held}, which notebooks can read" if is_open else f"in {held} only"
        return Examined("runner key", True, f"{' '.join((signer.keyid, *named))}, {where_held}")
    return Examined(
        "runner key",
        False,
        f"{signer.keyid} is not in trust.yaml: it changes nothing in live mode",
        f"Add to runners: {{name: NAME, key: {signer.public!r}}}",
        is_required=False,
    )


def _program(name: str, argv: tuple[str, ...]) -> Examined:
    path = shutil.which(name)
    if path is None:
        return Examined(name, False, "not installed", f"Install {name}.")
    done = LocalProcesses().run(argv, timeout_s=10)
    text = (done.stdout or done.stderr).strip().splitlines()
    return Examined(name, True, text[0] if text else path)


def _writable(folder: Path) -> Examined:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".doctor"
        probe.touch()
        probe.unlink()
    except OSError as error:
        return Examined(
            "reports",
            False,
            f"{folder}: {error.strerror}",
            "Name a writable folder with --reports.",
        )
    return Examined("reports", True, str(folder))


def _environments(catalog: Catalog) -> Iterator[Examined]:
    """What fleet.yaml says of each environment; limits are shown, and nothing enforces them yet."""
    for name, environment in catalog.fleet.environments.items():
        starts = "automation or a person starts" if environment.auto_deploy else "a person starts"
        approves = "another approves" if environment.approval_required else "nobody approves"
        stopped = rules_for(catalog.fleet, catalog.policy, catalog.trust, name).stopped
        if stopped:
            starts = f"STOPPED by policy.yaml ({stopped}); {starts}"
        limits = environment.resource_limits
        shown = f"cpu {limits.cpu}, memory {limits.memory}" if limits else "no limits"
        kept = (
            f"records kept {format_duration(environment.retention)}"
            if environment.retention
            else "no retention"
        )
        following = ", ".join(catalog.fleet.promotes_to.get(name, ())) or "nothing"
        yield Examined(
            f"environment {name}", True, f"{starts}, {approves}; {shown}; {kept}; then {following}"
        )


def _versions(where: Workspace, catalog: Catalog) -> Iterator[Examined]:
    for name, runbook in catalog.runbooks.items():
        try:
            runbook_of(catalog, name)
        except GitOpsError as error:
            yield Examined(f"runbook {name}", False, error.message, error.hint)
            continue
        notebook = where.notebooks / runbook.notebook
        holds = notebook.is_file()
        found = (
            f"{notebook.name}, {runbook.requires}, installed {__version__}"
            if holds
            else f"no {notebook.name}"
        )
        yield Examined(f"runbook {name}", holds, found, "Run `gitops-nb init DIR --update`.")


def _platform(platform: Platform) -> Iterator[Examined]:
    requester = platform.requester
    yield Examined("who asks", True, f"{requester.name}, {requester.kind} ({requester.evidence})")
    for name, cluster in platform.fleet.clusters.items():
        reader = platform.view.clusters[name]
        yield _ask(f"cluster {name}", partial(_describe_cluster, reader), "Check it with kubectl.")
        if platform.mode is Mode.LIVE:
            yield Examined(
                f"context {name}",
                reader.server.rstrip("/") == cluster.server.rstrip("/"),
                reader.server,
                f"fleet.yaml says {cluster.server}; switch the context or mend it.",
            )
    yield from _repositories(platform, platform.git)
    yield _key(platform)
    yield _clock(platform)


def _describe_cluster(reader: ClusterReader) -> str:
    return f"Kubernetes {reader.version()} at {reader.server}"


def _repositories(known: Platform | Catalog, git: GitReader) -> Iterator[Examined]:
    for name, repository in known.fleet.repositories.items():
        ask = partial(_describe_repository, git, name, repository.branch)
        yield _ask(f"repository {name}", ask, "Check url and credentials.")


def _describe_repository(git: GitReader, name: str, branch: str) -> str:
    return f"{branch} at {git.tip(name, branch)[:8]}"


def _ask(what: str, question: Callable[[], str], fix: str) -> Examined:
    try:
        return Examined(what, True, question())
    except GitOpsError as error:
        return Examined(what, False, error.message, error.hint or fix)


def _key(platform: Platform) -> Examined:
    key = platform.signing_key
    if key is None:
        return Examined(
            "signing key",
            False,
            "none",
            "Set Git's user.signingkey to an SSH key: whoever asks signs the request, and approvers sign their answer.",
            is_required=False,
        )
    try:
        person = person_of(public_key(key, platform.processes), platform.trust.persons)
    except GitOpsError as error:
        return Examined("signing key", False, error.message, error.hint, is_required=False)
    if person is None:
        return Examined(
            "approver entry",
            False,
            f"{key.name} is nobody's in trust.yaml",
            "Only approvers need one.",
            is_required=False,
        )
    return Examined("signing key", True, f"{key.name} is {person}'s")


def _clock(platform: Platform) -> Examined:
    """Compares the wall clock with a commit made just now by others, as far as that tells anything."""
    skews = []
    for name, repository in platform.fleet.repositories.items():
        try:
            tip = platform.git.tip(name, repository.branch)
            newest = platform.git.log(name, tip, limit=1)[0].committed_at
        except GitOpsError:
            continue
        skews.append((newest - datetime.now(UTC)).total_seconds())
    ahead = max(skews, default=0.0)
    return Examined(
        "clock",
        ahead < MAX_SKEW_S,
        f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
        + (f"; a commit is {ahead:.0f} s in the future" if ahead > 0 else ""),
        "Let the machine's clock be set by NTP.",
    )


def _tools() -> Iterator[Examined]:
    for name in LIVE_TOOLS:
        path = shutil.which(name)
        yield Examined(
            name,
            path is not None,
            re.sub(r"^.*/", "", path or "not installed"),
            f"Install {name}, if you work with it by hand.",
            is_required=False,
        )
