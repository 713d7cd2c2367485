"""The identity that CI signed for a request: bound to the request's digest, and so to one plan and one job.

What stays is what was verified: the claims, the id of the issuer's key, and the token in its parts. The runner's signature in the
ledger (``requested``) covers them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from gitops_nb.model import Json, parse_time

PERSON_EVENTS = frozenset({"workflow_dispatch"})
"""GitHub events that a person starts; every other event counts as automation."""
_SKEW = timedelta(seconds=120)
_SAME = ("repository", "run_id", "run_attempt", "sha", "actor")
"""Claims that have to be what the request says about its CI run."""


def audience_of(request_digest: str) -> str:
    """What a token has to be for: this request, and nothing else.

    >>> audience_of("sha256:00")
    'gitops-nb:sha256:00'
    """
    return f"gitops-nb:{request_digest}"


def identity_problem(
    identity: Mapping[str, Json], request: Mapping[str, Json], request_digest: str
) -> str:
    """What is wrong with an identity as the proof of who asked, or the empty text.

    Args:
        identity: ``issuer``, ``kid`` and ``claims`` as they were verified.
        request: The request.
        request_digest: Its digest.
    """
    claims = identity.get("claims")
    if not isinstance(claims, Mapping) or not identity.get("kid") or not identity.get("issuer"):
        return "CI's identity is not proven for the request"
    if (claims.get("iss"), claims.get("aud")) != (
        identity["issuer"],
        audience_of(request_digest),
    ):
        return "CI's identity is about another request"
    ci = request.get("ci") or {}
    for name in _SAME:
        if not ci.get(name) or str(claims.get(name)) != str(ci[name]):
            return f"CI's identity names another {name.replace('_', ' ')}: {claims.get(name)}"
    requester = request["requester"]
    if requester["name"] not in (ci["actor"], ci.get("triggering_actor")):
        return f"CI's identity is not about {requester['name']}"
    is_person = claims.get("event_name") in PERSON_EVENTS
    if (requester["kind"] == "person") != is_person:
        return f"CI's identity says that {claims.get('event_name')} started the run"
    issued = claims.get("iat")
    if isinstance(issued, bool) or not isinstance(issued, int):
        return "CI's identity has no time"
    at = datetime.fromtimestamp(issued, UTC)
    if not parse_time(request["created"]) - _SKEW <= at <= parse_time(request["expires"]):
        return "CI's identity is of another time"
    return ""
