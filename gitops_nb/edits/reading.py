"""Reads the text at a key of a file, in one version of it or in version after version."""

from __future__ import annotations

from dataclasses import dataclass

from gitops_nb.edits.images import parse_image
from gitops_nb.edits.keys import Entry, Name, parse_key
from gitops_nb.edits.nodes import LONG, Kind, Node
from gitops_nb.edits.places import Place, find
from gitops_nb.edits.reader import MAX_BYTES, read
from gitops_nb.edits.scalars import is_null, is_text, kubernetes_scalar
from gitops_nb.edits.versions import VERSION
from gitops_nb.errors import UsageError

_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Scalar:
    """A scalar in a file.

    ``value`` is its text as it is written, ``seen`` what Kubernetes makes of it: None for no value at all, a number for ``1.10``.
    ``line`` counts from 1; ``start`` and ``end`` are characters, with anchor and tag.
    """

    value: str
    line: int
    start: int
    end: int
    style: str
    seen: str | float | bool | None

    @property
    def reads_otherwise(self) -> str:
        """What Kubernetes reads instead of the text, in words; "" where it reads the text, or a number of the same digits."""
        if self.seen is None or isinstance(self.seen, str):
            return ""
        shown = str(self.seen).lower().removesuffix(".0")
        if not isinstance(self.seen, bool) and shown == self.value:
            return ""
        kind = "yes or no" if isinstance(self.seen, bool) else "number"
        return f"{self.value} without quotes, which Kubernetes reads as the {kind} {shown}"


def scalar_at(place: Place, key: str) -> Scalar:
    """The scalar at a place.

    Raises:
        UsageError: It is a collection, or no text on one line.
    """
    node = place.node
    if node.kind is not Kind.SCALAR:
        raise UsageError(f"{key} holds a {node.kind}, not one value")
    if node.style in ("|", ">") or node.line != node.last_line:
        raise UsageError(f"{key} is written over several lines", hint="Write it on one line.")
    if node.tag == f"{LONG}binary":
        raise UsageError(f"{key} is tagged !!binary, which is no version")
    seen = kubernetes_scalar(node)
    return Scalar(node.value, node.line, node.start, node.end, node.style, seen)


def read_scalar(content: bytes, key: str) -> Scalar:
    """Finds the scalar at ``spec.containers[0].image``, ``images[name=checkout].newTag`` or ``labels."app.example/version"``.

    Raises:
        UsageError: The file cannot be read, the key is not there, or it is not one text on one line.
    """
    return scalar_at(find(read(content), key, parse_key(key)), key)


def read_part(content: bytes, key: str, part: str) -> str:
    """The promoted text: the whole value, or tag or digest of the image reference in it. No value at all is "".

    Raises:
        UsageError: As in ``read_scalar``, or the image has neither tag nor digest.
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
        self._steps = parse_key(key)
        self._around: tuple[bytes, bytes] | None = None
        *path, last = self._steps
        # An entry that is found by this very value is another one when it changes.
        self._decides = any(
            isinstance(step, Entry) and isinstance(last, Name) and step.field == last.name
            for step in path
        )

    def read(self, content: bytes) -> str:
        """The part in this version; see ``read_part``."""
        value = self._between(content)
        if value is None:
            place = find(read(content), self._key, self._steps)
            value = self._text(scalar_at(place, self._key), place.node)
            self._remember(content, place.node)
        return value if self._part == "value" else parse_image(value).version

    def _text(self, scalar: Scalar, node: Node) -> str:
        if not is_null(node):
            return scalar.value
        if self._part == "value":
            return ""
        raise UsageError(
            f"{self._key} has no value yet",
            hint="Write a first image there; a promotion changes its tag.",
        )

    def _between(self, content: bytes) -> str | None:
        if self._around is None or len(content) > MAX_BYTES:
            return None
        before, after = self._around
        if not (content.startswith(before) and content.endswith(after)):
            return None
        return _plain(content[len(before) : len(content) - len(after)])

    def _remember(self, content: bytes, node: Node) -> None:
        self._around = None
        # An alias or a merge key may make the value decide elsewhere what is found.
        if self._decides or not node.is_plain or b"*" in content:
            return
        mark = _MARK if content.startswith(_MARK) else b""
        text = content[len(mark) :].decode()
        if text[node.start : node.end] == node.value and _plain(node.value.encode()):
            before, after = text[: node.start], text[node.end :]
            self._around = (mark + before.encode(), after.encode())


def _plain(text: bytes) -> str | None:
    """What YAML reads as exactly this text, whatever stands around it as long as it stood around another such text."""
    found = text.decode(errors="replace")
    is_known = VERSION.fullmatch(found) and not found.endswith(":") and is_text(found)
    return found if is_known else None
