"""Files with Secrets as people may see them: a number in the place of each value, so that a change shows and nothing else.

Whoever signs a plan has to see what it brings. So what is masked is what Kubernetes surely takes as a value of a Secret, and
nothing else: where that is not sure, the text is shown.
"""

from __future__ import annotations

import codecs
import posixpath
import re
from collections.abc import Iterable, Iterator

from gitops_nb.edits.nodes import Kind, Node, is_merge
from gitops_nb.edits.objects import value_of
from gitops_nb.edits.reader import read
from gitops_nb.errors import UsageError
from gitops_nb.model import Json

KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_HIDDEN = ("data", "stringData")
_SECRET, _GENERATOR = "Secret", "SecretGenerator"
_MAY_NAME = re.compile(rb"ecret|\\|\0")
"""A file without any of these cannot come to the word, whatever quotes, escapes or encoding it has."""
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_VERSION = re.compile(rb"%YAML 1\.[12] *\r?\n(?=---)")
_COMMENT = re.compile(r"(?m)(^|[ \t])#[^\n]*")
_PROGRAMS = (".tpl", ".txt", ".jsonnet", ".libsonnet")
"""Of a file that is called so a program makes objects, whatever stands in it: it is shown."""
_TEXTS = ("", ".yaml", ".yml", ".json", *_PROGRAMS)
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


class Masks:
    """Numbers of values: equal values have the same one, and nobody can guess a value from it."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def number(self, value: str) -> int:
        """The number of a value, the next one where it is new."""
        return self._known.setdefault(value, len(self._known) + 1)


def without_secret_values(
    content: bytes, masks: Masks | None = None, *, path: str = "", is_manifest: bool = True
) -> bytes:
    """A file's text with values of Secrets masked, and with the comments of such documents, where an old value may stand.

    Args:
        content: The file.
        masks: Numbers that were given in the file that this one is compared with.
        path: Where it lies; only a file of kustomize's own name can make Secrets of literals.
        is_manifest: Whether its documents are objects: what a chart calls its values is none, whatever it looks like.
    """
    masks = masks or Masks()
    suffix = posixpath.splitext(path)[1]
    if not is_manifest or suffix in _PROGRAMS or _MAY_NAME.search(content) is None:
        return content
    if content.startswith(_WIDE):
        # Kubernetes reads it, and so has whoever signs.
        content = content.decode("utf-16", "backslashreplace").encode()
    version = _VERSION.match(content)
    if version:
        # It changes nothing for what Kubernetes reads, and this reader refuses it.
        rest = without_secret_values(content[version.end() :], masks, path=path)
        return version[0] + rest
    try:
        source = read(content)
    except UsageError:
        is_text = b"\0" not in content or suffix in _TEXTS
        return content if is_text else whole(content, masks, "it is no text")
    name = posixpath.basename(path)
    hidden = [_hidden(root, is_kustomization=name in KUSTOMIZATIONS) for root in source.roots]
    if not any(hidden):
        return content
    spans = [(node.start, node.end) for own in hidden for node in own]
    # What stands between the texts of a document is a comment or structure.
    texts = sorted({(n.start, n.end) for root in source.roots for n in _scalars([root])})
    ends = [0, *(root.end for root in source.roots)]
    starts = [*(root.start for root in source.roots), len(source.text)]
    comments = [
        span
        for number, own in enumerate(hidden)
        if own
        for span in _comments(source.text, texts, ends[number], starts[number + 1])
    ]
    return _masked(source.text, spans, comments, masks).encode()


def whole(content: bytes, masks: Masks, why: str) -> bytes:
    """What stands for a file that is not shown."""
    number = masks.number(content.decode("latin-1"))
    return f"# not shown: {why}; content number {number}\n".encode()


def _masked(
    text: str,
    values: Iterable[tuple[int, int]],
    comments: Iterable[tuple[int, int]],
    masks: Masks,
) -> str:
    parts: list[str] = []
    at = len(text)
    spans = dict.fromkeys(comments, True) | dict.fromkeys(values, False)
    for start, end in sorted(spans, reverse=True):
        if end > at:
            continue
        ends = "\n" if text[start:end].endswith("\n") else ""
        number = masks.number(text[start:end])
        shown = f'"(a Secret\'s value, number {number})"{ends}'
        if spans[start, end]:
            shown = f"# (a comment, number {number})"
        parts += [text[end:at], shown]
        at = start
    parts.append(text[:at])
    return "".join(reversed(parts))


def _comments(
    text: str, texts: Iterable[tuple[int, int]], begin: int, end: int
) -> Iterator[tuple[int, int]]:
    """Where comments stand in a part of a file: between its scalars, nowhere in them."""
    at = begin
    for start, stop in (*texts, (end, end)):
        if stop <= at and start < end:
            continue
        upto = min(start, end)
        for found in _COMMENT.finditer(text, at, max(at, upto)):
            yield found.end(1), found.end()
        at = max(at, stop)
        if at >= end:
            return


def _hidden(root: Node, *, is_kustomization: bool) -> list[Node]:
    """Scalars of a document that are values of Secrets and nothing else: what an alias takes elsewhere is shown."""
    secret: list[Node] = []
    rest: list[Node] = []
    if is_kustomization and any(key.value == "secretGenerator" for key, _ in root.pairs):
        for key, value in root.pairs:
            generators = value.items if key.value == "secretGenerator" else []
            for name, own in (pair for generator in generators for pair in generator.pairs):
                (secret if name.value == "literals" else rest).append(own)
            if not generators:
                rest.append(value)
    for item, kind in () if secret else _objects(root):
        if kind == _SECRET:
            _split(item, secret, rest)
        elif kind == _GENERATOR:
            for key, value in item.pairs:
                (secret if key.value == "literals" else rest).append(value)
        else:
            rest.append(item)
    if not secret:
        return []
    shown = {id(node) for node in _scalars(rest)}
    return [node for node in _scalars(secret, with_keys=False) if id(node) not in shown]


def _objects(root: Node) -> Iterator[tuple[Node, str]]:
    """The objects of a document and what each is, as Kubernetes reads them; a list holds others."""
    kind = _kind_of(root)
    if not kind.endswith("List"):
        yield root, kind
        return
    for key, value in root.pairs:
        for part in _behind(value) if is_merge(key) else ((key, value),):
            if part[0].value == "items":
                for item in part[1].items:
                    yield item, _kind_of(item, default=_SECRET if kind == "SecretList" else "")


def _kind_of(node: Node, *, default: str = "") -> str:
    """The kind of an object of the core API group or of kustomize's own; "" for all others."""
    if node.kind is not Kind.MAPPING:
        return ""
    try:
        found: Json = value_of(node)
    except UsageError:
        return ""
    kind = str(found.get("kind") or default)
    group = "builtin" if kind == _GENERATOR else "v1"
    return kind if str(found.get("apiVersion") or group) == group else ""


def _split(item: Node, secret: list[Node], rest: list[Node]) -> None:
    """What of a Secret is its values, and what is not; merge keys bring both."""
    for key, value in item.pairs:
        if is_merge(key):
            for part in value.items or [value]:
                _split(part, secret, rest)
        elif key.value in _HIDDEN:
            secret.append(value)
        elif key.value == "metadata":
            for name, own in value.pairs:
                for text, applied in own.pairs if name.value == "annotations" else ():
                    (secret if text.value == LAST_APPLIED else rest).append(applied)
                if name.value != "annotations":
                    rest.append(own)
        elif key.value in ("apiVersion", "kind", "type", "immutable"):
            rest.append(value)


def _behind(value: Node) -> Iterator[tuple[Node, Node]]:
    for part in value.items or [value]:
        yield from part.pairs


def _scalars(nodes: Iterable[Node], *, with_keys: bool = True) -> Iterator[Node]:
    """All scalars below nodes, each once."""
    todo, seen = list(nodes), set()
    while todo:
        node = todo.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if node.kind is Kind.SCALAR:
            yield node
        todo += node.parts if with_keys else (*node.items, *(value for _, value in node.pairs))
