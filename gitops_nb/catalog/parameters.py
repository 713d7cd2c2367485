"""Parameters: declared in a runbook's YAML, checked before a kernel starts and again in the first cell.

Text from a command line is parsed as the declared type; values from Python or a parameter file must
already have it. That difference refuses what plain papermill injects: 7 for "007", the text "false".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import Any, Protocol

from gitops_nb.catalog.durations import parse_duration
from gitops_nb.errors import UsageError
from gitops_nb.redaction.patterns import pattern_in

Value = str | int | bool | tuple[str, ...] | None


class Parameter(Protocol):
    """One declaration; ``catalog.runbooks.Parameter``, or the same read without pydantic."""

    @property
    def type(self) -> str: ...
    @property
    def default(self) -> Any: ...
    @property
    def required(self) -> bool: ...
    @property
    def values(self) -> str | tuple[str, ...] | None: ...
    @property
    def pattern(self) -> str | None: ...
    @property
    def allowed(self) -> str | None: ...
    @property
    def description(self) -> str: ...


class Runbook(Protocol):
    """Whose parameters they are."""

    @property
    def name(self) -> str: ...
    @property
    def parameters(self) -> Mapping[str, Parameter]: ...


class Fleet(Protocol):
    """Where closed lists of values come from."""

    @property
    def environments(self) -> Mapping[str, Any]: ...
    @property
    def applications(self) -> Mapping[str, Any]: ...
    @property
    def clusters(self) -> Mapping[str, Any]: ...


SECRET_REFERENCE = re.compile(
    r"sm://[a-z0-9:.-]+/[A-Za-z0-9_-]+(@[0-9a-z-]+)?|env://[A-Za-z_][A-Za-z0-9_]*|file:///[^@\s]+"
)
"""What a parameter of type secret may say: where a value is kept, never the value."""

_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")


def merge(
    runbook: Runbook, fleet: Fleet, typed: Mapping[str, Any], texts: Mapping[str, str]
) -> dict[str, Value]:
    """Checks values of a file together with ``-p name=value`` texts; a text wins over the file.

    Raises:
        UsageError: As in ``check``, or a text does not parse as its declared type.
    """
    problems = _unknown(runbook, {**typed, **texts})
    values: dict[str, Any] = {k: v for k, v in typed.items() if k in runbook.parameters}
    for name, text in texts.items():
        parameter = runbook.parameters.get(name)
        if parameter is None:
            continue
        try:
            values[name] = _parse(parameter, text)
        except ValueError as error:
            problems.append(f"{name}: {error}")
    return _finish(runbook, fleet, values, problems)


def check(runbook: Runbook, fleet: Fleet, values: Mapping[str, Any]) -> dict[str, Value]:
    """Checks typed values, fills in defaults, and returns all parameters in the order of the catalog.

    Raises:
        UsageError: One line for each parameter that is unknown, missing, of another type or not allowed.
    """
    return _finish(runbook, fleet, dict(values), _unknown(runbook, values))


def allowed_values(parameter: Parameter, fleet: Fleet) -> tuple[str, ...] | None:
    """The closed list of values, or None when any value of the type will do."""
    match parameter.values:
        case "environments":
            return tuple(fleet.environments)
        case "applications":
            return tuple(fleet.applications)
        case "clusters":
            return tuple(fleet.clusters)
        case tuple() as values:
            return values
    return None


def _unknown(runbook: Runbook, values: Mapping[str, Any]) -> list[str]:
    known = ", ".join(runbook.parameters) or "none"
    problems = []
    for name in values:
        if not name.isidentifier():
            problems.append(f"{name!r}: not an identifier")
        elif name not in runbook.parameters:
            problems.append(f"{name}: unknown parameter; {runbook.name} has {known}")
    return problems


def _finish(
    runbook: Runbook, fleet: Fleet, values: Mapping[str, Any], problems: list[str]
) -> dict[str, Value]:
    result: dict[str, Value] = {}
    for name, parameter in runbook.parameters.items():
        given = values.get(name)
        if name not in values or (given is None and not parameter.required):
            if parameter.required and not any(p.startswith(f"{name}:") for p in problems):
                problems.append(f"{name}: missing; {_expected(parameter, fleet)}")
            result[name] = _as_value(parameter.default)
            continue
        problem = _problem(parameter, given, fleet)
        if problem:
            problems.append(f"{name}: {problem}")
        else:
            result[name] = _as_value(given)
    if problems:
        raise UsageError(
            "\n".join(problems),
            hint=f"`gitops-nb list` shows the parameters of {runbook.name}.",
        )
    return result


def _problem(parameter: Parameter, given: Any, fleet: Fleet) -> str:
    """What is wrong with a typed value, or the empty text."""
    expected = _expected(parameter, fleet)
    match parameter.type:
        case "secret" if not isinstance(given, str):
            return f"it is {_article(type(given).__name__)}; {expected}"
        case "integer":
            fits = isinstance(given, int) and not isinstance(given, bool)
        case "boolean":
            fits = isinstance(given, bool)
        case "list":
            fits = isinstance(given, list | tuple) and all(isinstance(item, str) for item in given)
        case _:
            fits = isinstance(given, str)
    if not fits:
        return f"{given!r} is {_article(type(given).__name__)}; {expected}"
    for item in given if isinstance(given, list | tuple) else (given,):
        if not isinstance(item, str):
            continue
        rule = pattern_in(item)
        if rule is not None:
            return f"it looks like a secret ({rule}); give a reference to where it is kept"
        if not _fits_text(parameter, item, fleet):
            # What was meant as a reference may be the secret itself.
            shown = "the value" if parameter.type == "secret" else repr(item)
            return f"{shown} is not allowed; {expected}"
    return ""


def _fits_text(parameter: Parameter, text: str, fleet: Fleet) -> bool:
    allowed = allowed_values(parameter, fleet)
    if allowed is not None and text not in allowed:
        return False
    if parameter.pattern is not None and not re.fullmatch(parameter.pattern, text):
        return False
    if len(text) > 4096 or any(ord(character) < 32 for character in text):
        return False
    try:
        if parameter.type == "duration":
            parse_duration(text)
        if parameter.type == "date":
            date.fromisoformat(text)
        if parameter.type == "secret":
            return SECRET_REFERENCE.fullmatch(text) is not None
    except ValueError:
        return False
    return True


def _parse(parameter: Parameter, text: str) -> Value:
    match parameter.type:
        case "integer":
            if not _INTEGER.fullmatch(text):
                raise ValueError(f"{text!r} is not a whole number")
            return int(text)
        case "boolean":
            if text not in ("true", "false"):
                raise ValueError(f"{text!r} is not true or false")
            return text == "true"
        case "list":
            return tuple(item for item in text.split(",") if item)
    return text


def _expected(parameter: Parameter, fleet: Fleet) -> str:
    allowed = allowed_values(parameter, fleet)
    if allowed is not None:
        return f"allowed: {', '.join(allowed) or 'nothing, the fleet has none'}"
    match parameter.type:
        case "duration":
            return "a duration such as 24h"
        case "date":
            return "a date such as 2026-11-23"
        case "list":
            return "a list of texts"
        case "secret":
            return "a reference such as sm://project/name@version, env://NAME or file:///path"
    if not parameter.pattern:
        return _article(parameter.type)
    # A pattern is for machines: what it allows is said by whoever wrote the runbook.
    words = (
        parameter.allowed or f"{_article(parameter.type)}, described as: {parameter.description}"
    )
    return f"allowed: {words.strip().rstrip('.')}"


def _article(word: str) -> str:
    words = {
        "str": "text",
        "string": "text",
        "int": "an integer",
        "integer": "an integer",
        "NoneType": "nothing",
    }
    return words.get(word, f"a {word}")


def _as_value(value: Any) -> Value:
    return tuple(value) if isinstance(value, list) else value
