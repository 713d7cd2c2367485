"""The identity of a CI job: a token that GitHub signs for exactly this job, asked for and verified here.

The token lives for minutes and is for one request of ours, so that it opens nothing else: it is kept with the request, as proof of
who asked when it has long expired. What opens the door to tokens is masked before anything else happens.

Source: docs.github.com, "OpenID Connect reference"; OpenID Connect Discovery 1.0; RFC 7519; RFC 8725.
"""

from __future__ import annotations

import http.client
import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

from gitops_nb.adapters.deadline import within
from gitops_nb.adapters.tls import opener
from gitops_nb.errors import Refused, UnavailableError
from gitops_nb.model import Json
from gitops_nb.redaction import process_redactor

DEADLINE_S = 20.0
"""For everything that one proof asks for."""
LEEWAY_S = 60
_MAX_BYTES = 1 << 20
_MAX_LIFE_S = 3600
_ALGORITHMS = ["RS256"]
_HOST = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")
_NEEDED = ["iss", "aud", "sub", "exp", "nbf", "iat", "repository", "run_id", "run_attempt", "actor"]
KEPT = (
    "iss", "aud", "sub", "iat", "nbf", "exp", "jti",
    "repository", "repository_id", "repository_owner_id", "ref", "ref_protected", "sha",
    "workflow_ref", "workflow_sha", "job_workflow_ref", "environment", "event_name",
    "actor", "actor_id", "run_id", "run_attempt", "runner_environment",
)  # fmt: skip
"""Claims that go into the record."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect could carry the token, or the question for the keys, to another server."""

    def redirect_request(self, *_: Any) -> None:
        return None


def prove(
    request_url: str, request_token: str, *, audience: str, issuer: str
) -> Mapping[str, Json]:
    """Asks CI for this job's identity, for one audience, and verifies it against the issuer's keys.

    Args:
        request_url: ACTIONS_ID_TOKEN_REQUEST_URL.
        request_token: ACTIONS_ID_TOKEN_REQUEST_TOKEN; sent to that address only.
        audience: What the identity is for.
        issuer: Whose signature counts.

    Returns:
        ``issuer``, ``kid`` (id of the key that signed), ``claims``, ``token`` (its three parts, as a flattened JWS has
        them), and ``clock_ahead_s``: how far this machine's clock
        is ahead of the issuer's.

    Raises:
        Refused: What came is no identity that counts.
        UnavailableError: CI or the issuer did not answer in time.
    """
    ends = time.monotonic() + DEADLINE_S
    if not _is_door_of(issuer, request_url):
        where = urllib.parse.urlsplit(request_url)
        raise Refused(
            f"ACTIONS_ID_TOKEN_REQUEST_URL is at {where.scheme}://{where.hostname}, and policy.yaml believes {issuer}; "
            "the job's token was not sent there",
            hint="Find out who set it; GitHub sets it for each job.",
        )
    redactor = process_redactor()
    redactor.register("the token that asks for CI's identity", request_token)
    query = urllib.parse.urlencode({"audience": audience})
    joint = "&" if urllib.parse.urlsplit(request_url).query else "?"
    answer = _ask(f"{request_url}{joint}{query}", ends, token=request_token)
    token = answer.get("value")
    if not isinstance(token, str) or len(token) < 32:
        raise UnavailableError("CI answers without an identity token", hint="Run the job again.")
    return verify(token, audience=audience, issuer=issuer, ends=ends)


def verify(
    token: str, *, audience: str, issuer: str, ends: float | None = None
) -> Mapping[str, Json]:
    """Verifies an identity token; see ``prove``. ``ends`` is a moment of the monotonic clock.

    Raises:
        Refused: Signature, issuer, audience or a time is wrong, or a claim is missing.
        UnavailableError: The issuer did not answer in time.
    """
    import jwt

    until = time.monotonic() + DEADLINE_S if ends is None else ends
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError as error:
        raise _refused(str(error)) from error
    kid = header.get("kid")
    if header.get("alg") not in _ALGORITHMS or not isinstance(kid, str) or not kid:
        raise _refused(f"it is signed by {header.get('alg')} with the key {kid}")
    try:
        claims = jwt.decode(
            token,
            _key(issuer, kid, until),
            algorithms=_ALGORITHMS,
            audience=audience,
            issuer=issuer,
            leeway=LEEWAY_S,
            options={"require": _NEEDED, "strict_aud": True},
        )
    except jwt.PyJWTError as error:
        raise _refused(str(error)) from error
    if claims["exp"] - claims["iat"] > _MAX_LIFE_S:
        raise _refused("it lasts longer than an hour")
    kept = _kept(claims)
    odd = [name for name, value in kept.items() if not isinstance(value, str | int)]
    if odd:
        raise _refused(f"{odd[0]} is no text")
    ahead_s = int(time.time()) - int(claims["iat"])
    parts = dict(zip(_PARTS, token.split("."), strict=True))
    return {
        "issuer": issuer,
        "kid": kid,
        "claims": kept,
        "clock_ahead_s": ahead_s,
        "token": parts,
    }


_PARTS = ("protected", "payload", "signature")


class KeyGoneError(Exception):
    """The issuer does not have the key any more: it cannot say what it signed.

    That proves nothing for the token: whoever writes one may name a key that never was.
    """


class _NoKeyError(Refused):
    """The issuer answers, and its list has no key of this id."""


def verify_kept(identity: Mapping[str, Json], *, issuer: str) -> str:
    """What is wrong with an identity that was kept, by its issuer's own key; "" when the issuer signed exactly its claims.

    Raises:
        KeyGoneError: The issuer has changed its keys since.
        UnavailableError: The issuer did not answer in time.
    """
    import jwt

    parts = identity.get("token")
    if not isinstance(parts, Mapping) or set(parts) != set(_PARTS):
        return "the token of CI's identity was not kept"
    if identity.get("issuer") != issuer:
        return f"CI's identity is by {identity.get('issuer')}, and policy.yaml believes {issuer}"
    token = ".".join(str(parts[name]) for name in _PARTS)
    try:
        header = jwt.get_unverified_header(token)
        kid = header.get("kid")
        if header.get("alg") not in _ALGORITHMS or kid != identity.get("kid"):
            return "CI's identity is signed otherwise than the record says"
        written = jwt.decode(token, options={"verify_signature": False})
        if _kept(written) != identity.get("claims"):
            return "CI's identity says something else than its token"
        try:
            key = _key(issuer, str(kid), time.monotonic() + DEADLINE_S)
        except _NoKeyError as error:
            raise KeyGoneError(error.message) from error
        except Refused as error:
            return error.message
        claims = jwt.decode(
            token,
            key,
            algorithms=_ALGORITHMS,
            issuer=issuer,
            # It has long expired, and what it is for is compared with the request.
            options={
                "verify_exp": False,
                "verify_aud": False,
                "verify_nbf": False,
                "verify_iat": False,
            },
        )
    except jwt.PyJWTError as error:
        return f"CI's identity is not its issuer's: {error}"
    same = _kept(claims) == identity.get("claims")
    return "" if same else "CI's identity says something else than its token"


def _kept(claims: Mapping[str, Any]) -> dict[str, Json]:
    return {name: claims[name] for name in KEPT if name in claims}


def _key(issuer: str, kid: str, ends: float) -> Any:
    """The issuer's public RSA key of this id, asked for now."""
    import jwt

    described = _ask(f"{issuer}/.well-known/openid-configuration", ends)
    address = str(described.get("jwks_uri", ""))
    if described.get("issuer") != issuer or _origin(address) != _origin(issuer):
        raise _refused(f"{issuer} describes another issuer")
    listed = _ask(address, ends).get("keys")
    for one in listed if isinstance(listed, list) else ():
        if (
            isinstance(one, dict)
            and (one.get("kid"), one.get("kty")) == (kid, "RSA")
            and one.get("use", "sig") == "sig"
            and one.get("alg", "RS256") == "RS256"
        ):
            return jwt.PyJWK.from_dict(one, algorithm="RS256")
    gone = _refused(f"{issuer} has no key {kid}")
    raise _NoKeyError(gone.message, hint=gone.hint)


def _ask(url: str, ends: float, *, token: str = "") -> Mapping[str, Any]:
    """A JSON object from an address, within the deadline."""
    where = urllib.parse.urlsplit(url)
    if where.scheme != "https" and where.hostname != "127.0.0.1":
        raise UnavailableError(f"{where.scheme}://{where.netloc} is not https")
    headers = {"Accept": "application/json", "User-Agent": "gitops-nb"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    request = urllib.request.Request(url, headers=headers)  # noqa: S310  https, checked above
    opening = opener(_NoRedirect)

    def ask() -> bytes:
        with opening.open(request, timeout=5) as answer:
            content: bytes = answer.read(_MAX_BYTES + 1)
            return content

    left = ends - time.monotonic()
    found = within(ask, left)
    place = f"{where.netloc}{where.path}"
    if isinstance(found, urllib.error.HTTPError):
        found.close()
        raise UnavailableError(f"{place} answers {found.code}", hint="Run the job again.")
    if isinstance(found, OSError | ValueError | http.client.HTTPException):
        raise UnavailableError(
            f"{place} does not answer: {found}", hint="Run the job again."
        ) from found
    if isinstance(found, BaseException):
        raise found
    try:
        value = json.loads(found) if len(found) <= _MAX_BYTES else None
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise UnavailableError(f"{place} does not answer a JSON object")
    return value


def _is_door_of(issuer: str, url: str) -> bool:
    """Whether an address is the issuer's own: its token opens identities of this job for any audience.

    GitHub signs at ``token.DOMAIN`` and is asked at other names below DOMAIN; an enterprise server has one name.

    >>> _is_door_of("https://token.actions.example.com", "https://run-1.actions.example.com/x?y=1")
    True
    >>> _is_door_of("https://token.actions.example.com", "https://actions.example.com.evil.example/")
    False
    """
    where, theirs = urllib.parse.urlsplit(url), urllib.parse.urlsplit(issuer)
    if theirs.scheme != "https":
        return _origin(url) == _origin(issuer)
    host, signs_at = where.hostname or "", theirs.hostname or ""
    if where.scheme != "https" or "@" in where.netloc or not _HOST.fullmatch(host):
        return False
    domain = signs_at.removeprefix("token.")
    below = domain if "." in domain else signs_at
    return host in (signs_at, below) or host.endswith(f".{below}")


def _origin(url: str) -> tuple[str, str]:
    where = urllib.parse.urlsplit(url)
    return where.scheme, where.netloc


def _refused(why: str) -> Refused:
    return Refused(
        f"CI's identity does not count: {why}; nothing was asked for",
        hint="Run the workflow again; if that does not help, find out who signed it.",
    )
