"""Objects in a Google Cloud Storage bucket; implements ``ports.Store``.

An object that must not exist yet is created with ``if_generation_match=0``. A refused precondition, a timeout and a lost
reply are all read back: what counts is whether the object holds our content. Every call, with all its tries, ends within
one deadline.

Source: cloud.google.com/storage/docs/request-preconditions, "retry-strategy".
"""

from __future__ import annotations

import os
import random
import re
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from gitops_nb.adapters.deadline import within
from gitops_nb.adapters.folder import check_key
from gitops_nb.adapters.google import UNIVERSE, google_session
from gitops_nb.errors import GitOpsError, UnavailableError, UsageError

T = TypeVar("T")
URL = re.compile(r"gs://(?P<bucket>[a-z0-9][a-z0-9._-]{1,220}[a-z0-9])(?:/(?P<prefix>[^?#]*))?")
GOOGLE = f"https://storage.{UNIVERSE}"
DEADLINE_S = 60.0
_TRY_S = (5.0, 20.0)
"""Connect, and between two bytes of an answer; the deadline bounds the whole."""
_AT_ONCE = 32
_PIECE = 512
_AGAIN = frozenset({408, 429, 500, 502, 503, 504})


def emulator() -> str:
    """The address of an emulator that the environment names, "" where it names none."""
    named = os.environ.get("STORAGE_EMULATOR_HOST", "")
    return named if not named or "://" in named else f"http://{named}"


class Bucket:
    """A bucket, below a prefix, as a store.

    Credentials are Google's application default; an emulator needs none.

    Args:
        url: ``gs://BUCKET/PREFIX``.
        deadline_s: For one call with all its tries.
        endpoint: Who answers; by default the emulator that STORAGE_EMULATOR_HOST names, else Google.
    """

    def __init__(self, url: str, *, deadline_s: float = DEADLINE_S, endpoint: str = "") -> None:
        match = URL.fullmatch(url)
        if match is None:
            raise UsageError(f"{url!r} is not gs://BUCKET/PREFIX", hint="Name a bucket.")
        prefix = (match["prefix"] or "").strip("/")
        if prefix:
            check_key(prefix)
        self.url = url
        self._prefix = f"{prefix}/" if prefix else ""
        self._deadline_s = deadline_s
        self._endpoint = endpoint or emulator() or GOOGLE
        self._name = match["bucket"]
        self._client: Any = None
        self._opening = threading.Lock()

    def create(self, key: str, content: bytes) -> bool:
        """See ``ports.Store.create``."""
        from google.api_core.exceptions import PreconditionFailed

        def upload() -> bool:
            try:
                self._upload(key, content, if_generation_match=0)
            except PreconditionFailed:
                return False
            return True

        # A repeated try after a lost reply is refused too: then what is there is ours.
        return self._call(f"create {key}", upload) or self.read(key) == content

    def read(self, key: str) -> bytes | None:
        """See ``ports.Store.read``."""
        from google.api_core.exceptions import NotFound

        def download() -> bytes | None:
            try:
                content: bytes = self._blob(key).download_as_bytes(timeout=_TRY_S, retry=None)
            except NotFound:
                return None
            return content

        return self._call(f"read {key}", download)

    def read_many(self, keys: Sequence[str]) -> Iterator[bytes | None]:
        """See ``ports.Store.read_many``."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            # Piece by piece: what waits to be used stays small, however many keys there are.
            for begin in range(0, len(keys), _PIECE):
                yield from pool.map(self.read, keys[begin : begin + _PIECE])

    def list(self, prefix: str, *, after: str = "") -> tuple[str, ...]:
        """See ``ports.Store.list``."""

        def names() -> tuple[str, ...]:
            found = self._bucket().list_blobs(
                prefix=self._prefix + prefix,
                start_offset=self._prefix + after if after else None,
                fields="items(name),nextPageToken",
                timeout=_TRY_S,
                retry=None,
            )
            keys = (str(blob.name).removeprefix(self._prefix) for blob in found)
            return tuple(sorted(key for key in keys if key > after))

        return self._call(f"list {prefix}", names)

    def folders(self, prefix: str) -> tuple[str, ...]:
        """See ``ports.Store.folders``."""

        def names() -> tuple[str, ...]:
            found = self._bucket().list_blobs(
                prefix=self._prefix + prefix,
                delimiter="/",
                fields="prefixes,nextPageToken",
                timeout=_TRY_S,
                retry=None,
            )
            for _page in found.pages:
                pass
            skipped = len(self._prefix + prefix)
            return tuple(sorted(str(name)[skipped:].rstrip("/") for name in found.prefixes))

        return self._call(f"list {prefix}", names)

    def replace(self, key: str, content: bytes) -> None:
        """See ``ports.Store.replace``."""
        self._call(f"write {key}", lambda: self._upload(key, content))

    def remove(self, key: str) -> None:
        """See ``ports.Store.remove``."""
        from google.api_core.exceptions import NotFound

        def delete() -> None:
            try:
                self._blob(key).delete(timeout=_TRY_S, retry=None)
            except NotFound:
                return

        self._call(f"remove {key}", delete)

    def _upload(self, key: str, content: bytes, **conditions: int) -> None:
        self._blob(key).upload_from_string(
            content,
            content_type=_content_type(key),
            timeout=_TRY_S,
            retry=None,
            checksum="crc32c",
            **conditions,
        )

    def _blob(self, key: str) -> Any:
        check_key(key)
        return self._bucket().blob(self._prefix + key)

    def _bucket(self) -> Any:
        with self._opening:
            if self._client is None:
                from requests.adapters import HTTPAdapter

                self._client = _client(self._endpoint)
                # The client keeps ten connections; each further one would be thrown away after one answer.
                pool = HTTPAdapter(pool_connections=_AT_ONCE, pool_maxsize=_AT_ONCE)
                for scheme in ("https://", "http://"):
                    self._client._http.mount(scheme, pool)  # noqa: SLF001  it has no option for that
                weakref.finalize(self, self._client.close)
        return self._client.bucket(self._name)

    def _call(self, what: str, act: Callable[[], T]) -> T:
        """Acts until there is an answer, or the deadline has passed."""
        ends = time.monotonic() + self._deadline_s
        attempt = 0
        while True:
            left = ends - time.monotonic()
            outcome = within(act, left)
            if not isinstance(outcome, BaseException):
                return outcome
            if isinstance(outcome, GitOpsError):
                raise outcome
            attempt += 1
            pause = random.uniform(0, min(4.0, 0.05 * 2**attempt))  # noqa: S311  jitter, no secret
            if not _is_passing(outcome) or time.monotonic() + pause > ends:
                raise UnavailableError(
                    f"{self.url} does not {what}: {_said(outcome)}",
                    hint="Check the bucket's name, credentials and network.",
                ) from outcome
            time.sleep(pause)


def _client(endpoint: str) -> Any:
    """A client of Google's library that asks this address, whatever its own variables say."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    options = {"api_endpoint": endpoint, "universe_domain": UNIVERSE}
    if endpoint == GOOGLE:
        session = google_session(GOOGLE.removeprefix("https://"))
        return storage.Client(
            project="none", credentials=session.credentials, _http=session, client_options=options
        )
    credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]  # google-auth has no types here
    return storage.Client(project="none", credentials=credentials, client_options=options)


def _is_passing(error: BaseException) -> bool:
    """Whether the same call may succeed a moment later."""
    import requests
    from google.api_core.exceptions import GoogleAPICallError
    from google.auth.exceptions import TransportError
    from google.resumable_media.common import DataCorruption, InvalidResponse

    match error:
        case GoogleAPICallError():
            return error.code in _AGAIN
        case InvalidResponse():
            return error.response.status_code in _AGAIN
        case (
            requests.ConnectionError()
            | requests.Timeout()
            | requests.exceptions.ChunkedEncodingError()
        ):
            return True
        case TransportError() | DataCorruption() | ConnectionError():
            return True
    return False


def _said(error: BaseException) -> str:
    text = str(getattr(error, "message", "") or error).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__


def _content_type(key: str) -> str:
    kinds = {"html": "text/html; charset=utf-8", "json": "application/json"}
    return kinds.get(key.rpartition(".")[2], "application/octet-stream")
