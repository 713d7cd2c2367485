"""What was there before a promotion: in Git, and in the containers where that was something else."""

from __future__ import annotations

from typing import Any

from gitops_nb.edits import VERSION
from gitops_nb.model import Plan


def ran_before(plan: Plan) -> str:
    """The versions that ran instead of the one in Git, or beside it; "" where nothing else was seen."""
    return ", ".join(map(str, _running(plan)))


def version_back(plan: Plan) -> str:
    """The version that a promotion back names: the one that ran, or else the one of Git; "" where the gates let none through.

    What was looked up when the plan was made counts: ``back`` names another one than Git had, ``not_back`` one that nothing shows
    to have run because Git asked for it.
    """
    if plan.arguments.get("not_back"):
        return ""
    if plan.arguments.get("back"):
        return str(plan.arguments["back"])
    found = candidates(plan)
    return found[-1] if found else ""


def candidates(plan: Plan) -> tuple[str, ...]:
    """The versions that a promotion back might name, the likeliest first: what ran, then what Git had."""
    before, after = str(plan.arguments["version_before"]), str(plan.arguments["version_after"])
    # Beside the version itself, as after half a roll-out, one other may have run.
    others = [str(one) for one in _running(plan) if one != after]
    found = [*(others if len(others) == 1 else ()), *([before] if before != after else ())]
    return tuple(dict.fromkeys(one for one in found if VERSION.fullmatch(one)))


def before_in_words(plan: Plan) -> str:
    """The version before, told apart where Git and the containers had different ones.

    >>> before_in_words(Plan("promotion", "p", "", (), arguments={"version_before": "v1", "running_before": ["v2"]}))
    'v1 in Git, v2 ran'
    """
    before, ran = str(plan.arguments["version_before"]), ran_before(plan)
    return f"{before} in Git, {ran} ran" if ran else before


def replaced(plan: Plan) -> str:
    """What a promotion that arrived replaced, as a sentence; "" where it replaced nothing."""
    before, after = str(plan.arguments["version_before"]), str(plan.arguments["version_after"])
    ran = ran_before(plan)
    if not ran:
        return f"It replaced {before}." if before != after else ""
    if ran == after:
        return f"Git asked for {before}, and {after} ran all the same."
    return (
        f"It replaced {ran}." if before == after else f"It replaced {ran}; Git asked for {before}."
    )


def _running(plan: Plan) -> list[Any]:
    return list(plan.arguments.get("running_before") or ())
