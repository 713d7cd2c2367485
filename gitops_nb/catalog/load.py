"""Reads the YAML files of a workspace; every problem of all of them at once, as ``file:line: path: problem``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from gitops_nb.catalog import strict_yaml
from gitops_nb.catalog.fleet import Fleet
from gitops_nb.catalog.policies import Policy
from gitops_nb.catalog.runbooks import Runbook
from gitops_nb.errors import ConfigurationError

M = TypeVar("M", bound=BaseModel)
KINDS: dict[str, type[BaseModel]] = {"Fleet": Fleet, "Policy": Policy, "Runbook": Runbook}


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything that a workspace declares. ``digests`` maps a file's name to the SHA-256 of its bytes."""

    fleet: Fleet
    policy: Policy
    runbooks: dict[str, Runbook]


def load_catalog(folder: Path) -> Catalog:
    """Reads fleet.yaml, policy.yaml and all runbooks below ``folder``.

    Raises:
        ConfigurationError: With one line for each problem in any of the files.
    """
    problems: list[str] = []
    fleet = _load(folder / "fleet.yaml", Fleet, problems)
    policy = _load(folder / "policy.yaml", Policy, problems)
    if fleet and policy:
        document = strict_yaml.load(folder / "policy.yaml", name=_name(folder / "policy.yaml"))
        found = policy.problems(tuple(fleet.environments))
        problems += [document.problem(where, text) for where, text in found]
    runbooks: dict[str, Runbook] = {}
    for path in sorted(folder.glob("*.yaml")):
        if path.name in ("fleet.yaml", "policy.yaml"):
            continue
        runbook = _load(path, Runbook, problems)
        if runbook is None:
            continue
        if runbook.name != path.stem:
            problems.append(f"{_name(path)}:1: name: {runbook.name!r} in a file called {path.name}")
        runbooks[runbook.name] = runbook
    if problems or fleet is None or policy is None:
        raise ConfigurationError(
            "\n".join(problems),
            hint=f"Mend {'it' if len(problems) == 1 else 'them'}; nothing was run.",
        )
    return Catalog(fleet, policy, runbooks)


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
    try:
        value = model.model_validate(document.value)
    except ValidationError as error:
        for item in error.errors(include_url=False):
            where = tuple(part for part in item["loc"] if part != "[key]")
            problems.append(document.problem(where, _word(item)))
        return None
    if isinstance(value, Fleet | Runbook):
        problems += [document.problem(where, text) for where, text in value.problems()]
    return value


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
    text = str(item["msg"])
    text = text[:1].lower() + text[1:]
    shown = f", not {given!r}" if isinstance(given, str | int | bool | float | None) else ""
    return f"{text}{shown}"


def _name(path: Path) -> str:
    """How messages call a file: its folder and name, so that they read the same on every machine."""
    return f"{path.parent.name}/{path.name}"
