"""References to secrets: what is there is read, what is not is named without showing anything."""

from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import requests

from gitops_nb.adapters.secrets import LocalSecrets, PlatformSecrets
from gitops_nb.errors import GitOpsError, UnavailableError, UsageError
from gitops_nb.model import SecretRef

VALUE = "corréct horse"


class _SecretManager(BaseHTTPRequestHandler):
    def do_GET(self):
        names = {"latest": VALUE, "3": "older"}
        path, _, verb = self.path.partition(":")
        known = path.startswith("/v1/projects/shop/secrets/db/versions/") and verb == "access"
        value = names.get(path.rpartition("/")[2])
        body = b"{}" if "broken" in path else b"not for you"
        status = 200 if "broken" in path else 403
        if known and value:
            data = base64.b64encode(value.encode()).decode()
            status, body = 200, json.dumps({"payload": {"data": data}}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class _Session(requests.Session):
    """What google-auth's session adds: a limit for the whole call."""

    def get(self, url, *, timeout, max_allowed_time):
        return super().get(url, timeout=min(timeout, max_allowed_time))


@pytest.fixture
def manager():
    """A Secret Manager on loopback with one secret."""
    server = HTTPServer(("127.0.0.1", 0), _SecretManager)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield PlatformSecrets(_Session, address=f"http://127.0.0.1:{server.server_port}")
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(("ref", "value"), [("sm://shop/db", VALUE), ("sm://shop/db@3", "older")])
def test_a_version_of_a_secret_is_read(manager, ref, value):
    """The newest version, or the one that is named."""
    assert manager.read(SecretRef(ref)) == value


@pytest.mark.parametrize(
    ("ref", "error", "text"),
    [
        ("sm://shop/no-such", UsageError, "answers 403"),
        ("sm://shop/broken", UnavailableError, "not an answer"),
        ("env://NO_SUCH", UsageError, "no such environment variable"),
    ],
)
def test_what_is_not_there_is_named(manager, ref, error, text):
    """The reference and the reason; never what the store answered."""
    with pytest.raises(error, match=text) as caught:
        manager.read(SecretRef(ref))
    assert ref in caught.value.message
    assert "not for you" not in caught.value.message


def test_a_store_that_does_not_answer_is_unavailable():
    """A refused connection is exit code 69 and shows no address with credentials."""
    secrets = PlatformSecrets(_Session, address="http://127.0.0.1:9")
    with pytest.raises(UnavailableError, match="cannot be asked"):
        secrets.read(SecretRef("sm://shop/db"))


def test_a_file_has_to_be_private(tmp_path):
    """One that others can read is refused, a private one is read without its line end."""
    path = tmp_path / "token"
    path.write_text(f"{VALUE}\n", encoding="utf-8")
    path.chmod(0o640)
    with pytest.raises(UsageError, match="can be read by others"):
        LocalSecrets().read(SecretRef(f"file://{path}"))
    path.chmod(0o600)
    assert LocalSecrets().read(SecretRef(f"file://{path}")) == VALUE
    with pytest.raises(UsageError, match="No such file"):
        LocalSecrets().read(SecretRef(f"file://{path}x"))


def test_the_sandbox_has_no_secret_manager():
    """Its secrets are those of the process and of private files."""
    with pytest.raises(GitOpsError, match="cannot be read here"):
        LocalSecrets({}).read(SecretRef("sm://shop/db"))
    assert LocalSecrets({"A": VALUE}).read(SecretRef("env://A")) == VALUE
