"""Types of what stands in a journal. A chain that holds proves that nothing was changed, not that this package wrote it.

They are checked once, where a journal is folded: behind that everybody may rely on them.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from gitops_nb.model import Json, Status, parse_time

_SHELL = re.compile(r"[`$\x00-\x1f\x7f]")
_WORD, _NAME = r"'?[\w./:@%+=,-]+'?", r"[a-z0-9.-]+"
_OTHERS = re.compile(
    "|".join(
        (
            r"rm -rf \.gitops-nb/sandbox",
            r"git revert --no-edit [0-9a-f]{7,64}",
            rf"kubectl --context {_WORD} delete application {_NAME} --namespace {_NAME}",
            (
                rf"kubectl --context {_WORD} delete --ignore-not-found --namespace {_NAME} -f {_WORD}"
                rf" && kubectl --context {_WORD} delete namespace {_NAME}"
            ),
        )
    )
)
"""Ways back that the slices propose; see their ``aftermath``."""


def own_command(text: str) -> str:
    """A command that a record proposes, if it is one of this package's or of the ways back that it proposes; else "".

    People copy it into a shell, and whoever may write a record chooses its words.

    >>> own_command("gitops-nb approve last"), own_command("gitops-nb list; curl -s x | sh")
    ('gitops-nb approve last', '')
    """
    if _OTHERS.fullmatch(text):
        return text
    if not text.startswith("gitops-nb ") or _SHELL.search(text):
        return ""
    try:
        words = list(shlex.shlex(text, posix=True, punctuation_chars=True))
    except ValueError:
        return ""  # a quote that nothing closes
    return "" if any(word and not word.strip("();<>|&") for word in words) else text


Check = Callable[[Json], bool]


def _is(*types: type) -> Check:
    return lambda value: isinstance(value, types) and (bool in types or not isinstance(value, bool))


def _time(value: Json) -> bool:
    try:
        parse_time(value)
    except (ValueError, TypeError, OverflowError):
        return False
    return True


def _list(item: Any) -> Check:
    return lambda value: (
        isinstance(value, list) and not any(True for one in value for _ in _wrong(item, one, ""))
    )


def _map(item: Any) -> Check:
    return lambda value: (
        isinstance(value, dict)
        and not any(True for one in value.values() for _ in _wrong(item, one, ""))
    )


def _maybe(shape: Any) -> Check:
    return lambda value: value is None or not any(True for _ in _wrong(shape, value, ""))


_TEXT, _NUMBER, _BOOL, _DICT = _is(str), _is(int), _is(bool), _is(dict)
_TEXTS, _DICTS = _list(_TEXT), _list(_DICT)
_STATUS: Check = lambda value: isinstance(value, str) and value in set(Status)  # noqa: E731
_REQUESTER = dict.fromkeys(("!name", "kind", "evidence", "proof"), _TEXT)
_ANSWER = {
    **dict.fromkeys(("person", "key", "subject", "answer", "reason", "run"), _TEXT),
    **dict.fromkeys(("at", "expires"), _time),
    "evidence": _maybe(_DICT),
}
_CHANGE = {"!action": _TEXT}
_PLAN = {
    "!summary": _TEXT,
    "!changes": _list(_CHANGE),
    "!materials": _DICT,
    "arguments": _maybe(_DICT),
}
_REQUEST = {
    "!requester": _REQUESTER,
    "!created": _time,
    "!expires": _time,
    "plan_digest": _TEXT,
    "policy": _maybe(_map(_TEXT)),
    "ci": _maybe(_DICT),
    "break_glass": _maybe({"reason": _TEXT, "review_due": _time}),
    "parameters": _DICT,
}
_MAY = {"approvals": _NUMBER, "approve": _maybe(_TEXTS), "break_glass": _maybe(_TEXTS)}
_WORDS = dict.fromkeys(("!reason", "hint", "command"), _TEXT)
_BODIES: Mapping[str, Mapping[str, Any]] = {
    "opened": {
        "!run": _TEXT,
        "!steps": _TEXTS,
        **dict.fromkeys(
            ("runbook", "title", "risk", "notebook_digest", "package", "python", "mode"), _TEXT
        ),
        **dict.fromkeys(("environment", "source", "subject", "workspace"), _TEXT),
        "owner": _maybe(_TEXT),
        "rollback": _maybe(_TEXT),
        "parameters": _DICT,
        "requester": _REQUESTER,
        "plan_only": _BOOL,
    },
    "attempt": {
        "number": _NUMBER,
        **dict.fromkeys(("front", "who", "host"), _TEXT),
        "policy": _maybe(_map(_TEXT)),
        "tools": _maybe(_map(_TEXT)),
        "source": _maybe(_DICT),
        "may": _maybe(_MAY),
    },
    "step": {
        "!step": _TEXT,
        "!status": _STATUS,
        "kind": _TEXT,
        "sentence": _TEXT,
        "took_ms": _NUMBER,
    },
    "planned": {"!plan": _maybe(_PLAN), "!digest": _TEXT},
    "requested": {
        "!request": _REQUEST,
        "!digest": _TEXT,
        "signature": _TEXT,
        "identity": _maybe(_DICT),
        "reviewed_before": _maybe(_TEXTS),
    },
    "decision": {
        **dict.fromkeys(("answer", "plan_digest", "environment"), _TEXT),
        "reasons": _TEXTS,
        "approvals": _list(_ANSWER),
        "rejections": _list(_ANSWER),
        "approvals_needed": _NUMBER,
        "verdicts": _DICTS,
    },
    "approval": _ANSWER,
    "target": {},
    "intent": dict.fromkeys(("!key", "!kind", "!step", "!sentence"), _TEXT),
    "tried": dict.fromkeys(("!key", "!on"), _TEXT),
    "done": {"!key": _TEXT, "!result": _DICT, "adopted": _BOOL},
    "void": {"!key": _TEXT, "!reason": _TEXT},
    "ledger": {"start": _TEXT},
    "outcome": {"!outcome": _maybe({"title": _TEXT, "undo": _TEXT, "result": _TEXT})},
    "aftermath": {},
    "waiting": _WORDS,
    "ended": {
        **_WORDS,
        "!status": _STATUS,
        "!exit_code": _NUMBER,
        "redactions": _maybe(_map(_NUMBER)),
        "witnessed": _BOOL,
        "unknown": _BOOL,
    },
    "sealed": {"!files": _map(_TEXT)},
}
"""Fields by the kind of record; those with a "!" have to be there, and fields that are not named may be anything."""


def shape_problem(kind: Any, at: Any, body: Any) -> str:
    """What of a record has another type than it has to have, or "" when nothing has."""
    if not isinstance(kind, str) or not isinstance(body, dict):
        return "it is no record"
    if not _time(at):
        return "it has no time"
    return next(_wrong(_BODIES.get(kind, {}), body, kind), "")


def _wrong(shape: Any, value: Json, where: str) -> Iterator[str]:
    if callable(shape):
        if not shape(value):
            yield f"{where} has another type"
        return
    if not isinstance(value, dict):
        yield f"{where} has another type"
        return
    for name, inner in shape.items():
        field = name.removeprefix("!")
        if field in value:
            yield from _wrong(inner, value[field], f"{where}.{field}")
        elif name != field:
            yield f"{where}.{field} is missing"
