"""A resolved secret: its value is given out only by name, and never by accident."""

from __future__ import annotations


class Secret:
    """The value behind a reference. Printing, formatting, comparing and pickling it tell nothing.

    Args:
        name: What is shown in its place: its reference.
        value: The value; read it with ``reveal`` where it is handed to the system that needs it.
    """

    __slots__ = ("_value", "name")

    def __init__(self, name: str, value: str) -> None:
        self.name = name
        self._value = value

    def reveal(self) -> str:
        """The value itself. Do not store it, do not put it into a plan."""
        return self._value

    def __repr__(self) -> str:
        return f"[secret {self.name}]"

    def __reduce__(self) -> str:
        raise TypeError("a secret does not leave its process")
