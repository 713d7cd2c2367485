"""Downloads over HTTPS with one deadline over everything."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from gitops_nb.adapters.tls import opener
from gitops_nb.errors import UnavailableError

MAX_BYTES = 64 * 1024 * 1024
_CHUNK = 64 * 1024


class _OnlyHttps(urllib.request.HTTPRedirectHandler):
    """Follows to https alone: whoever is asked over http is answered for by nobody."""

    def redirect_request(self, *asked: Any) -> Any:
        if not str(asked[-1]).startswith("https://"):
            raise urllib.error.URLError(f"it leads to {asked[-1][:100]}, which is not https")
        return super().redirect_request(*asked)


def download(url: str, *, timeout_s: float, trusted: Path | None = None) -> bytes:
    """The body of an HTTPS answer.

    Args:
        url: Its address.
        timeout_s: For all of it.
        trusted: Who vouches for the server; by default this machine's certificate authorities.

    Raises:
        UnavailableError: No complete answer within ``timeout_s``, however slowly bytes drip, or it is too large.
    """
    deadline = time.monotonic() + timeout_s
    try:
        with opener(_OnlyHttps, trusted=trusted).open(url, timeout=min(10.0, timeout_s)) as answer:
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
