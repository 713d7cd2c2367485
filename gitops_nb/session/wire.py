"""JSON lines over a Unix socket between a notebook's process and the one that calls the verbs."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Mapping
from typing import Any

from gitops_nb import errors
from gitops_nb.errors import GitOpsError, ProcessGone, RecordError
from gitops_nb.model import Json

NOTEBOOK_GONE = "the notebook's process is gone"
"""What an executor says when nobody asks it any more: a process that shows a run has more than one way to end."""


class Wire:
    """One connection; both sides send one JSON object per line.

    Args:
        connection: A connected stream socket.
        gone: What is said when the other side is gone.
        hint: What to do then.
    """

    def __init__(self, connection: socket.socket, *, gone: str, hint: str = "") -> None:
        self._connection = connection
        self._gone = gone
        self._hint = hint
        self._lines = connection.makefile("rb")

    @property
    def peer(self) -> int:
        """Process id of the other side, as the operating system knows it."""
        size = struct.calcsize("3i")
        found = self._connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        return int(struct.unpack("3i", found)[0])

    def send(self, **said: Any) -> None:
        """Sends one object.

        Raises:
            ProcessGone: The other side is gone.
        """
        try:
            self._connection.sendall(json.dumps(said).encode() + b"\n")
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ProcessGone(self._gone, hint=self._hint) from error

    def receive(self) -> Mapping[str, Json] | None:
        """The next object; None when the other side is gone."""
        try:
            line = self._lines.readline()
        except ConnectionResetError:
            return None
        if not line.endswith(b"\n"):
            return None
        value = json.loads(line)
        return value if isinstance(value, dict) else {}

    def close(self) -> None:
        """Closes the connection."""
        self._lines.close()
        self._connection.close()


def said_error(error: GitOpsError) -> Mapping[str, str]:
    """An error as it is sent."""
    return {"error": type(error).__name__, "message": error.message, "hint": error.hint}


def raised(said: Mapping[str, Json]) -> GitOpsError:
    """The error that was sent; one of an unknown name is an internal one."""
    kind = getattr(errors, str(said.get("error")), None)
    if not (isinstance(kind, type) and issubclass(kind, GitOpsError)):
        return RecordError(str(said.get("message")), hint=str(said.get("hint", "")))
    return kind(str(said.get("message")), hint=str(said.get("hint", "")))
