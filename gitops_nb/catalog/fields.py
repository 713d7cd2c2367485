"""Field types that several kinds of file share, and how their problems are worded."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
)

from gitops_nb.catalog.durations import format_duration, parse_duration
from gitops_nb.edits.keys import parse_key
from gitops_nb.errors import UsageError
from gitops_nb.imports import unplugged
from gitops_nb.refs import is_branch

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)  # it has no public name

IN_WORDS: dict[str, str] = {}
"""What each pattern of our files allows, in words: a pattern is never an error message."""


def worded(pattern: str, words: str) -> str:
    """A pattern, with what it allows in words for whoever writes something else; completes "it has to be …"."""
    IN_WORDS[pattern] = words
    return pattern


NAME = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"

Name = Annotated[
    str,
    StringConstraints(
        pattern=worded(
            rf"^{NAME}\Z",
            "a name of lower-case letters, digits and hyphens, 63 at most, that begins and ends with a letter or digit",
        )
    ),
]
"""A DNS label, as Kubernetes names are."""

RelativePath = Annotated[
    str,
    StringConstraints(
        pattern=worded(
            r"^(?!/)(?!.*(^|/)\.\.(/|\Z))[^\x00-\x1f\x7f]{0,500}\Z",
            "a relative path: no slash at the beginning, no `..`, 500 characters at most",
        )
    ),
]
"""A path inside a repository or workspace; never absolute, never with ``..``."""


def _key_path(text: str) -> str:
    try:
        parse_key(text)
    except UsageError as error:
        raise ValueError(f"{error.message}; {error.hint}") from error
    return text


KeyPath = Annotated[str, Field(min_length=1), AfterValidator(_key_path)]
"""A key in a YAML or JSON file of a repository, as ``edits.keys`` has it."""


def _branch(text: str) -> str:
    if not is_branch(text):
        raise ValueError(f"{text!r} is not a branch name that git accepts")
    if text.startswith("refs/"):
        # Git takes it, and means refs/heads/refs/heads/main; Argo CD means another one.
        raise ValueError(
            f"{text!r} is a full reference; a branch is called by its name alone: {text.removeprefix('refs/heads/')!r}"
        )
    return text


Branch = Annotated[str, AfterValidator(_branch)]
"""A branch name; whatever git accepts."""


def _ref(text: str) -> str:
    start = next((each for each in ("refs/heads/", "refs/tags/") if text.startswith(each)), "")
    if not start or not is_branch(text.removeprefix(start)):
        raise ValueError(f"{text!r} is not refs/heads/ or refs/tags/ and a name that git accepts")
    return text


Ref = Annotated[str, AfterValidator(_ref)]
"""A branch or tag in full."""

Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^\d{1,6}[smhdw]$", "examples": ["24h"]}),
]


class _Unplugged(ModelMetaclass):
    """Our files are nobody else's business, and asking who wants to know is slow."""

    def __new__(mcs, *arguments: Any, **named: Any) -> Any:
        with unplugged():
            return super().__new__(mcs, *arguments, **named)


class Strict(BaseModel, metaclass=_Unplugged):
    """Base of every model of a file: unknown keys are errors, values do not change."""

    # The regular expressions use \Z and look-ahead, which the default engine does not have.
    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, regex_engine="python-re"
    )
