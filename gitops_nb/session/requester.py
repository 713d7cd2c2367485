"""Who asks: from CI's own identity, the sandbox, or the workstation's Git and SSH settings."""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping
from pathlib import Path

from gitops_nb.catalog.trust import Trust
from gitops_nb.errors import UsageError
from gitops_nb.policy import Proof, Requester, RequesterKind
from gitops_nb.ports import Processes
from gitops_nb.record.identity import PERSON_EVENTS
from gitops_nb.record.signatures import person_of, public_key
from gitops_nb.session.identity import PERMISSION, can_prove

_NAME_CHARACTERS = 200


def find_requester(root: Path, processes: Processes, trust: Trust) -> Requester:
    """The person or automation that this process acts for in a workspace, outside the sandbox.

    A bot that trust.yaml lists among a person's names is that person: who starts a workflow by a bot asks themselves.
    """
    ci = ci_identity()
    if ci is not None:
        return ci
    key = default_key(root, processes)
    if key is not None:
        person = person_of(public_key(key, processes), trust.persons)
        if person:
            return Requester(
                person, RequesterKind.PERSON, f"SSH key {key.name}, listed in trust.yaml", Proof.KEY
            )
    email = _name(git_setting(root, processes, "user.email"))
    if email:
        return Requester(email, RequesterKind.PERSON, "name from Git user.email, not proven")
    return Requester(_name(getpass.getuser()), RequesterKind.PERSON, "login name, not proven")


def ci_identity() -> Requester | None:
    """Who CI says that it acts for; None outside CI.

    Environment variables prove nothing. ``Proof.CI`` says that the job can prove itself, and a request makes it do so.
    """
    if os.environ.get("GITHUB_ACTIONS") == "true":
        event = os.environ.get("GITHUB_EVENT_NAME", "unknown event")
        kind = RequesterKind.PERSON if event in PERSON_EVENTS else RequesterKind.AUTOMATION
        actor = _name(
            os.environ.get("GITHUB_TRIGGERING_ACTOR") or os.environ.get("GITHUB_ACTOR", "unknown")
        )
        if can_prove():
            return Requester(actor, kind, f"GitHub Actions, {event}", Proof.CI)
        return Requester(actor, kind, f"GitHub Actions, {event}, not proven")
    if os.environ.get("CI"):
        return Requester(
            _name(os.environ.get("USER", "ci")),
            RequesterKind.AUTOMATION,
            "environment variable CI, not proven",
        )
    return None


def _name(text: str) -> str:
    """A name that nobody proves, as one line: it stands in commit messages, where another line could be a trailer."""
    return "".join(c if c.isprintable() else " " for c in text)[:_NAME_CHARACTERS].strip()


def proof_hint(requester: Requester) -> str:
    """What somebody whom nothing proves can do about it."""
    if requester.evidence.startswith("GitHub Actions"):
        return PERMISSION
    return "Sign with a key of yours that trust.yaml lists: set Git's user.signingkey."


def ci_run() -> Mapping[str, str]:
    """The CI run that this process is part of; empty outside of GitHub Actions."""
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return {}
    names = ("repository", "run_id", "run_attempt", "sha", "actor", "triggering_actor")
    return {name: os.environ.get(f"GITHUB_{name.upper()}", "") for name in names}


def default_key(root: Path, processes: Processes) -> Path | None:
    """The SSH key that a person signs with: Git's user.signingkey, else ~/.ssh/id_ed25519."""
    configured = git_setting(root, processes, "user.signingkey")
    candidates = [Path(configured).expanduser()] if configured and "\n" not in configured else []
    candidates.append(Path.home() / ".ssh" / "id_ed25519")
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    return None


def find_signer(key: Path, processes: Processes, trust: Trust) -> str:
    """The person whose key this is.

    Raises:
        UsageError: Nobody in trust.yaml has it.
    """
    person = person_of(public_key(key, processes), trust.persons)
    if person is None:
        raise UsageError(
            f"{key} is nobody's in trust.yaml",
            hint="Name another key with --key, or ask the owners of trust.yaml to add yours.",
        )
    return person


def git_setting(root: Path, processes: Processes, name: str) -> str:
    """A value of the person's Git settings in a workspace, or the empty text."""
    done = processes.run(("git", "-C", str(root), "config", "--get", name), timeout_s=10)
    return done.stdout.strip() if done.exit_code == 0 else ""
