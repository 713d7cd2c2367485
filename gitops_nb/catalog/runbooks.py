"""runbooks/<name>.yaml: title, owner, notebook, risk, and the one declaration of its parameters."""

from __future__ import annotations

import keyword
import re
from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, StrictBool, StringConstraints, model_validator

from gitops_nb.catalog.fields import Duration, Name, RelativePath, Strict, worded
from gitops_nb.model import Risk

Scalar = str | int | bool | None


class Parameter(Strict):
    """One parameter. Its value is checked before a kernel starts, and again in the notebook's first cell."""

    type: Literal["string", "integer", "boolean", "duration", "date", "list", "secret"] = Field(
        description="string, integer, boolean, duration (24h), date (2026-11-23), list (of strings) or secret "
        "(a reference such as sm://project/name, never a value)."
    )
    description: str = Field(min_length=1, description="What it is for, in one sentence.")
    default: Scalar | tuple[str, ...] = Field(default=None, description="Value when none is given.")
    required: StrictBool = Field(default=False, description="True: a value has to be given.")
    values: Literal["environments", "applications", "clusters"] | tuple[str, ...] | None = Field(
        default=None,
        description="Allowed values: a list, or the names of that part of the fleet.",
    )
    pattern: str | None = Field(default=None, description="Regular expression for the whole text.")
    allowed: str | None = Field(
        default=None,
        min_length=1,
        description="What the pattern allows, in words; shown where a value does not fit, else the description is.",
    )

    @model_validator(mode="after")
    def _default_or_required(self) -> Self:
        if self.pattern is not None:
            try:
                re.compile(self.pattern)
            except re.error as error:
                raise ValueError(f"the pattern is no regular expression: {error}") from None
        if self.required and self.default is not None:
            raise ValueError("a required parameter has no default")
        return self


class Timeouts(Strict):
    """How long a supervised run may take; commands have timeouts of their own, declared where they are called."""

    step: Duration = Field(
        default=timedelta(hours=1),
        description="One step, or one cell between two steps; waiting for approval does not count.",
    )
    run: Duration = Field(
        default=timedelta(hours=4), description="The whole run, from its start to its last cell."
    )


class Runbook(Strict):
    """One catalog entry."""

    kind: Literal["Runbook"] = Field(default="Runbook", description="What this file is.")
    name: Name = Field(
        description="Name on the command line; the file and the notebook have it too."
    )
    title: str = Field(min_length=1, max_length=80, description="What it does, for a list.")
    description: str = Field(default="", description="Two sentences for the person who runs it.")
    owner: str = Field(min_length=1, description="Team to ask.")
    notebook: RelativePath = Field(description="File in the notebooks folder.")
    risk: Risk = Field(description="read, change or destroy.")
    parameters: dict[Annotated[str, StringConstraints(max_length=60)], Parameter] = Field(
        default={}, description="Its parameters."
    )
    gates: tuple[Literal["source_healthy", "soak", "freeze", "destructive_change"], ...] = Field(
        default=(),
        description="Gates it asks, as policy.yaml sets them per environment.",
    )
    timeouts: Timeouts = Field(
        default=Timeouts(), description="When a step or the run is stopped, as 30s, 15m or 2h."
    )
    rollback: str = Field(min_length=1, description="How to take the change back.")
    requires: str = Field(
        pattern=worded(r"^gitops_nb([<>=!~]=?[0-9][0-9a-z.]*,?)+\Z", "like gitops_nb>=0.1,<0.2"),
        description="Package versions it works with.",
    )

    def problems(self) -> list[tuple[tuple[str | int, ...], str]]:
        """Parameter names that no cell can bind, and defaults that their own rules refuse."""
        found: list[tuple[tuple[str | int, ...], str]] = []
        for name, parameter in self.parameters.items():
            if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
                found.append((("parameters", name), "not an identifier"))
            allowed = parameter.values
            if (
                isinstance(allowed, tuple)
                and isinstance(parameter.default, str)
                and parameter.default not in allowed
            ):
                found.append(
                    (
                        ("parameters", name, "default"),
                        f"{parameter.default!r} is not one of {', '.join(allowed)}",
                    )
                )
        return found
