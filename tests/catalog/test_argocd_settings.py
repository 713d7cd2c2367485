"""Settings and access rules that Argo CD would stumble over, each named with its key."""

from __future__ import annotations

import pytest

from gitops_nb.catalog.argocd_settings import (
    issuer,
    rbac_problems,
    settings_problems,
    without_logs,
)

OIDC = "issuer: https://id.example/\nclientID: argocd\n"
DEX = "connectors:\n- type: github\n  config: {clientID: x, redirectURI: https://cd.example/api/dex/callback}\n"


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"url": "https://cd.example", "oidc.config": OIDC},
        {"url": "https://cd.example/", "dex.config": DEX},
        {"url": "https://cd.example", "oidc.config": OIDC, "admin.enabled": "false"},
        {"accounts.ci": "apiKey, login", "admin.enabled": "false"},
    ],
)
def test_good_settings_have_no_problem(settings):
    """What a working installation has."""
    assert list(settings_problems(settings)) == []


@pytest.mark.parametrize(
    ("settings", "key", "problem"),
    [
        ({"url": "http://cd.example"}, "url", "no https address"),
        ({"oidc.config": OIDC}, "oidc.config", "needs `url`"),
        ({"url": "https://cd.example", "oidc.config": "- a\n- b"}, "oidc.config", "not a YAML mapping"),
        ({"url": "https://cd.example", "oidc.config": "a: [b"}, "oidc.config", "not a YAML mapping"),
        ({"url": "https://cd.example", "oidc.config": "clientID: x"}, "oidc.config", "has no issuer"),
        ({"url": "https://cd.example", "oidc.config": OIDC.replace("https", "http")}, "oidc.config", "no https address"),
        ({"url": "https://cd.example", "oidc.config": OIDC, "dex.config": DEX}, "dex.config", "takes one of them"),
        ({"url": "https://cd.example", "dex.config": "connectors: []"}, "dex.config", "has no connectors"),
        ({"url": "https://other.example", "dex.config": DEX}, "dex.config", "'https://other.example/api/dex/callback'"),
        ({"admin.enabled": "false"}, "admin.enabled", "nobody else can log in"),
        ({"accounts.ci": "apiKey", "admin.enabled": "false"}, "admin.enabled", "nobody else can log in"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_named(settings, key, problem):
    """Key and problem."""
    found = dict(settings_problems(settings))
    assert problem in found[key]


@pytest.mark.parametrize(
    ("policy", "problem"),
    [
        ("p, role:dev, applications, get, */*", "line 1: 'p, role:dev, applications, get, */*' has 5 fields"),
        ("# fine\n\ng, devs", "line 3: 'g, devs' has 2 fields; g has 3"),
        ("p, role:dev, applications, get, */*, maybe", "neither allow nor deny"),
        ("role:dev, applications, get, */*, allow", "neither p nor g"),
        ('p, "role:dev, applications, get, */*, allow', "is not CSV"),
    ],
)  # fmt: skip
def test_a_policy_line_that_argocd_does_not_take_is_named(policy, problem):
    """With its number; Argo CD itself would only log it and keep the policy of before."""
    ((key, found),) = rbac_problems({"policy.csv": policy})
    assert key == "policy.csv"
    assert problem in found


@pytest.mark.parametrize(
    ("rbac", "problem"),
    [
        ({"policy.default": "role:nobody"}, "role:nobody is a role that no policy defines"),
        ({"scopes": "groups"}, "not a list"),
        ({"scopes": "[groups"}, "not a list"),
    ],
)
def test_a_wrong_default_or_scope_is_named(rbac, problem):
    """A default role that nobody defines grants nothing, silently."""
    ((_, found),) = rbac_problems(rbac)
    assert problem in found


def test_a_default_role_may_come_from_any_policy():
    """policy.csv and policy.NAME.csv are one policy."""
    assert list(rbac_problems({"policy.default": "role:dev", "policy.dev.csv": "p, role:dev, applications, get, */*, allow", "scopes": "[groups, email]"})) == []  # fmt: skip


def test_who_sees_applications_without_their_logs():
    """Argo CD 3 grants logs apart; built-in roles have them, and who inherits one has too."""
    policy = (
        "p, role:dev, applications, *, */*, allow\n"
        "p, role:ops, *, get, */*, allow\n"
        "p, role:qa, applications, get, */*, allow\np, role:qa, logs, get, */*, allow\n"
        "p, guest, applications, get, */*, allow\ng, guest, role:readonly\n"
        "p, role:none, applications, get, */*, deny\n"
    )
    assert without_logs({"policy.csv": policy}) == ("role:dev",)


def test_the_issuer_has_one_form():
    """Without the slash that providers put behind it."""
    assert issuer({"oidc.config": OIDC}) == "https://id.example"
    assert issuer({"dex.config": DEX}) == ""
