"""Reads the YAML files of a workspace; every problem of all of them at once, as ``file:line: path: problem``."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
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
_MODELS: Mapping[str, type[BaseModel]] = {
    "fleet.yaml": Fleet,
    "policy.yaml": Policy,
    "trust.yaml": Trust,
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
    runbooks = [p.name for p in sorted(folder.glob("*.yaml")) if p.name not in CONFIGURATION_FILES]
    # Without the file nobody's signature counts: that refuses, and is no error.
    listed = ("trust.yaml",) if (folder / "trust.yaml").exists() else ()
    names = ("fleet.yaml", "policy.yaml", *listed, *runbooks)
    return _catalog([_Source(_name(folder / name), folder / name) for name in names])


def parse_catalog(files: Mapping[str, bytes], *, folder: str = "runbooks") -> Catalog:
    """The catalog of files that are held in memory: what was proven of them is what is read.

    Args:
        files: Contents by name, without a folder.
        folder: How messages call the place that they were read from.

    Raises:
        ConfigurationError: See ``load_catalog``.
    """
    names = dict.fromkeys(("fleet.yaml", "policy.yaml", *sorted(files)))
    return _catalog([_Source(f"{folder}/{name}", files.get(name)) for name in names])


@dataclass(frozen=True, slots=True)
class _Source:
    """A file: how messages call it, and where it lies or what it says; None when it is not there."""

    name: str
    place: Path | bytes | None

    @property
    def file(self) -> str:
        """Its name without a folder."""
        return self.name.rpartition("/")[2]

    def read(self) -> strict_yaml.Document:
        """Raises ``ConfigurationError`` when it cannot be read."""
        match self.place:
            case Path():
                return strict_yaml.load(self.place, name=self.name)
            case bytes():
                return strict_yaml.parse(self.place, name=self.name)
        raise ConfigurationError(f"{self.name}:1: (file): No such file or directory")


def _catalog(sources: Sequence[_Source]) -> Catalog:
    problems: list[str] = []
    own = [source for source in sources if source.file in CONFIGURATION_FILES]
    read = {source.file: _load(source, _MODELS[source.file], problems) for source in own}
    parts: dict[str, Any] = {file: found for file, (found, _) in read.items()}
    fleet, policy = parts["fleet.yaml"], parts["policy.yaml"]
    trust = parts.get("trust.yaml", Trust())
    if fleet and fleet.environments and policy and trust:
        document = read["policy.yaml"][1]
        # An environment that is declared wrongly is declared.
        declared = read["fleet.yaml"][1].value["environments"]
        found = policy.problems(tuple(declared), {p.person for p in trust.persons})
        problems += [document.problem(where, text) for where, text in found]
    runbooks: dict[str, Runbook] = {}
    for source in sources:
        if source in own:
            continue
        runbook, _ = _load(source, Runbook, problems)
        if runbook is None:
            continue
        if runbook.name != source.file.removesuffix(".yaml"):
            problems.append(
                f"{source.name}:1: name: {runbook.name!r} in a file called {source.file}"
            )
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
    value, _ = _load(_Source(_name(path), path), model, problems)
    if value is None or problems:
        raise ConfigurationError("\n".join(problems), hint="Mend the file; nothing was run.")
    return value


def _load(
    source: _Source, model: type[M], problems: list[str]
) -> tuple[M | None, strict_yaml.Document]:
    """The model of a file, and the document that it was read from: nothing is read a second time."""
    try:
        document = source.read()
    except ConfigurationError as error:
        problems.append(error.message)
        return None, strict_yaml.Document(source.name, None)
    if not isinstance(document.value, dict):
        problems.append(document.problem((), f"a {model.__name__} is a mapping of names to values"))
        return None, document
    kind = document.value.get("kind", model.__name__)
    if kind != model.__name__:
        problems.append(document.problem(("kind",), f"{kind!r} where {model.__name__!r} is due"))
        return None, document
    value, dropped = _validate(document, model, problems)
    if isinstance(value, Fleet | Runbook | Trust):
        for where, text in value.problems():
            if any(repr(name) in text for name in dropped):
                continue
            # What there is would leave out what was dropped.
            said = text.partition("; there are ")[0] if dropped else text
            problems.append(document.problem(where, said))
    return value, document


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
