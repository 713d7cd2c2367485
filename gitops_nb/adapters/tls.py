"""Who may answer for an address: whoever a certificate authority of this machine's own store vouches for.

The store is where OpenSSL was built to find it. No variable chooses it: SSL_CERT_FILE, SSL_CERT_DIR, REQUESTS_CA_BUNDLE and the
like could name an authority of whoever sets them. A proxy that HTTPS_PROXY names carries what is said, and cannot answer.

Source: SSL_CTX_load_verify_locations(3ssl); docs.python.org/3/library/ssl.html, "SSLContext.load_verify_locations".
"""

from __future__ import annotations

import ssl
import urllib.request
from pathlib import Path
from typing import Any

from gitops_nb.errors import ConfigurationError

_ELSEWHERE = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Where distributions keep the store, for a Python that was built for another one."""


def authorities() -> Path:
    """The file or folder of this machine's certificate authorities.

    Raises:
        ConfigurationError: There is none where OpenSSL or a distribution has it.
    """
    built = ssl.get_default_verify_paths()
    # The two that no variable has a part in.
    places = [Path(built.openssl_cafile), *map(Path, _ELSEWHERE), Path(built.openssl_capath)]
    for place in places:
        if place.is_file() or (place.is_dir() and any(place.iterdir())):
            return place
    raise ConfigurationError(
        f"this machine has no certificate authorities: there is nothing in {', '.join(map(str, places))}",
        hint="Install the package ca-certificates; variables like SSL_CERT_FILE are not read.",
    )


def context(trusted: Path | None = None) -> ssl.SSLContext:
    """How a server's certificate is checked.

    Args:
        trusted: File or folder of the authorities; this machine's own by default.
    """
    place = authorities() if trusted is None else trusted
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.load_verify_locations(**{"capath" if place.is_dir() else "cafile": str(place)})
    return made


def opener(
    *handlers: urllib.request.BaseHandler | type[urllib.request.BaseHandler],
    trusted: Path | None = None,
) -> urllib.request.OpenerDirector:
    """Opens addresses of https with ``context``; what goes over http, on this machine alone, goes through no proxy."""
    https = urllib.request.HTTPSHandler(context=context(trusted))
    return urllib.request.build_opener(urllib.request.ProxyHandler(_proxies()), https, *handlers)


def settled(session: Any, host: str, trusted: Path | None = None) -> Any:
    """A session of ``requests`` that takes nothing from the environment but the proxy that carries https to a host."""
    session.trust_env = False
    session.verify = str(authorities() if trusted is None else trusted)
    session.proxies = {} if urllib.request.proxy_bypass(host) else _proxies()
    return session


def _proxies() -> dict[str, str]:
    found = urllib.request.getproxies()
    return {"https": found["https"]} if "https" in found else {}
