"""What the engine heard of a run's journal from the process that writes it.

The file itself can be written by the notebook's process, which is of the same user. What that one cannot write is this socket: it
is the writer's and the engine's, and was there before anything of the notebook ran.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading

_HASH = re.compile(rb"[0-9a-f]{64}\n")
HEARD_S = 5.0
"""How long the last words of a process that is gone may take; they are in the socket already."""


class Witness:
    """Listens until the other side is gone.

    Args:
        said: The engine's end of the socket.
        head: Hash of the newest record that the command saw before.
    """

    def __init__(self, said: socket.socket, head: str) -> None:
        self._head = head
        self._said = said
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def head(self) -> str:
        """Hash of the newest record that its process wrote; for when that process is gone."""
        self._thread.join(HEARD_S)
        return self._head

    def _listen(self) -> None:
        # Whatever else is said there is none of its words, and no record is written behind it.
        with contextlib.suppress(OSError), self._said.makefile("rb") as lines:
            for line in lines:
                if _HASH.fullmatch(line):
                    self._head = line[:-1].decode()
