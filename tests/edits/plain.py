"""A bare scalar, as the reader makes it."""

from __future__ import annotations

from gitops_nb.edits.nodes import Kind, Node


def plain(text: str) -> Node:
    """A node without quotes and tag."""
    return Node(Kind.SCALAR, 0, len(text), 1, 1, text)
