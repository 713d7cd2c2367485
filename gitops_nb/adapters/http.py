"""Downloads over HTTPS with one deadline over everything."""

from __future__ import annotations

import time
import urllib.error
import urllib.request

from gitops_nb.errors import UnavailableError

MAX_BYTES = 64 * 1024 * 1024
_CHUNK = 64 * 1024


def download(url: str, *, timeout_s: float) -> bytes:
    """The body of an HTTPS answer.

    Raises:
        UnavailableError: No complete answer within ``timeout_s``, however slowly bytes drip, or it is too large.
    """
    deadline = time.monotonic() + timeout_s
    try:
        with urllib.request.urlopen(url, timeout=min(10.0, timeout_s)) as answer:  # noqa: S310  https by the fleet's pattern
            parts: list[bytes] = []
            size = 0
            while chunk := answer.read1(_CHUNK):
                parts.append(chunk)
                size += len(chunk)
                if time.monotonic() > deadline:
                    raise UnavailableError(
                        f"{url} did not end within {timeout_s:g} s", hint="Try again."
                    )
                if size > MAX_BYTES:
                    raise UnavailableError(f"{url} is larger than {MAX_BYTES} bytes")
    except (urllib.error.URLError, TimeoutError, OSError) as error:
        raise UnavailableError(
            f"cannot download {url}: {error}", hint="Check network and proxy."
        ) from error
    return b"".join(parts)
