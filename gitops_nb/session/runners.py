"""Whose word an environment relies on: runners of trust.yaml change it; a protected one by rules of an origin that is trusted here."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from gitops_nb.catalog.workspace import Workspace
from gitops_nb.errors import Refused
from gitops_nb.model import Mode
from gitops_nb.policy import Rules
from gitops_nb.record import dsse
from gitops_nb.session.notary import runner_key
from gitops_nb.session.platform import Platform


def refuse_unlisted_runner(workspace: Workspace, rules: Rules) -> None:
    """Refuses to change an environment when nobody would believe that this runner began it, whoever has to approve there.

    Raises:
        Refused: No runner of trust.yaml has this runner's key, or the key does not count there, or not now.
    """
    public = runner_key(workspace)
    body, now = public.split(" ")[1], datetime.now(UTC)
    listed = [one for one in rules.trust.runners if one.key.split(" ")[1] == body]
    there = [one for one in listed if one.is_trusted_in(rules.environment)]
    if not any(one.counts_at(now) for one in there):
        what = "it lists no runner with this key"
        if listed:
            when = "now" if there else "there"
            what = f"the key of {listed[0].name} does not count {when}"
        raise Refused(
            f"{rules.environment} is changed by runners of trust.yaml, and {what}: {dsse.fingerprint(public)}",
            hint=f"Add to runners there: {{name: NAME, key: {public!r}}}",
        )


def is_runner_of(workspace: Workspace, rules: Rules) -> bool:
    """Whether what this machine's key signs about an environment is believed; see ``refuse_unlisted_runner``."""
    try:
        refuse_unlisted_runner(workspace, rules)
    except Refused:
        return False
    return True


def refuse_unpinned(platform: Platform, rules: Rules) -> None:
    """Refuses to ask anybody on a machine that would refuse their answer: nobody said there whose rules count.

    Raises:
        Refused: There is no origin, or nobody pinned it.
    """
    if platform.mode is Mode.LIVE and rules.approvals and not platform.is_pinned:
        raise unpinned(rules, platform.policy_source)


def unpinned(rules: Rules, source: Mapping[str, str]) -> Refused:
    """Why rules of an origin that nobody pinned here are no rules for an environment that needs approval."""
    if "commit" not in source:
        return Refused(
            f"{rules.environment} needs approval, and this workspace has no origin whose branch says who may give it",
            hint="Push it to a Git host, then run `gitops-nb trust origin`.",
        )
    return Refused(
        f"{rules.environment} needs approval, and nobody said on this machine that {source['origin']} may say who gives it",
        hint=f"Check the address, then run `gitops-nb trust origin {source['origin']}`.",
    )
