"""Calls to a Kubernetes API server: the official client's kubeconfig, TLS and proxies; our deadlines and errors.

The client's own timeouts bound each read from the socket, so that a server which drips a byte a second holds a call for
ever. Here every call runs in a thread of its own, and its caller leaves when the total deadline has passed; the thread is a
daemon and ends with its connection or with the process.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlencode

import urllib3
from kubernetes.client import ApiClient
from kubernetes.config import ConfigException

from gitops_nb.adapters.tls import context
from gitops_nb.errors import UnavailableError
from gitops_nb.model import Json

AGENT = "gitops-nb"
DEADLINE_S = 30.0
CONNECT_S = 5.0
READ_S = 20.0
MAX_BYTES = 64 * 1024 * 1024
TRIES = 4
_CHUNK = 64 * 1024

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer of the API server."""

    status: int
    body: bytes
    retry_after_s: float = 0.0

    @property
    def json(self) -> Json:
        """The body as JSON, {} when it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return {}

    @property
    def message(self) -> str:
        """What the API server says about an error."""
        found = self.json
        text = found.get("message") if isinstance(found, dict) else None
        return str(text or self.body[:300].decode(errors="replace") or f"status {self.status}")


class ExpiredWatch(Exception):
    """The API server no longer has the versions that a watch asks for."""


class ApiServer:
    """One API server, called with the credentials of one context."""

    def __init__(self, client: ApiClient, *, deadline_s: float = DEADLINE_S) -> None:
        """Wraps a configured client; ``deadline_s`` bounds each call in all."""
        self._client = client
        self._deadline_s = deadline_s

    @property
    def url(self) -> str:
        """Where it is."""
        return str(self._client.configuration.host)

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Json = None,
        content_type: str = "application/json",
    ) -> Answer:
        """One call within the deadline. Repeats reads, and writes that were certainly not taken."""
        until = time.monotonic() + self._deadline_s
        what = f"{method} {self.url}{path}"

        def once() -> Answer:
            return _read(
                self._open(method, path, query=query or {}, body=body, content_type=content_type)
            )

        for number in range(1, TRIES + 1):
            pause = 0.2 * 2**number
            try:
                answer = self._within(once, what, until=until)
            except UnavailableError:
                if method != "GET" or number == TRIES or time.monotonic() + pause > until:
                    raise
            else:
                is_shed = answer.status == 429 or (method == "GET" and answer.status in (503, 504))
                pause = max(pause, answer.retry_after_s)
                if not is_shed or number == TRIES or time.monotonic() + pause > until:
                    return answer
            time.sleep(pause)
        raise UnavailableError(f"{what} failed {TRIES} times", hint="Check the API server.")

    def fetch(self, url: str) -> Answer:
        """A GET to another server, within the same deadline and without our credentials."""
        pool = urllib3.PoolManager(retries=False, ssl_context=context())
        return self._within(lambda: _read(_request(pool, "GET", url, {}, None, read_s=READ_S)), url)

    def events(self, path: str, query: Mapping[str, str], until: float) -> Iterator[Json]:
        """Events of one watch until the server closes it or the time is over."""
        lines: queue.Queue[bytes | BaseException | None] = queue.Queue()
        is_over = threading.Event()
        remaining = max(1, round(until - time.monotonic()))
        asked = {**query, "watch": "true", "timeoutSeconds": str(remaining)}

        def pump() -> None:
            try:
                answer = self._open("GET", path, query=asked, read_s=remaining + READ_S)
                if answer.status != 200:
                    raise _refusal(Answer(answer.status, answer.read(_CHUNK)), self.url)
                rest = b""
                while not is_over.is_set() and (chunk := answer.read1(_CHUNK)):
                    *whole, rest = (rest + chunk).split(b"\n")
                    for line in whole:
                        lines.put(line)
                answer.close()
                lines.put(None)
            except (
                urllib3.exceptions.HTTPError,
                OSError,
                UnavailableError,
                ExpiredWatch,
            ) as error:
                lines.put(error)

        threading.Thread(target=pump, daemon=True).start()
        try:
            while (left := until - time.monotonic()) > 0:
                line = lines.get(timeout=left)
                if isinstance(line, (UnavailableError, ExpiredWatch)):
                    raise line
                if line is None or isinstance(line, BaseException):
                    return
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise _refusal(Answer(event["object"].get("code", 500), line), self.url)
                yield event
        except queue.Empty:
            return
        finally:
            is_over.set()

    def _open(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str],
        body: Json = None,
        content_type: str = "application/json",
        read_s: float = READ_S,
    ) -> urllib3.BaseHTTPResponse:
        """Sends a request with the context's credentials, which an exec plugin may renew."""
        headers = {"Accept": "application/json", "User-Agent": AGENT}
        for setting in self._client.configuration.auth_settings().values():
            headers[setting["key"]] = setting["value"]
        content = None
        if body is not None:
            headers["Content-Type"] = content_type
            content = json.dumps(body).encode()
        url = f"{self.url}{path}" + (f"?{urlencode(query)}" if query else "")
        pool = self._client.rest_client.pool_manager
        return _request(pool, method, url, headers, content, read_s=read_s)

    def _within(self, act: Callable[[], T], what: str, *, until: float | None = None) -> T:
        """Runs something that may hang, and leaves it behind when the deadline passes."""
        found: queue.Queue[T | BaseException] = queue.Queue()

        def work() -> None:
            try:
                found.put(act())
            except (
                urllib3.exceptions.HTTPError,
                OSError,
                ValueError,
                ConfigException,
            ) as error:
                found.put(error)

        threading.Thread(target=work, daemon=True).start()
        until = time.monotonic() + self._deadline_s if until is None else until
        try:
            result = found.get(timeout=max(0.01, until - time.monotonic()))
        except queue.Empty:
            raise UnavailableError(
                f"{what} did not end within {self._deadline_s:g} s",
                hint="Check the API server and the way to it.",
            ) from None
        if isinstance(result, BaseException):
            raise UnavailableError(
                f"{what} failed: {result}", hint="Check address, proxy and certificates."
            ) from result
        return result

    def checked(self, answer: Answer) -> Answer:
        """The answer, unless it is a refusal, which becomes an UnavailableError."""
        if answer.status >= 400:
            raise _refusal(answer, self.url)
        return answer


def _request(
    pool: Any,
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes | None,
    *,
    read_s: float,
) -> urllib3.BaseHTTPResponse:
    timeout = urllib3.Timeout(connect=CONNECT_S, read=read_s)
    response: urllib3.BaseHTTPResponse = pool.request(
        method,
        url,
        headers=dict(headers),
        body=body,
        timeout=timeout,
        retries=False,
        preload_content=False,
    )
    return response


def _read(response: urllib3.BaseHTTPResponse) -> Answer:
    parts: list[bytes] = []
    size = 0
    while chunk := response.read(_CHUNK):
        parts.append(chunk)
        size += len(chunk)
        if size > MAX_BYTES:
            raise OSError(f"the answer is larger than {MAX_BYTES} bytes")
    response.release_conn()
    pause = response.headers.get("Retry-After", "")
    return Answer(response.status, b"".join(parts), float(pause) if pause.isdigit() else 0.0)


def _refusal(answer: Answer, server: str) -> UnavailableError | ExpiredWatch:
    match answer.status:
        case 410:
            return ExpiredWatch()
        case 401:
            return UnavailableError(
                f"{server} does not know us: {answer.message}", hint="Renew your credentials."
            )
        case 403:
            return UnavailableError(
                f"{server} forbids it: {answer.message}", hint="Ask for the missing permission."
            )
        case 400 | 422:
            return UnavailableError(
                f"{server} refuses the object: {answer.message}", hint="Mend the manifest."
            )
    return UnavailableError(
        f"{server} answers with status {answer.status}: {answer.message}", hint="Try again later."
    )
