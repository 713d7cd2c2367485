"""Files with Secrets as people may see them: each value as the beginning of its digest, so that a change shows."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

from gitops_nb.edits.nodes import Kind, Node
from gitops_nb.edits.reader import read
from gitops_nb.errors import UsageError

_HIDDEN = ("data", "stringData")
_NAMED = re.compile(rb"""["']?kind["']?\s*:\s*["']?Secret\b""")
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def without_secret_values(content: bytes) -> bytes:
    """A file's text, values of Secrets masked; a file that names a Secret and cannot be read is masked whole."""
    if _NAMED.search(content) is None:
        return content
    try:
        source = read(content)
    except UsageError:
        return f"# not shown: it names a Secret and cannot be read, {_digest(content)}\n".encode()
    text = source.text
    found = sorted(
        {(node.start, node.end) for root in source.roots for node in _values(root)}, reverse=True
    )
    for start, end in found:
        shown = f'"(a Secret\'s value, {_digest(text[start:end].encode())})"'
        text = text[:start] + shown + ("\n" if text[start:end].endswith("\n") else "") + text[end:]
    return text.encode()


def _values(node: Node) -> Iterator[Node]:
    """Scalars that hold values of Secrets, at whatever depth the objects stand: a List holds others."""
    known = {key.value: value for key, value in node.pairs}
    kind = known.get("kind")
    if kind is not None and kind.value == "Secret":
        for name in _HIDDEN:
            yield from _scalars(known[name]) if name in known else ()
        metadata = known.get("metadata")
        for key, value in metadata.pairs if metadata is not None else ():
            if key.value == "annotations":
                yield from (text for name, text in value.pairs if name.value == LAST_APPLIED)
    else:
        for part in node.parts:
            yield from _values(part)


def _scalars(node: Node) -> Iterator[Node]:
    if node.kind is Kind.SCALAR:
        yield node
    for _, value in node.pairs:
        yield from _scalars(value)
    for item in node.items:
        yield from _scalars(item)


def _digest(value: bytes) -> str:
    return f"sha256 {hashlib.sha256(value).hexdigest()[:8]}"
