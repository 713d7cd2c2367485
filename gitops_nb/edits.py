"""Byte-faithful edits of YAML: one scalar changes, every other byte stays.

The scalar is found by the parser's marks and replaced in the text; the result is parsed again and must differ in that
one leaf only. What cannot be edited safely is refused with the reason: shared by an alias, inherited by a merge
key, a block or multi-line scalar, duplicate keys.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from gitops_nb.errors import UsageError
from gitops_nb.model import Line

MAX_BYTES = 1024 * 1024
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+/@:-]{0,199}")
"""What may be written as a version: tags, digests, commit ids; nothing YAML could read as structure."""

_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]|\[([A-Za-z0-9_-]+)=([^\]]+)\]")
_BOM = "\ufeff"


class _Fast(getattr(yaml, "CBaseLoader", yaml.BaseLoader)):  # type: ignore[misc]  # libyaml where it is there
    """Gives no thought to the type of each scalar: its text is what is asked for."""

    def resolve(self, *_: Any) -> str:
        """No tag."""
        return ""

    def descend_resolver(self, *_: Any) -> None:
        """Nothing is looked up by place."""

    def ascend_resolver(self) -> None:
        """Nothing is looked up by place."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """A scalar in a file. ``value`` is its text, ``line`` counts from 1, ``start`` and ``end`` are characters."""

    value: str
    line: int
    start: int
    end: int
    style: str


def read_scalar(content: bytes, key: str) -> Scalar:
    """Finds the scalar at ``spec.containers[0].image`` or ``images[name=checkout].newTag``.

    Raises:
        UsageError: The file is not YAML, the key is not there, or it cannot be edited safely.
    """
    return _read(content, key, yaml.SafeLoader)


def _read(content: bytes, key: str, loader: Any) -> Scalar:
    text, _ = _decode(content)
    roots = _compose(text, loader)
    found = [node for root in roots if (node := _walk(root, key)) is not None]
    if not found:
        raise UsageError(f"no key {key}", hint="Check `promotable` in fleet.yaml.")
    if len(found) > 1:
        raise UsageError(f"{len(found)} documents of the file have {key}", hint="Split the file.")
    node = found[0]
    if not isinstance(node, yaml.ScalarNode):
        raise UsageError(f"{key} holds a {node.id}, not one value")
    if node.style in ("|", ">") or node.start_mark.line != node.end_mark.line:
        raise UsageError(f"{key} is written over several lines", hint="Write it on one line.")
    # An alias begins with an asterisk; where there is none, nothing is shared.
    places = (each for root in roots for each in _nodes(root)) if "*" in text else ()
    if sum(1 for each in places if each is node) > 1:
        raise UsageError(
            f"{key} is shared through an alias; editing it would change other places too",
            hint="Write the value out where it is used.",
        )
    return Scalar(
        node.value,
        node.start_mark.line + 1,
        node.start_mark.index,
        node.end_mark.index,
        node.style or "",
    )


def read_part(content: bytes, key: str, part: str) -> str:
    """The promoted text: the whole value, or the tag of the image reference in it.

    Raises:
        UsageError: As in ``read_scalar``, or the value has no tag.
    """
    return PartReader(key, part).read(content)


class PartReader:
    """Reads one part of a file in version after version of it.

    Most versions differ from the one before in that part alone. Where all around it is the same and again something plain
    stands there, what a parser would find is known.
    """

    def __init__(self, key: str, part: str) -> None:
        self._key = key
        self._part = part
        self._around: tuple[bytes, bytes] | None = None
        *path, last = _steps(key)
        # An entry that is found by this very value is another one when it changes.
        self._decides = any(step[0] == "[=]" and step[1:2] == last[:1] for step in path)

    def read(self, content: bytes) -> str:
        """The part in this version; see ``read_part``."""
        value = self._between(content)
        if value is None:
            # Libyaml is twenty times faster than PyYAML's own scanner. That one is asked where to edit: its positions count
            # characters of the text.
            scalar = _read(content, self._key, _Fast)
            value = scalar.value
            self._remember(content, scalar)
        return value if self._part == "value" else split_image(value)[1]

    def _between(self, content: bytes) -> str | None:
        if self._around is None or len(content) > MAX_BYTES:
            return None
        before, after = self._around
        if not (content.startswith(before) and content.endswith(after)):
            return None
        return _plain(content[len(before) : len(content) - len(after)])

    def _remember(self, content: bytes, scalar: Scalar) -> None:
        self._around = None
        text, mark = _decode(content)
        before, after = text[: scalar.start], text[scalar.end :]
        written = text[scalar.start : scalar.end]
        if written == scalar.value and _plain(written.encode()) and not self._decides:
            self._around = ((mark + before).encode(), after.encode())


def _plain(text: bytes) -> str | None:
    """What YAML reads as exactly this text, whatever stands around it as long as it stood around another such text."""
    found = text.decode(errors="replace")
    return found if VERSION.fullmatch(found) and not found.endswith(":") else None


def split_image(reference: str) -> tuple[str, str]:
    """Name and tag of an image reference.

    >>> split_image("registry.example:5000/shop/checkout:v2.31.1")
    ('registry.example:5000/shop/checkout', 'v2.31.1')

    Raises:
        UsageError: It has no tag, or is pinned by a digest.
    """
    if "@" in reference:
        raise UsageError(f"{reference!r} is pinned by digest; its tag says nothing")
    name, colon, tag = reference.rpartition(":")
    if not colon or "/" in tag or not name:
        raise UsageError(f"{reference!r} has no tag")
    return name, tag


def edit_scalar(content: bytes, key: str, part: str, new: str) -> bytes:
    """The file with one scalar replaced.

    Args:
        content: UTF-8, with or without byte order mark, any line ends.
        key: See ``read_scalar``.
        part: "value", or "tag" to replace only the tag of an image reference.
        new: The new text; only characters that ``VERSION`` allows.

    Raises:
        UsageError: It cannot be done without touching anything else.
    """
    if not VERSION.fullmatch(new):
        raise UsageError(f"{new!r} is not a version", hint="Use letters, digits and . _ + / @ : -")
    text, mark = _decode(content)
    scalar = read_scalar(content, key)
    value = new if part == "value" else f"{split_image(scalar.value)[0]}:{new}"
    edited = text[: scalar.start] + _written(value, scalar) + text[scalar.end :]
    before, after = _leaves(text), _leaves(edited)
    changed = [i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b]
    if len(before) != len(after) or len(changed) > 1 or (changed and after[changed[0]][2] != value):
        raise UsageError(f"{key} cannot be edited without changing other parts of the file")
    return (mark + edited).encode()


def diff(before: bytes, after: bytes, *, context: int = 2) -> tuple[Line, ...]:
    """The difference of two texts with ``context`` lines around each change."""
    old = before.decode(errors="replace").splitlines()
    new = after.decode(errors="replace").splitlines()
    lines: list[Line] = []
    for group in difflib.SequenceMatcher(a=old, b=new, autojunk=False).get_grouped_opcodes(context):
        for tag, a1, a2, b1, b2 in group:
            if tag == "equal":
                lines += [Line(" ", b1 + i + 1, new[b1 + i]) for i in range(b2 - b1)]
                continue
            lines += [Line("-", i + 1, old[i]) for i in range(a1, a2)]
            lines += [Line("+", i + 1, new[i]) for i in range(b1, b2)]
    return tuple(lines)


def _written(value: str, scalar: Scalar) -> str:
    """The scalar's new source text, in the quotes the old one had."""
    if scalar.style in ("'", '"'):
        return f"{scalar.style}{value}{scalar.style}"
    resolver: Any = yaml.SafeLoader("")
    is_text = resolver.resolve(yaml.ScalarNode, value, (True, False)) == "tag:yaml.org,2002:str"
    # YAML 1.2 reads more texts as numbers than PyYAML does: 1e5 for one.
    looks_numeric = (
        re.fullmatch(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?", value) is not None
    )
    return value if is_text and not looks_numeric and not value.endswith(":") else f'"{value}"'


def _decode(content: bytes) -> tuple[str, str]:
    if len(content) > MAX_BYTES:
        raise UsageError(f"{len(content)} bytes, at most {MAX_BYTES} are edited")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"not UTF-8 at byte {error.start}") from error
    return (text[1:], _BOM) if text.startswith(_BOM) else (text, "")


def _compose(text: str, loader: Any = yaml.SafeLoader) -> list[Any]:
    try:
        return list(yaml.compose_all(text, Loader=loader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise UsageError(f"not YAML: {where}{getattr(error, 'problem', None) or error}") from error
    except RecursionError:
        raise UsageError("nested too deep to edit") from None


def _steps(key: str) -> list[tuple[str, ...]]:
    steps: list[tuple[str, ...]] = []
    at = 0
    while at < len(key):
        match = _STEP.match(key, at)
        if match is None:
            raise UsageError(
                f"{key!r} is not a key path", hint="Write it like spec.containers[0].image"
            )
        name, index, field, wanted = match.groups()
        steps.append((name,) if name else ("[]", index) if index else ("[=]", field, wanted))
        at = match.end()
    return steps


def _walk(root: Any, key: str) -> Any:
    node = root
    for step in _steps(key):
        match node, step:
            case yaml.SequenceNode(), ("[]", index):
                node = node.value[int(index)] if int(index) < len(node.value) else None
            case yaml.SequenceNode(), ("[=]", field, wanted):
                fitting = [item for item in node.value if _field(item, field) == wanted]
                if len(fitting) > 1:
                    raise UsageError(f"{key}: {len(fitting)} entries have {field} {wanted}")
                node = fitting[0] if fitting else None
            case yaml.MappingNode(), (name,):
                values = [
                    v for k, v in node.value if isinstance(k, yaml.ScalarNode) and k.value == name
                ]
                if len(values) > 1:
                    raise UsageError(f"{key}: {name} stands there {len(values)} times")
                node = values[0] if values else None
            case _:
                return None
        if node is None:
            return None
    return node


def _field(item: Any, field: str) -> str | None:
    if not isinstance(item, yaml.MappingNode):
        return None
    return next(
        (v.value for k, v in item.value if k.value == field and isinstance(v, yaml.ScalarNode)),
        None,
    )


def _nodes(root: Any) -> Iterator[Any]:
    """Every place of the tree, an aliased node once for each place; each node is opened once."""
    stack = [root]
    opened: set[int] = set()
    while stack:
        node = stack.pop()
        yield node
        if isinstance(node, yaml.ScalarNode) or id(node) in opened or node is None:
            continue
        opened.add(id(node))
        if isinstance(node, yaml.MappingNode):
            stack += [part for pair in node.value for part in pair]
        else:
            stack += node.value


def _leaves(text: str) -> list[tuple[str, str, str]]:
    """Kind, tag and text of every node in order: two equal lists mean equal documents."""
    return [
        (
            node.id,
            node.tag,
            node.value if isinstance(node, yaml.ScalarNode) else str(len(node.value)),
        )
        for root in _compose(text)
        for node in _nodes(root)
        if node is not None
    ]
