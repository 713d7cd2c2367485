"""What an act would do to one object, whole: an approver signs every line of it.

Where the reading user may, the API server says what would be stored (a dry run of the very apply), and who owns a field that
would be changed. Values of Secrets are masked; a CustomResourceDefinition, thousands of lines of somebody else's schema, is
named by its digest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from gitops_nb.bootstrap.manifests import ABSENT, Difference, compared, exactly_compared, ref_of
from gitops_nb.errors import ConflictError
from gitops_nb.model import Action, Json, Line, ResourceChange, digest
from gitops_nb.ports import ClusterReader

MASKED = "(a Secret's value, not shown)"
_HIDDEN = ("data", "stringData")
_BY_DIGEST = "CustomResourceDefinition"


@dataclass(frozen=True, slots=True)
class Planned:
    """One change, and what a dry run found: who owns a field of it, or that it could not be tried."""

    change: ResourceChange
    conflict: str = ""
    is_untried: bool = False


def planned(cluster: ClusterReader, live: Json | None, wanted: Json) -> Planned:
    """What an apply of the wanted object would do; an object that is not there yet has no owner to ask about."""
    name = str(ref_of(wanted))
    if live is None:
        return Planned(created(wanted))
    try:
        stored = cluster.try_apply(wanted)
    except ConflictError as error:
        change = ResourceChange(name, Action.UPDATE, diff=_lines(wanted, compared(live, wanted)))
        return Planned(change, conflict=error.message)
    found = compared(live, wanted) if stored is None else exactly_compared(live, stored)
    # The server may find that nothing would change, where our comparison is stricter than its defaults.
    lines = _lines(wanted, found or compared(live, wanted))
    return Planned(ResourceChange(name, Action.UPDATE, diff=lines), is_untried=stored is None)


def created(wanted: Json) -> ResourceChange:
    """An object that would be made, with every line of it."""
    name = str(ref_of(wanted))
    text = _dumped(_masked(wanted))
    if wanted["kind"] == _BY_DIGEST:
        size = len(text.splitlines())
        return ResourceChange(
            name, Action.CREATE, after=f"{size} lines of the install manifest, {digest(wanted)}"
        )
    lines = (Line("+", number, line) for number, line in enumerate(text.splitlines(), start=1))
    return ResourceChange(name, Action.CREATE, diff=tuple(lines))


def _lines(wanted: Json, found: Sequence[Difference]) -> tuple[Line, ...]:
    """Each difference as the lines that go and come, under its path; numbered by the difference."""
    is_secret = wanted["kind"] == "Secret"
    lines: list[Line] = []
    for number, one in enumerate(found, start=1):
        hides = is_secret and one.path.partition(".")[0] in _HIDDEN
        for sign, value in (("-", one.before), ("+", one.after)):
            shown = MASKED if hides and value is not ABSENT else value
            lines += [Line(sign, number, text) for text in _shown(one.path, shown)]
    return tuple(lines)


def _shown(path: str, value: Json) -> Iterator[str]:
    if value is ABSENT:
        return
    if not isinstance(value, dict | list) and "\n" not in str(value):
        yield f"{path}: {_dumped(value).removesuffix(chr(10)).removesuffix('...').strip()}"
        return
    yield f"{path}:"
    yield from (f"  {line}" for line in _dumped(value).splitlines() if line != "...")


def _masked(item: Json) -> Json:
    """A Secret without its values; everything else as it is."""
    if item["kind"] != "Secret":
        return item
    return {
        key: dict.fromkeys(value, MASKED) if key in _HIDDEN and isinstance(value, dict) else value
        for key, value in item.items()
    }


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks, as people write them."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  yaml's signature
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def _dumped(value: Json) -> str:
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100_000)
