"""Files with Secrets as people may see them: a number in the place of each value, so that a change shows and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gitops_nb.edits.nodes import Kind, Node
from gitops_nb.edits.objects import value_of
from gitops_nb.edits.reader import read
from gitops_nb.errors import UsageError

_HIDDEN = ("data", "stringData")
_KINDS = ("Secret", "SecretList")
_GENERATOR = "SecretGenerator"
_MAY_NAME = re.compile(rb"ecret|\\|\0")
"""A file without any of these cannot come to the word, whatever quotes, escapes or encoding it has."""
_ACTION = re.compile(r"(?s)\{\{.*?\}\}")
_NAMED = re.compile(r"""\bkind\b["']?\s*:\s*(?:[^\w\s]\S*\s+)*["']?Secret(?:List)?\b""")
"""How a text that cannot be read may say that it is one: quotes, a tag or an anchor may stand between."""
_OWN_LINE = re.compile(r"""(?m)^\s*(?:-\s+)?["']?kind["']?\s*:\s*["']?Secret(?:List)?["']?\s*$""")
_VALUES = re.compile(r"""(?m)^\s*["']?(?:data|stringData|items)["']?\s*:""")
_DOCUMENT = re.compile(r"(?m)^(?=---)")
_COMMENT = re.compile(r"(?m)(^|[ \t])#[^\n]*")
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


class Masks:
    """Numbers of values: equal values have the same one, and nobody can guess a value from it."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def number(self, value: str) -> int:
        """The number of a value, the next one where it is new."""
        return self._known.setdefault(value, len(self._known) + 1)


def without_secret_values(content: bytes, masks: Masks | None = None) -> bytes:
    """A file's text with values of Secrets masked, and with its comments, where an old value may stand.

    Of a document that names a Secret and cannot be read, all from its values on is masked.

    Args:
        content: The file.
        masks: Numbers that were given in the file that this one is compared with.
    """
    masks = masks or Masks()
    if _MAY_NAME.search(content) is None:
        return content
    try:
        source = read(content)
        found = sorted(
            {(node.start, node.end) for root in source.roots for node in _values(root)},
            reverse=True,
        )
    except UsageError:
        return _unreadable(content, masks)
    if not found:
        return content
    text, parts, at = source.text, [], len(source.text)
    for start, end in found:
        ends = "\n" if text[start:end].endswith("\n") else ""
        shown = f'"(a Secret\'s value, number {masks.number(text[start:end])})"{ends}'
        parts += [_without_comments(text[end:at], masks), shown]
        at = start
    parts.append(_without_comments(text[:at], masks))
    return "".join(reversed(parts)).encode()


def whole(content: bytes, masks: Masks, why: str) -> bytes:
    """What stands for a file that is not shown."""
    number = masks.number(content.decode("latin-1"))
    return f"# not shown: {why}; content number {number}\n".encode()


def _unreadable(content: bytes, masks: Masks) -> bytes:
    """As much as can be shown of a file that only a program reads, a chart's template most often: by its documents."""
    if b"\0" in content:
        return whole(content, masks, "it is no text")
    text = content.decode(errors="backslashreplace")
    shown: list[str] = []
    for document in _DOCUMENT.split(text):
        said = _ACTION.sub("", _COMMENT.sub("", document))
        if not _NAMED.search(said):
            shown.append(document)
            continue
        values = _VALUES.search(document)
        if not _OWN_LINE.search(said) or said.lstrip("-\n ").startswith("{"):
            hidden = whole(
                document.encode(), masks, "it names a Secret and cannot be read"
            ).decode()
            shown.append(f"---\n{hidden}" if document.startswith("---") else hidden)
        elif values is None:
            shown.append(_without_comments(document, masks))
        else:
            rest = document[values.start() :]
            number = masks.number(rest)
            kept = _without_comments(document[: values.start()], masks)
            shown.append(f"{kept}# not shown: values of a Secret, number {number}\n")
    return "".join(shown).encode()


def _without_comments(text: str, masks: Masks) -> str:
    return _COMMENT.sub(
        lambda found: f"{found[1]}# (a comment, number {masks.number(found[0])})", text
    )


def _values(node: Node, *, is_item: bool = False) -> Iterator[Node]:
    """Scalars that hold values of Secrets, at whatever depth the objects stand: a List holds others."""
    kind = _kind_of(node)
    if is_item or kind in _KINDS:
        yield from _of_secret(node)
        return
    for key, value in node.pairs:
        # A kustomization makes Secrets of what stands here, and so does a generator's own file.
        if key.value == "secretGenerator":
            yield from (text for item in value.items for text in _literals(item))
        elif kind == _GENERATOR and key.value == "literals":
            yield from _scalars(value)
        else:
            yield from _values(value)
    for item in node.items:
        yield from _values(item)


def _literals(generator: Node) -> Iterator[Node]:
    for key, value in generator.pairs:
        if key.value == "literals":
            yield from _scalars(value)


def _of_secret(node: Node) -> Iterator[Node]:
    """Values of one Secret: every key of that name counts, also one that a later one hides or a merge key brings."""
    for key, value in node.pairs:
        if key.value in _HIDDEN:
            yield from _scalars(value)
        elif key.value == "<<":
            for merged in (value, *value.items):
                yield from _of_secret(merged)
        elif key.value == "items":
            for item in value.items:
                yield from _values(item, is_item=True)
        elif key.value == "metadata":
            yield from _last_applied(value)


def _last_applied(metadata: Node) -> Iterator[Node]:
    for key, value in metadata.pairs:
        if key.value == "annotations":
            yield from (text for name, text in value.pairs if name.value == LAST_APPLIED)


def _kind_of(node: Node) -> str:
    """The kind of an object as Kubernetes reads it: by tag, alias, escape or merge key."""
    if node.kind is not Kind.MAPPING:
        return ""
    said = [value.value for key, value in node.pairs if key.value == "kind"]
    group = [value.value for key, value in node.pairs if key.value == "apiVersion"]
    if any("/" in one for one in group) and _GENERATOR not in said:
        return ""  # another API group's, which only has the name
    if any(one in _KINDS for one in said):
        return "Secret"
    if not said and not any(key.value == "<<" for key, _ in node.pairs):
        return ""
    try:
        found = value_of(node)
    except UsageError:
        return said[-1] if said else ""
    return str(found.get("kind") or "") if isinstance(found, dict) else ""


def _scalars(node: Node) -> Iterator[Node]:
    if node.kind is Kind.SCALAR:
        yield node
    for _, value in node.pairs:
        yield from _scalars(value)
    for item in node.items:
        yield from _scalars(item)
