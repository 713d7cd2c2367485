"""Patterns of secrets that nobody registered: tokens and keys whose form says what they are.

Each rule has literal triggers, so that a text without any of them costs one pass. The generic "password = ..." is left
out: nearly all of its finds are ordinary configuration.

Source: the rule families of gitleaks, https://github.com/gitleaks/gitleaks, config/gitleaks.toml.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import ahocorasick


@dataclass(frozen=True, slots=True)
class Rule:
    """One family. ``pattern`` has one group: the part that is masked."""

    name: str
    triggers: tuple[str, ...]
    pattern: re.Pattern[str]


_EDGE = r"(?:\b|(?<=\\[nrt])|(?<=\\u00[0-9A-Fa-f]{2})|(?<=%[0-9A-Fa-f]{2}))"
"""Where a token may begin: at the edge of a word, and behind what JSON or an address makes of the character before it."""


def _rule(name: str, triggers: str, pattern: str) -> Rule:
    begun = _EDGE + pattern.removeprefix(r"\b") if pattern.startswith(r"\b") else pattern
    return Rule(name, tuple(triggers.split()), re.compile(begun))


RULES = (
    _rule("private key", "PRIVATE", r"(-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----[\s\S]{16,}?(?:-----END [A-Z ]*-----|\Z))"),
    _rule("AWS access key", "AKIA ASIA ABIA ACCA", r"\b((?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16})\b"),
    _rule("AWS secret key", "aws_secret AWS_SECRET SecretAccessKey secretAccessKey", r"(?i)secret_?access_?key[\"']?\s*[:=]\s*[\"']?([A-Za-z0-9/+=]{40})\b"),
    _rule("GitHub token", "ghp_ gho_ ghu_ ghs_ ghr_", r"\b(gh[pousr]_[A-Za-z0-9]{36,255})\b"),
    _rule("GitHub fine-grained token", "github_pat_", r"\b(github_pat_[A-Za-z0-9_]{22,255})\b"),
    _rule("GitLab token", "glpat- glptt- gldt- glrt-", r"\b(gl(?:pat|ptt|dt|rt)-[A-Za-z0-9_-]{20,})"),
    _rule("Slack token", "xoxb- xoxa- xoxp- xoxr- xoxs- xapp-", r"\b((?:xox[baprs]|xapp)-[A-Za-z0-9-]{10,})"),
    _rule("Slack webhook", "hooks.slack.com", r"(hooks\.slack\.com/(?:services|workflows)/[A-Za-z0-9+/]{20,})"),
    _rule("JSON web token", "eyJ", r"\b(eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{8,})"),
    _rule("Google API key", "AIza", r"\b(AIza[A-Za-z0-9_-]{35})(?![A-Za-z0-9_-])"),
    _rule("Google access token", "ya29.", r"\b(ya29\.[A-Za-z0-9_-]{20,})"),
    _rule("Google client secret", "GOCSPX-", r"\b(GOCSPX-[A-Za-z0-9_-]{20,})"),
    _rule("Vault token", "hvs. hvb. hvr.", r"\b(hv[sbr]\.[A-Za-z0-9_-]{24,})"),
    _rule("npm token", "npm_", r"\b(npm_[A-Za-z0-9]{36})\b"),
    _rule("PyPI token", "pypi-", r"\b(pypi-[A-Za-z0-9_-]{50,})"),
    _rule("Stripe key", "sk_live_ rk_live_ sk_test_", r"\b((?:sk|rk)_(?:live|test)_[A-Za-z0-9]{16,})\b"),
    _rule("SendGrid key", "SG.", r"\b(SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,})"),
    _rule("Azure storage key", "AccountKey=", r"AccountKey=([A-Za-z0-9+/]{40,}={0,2})"),
    _rule("password in an address", "://", r"[a-z][a-z0-9+.-]{1,20}://[^\s/:@\"'<>]{0,100}:([^\s/@\"'<>]{3,200})@"),
    _rule("authorization header", "uthorization", r"(?i)authorization[\"']?\s*[:=]\s*[\"']?(?:bearer|basic|token)\s+([A-Za-z0-9._~+/=-]{8,})"),
    _rule("age key", "AGE-SECRET-KEY-", r"\b(AGE-SECRET-KEY-1[0-9A-Z]{50,})"),
)  # fmt: skip


def pattern_in(text: str) -> str | None:
    """Name of the first rule that the text fits; None when it fits none.

    >>> pattern_in("AKIAQWERTYUIOPASDFGH")
    'AWS access key'
    """
    return next((rule.name for rule in _triggered(text) if rule.pattern.search(text)), None)


def find_and_mask(text: str) -> tuple[str, Mapping[str, int]]:
    """The text with every find of every rule masked, and how many finds each rule had, by its name.

    >>> find_and_mask("git clone https://bot:hunter22@git.example/x")
    ('git clone https://bot:[password in an address]@git.example/x', {'password in an address': 1})
    """
    found: dict[str, int] = {}
    for rule in _triggered(text):
        text, count = rule.pattern.subn(partial(_masked, rule), text)
        if count:
            found[rule.name] = count
    return text, found


def _masked(rule: Rule, match: re.Match[str]) -> str:
    begin, end = match.start(1) - match.start(), match.end(1) - match.start()
    return f"{match[0][:begin]}[{rule.name}]{match[0][end:]}"


def _triggered(text: str) -> list[Rule]:
    """Rules whose trigger the text holds, in their order."""
    if len(text) < 8:
        return []
    found = {number for _, numbers in _triggers().iter(text) for number in numbers}
    return [RULES[number] for number in sorted(found)]


@cache
def _triggers() -> Any:
    automaton = ahocorasick.Automaton()
    for number, rule in enumerate(RULES):
        for trigger in rule.triggers:
            automaton.add_word(trigger, (*automaton.get(trigger, ()), number))
    automaton.make_automaton()
    return automaton
