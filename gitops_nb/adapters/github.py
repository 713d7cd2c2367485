"""GitHub's REST API, read only: pages, rate limits and a deadline over everything.

Source: docs.github.com/rest, "Using pagination", "Rate limits for the REST API", "Best practices".
"""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from email.message import Message
from pathlib import Path
from typing import Any

from gitops_nb.adapters.deadline import within
from gitops_nb.adapters.tls import opener
from gitops_nb.errors import UnavailableError
from gitops_nb.model import Json
from gitops_nb.ports import Clock, Page

_ATTEMPTS = 5
_CALL_S = 30.0
"""Between two bytes of an answer."""
_WHOLE_S = 120.0
"""For one answer as a whole."""
_MAX_BYTES = 64 << 20
_MAX_PAGES = 10_000


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect could carry the token to another server; a renamed repository is told instead."""

    def redirect_request(self, *_: Any) -> None:
        return None


class GitHub:
    """Implements ``ports.ApiReader``.

    Args:
        url: Where the API is; GitHub Enterprise has its own.
        token: Sent to that address only; "" reads what is public.
        clock: Waits when GitHub says how long.
        deadline_s: For one call of ``pages`` with all its waiting.
        trusted: Who vouches for the server; by default this machine's certificate authorities.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str,
        clock: Clock,
        deadline_s: float = 3600,
        trusted: Path | None = None,
    ) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._clock = clock
        self._deadline_s = deadline_s
        self._opener = opener(_NoRedirect, trusted=trusted)

    def pages(
        self, path: str, parameters: Mapping[str, str] | None = None, *, start: str = ""
    ) -> Iterator[Page]:
        """See ``ports.ApiReader.pages``."""
        query = urllib.parse.urlencode({"per_page": "100", **(parameters or {})})
        url = start or f"{self._url}/{path.lstrip('/')}?{query}"
        ends = time.monotonic() + self._deadline_s
        for _ in range(_MAX_PAGES):
            self._check(url)
            body, headers = self._get(url, ends)
            following = _next(headers.get("Link", ""))
            yield Page(body, following, headers.get("ETag", ""))
            if not following:
                return
            url = following
        raise UnavailableError(f"{path} has more than {_MAX_PAGES} pages", hint="Ask for less.")

    def _check(self, url: str) -> None:
        if not url.startswith(f"{self._url}/"):
            raise UnavailableError(
                f"GitHub names {url} as the next page, which is not below {self._url}",
                hint="Check the API's address.",
            )

    def _get(self, url: str, ends: float) -> tuple[Json, Message]:
        problem = ""
        for attempt in range(_ATTEMPTS):
            request = urllib.request.Request(  # noqa: S310  the scheme is the API address's own
                url,
                headers={
                    "Accept": "application/vnd.github+json",
                    "X-GitHub-Api-Version": "2022-11-28",
                    "User-Agent": "gitops-nb",
                    **({"Authorization": f"Bearer {self._token}"} if self._token else {}),
                },
            )
            try:
                content, headers = self._ask(request, min(_WHOLE_S, ends - time.monotonic()))
                if len(content) > _MAX_BYTES:
                    raise UnavailableError(f"{url} answers more than {_MAX_BYTES} bytes")
                return json.loads(content), headers
            except urllib.error.HTTPError as error:
                with error:
                    wait_s = self._wait(error, attempt)
                if wait_s is None:
                    raise UnavailableError(
                        f"GitHub answers {error.code} to {url}", hint=_hint(error.code)
                    ) from error
                problem = f"answers {error.code}"
            except (OSError, ValueError, http.client.HTTPException) as error:
                wait_s, problem = float(2**attempt), f"did not answer: {error}"
            if time.monotonic() + wait_s > ends:
                break
            self._clock.sleep(wait_s)
        raise UnavailableError(
            f"GitHub {problem} to {url}", hint="Collect again later; it goes on from there."
        )

    def _ask(self, request: urllib.request.Request, seconds: float) -> tuple[bytes, Message]:
        """One call that ends in time, however slowly its answer drips."""

        def ask() -> tuple[bytes, Message]:
            with self._opener.open(request, timeout=_CALL_S) as answer:
                return answer.read(_MAX_BYTES + 1), answer.headers

        found = within(ask, seconds)
        if isinstance(found, BaseException):
            raise found
        return found

    def _wait(self, error: urllib.error.HTTPError, attempt: int) -> float | None:
        """Seconds to wait before the same call again; None when it would answer the same."""
        headers = error.headers
        if error.code >= 500:
            return float(2**attempt)
        if error.code not in (403, 429):
            return None
        if (after := headers.get("Retry-After", "")).isdecimal():
            return float(after)
        if headers.get("X-RateLimit-Remaining") == "0":
            reset = float(headers.get("X-RateLimit-Reset") or 0)
            return max(1.0, reset - self._clock.now().timestamp() + 1)
        return 60.0 if error.code == 429 else None


def _next(link: str) -> str:
    for part in link.split(","):
        address, _, relation = part.partition(";")
        if 'rel="next"' in relation:
            return address.strip().strip("<>")
    return ""


def _hint(code: int) -> str:
    if code in (401, 403):
        return "Check the token and what it may read."
    if code in (301, 302, 307, 308):
        return "The repository was renamed; use its new name."
    return "Check owner and name of the repository."
