"""Reads the YAML files of a workspace; every problem of all of them at once, as ``file:line: path: problem``."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from gitops_nb.catalog import strict_yaml
from gitops_nb.catalog.fields import IN_WORDS
from gitops_nb.catalog.fleet import Fleet
from gitops_nb.catalog.policies import Policy
from gitops_nb.catalog.runbooks import Runbook
from gitops_nb.catalog.trust import Trust
from gitops_nb.errors import ConfigurationError

M = TypeVar("M", bound=BaseModel)
KINDS: dict[str, type[BaseModel]] = {
    "Fleet": Fleet,
    "Policy": Policy,
    "Trust": Trust,
    "Runbook": Runbook,
}
CONFIGURATION_FILES = ("fleet.yaml", "policy.yaml", "trust.yaml")


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything that a workspace declares."""

    fleet: Fleet
    policy: Policy
    runbooks: dict[str, Runbook]
    trust: Trust


def load_catalog(folder: Path) -> Catalog:
    """Reads fleet.yaml, policy.yaml, trust.yaml and all runbooks below ``folder``.

    Raises:
        ConfigurationError: With one line for each problem in any of the files.
    """
    problems: list[str] = []
    fleet = _load(folder / "fleet.yaml", Fleet, problems)
    policy = _load(folder / "policy.yaml", Policy, problems)
    # Without the file nobody's signature counts: that refuses, and is no error.
    listed = folder / "trust.yaml"
    trust = _load(listed, Trust, problems) if listed.exists() else Trust()
    if fleet and fleet.environments and policy and trust:
        document = strict_yaml.load(folder / "policy.yaml", name=_name(folder / "policy.yaml"))
        # An environment that is declared wrongly is declared.
        declared = strict_yaml.load(folder / "fleet.yaml", name="fleet.yaml").value["environments"]
        found = policy.problems(tuple(declared), {p.person for p in trust.persons})
        problems += [document.problem(where, text) for where, text in found]
    runbooks: dict[str, Runbook] = {}
    for path in sorted(folder.glob("*.yaml")):
        if path.name in CONFIGURATION_FILES:
            continue
        runbook = _load(path, Runbook, problems)
        if runbook is None:
            continue
        if runbook.name != path.stem:
            problems.append(f"{_name(path)}:1: name: {runbook.name!r} in a file called {path.name}")
        runbooks[runbook.name] = runbook
    if problems or fleet is None or policy is None or trust is None:
        raise ConfigurationError(
            "\n".join(problems),
            hint=f"Mend {'it' if len(problems) == 1 else 'them'}; nothing was run.",
        )
    return Catalog(fleet, policy, runbooks, trust)


def read_model(path: Path, model: type[M]) -> M:
    """Reads one file as one model.

    Raises:
        ConfigurationError: With one line for each problem.
    """
    problems: list[str] = []
    value = _load(path, model, problems)
    if value is None or problems:
        raise ConfigurationError("\n".join(problems), hint="Mend the file; nothing was run.")
    return value


def _load(path: Path, model: type[M], problems: list[str]) -> M | None:
    name = _name(path)
    try:
        document = strict_yaml.load(path, name=name)
    except ConfigurationError as error:
        problems.append(error.message)
        return None
    if not isinstance(document.value, dict):
        problems.append(document.problem((), f"a {model.__name__} is a mapping of names to values"))
        return None
    kind = document.value.get("kind", model.__name__)
    if kind != model.__name__:
        problems.append(document.problem(("kind",), f"{kind!r} where {model.__name__!r} is due"))
        return None
    value, dropped = _validate(document, model, problems)
    if isinstance(value, Fleet | Runbook | Trust):
        for where, text in value.problems():
            if any(repr(name) in text for name in dropped):
                continue
            # What there is would leave out what was dropped.
            said = text.partition("; there are ")[0] if dropped else text
            problems.append(document.problem(where, said))
    return value


def _validate(
    document: strict_yaml.Document, model: type[M], problems: list[str]
) -> tuple[M | None, frozenset[str]]:
    """The model of a document, without the parts that are wrong, and the names that went with them.

    What is left still shows which of its references lead nowhere, so that a person mends a file once, not twice.
    """
    content = copy.deepcopy(document.value)
    dropped: set[str] = set()
    for attempt in range(_ROUNDS):
        try:
            return model.model_validate(content), frozenset(dropped)
        except ValidationError as error:
            found = error.errors(include_url=False)
            for item in found:
                if _is_only_without(item, found):
                    continue
                where = tuple(part for part in item["loc"] if part != "[key]")
                if attempt == 0:
                    problems.append(document.problem(where, _word(item)))
                dropped |= _drop(content, where)
    return None, frozenset(dropped)


def _is_only_without(item: Any, found: Sequence[Any]) -> bool:
    """Whether a list is too short only because its wrong entries were not counted: those are said."""
    inside = (other["loc"] for other in found if len(other["loc"]) > len(item["loc"]))
    return item["type"] == "too_short" and any(
        where[: len(item["loc"])] == item["loc"] for where in inside
    )


_ROUNDS = 8
"""A part that is wrong can hide one around it; deeper than this a file is only wrong."""


def _drop(content: Any, where: tuple[str | int, ...]) -> set[str]:
    """Takes the smallest named part at or around a place out of a document; returns its name."""
    path = [content]
    for part in where:
        known = path[-1]
        if not isinstance(known, dict) or part not in known:
            break
        path.append(known[part])
    # A part that is missing makes what it is missing from wrong.
    depth = len(path) - 1
    if depth == 0:
        return set()
    return {str(name) for name in [where[depth - 1]] if path[depth - 1].pop(name, None) is not None}


def _word(item: object) -> str:
    """Pydantic's message in this project's style."""
    assert isinstance(item, dict)
    given = item.get("input")
    match item["type"]:
        case "extra_forbidden":
            return "unknown key"
        case "missing":
            return "missing"
        case "literal_error":
            return f"{given!r}; allowed: {item['ctx']['expected']}"
        case "value_error":
            return f"{item['ctx']['error']}"
        case "string_pattern_mismatch":
            pattern = item["ctx"]["pattern"]
            words = IN_WORDS.get(pattern, "of another form, as the file's schema describes it")
            return f"{_cut(given)} is not allowed; it has to be {words}"
    text = str(item["msg"])
    text = text[:1].lower() + text[1:]
    shown = f", not {given!r}" if isinstance(given, str | int | bool | float | None) else ""
    return f"{text}{shown}"


def _cut(given: object) -> str:
    text = repr(given)
    return text if len(text) <= 120 else f"{text[:100]}…"


def _name(path: Path) -> str:
    """How messages call a file: its folder and name, so that they read the same on every machine."""
    return f"{path.parent.name}/{path.name}"
