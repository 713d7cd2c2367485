"""What Argo CD would stumble over in its own settings (argocd-cm) and access rules (argocd-rbac-cm).

Argo CD reads both at run time and says what it cannot read in a log only: a policy line with a field too few leaves the
policy of before in force, and a disabled admin without another way to log in locks everybody out.

Source: Argo CD 3.0, operator-manual/rbac and operator-manual/user-management.
"""

from __future__ import annotations

import csv
import fnmatch
from collections.abc import Iterator, Mapping
from typing import Any

from gitops_nb.edits import kubernetes_objects
from gitops_nb.errors import UnreadableFile

BUILT_IN_ROLES = frozenset({"role:admin", "role:readonly"})
_FIELDS = {"p": 6, "g": 3}
_DEX_CALLBACK = "/api/dex/callback"
_SSO = ("oidc.config", "dex.config")


def settings_problems(settings: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Key and problem of each setting of argocd-cm that cannot be right."""
    url = settings.get("url", "")
    if url and not url.startswith(("https://", "http://localhost", "http://127.0.0.1")):
        yield "url", f"{url!r} is no https address"
    sso = [key for key in _SSO if settings.get(key)]
    if len(sso) > 1:
        yield sso[1], f"stands beside {sso[0]}; Argo CD takes one of them"
    for key in sso:
        found = _mapping(settings[key])
        if found is None:
            yield key, "is not a YAML mapping"
        elif not url:
            yield key, "needs `url`, from which Argo CD makes the address to come back to"
        elif key == "oidc.config":
            yield from _oidc_problems(found)
        else:
            yield from _dex_problems(found, url)
    if settings.get("admin.enabled") == "false" and not (sso or _other_logins(settings)):
        yield "admin.enabled", "is false, and nobody else can log in: no SSO, no other account"


def rbac_problems(rbac: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Key and problem of each entry of argocd-rbac-cm that cannot be right."""
    roles = set(BUILT_IN_ROLES)
    for key in _policies(rbac):
        for number, line in enumerate(rbac[key].splitlines(), start=1):
            try:
                fields = _fields(line)
            except ValueError as error:
                yield key, f"line {number}: {error}"
                continue
            if fields:
                roles.add(fields[1] if fields[0] == "p" else fields[2])
    default = rbac.get("policy.default", "")
    if default and default not in roles:
        yield "policy.default", f"{default} is a role that no policy defines"
    scopes = rbac.get("scopes", "")
    if scopes and not _is_list_of_texts(scopes):
        yield "scopes", f"{scopes!r} is not a list like '[groups, email]'"


def without_logs(rbac: Mapping[str, str]) -> tuple[str, ...]:
    """Subjects that may see applications and not the logs of their pods, which Argo CD 3 grants apart, sorted."""
    rules = [fields for key in _policies(rbac) for fields in _readable(rbac[key])]
    allowed = [fields for fields in rules if fields[0] == "p" and fields[5] == "allow"]
    sees, reads = (
        {fields[1] for fields in allowed if _covers(fields, resource)}
        for resource in ("applications", "logs")
    )
    inherits = {fields[1] for fields in rules if fields[0] == "g" and fields[2] in BUILT_IN_ROLES}
    return tuple(sorted(sees - reads - inherits - BUILT_IN_ROLES))


def issuer(settings: Mapping[str, str]) -> str:
    """The address of the identity provider, "" where Argo CD has none of its own (Dex asks its connectors itself)."""
    found = _mapping(settings.get("oidc.config", "")) or {}
    return str(found.get("issuer", "")).rstrip("/")


def has_sso(settings: Mapping[str, str]) -> bool:
    """Whether people can log in otherwise than with an account of Argo CD's own."""
    return any(settings.get(key) for key in _SSO)


def _policies(rbac: Mapping[str, str]) -> list[str]:
    """Keys that hold policy: policy.csv, and policy.NAME.csv beside it."""
    return sorted(key for key in rbac if key.startswith("policy.") and key.endswith(".csv"))


def _fields(line: str) -> list[str]:
    """The fields of a policy line as Argo CD takes them; empty for a comment.

    Raises:
        ValueError: Argo CD would not take it.
    """
    line = line.strip()
    if not line or line.startswith("#"):
        return []
    try:
        (row,) = csv.reader([line], skipinitialspace=True, strict=True)
    except (csv.Error, ValueError) as error:
        raise ValueError(f"{line!r} is not CSV") from error
    fields = [field.strip() for field in row]
    wanted = _FIELDS.get(fields[0])
    if wanted is None:
        raise ValueError(f"{line!r} begins with neither p nor g")
    if len(fields) != wanted:
        raise ValueError(
            f"{line!r} has {len(fields)} fields; {fields[0]} has {wanted}"
            + (": p, subject, resource, action, object, effect" if wanted == 6 else "")
        )
    if fields[0] == "p" and fields[5] not in ("allow", "deny"):
        raise ValueError(f"{line!r} ends with neither allow nor deny")
    return fields


def _readable(policy: str) -> Iterator[list[str]]:
    for line in policy.splitlines():
        try:
            fields = _fields(line)
        except ValueError:
            continue  # told by ``rbac_problems``
        if fields:
            yield fields


def _covers(fields: list[str], resource: str) -> bool:
    """Whether a rule lets somebody get a resource."""
    return fnmatch.fnmatchcase(resource, fields[2]) and fnmatch.fnmatchcase("get", fields[3])


def _oidc_problems(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in ("issuer", "clientID"):
        if not found.get(name):
            yield "oidc.config", f"has no {name}"
    address = str(found.get("issuer", ""))
    if address and not address.startswith("https://"):
        yield "oidc.config", f"issuer {address!r} is no https address"


def _dex_problems(found: Mapping[str, Any], url: str) -> Iterator[tuple[str, str]]:
    connectors = found.get("connectors")
    if not isinstance(connectors, list) or not connectors:
        yield "dex.config", "has no connectors"
        return
    wanted = f"{url.rstrip('/')}{_DEX_CALLBACK}"
    for connector in connectors:
        config = connector.get("config") if isinstance(connector, dict) else None
        back = config.get("redirectURI") if isinstance(config, dict) else None
        if back is not None and back != wanted:
            yield "dex.config", f"redirectURI is {back!r}; with this `url` it is {wanted!r}"


def _other_logins(settings: Mapping[str, str]) -> bool:
    return any(
        key.startswith("accounts.") and key.count(".") == 1 and "login" in value
        for key, value in settings.items()
    )


def _mapping(text: str) -> dict[str, Any] | None:
    found = _read(text)
    return found if isinstance(found, dict) else None


def _is_list_of_texts(text: str) -> bool:
    found = _read(text)
    return isinstance(found, list) and all(isinstance(item, str) for item in found)


def _read(text: str) -> Any:
    """The value of a setting, read as Argo CD reads it; None where it cannot."""
    try:
        return next(iter(kubernetes_objects(text.encode())), None)
    except UnreadableFile:
        return None
