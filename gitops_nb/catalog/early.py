"""A first look at parameters without pydantic: wrong ones are refused a few hundred milliseconds sooner.

It judges only what it can read without doubt; everything else is left to the full catalog, which words
every problem of the files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from gitops_nb.catalog import strict_yaml
from gitops_nb.catalog.parameters import merge
from gitops_nb.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class _Parameter:
    type: str
    description: str = ""
    default: Any = None
    required: bool = False
    values: Any = None
    pattern: str | None = None
    allowed: str | None = None


@dataclass(frozen=True, slots=True)
class _Runbook:
    name: str
    parameters: Mapping[str, _Parameter]


@dataclass(frozen=True, slots=True)
class _Fleet:
    environments: Mapping[str, Any]
    applications: Mapping[str, Any]
    clusters: Mapping[str, Any]


def check_early(
    runbooks: Path, name: str, typed: Mapping[str, Any], texts: Mapping[str, str]
) -> None:
    """Raises UsageError when the parameters are wrong beyond doubt; returns otherwise."""
    try:
        runbook = _read_runbook(runbooks, name)
        fleet = strict_yaml.load(runbooks / "fleet.yaml").value
        names = _Fleet(**{f.name: fleet.get(f.name) or {} for f in fields(_Fleet)})
        if not all(
            isinstance(part, dict)
            for part in (names.environments, names.applications, names.clusters)
        ):
            return
    except (ConfigurationError, TypeError, AttributeError):
        return  # the full catalog says what is wrong with the files
    merge(runbook, names, typed, texts)


def _read_runbook(runbooks: Path, name: str) -> _Runbook:
    value = strict_yaml.load(runbooks / f"{name}.yaml").value
    parameters: dict[str, _Parameter] = {}
    for key, declared in (value.get("parameters") or {}).items():
        plain: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in declared.items()
        }
        parameters[key] = _Parameter(**plain)
    return _Runbook(name, parameters)
