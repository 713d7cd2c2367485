"""Reads the value behind a secret's reference: Google Secret Manager, an environment variable, a private file."""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gitops_nb.errors import UnavailableError, UsageError
from gitops_nb.model import SecretRef

TIMEOUT_S = 30.0
MAX_BYTES = 64 * 1024
"""Secret Manager's own limit for one version."""

_SECRET_MANAGER = "https://secretmanager.googleapis.com"  # noqa: S105  an address


class LocalSecrets:
    """``env://NAME`` and ``file:///path``; implements ``ports.Secrets``."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = os.environ if environment is None else environment

    def read(self, ref: SecretRef) -> str:
        """See ``ports.Secrets.read``."""
        place = urlsplit(ref.uri)
        match place.scheme:
            case "env":
                value = self._environment.get(place.netloc)
                if value is None:
                    raise UsageError(
                        f"{ref.uri}: no such environment variable",
                        hint="Set it for this process only; CI hands it over from its own store.",
                    )
                return value
            case "file":
                return _read_private(Path(place.path), ref)
        raise UsageError(
            f"{ref.uri} cannot be read here", hint="The sandbox knows env:// and file://."
        )


class PlatformSecrets:
    """As ``LocalSecrets``, and ``sm://project/name@version`` from Google Secret Manager.

    Args:
        connect: Opens a session of google-auth that carries the credentials of this process.
        address: Where the API is.

    Source: Secret Manager API, projects.secrets.versions.access, https://cloud.google.com/secret-manager/docs/reference/rest.
    """

    def __init__(self, connect: Callable[[], Any], *, address: str = _SECRET_MANAGER) -> None:
        self._connect = connect
        self._address = address
        self._local = LocalSecrets()

    def read(self, ref: SecretRef) -> str:
        """See ``ports.Secrets.read``."""
        place = urlsplit(ref.uri)
        if place.scheme != "sm":
            return self._local.read(ref)
        name, _, version = place.path.lstrip("/").partition("@")
        path = f"projects/{place.netloc}/secrets/{name}/versions/{version or 'latest'}:access"
        answer = self._get(f"{self._address}/v1/{path}", ref)
        if answer.status_code in (403, 404):
            raise UsageError(
                f"{ref.uri}: Secret Manager answers {answer.status_code}",
                hint="Check project, name and version, and that this identity has secretmanager.versions.access.",
            )
        if answer.status_code != 200:
            raise UnavailableError(
                f"{ref.uri}: Secret Manager answers {answer.status_code}", hint="Try again."
            )
        try:
            return base64.b64decode(answer.json()["payload"]["data"], validate=True).decode()
        except (ValueError, KeyError, TypeError):
            # The answer is not shown: it may be the secret.
            raise UnavailableError(f"{ref.uri}: not an answer of Secret Manager") from None

    def _get(self, url: str, ref: SecretRef) -> Any:
        from google.auth.exceptions import GoogleAuthError
        from requests.exceptions import RequestException

        try:
            return self._connect().get(url, timeout=10.0, max_allowed_time=TIMEOUT_S)
        except (GoogleAuthError, RequestException, OSError) as error:
            raise UnavailableError(
                f"{ref.uri}: Secret Manager cannot be asked ({type(error).__name__})",
                hint="Check the network and `gcloud auth application-default login`.",
            ) from error


def _read_private(path: Path, ref: SecretRef) -> str:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_BYTES:
            raise UsageError(f"{ref.uri} is not a file of at most {MAX_BYTES} bytes")
        if stat.S_IMODE(found.st_mode) & 0o077:
            raise UsageError(
                f"{ref.uri} can be read by others (mode {stat.S_IMODE(found.st_mode):o})",
                hint="Run `chmod 600` on it, and think about whether it is still a secret.",
            )
        return path.read_text(encoding="utf-8").rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise UsageError(f"{ref.uri}: {reason}", hint="Check the path.") from None
