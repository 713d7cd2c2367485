"""The redactor in front of a kernel: no message leaves it with a secret in it.

Everything that a cell shows goes through one method, ``Session.send`` of the Jupyter protocol: streams, results,
displays, tracebacks, the echo of the code, and the state of widgets. The guard stands there, so a frontend, papermill
and the engine see masked text only, and none of them can write another.

Source: Jupyter messaging protocol, https://jupyter-client.readthedocs.io/en/stable/messaging.html.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gitops_nb.redaction import Redactor, StreamRedactor

_MARK = "_gitops_nb_guard"


def guard_kernel(shell: Any, redactor: Redactor) -> None:
    """Puts the redactor before the messages of the kernel that a shell runs in; without a kernel there are none."""
    session = getattr(getattr(shell, "kernel", None), "session", None)
    if session is None:
        return
    guard = getattr(session, _MARK, None)
    if guard is None:
        guard = Guard(session.send)
        setattr(session, _MARK, guard)
        session.send = guard.send
    guard.redactor = redactor


@dataclass(frozen=True, slots=True)
class _Stream:
    """One of a cell's streams: what is held back of it, and where it goes on."""

    redactor: StreamRedactor
    socket: Any
    parent: dict[str, Any] | None
    ident: Any


class Guard:
    """Stands in for ``Session.send``. Its messages come from the main thread and from the output thread."""

    def __init__(self, send: Callable[..., Any]) -> None:
        self.redactor = Redactor()
        self._send = send
        self._streams: dict[str, _Stream] = {}
        self._lock = threading.RLock()

    def send(  # noqa: PLR0917  the signature of jupyter_client, which is called by position
        self,
        socket: Any,
        message: dict[str, Any] | str,
        content: dict[str, Any] | None = None,
        parent: dict[str, Any] | None = None,
        ident: Any = None,
        buffers: list[Any] | None = None,
        track: bool = False,  # noqa: FBT001, FBT002
        header: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> Any:
        """See ``jupyter_client.session.Session.send``; the message that leaves is masked."""
        kind, shown = message, content or {}
        if isinstance(message, dict):
            kind, shown = message["header"]["msg_type"], message["content"]
        with self._lock:
            if kind == "stream":
                before = message["parent_header"] if isinstance(message, dict) else parent
                return self._feed(_Stream(self._held(shown), socket, before, ident), shown)
            if kind == "status":
                if shown.get("execution_state") == "idle":
                    self._flush()
                return self._send(socket, message, content, parent, ident)
            self._flush()
            masked = self.redactor.json(shown)
            if isinstance(message, dict):
                message = {
                    **message,
                    "content": masked,
                    "metadata": self.redactor.json(message["metadata"]),
                }
                buffers = buffers or message.pop("buffers", None)
            raw = [self.redactor.raw(bytes(buffer)) for buffer in buffers or ()]
            return self._send(
                socket,
                message,
                masked,
                parent,
                ident,
                raw,
                track,
                header,
                self.redactor.json(metadata),
            )

    def _held(self, shown: dict[str, Any]) -> StreamRedactor:
        known = self._streams.get(str(shown.get("name")))
        return known.redactor if known else StreamRedactor(self.redactor)

    def _feed(self, stream: _Stream, shown: dict[str, Any]) -> Any:
        name = str(shown.get("name"))
        self._streams[name] = stream
        return self._show(name, stream, stream.redactor.feed(str(shown.get("text", ""))))

    def _flush(self) -> None:
        """Shows what was held back, before anything that comes after it."""
        for name, stream in self._streams.items():
            self._show(name, stream, stream.redactor.flush())
        self._streams = {}

    def _show(self, name: str, stream: _Stream, text: str) -> Any:
        if not text:
            return None
        content = {"name": name, "text": text}
        return self._send(stream.socket, "stream", content, stream.parent, stream.ident)
