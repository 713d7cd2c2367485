"""Who answers for a Git host, an issuer or a bucket is vouched for by this machine's authorities; no variable names others."""

from __future__ import annotations

import time
import urllib.error
from types import SimpleNamespace

import pytest
import requests

from gitops_nb.adapters import oidc
from gitops_nb.adapters.github import GitHub
from gitops_nb.adapters.http import download
from gitops_nb.adapters.oidc import prove, verify_kept
from gitops_nb.adapters.tls import authorities, opener, settled
from gitops_nb.errors import Refused, UnavailableError
from tests.authorities import authority, https_server, proxy_to
from tests.issuer import local_issuer

VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
PROXIES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "NO_PROXY")
CLOCK = SimpleNamespace(sleep=lambda _: None)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    for name in (*PROXIES, "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def true(tmp_path):
    """A certificate that a test trusts by a parameter."""
    return authority(tmp_path, "true")


@pytest.fixture
def other(tmp_path, monkeypatch):
    """A certificate of somebody else, whom every variable calls an authority."""
    path = authority(tmp_path, "other")
    for name in VARIABLES:
        monkeypatch.setenv(name, str(path))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    return path


def asked_of_github(url: str, **options):
    return next(GitHub(url, token="", clock=CLOCK, deadline_s=30, **options).pages("x")).items


def test_no_variable_vouches_for_a_server(other, true):
    """Git host, issuer, download and session refuse whom a variable vouches for; a parameter of a test is obeyed."""
    kept = {"protected": "e30", "payload": "e30", "signature": "e30"}
    with https_server(other) as server:
        url = f"https://127.0.0.1:{server.server_port}"
        with pytest.raises(UnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
            asked_of_github(url)
        with pytest.raises(UnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
            download(url, timeout_s=10)
        with pytest.raises(requests.exceptions.SSLError):
            settled(requests.Session(), "127.0.0.1").get(url, timeout=10)
        token = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImEifQ"
        proof = {**kept, "protected": token}
        identity = {"issuer": url, "kid": "a", "claims": {}, "token": proof}
        with pytest.raises(UnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
            verify_kept(identity, issuer=url)
        assert server.asked == []
    with https_server(true) as server:
        url = f"https://127.0.0.1:{server.server_port}"
        assert asked_of_github(url, trusted=true) == ["true"]
        assert download(url, timeout_s=10, trusted=true) == b'["true"]'
        session = settled(requests.Session(), "127.0.0.1", true)
        assert session.get(url, timeout=10).json() == ["true"]


def test_a_proxy_carries_and_does_not_answer(other, true, monkeypatch):
    """It leads to whomever it likes: only who is asked for is believed."""
    with https_server(true) as server, https_server(other) as trap:
        url = f"https://127.0.0.1:{server.server_port}"
        with proxy_to(server.server_port) as honest:
            monkeypatch.setenv("HTTPS_PROXY", honest)
            assert asked_of_github(url, trusted=true) == ["true"]
            session = settled(requests.Session(), "127.0.0.1", true)
            assert session.get(url, timeout=10).json() == ["true"]
        with proxy_to(trap.server_port) as lying:
            monkeypatch.setenv("HTTPS_PROXY", lying)
            with pytest.raises(UnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
                asked_of_github(url, trusted=true)
        assert trap.asked == []


def test_what_goes_over_http_on_this_machine_goes_through_no_proxy(monkeypatch):
    """Nobody vouches for an answer there."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with local_issuer() as issuer:
        token = dict(
            zip(("protected", "payload", "signature"), issuer.token("x").split("."), strict=True)
        )
        identity = {"issuer": issuer.url, "kid": "current", "token": token}
        assert "says something else" in verify_kept(identity, issuer=issuer.url)


def test_a_download_is_not_led_away_from_https(true):
    """A server that is vouched for may not hand over to one that nobody vouches for."""
    from gitops_nb.adapters.http import _OnlyHttps

    with pytest.raises(urllib.error.URLError, match="is not https"):
        _OnlyHttps().redirect_request(None, None, 302, "", {}, "http://127.0.0.1/x")


def test_this_machine_has_authorities_where_openssl_looks(other):
    """Whatever variables say: a file or folder of the system, made into a context within a moment."""
    begin = time.monotonic()
    assert other.parent not in (authorities(), *authorities().parents)
    assert opener()
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize(
    "asks",
    [
        "http://{door}", "https://evil.example", "https://token.actions.example.com.evil.example",
        "https://eve@run-1.actions.example.com", "https://evil.example#.actions.example.com",
        "https://evilactions.example.com", "http://run-1.actions.example.com", "",
    ],
)  # fmt: skip
def test_the_jobs_token_is_sent_to_its_issuer_alone(asks):
    """It opens identities of the job for any audience: a variable does not choose who gets it."""
    with local_issuer() as issuer:
        address = asks.format(door=issuer.url.removeprefix("http://"))
        with pytest.raises(Refused, match="the job's token was not sent there"):
            prove(address, "t" * 40, audience="a", issuer="https://token.actions.example.com")
        with pytest.raises(UnavailableError, match="answers 401"):
            prove(issuer.request_url, "t" * 40, audience="a", issuer=issuer.url)


def test_github_s_doors_are_below_its_issuer():
    """Many names below one domain; an enterprise server has one name for both."""
    for issuer, door in (
        ("https://token.actions.githubusercontent.com", "https://run-actions-1-azure-eastus.actions.githubusercontent.com/79//idtoken/x?api-version=2.0"),
        ("https://token.actions.acme.ghe.com", "https://pipelines.actions.acme.ghe.com/x"),
        ("https://ghes.example.com/_services/token", "https://ghes.example.com/_services/pipelines/x"),
    ):  # fmt: skip
        assert oidc._is_door_of(issuer, door)
