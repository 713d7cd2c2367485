"""An issuer of identities for CI jobs, as GitHub's is: real RSA keys, discovery, key list, and the jobs' own door to it."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

REQUEST_TOKEN = "request-token-of-this-job-0123456789"
SHA = "a" * 40
CLAIMS: Mapping[str, Any] = {
    "sub": "repo:acme/platform:environment:production",
    "repository": "acme/platform", "repository_id": "4711", "repository_owner_id": "12",
    "ref": "refs/heads/main", "ref_protected": "true", "sha": SHA, "jti": "1",
    "workflow_ref": "acme/platform/.github/workflows/runbook.yml@refs/heads/main",
    "job_workflow_ref": "acme/platform/.github/workflows/runbook.yml@refs/heads/main",
    "event_name": "workflow_dispatch", "actor": "priya", "actor_id": "99",
    "run_id": "77", "run_attempt": "1", "runner_environment": "github-hosted",
}  # fmt: skip
"""What GitHub says about a job that priya started."""


class LocalIssuer:
    """Signs what it is told to, honest or not; ``claims`` is what the next identity says."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.keys = {
            kid: rsa.generate_private_key(public_exponent=65537, key_size=2048)
            for kid in ("current", "strange")
        }
        self.claims: dict[str, Any] = dict(CLAIMS)
        self.asked: list[str] = []
        self.listed = ["current"]
        self.issuer = url
        self.jwks_uri = f"{url}/jwks"
        self.drips = False
        self.answers_token: str | None = None

    @property
    def request_url(self) -> str:
        """Where a job asks for its identity."""
        return f"{self.url}/token?api-version=2.0"

    def token(
        self, audience: Any, *, kid: str = "current", algorithm: str = "RS256", key: Any = None,
        headers: Mapping[str, Any] | None = None, **changes: Any,
    ) -> str:  # fmt: skip
        """A signed identity; a change to None leaves a claim out."""
        now = int(time.time())
        claims = {
            "iss": self.issuer, "aud": audience, "iat": now, "nbf": now - 5, "exp": now + 300,
            **self.claims, **changes,
        }  # fmt: skip
        claims = {name: value for name, value in claims.items() if value is not None}
        signing = self.keys[kid] if key is None else key
        return jwt.encode(
            claims, signing, algorithm=algorithm, headers={"kid": kid, **(headers or {})}
        )

    def jwks(self) -> dict[str, Any]:
        """Its public keys."""
        return {
            "keys": [
                {
                    **json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.keys[kid].public_key())),
                    "kid": kid, "use": "sig", "alg": "RS256",
                }
                for kid in self.listed
            ]
        }  # fmt: skip


@contextlib.contextmanager
def local_issuer() -> Iterator[LocalIssuer]:
    """A running issuer on a loopback port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer, where = self.server.issuer, urllib.parse.urlsplit(self.path)
            if issuer.drips:
                return self.drip()
            if where.path == "/.well-known/openid-configuration":
                return self.reply(200, {"issuer": issuer.issuer, "jwks_uri": issuer.jwks_uri})
            if where.path == "/jwks":
                return self.reply(200, issuer.jwks())
            if where.path == "/moved":
                self.send_response(302)
                self.send_header("Location", "/jwks")
                return self.end_headers()
            if where.path != "/token":
                return self.reply(404, {})
            if self.headers.get("Authorization") != f"Bearer {REQUEST_TOKEN}":
                return self.reply(401, {})
            (audience,) = urllib.parse.parse_qs(where.query)["audience"]
            issuer.asked.append(audience)
            return self.reply(200, {"value": issuer.answers_token or issuer.token(audience)})

        def reply(self, status: int, value: Any) -> None:
            content = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def drip(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            with contextlib.suppress(OSError):
                while not self.server.stopped.wait(0.1):
                    self.wfile.write(b" ")
                    self.wfile.flush()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.stopped = threading.Event()
        server.issuer = LocalIssuer(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        thread.start()
        try:
            yield server.issuer
        finally:
            server.stopped.set()
            server.shutdown()
            thread.join()
