"""Streams of a headless kernel: nothing is asked of the sending thread for nothing, and nothing is left behind."""

from __future__ import annotations

import contextlib
import threading

import pytest
import zmq
from ipykernel.iostream import IOPubThread
from jupyter_client.session import Session

from gitops_nb.notebook.streams import Stream


class Sent(Session):
    """Keeps what is sent instead of sending it."""

    def send(self, _socket, message, *_, **__):
        """Notes the text, on whichever thread."""
        texts.append(message["content"]["text"])


texts: list[str] = []


@pytest.fixture
def stream():
    """A stream with a real sending thread; what is scheduled there is counted."""
    texts.clear()
    with zmq.Context() as context, contextlib.closing(context.socket(zmq.PUB)) as socket:
        thread = IOPubThread(socket)
        thread.start()
        scheduled: list[object] = []
        real = thread.schedule
        thread.schedule = lambda action: scheduled.append(action) or real(action)
        made = Stream(Sent(), thread, "stdout", watchfd=False)
        made.scheduled = scheduled
        yield made
        made.close()
        thread.stop()


def test_a_flush_of_nothing_asks_nobody(stream):
    """Neither at the beginning nor after everything was sent."""
    stream.flush()
    assert stream.scheduled == []
    print("text", file=stream)
    stream.flush()
    before = len(stream.scheduled)
    stream.flush()
    assert len(stream.scheduled) == before > 0


def test_a_flush_returns_when_all_is_sent(stream):
    """Every time, whatever was sent in between by the thread's own clock."""
    for number in range(200):
        stream.write(f"{number};")
        if number % 3 == 0:
            stream.flush()
            assert "".join(texts).endswith(f"{number};")
    stream.flush()
    assert "".join(texts) == "".join(f"{number};" for number in range(200))


def test_threads_lose_nothing(stream):
    """Eight threads write and flush at once: after its flush a thread's own text is out."""
    missing: list[str] = []

    def work(name: int) -> None:
        for number in range(50):
            mine = f"<{name}.{number}>"
            stream.write(mine)
            stream.flush()
            if mine not in "".join(texts):
                missing.append(mine)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert missing == []
    assert "".join(texts).count("<") == 400
