"""Sessions with Google's API: credentials are the process's own, and who answers is no choice of its environment."""

from __future__ import annotations

from typing import Any

from gitops_nb.adapters.tls import settled

UNIVERSE = "googleapis.com"
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


def google_session(host: str = UNIVERSE) -> Any:
    """A session with Google's application default credentials, which are got and renewed in the same way.

    Args:
        host: Whom it asks; whether a proxy carries that says the environment.
    """
    import google.auth
    import requests
    from google.auth.transport.requests import AuthorizedSession, Request

    renews = Request(settled(requests.Session(), host))
    credentials, _ = google.auth.default(scopes=[_SCOPE], request=renews)
    session = AuthorizedSession(credentials, auth_request=renews)  # type: ignore[no-untyped-call]  # google-auth has no types here
    return settled(session, host)
