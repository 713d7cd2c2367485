"""The register's bucket is Google's own: no variable lets somebody else answer for it."""

from __future__ import annotations

import google.auth
import pytest
from google.auth.credentials import AnonymousCredentials

from gitops_nb.adapters import gcs
from gitops_nb.adapters.process import LocalProcesses
from gitops_nb.adapters.tls import authorities
from gitops_nb.catalog.load import load_catalog
from gitops_nb.catalog.trust import Trust
from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.errors import ConfigurationError
from gitops_nb.model import Mode
from gitops_nb.session.platform import open_platform
from gitops_nb.session.registers import open_register
from gitops_nb.session.stores import open_store, open_true_store

URL = "gs://records/shop"


@pytest.fixture
def emulator(monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:1")


@pytest.mark.usefixtures("emulator")
def test_an_emulator_is_no_register(workspace):
    """It is refused before it is asked; a store of the sandbox may be one."""
    place = {"kind": "bucket", "at": URL, "name": ""}
    where = find_workspace(workspace.root)
    with pytest.raises(ConfigurationError, match="STORAGE_EMULATOR_HOST says that http://127"):
        open_register(where, place, trust=Trust(), processes=LocalProcesses(), is_sandbox=False)
    assert open_store(URL)._endpoint == "http://127.0.0.1:1"


@pytest.mark.usefixtures("emulator")
@pytest.mark.parametrize("line", ["reports", "locks"])
def test_live_opens_nothing_while_an_emulator_is_named(workspace, line):
    """Locks, records and register of live are Google's."""
    workspace.write("gitops-nb.yaml", f"kind: Workspace\n{line}: {URL}\n")
    where = find_workspace(workspace.root)
    catalog = load_catalog(where.runbooks)
    with pytest.raises(ConfigurationError, match="STORAGE_EMULATOR_HOST says"):
        open_platform(where, catalog, Mode.LIVE)
    assert open_platform(where, catalog, Mode.SANDBOX).mode is Mode.SANDBOX


def test_a_true_store_asks_google_whatever_variables_say(monkeypatch):
    """Address, universe and authorities are said here, for calls and for credentials that are renewed."""
    said = []

    def default(scopes, request):
        said.append(request.session)
        return AnonymousCredentials(), None

    monkeypatch.setattr(google.auth, "default", default)
    for name in ("GOOGLE_CLOUD_UNIVERSE_DOMAIN", "API_ENDPOINT_OVERRIDE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.setenv(name, "evil.example")
    store = open_true_store(URL)
    bucket = store._bucket()
    client = bucket.client
    assert client._connection.API_BASE_URL == gcs.GOOGLE == "https://storage.googleapis.com"
    for session in (client._http, *said):
        assert (session.trust_env, session.verify) == (False, str(authorities()))
    assert client._http._auth_request.session is said[0]
