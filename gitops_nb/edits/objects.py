"""Nodes to values, as Kubernetes reads them: merge keys, the last of two equal keys, numbers and words of YAML 1.1."""

from __future__ import annotations

import math
from typing import Any

from gitops_nb.edits.nodes import Kind, Node, is_merge
from gitops_nb.edits.reader import MAX_BYTES, read
from gitops_nb.edits.scalars import Value, kubernetes_scalar
from gitops_nb.edits.scalars import key_text as text_of
from gitops_nb.errors import UnreadableFile


def kubernetes_objects(content: bytes, *, max_bytes: int = MAX_BYTES) -> tuple[Any, ...]:
    """The documents of a file as the JSON that Kubernetes makes of them. Empty ones are left out.

    A collection that stands in several places by an alias is one object there; whoever changes a value changes a copy.

    Raises:
        UnreadableFile: Kubernetes would not read it either; see ``reader``.
    """
    values = (value_of(root) for root in read(content, max_bytes=max_bytes).roots)
    return tuple(value for value in values if value is not None)


def value_of(root: Node) -> Any:
    """One document, see ``kubernetes_objects``."""
    return _Reading().value(root)


def name_of(key: Node) -> str:
    """The name of a key in Kubernetes, where ``yes`` and ``true`` are the same one.

    Raises:
        UnreadableFile: It is a collection, or nothing.
    """
    name = text_of(kubernetes_scalar(key)) if key.kind is Kind.SCALAR else None
    if name is None:
        raise UnreadableFile(f"line {key.line}: a key that is no text")
    return name


def merged(key: Node, value: Node) -> list[Node]:
    """The mappings that a merge key brings, the first of them wins.

    Raises:
        UnreadableFile: It brings something else.
    """
    # An alias stands for a mapping only: what it stands for begins above the key.
    is_list = value.kind is Kind.SEQUENCE and value.start > key.start
    found = value.items if is_list else [value]
    if any(each.kind is not Kind.MAPPING for each in found):
        raise UnreadableFile(f"line {value.line}: a merge key without a mapping")
    return found


class _Reading:
    """Each node is read once, however many aliases lead to it."""

    def __init__(self) -> None:
        self._known: dict[int, Any] = {}

    def value(self, node: Node) -> Any:
        if id(node) not in self._known:
            self._known[id(node)] = self._read(node)
        return self._known[id(node)]

    def _read(self, node: Node) -> Any:
        if node.kind is Kind.SCALAR:
            return _finite(kubernetes_scalar(node), node)
        if node.kind is Kind.SEQUENCE:
            return [self.value(item) for item in node.items]
        found: dict[str, Any] = {}
        written: dict[str, Value] = {}
        for key, value in node.pairs:
            if is_merge(key):
                # In the order of the file: go-yaml v2 lets a merge key win over what stands above it.
                for each in reversed(merged(key, value)):
                    found.update(self.value(each))
                continue
            name, own = name_of(key), kubernetes_scalar(key)
            before = written.setdefault(name, own)
            if type(before) is not type(own) or before != own:
                raise UnreadableFile(f"line {key.line}: two keys become {name} in Kubernetes")
            found[name] = self.value(value)
        return found


def _finite(value: Value, node: Node) -> Value:
    if isinstance(value, float) and not math.isfinite(value):
        raise UnreadableFile(f"line {node.line}: {node.value} is no number in JSON")
    return value
