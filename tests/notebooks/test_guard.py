"""No kernel message leaves with a secret in it, whatever its kind; what came in order goes out in order."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from jupyter_client.session import Session

from gitops_nb.notebook.guard import guard_kernel
from gitops_nb.redaction import Redactor

SECRET = "correct-horse-battery"
MASK = "[secret env://S]"


class Socket:
    """Keeps what would go over the wire."""

    def __init__(self) -> None:
        self.parts: list[list[bytes]] = []

    def send_multipart(self, parts: list[Any], **_: Any) -> None:
        self.parts.append([bytes(part) for part in parts])


@pytest.fixture
def wire():
    """A real Jupyter session behind the guard, and what it sent: (type, content, metadata, buffers)."""
    session, socket = Session(key=b"k"), Socket()
    redactor = Redactor()
    redactor.register("env://S", SECRET)
    guard_kernel(SimpleNamespace(kernel=SimpleNamespace(session=session)), redactor)

    def sent() -> list[tuple[str, dict[str, Any], dict[str, Any], list[bytes]]]:
        found = []
        for parts in socket.parts:
            at = parts.index(b"<IDS|MSG>")
            header, _, metadata, content = (json.loads(part) for part in parts[at + 2 : at + 6])
            found.append((header["msg_type"], content, metadata, parts[at + 6 :]))
        return found

    return session, socket, sent


def stream(session: Session, socket: Socket, text: str, name: str = "stdout") -> None:
    session.send(socket, session.msg("stream", {"name": name, "text": text}), ident=b"stream")


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("execute_result", {"data": {"text/plain": SECRET, "text/html": f"<b>{SECRET}</b>"}}),
        ("display_data", {"data": {"application/json": {SECRET: [SECRET]}}}),
        ("update_display_data", {"data": {"application/vnd.plotly.v1+json": {"data": [{"x": [SECRET]}]}}}),
        ("error", {"ename": "E", "evalue": SECRET, "traceback": [f"x {SECRET}", "\x1b[31mred\x1b[0m"]}),
        ("execute_reply", {"status": "error", "evalue": SECRET, "traceback": [SECRET]}),
        ("execute_input", {"code": f"login({SECRET!r})"}),
        ("comm_open", {"comm_id": "1", "data": {"state": {"value": SECRET}}}),
        ("comm_msg", {"comm_id": "1", "data": {"method": "update", "state": {"value": SECRET}}}),
        ("inspect_reply", {"data": {"text/plain": SECRET}}),
        ("history_reply", {"history": [[1, 1, SECRET]]}),
        ("complete_reply", {"matches": [SECRET]}),
        ("input_request", {"prompt": SECRET}),
    ],
)  # fmt: skip
def test_every_kind_of_message_is_masked(wire, kind, content):
    """Content and metadata; the shape of the message stays."""
    session, socket, sent = wire
    session.send(socket, kind, content, metadata={"source": SECRET})
    [(said, shown, metadata, _)] = sent()
    assert said == kind
    assert shown == json.loads(json.dumps(content).replace(SECRET, MASK))
    assert metadata == {"source": MASK}


def test_buffers_of_a_widget_are_withheld(wire):
    """Bytes with a secret in them do not leave; other bytes do."""
    session, socket, sent = wire
    session.send(socket, "comm_msg", {"data": {}}, buffers=[SECRET.encode(), b"pixels"])
    assert sent()[0][3] == [b"", b"pixels"]


def test_a_secret_in_two_messages_is_masked_in_order(wire):
    """Pieces of a stream wait for each other, and nothing overtakes them."""
    session, socket, sent = wire
    stream(session, socket, f"a {SECRET[:7]}")
    stream(session, socket, SECRET[7:])
    stream(session, socket, f" b {SECRET[:5]}", "stderr")
    session.send(socket, "display_data", {"data": {"text/plain": "x"}})
    stream(session, socket, "end corr")
    session.send(socket, "status", {"execution_state": "idle"})
    shown = [(kind, content.get("name"), content.get("text", "")) for kind, content, _, _ in sent()]
    assert "".join(t for _, name, t in shown if name == "stdout") == f"a {MASK}end corr"
    assert "".join(t for _, name, t in shown if name == "stderr") == f" b {SECRET[:5]}"
    kinds = [kind for kind, _, _ in shown]
    assert kinds[-1] == "status"
    assert not [t for _, _, t in shown[: kinds.index("display_data")] if "end" in t]
    assert not [t for _, _, t in shown[kinds.index("display_data") :] if MASK in t or "b " in t]


def test_a_second_run_of_a_kernel_keeps_the_guard(wire):
    """The guard is put up once; the redactor behind it can be another one."""
    session, socket, sent = wire
    other = Redactor()
    other.register("env://T", "another-secret-value")
    guard_kernel(SimpleNamespace(kernel=SimpleNamespace(session=session)), other)
    session.send(socket, "execute_result", {"data": {"text/plain": "another-secret-value"}})
    assert sent()[0][1]["data"]["text/plain"] == "[secret env://T]"


def test_without_a_kernel_there_is_nothing_to_guard():
    """A plain interpreter has no messages."""
    guard_kernel(None, Redactor())
