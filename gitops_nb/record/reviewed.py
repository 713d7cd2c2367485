"""Whether a review on GitHub is about exactly the request that it counted for.

GitHub's answer has no digest of ours, and a runner wrote down what it read. So whatever names the review is held against what the
request says, which a person or CI signed: wherever the review counts, and again by ``verify``.
"""

from __future__ import annotations

from collections.abc import Mapping

from gitops_nb.catalog.trust import Trust
from gitops_nb.model import Json, parse_time
from gitops_nb.record.approvals import GITHUB, askers
from gitops_nb.record.ledger import CLOCK_SKEW


def review_problem(approval: Mapping[str, Json], request: Mapping[str, Json], trust: Trust) -> str:
    """What in a review contradicts its request, "" for nothing; whether its text quotes the request GitHub alone can tell.

    Args:
        approval: With ``person``, ``key``, ``at`` and ``evidence`` (see ``session.reviews``), as the journal has it.
        request: That was made; its ``ci`` says which run asked, by ``repository``, ``run_id``, ``run_attempt`` and ``sha``.
        trust: Who has which login.
    """
    ci, evidence = request.get("ci") or {}, approval.get("evidence") or {}
    if not ci:
        return "is a review on GitHub, and no CI run asked"
    if not evidence:
        return "is a review on GitHub, and the record does not hold what was read"
    return (
        _other_place(evidence, str(approval.get("key")), request)
        or _early(approval, evidence, request)
        or _other_person(str(approval.get("person")), str(evidence.get("login")), request, trust)
    )


def _other_place(evidence: Mapping[str, Json], key: str, request: Mapping[str, Json]) -> str:
    ci = request["ci"]
    match evidence.get("kind"):
        case "environment":
            due = {
                "repository": ci.get("repository"),
                "run_id": ci.get("run_id"),
                "run_attempt": ci.get("run_attempt"),
                "environment": request.get("environment"),
            }
            source = f"environment/{evidence.get('run_id')}/{evidence.get('run_attempt')}"
        case "pull-request":
            due = {"repository": ci.get("repository"), "commit_id": ci.get("sha")}
            source = f"pull-request/{evidence.get('number')}"
        case kind:
            return f"is no review that is known here ({kind!r})"
    for name, value in due.items():
        if not value or evidence.get(name) != value:
            what = name.replace("_", " ").removesuffix(" id")
            return f"is a review of another {what} than the request's: {evidence.get(name)}"
    return "" if key == f"{GITHUB}{source}" else f"names another review than it was: {key}"


def _early(
    approval: Mapping[str, Json], evidence: Mapping[str, Json], request: Mapping[str, Json]
) -> str:
    created = parse_time(str(request["created"]))
    times = [approval.get("at")]
    if evidence.get("kind") == "pull-request":  # of an environment GitHub says no time
        times.append(evidence.get("submitted_at"))
    try:
        is_early = any(parse_time(str(time)) < created - CLOCK_SKEW for time in times)
    except ValueError:
        return "has no time"
    return "is older than the request" if is_early else ""


def _other_person(person: str, login: str, request: Mapping[str, Json], trust: Trust) -> str:
    known = trust.person(person)
    if known is None or not known.is_called(login):
        return f"is a review by {login}, which is no name of theirs"
    if any(map(known.is_called, askers(request))):
        return "counted, and it is the requester's own"
    return ""
