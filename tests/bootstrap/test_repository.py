"""What Argo CD holds to open a repository is tried before the root application, against a real server."""

from __future__ import annotations

import base64
import dataclasses
import subprocess

import pytest

from gitops_nb.adapters.git import Git
from gitops_nb.adapters.git_cache import Remote
from gitops_nb.adapters.process import LocalProcesses
from gitops_nb.bootstrap import request as bootstrap_request
from gitops_nb.bootstrap.context import Context
from gitops_nb.bootstrap.manifests import repository_secret
from gitops_nb.bootstrap.repository import check_repository
from gitops_nb.catalog.load import load_catalog
from gitops_nb.errors import ConfigurationError
from gitops_nb.redaction import process_redactor
from tests.git_server import PASSWORD, USER, serving

TEMPLATE = "argocd.argoproj.io/secret-type"


def secret(name: str, kind: str, **values: str) -> dict:
    """A Secret as Argo CD reads it."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": "argocd", "labels": {TEMPLATE: kind}},
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in values.items()},
    }


@pytest.fixture
def private(bootstrapper, tmp_path, monkeypatch):
    """A context whose repository opens with a password alone; this person's own helper knows it."""
    source = bootstrapper.platform.git.effective_url("platform-config").removeprefix("file://")
    bare = tmp_path / "served" / "config.git"
    subprocess.run(("git", "clone", "--quiet", "--bare", source, str(bare)), check=True)
    with serving(bare, tmp_path / "tls") as server:
        own = tmp_path / "own-credentials"
        own.write_text(f"{server.url.replace('://', f'://{USER}:{PASSWORD}@')}\n")
        with server.config.open("a") as file:
            file.write(f"[credential]\n\thelper = store --file={own}\n")
        monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(server.config))
        catalog = load_catalog(bootstrapper.workspace.root / "runbooks")
        asked = bootstrap_request(catalog.fleet, {"cluster": "newcomer", "timeout": "1m"})
        asked = dataclasses.replace(
            asked, repository=asked.repository.model_copy(update={"url": server.url})
        )
        git = Git(
            {asked.repository_name: Remote(server.url, "main")},
            cache=tmp_path / "cache",
            processes=LocalProcesses(),
            author=("test", "test@localhost"),
            trusted=server.certificate,
        )
        view = dataclasses.replace(bootstrapper.platform.view, git=git)
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "argocd"}}
        bootstrapper.cluster.apply(namespace)
        context = Context(view, asked, ())
        bootstrapper.cluster.apply(repository_secret(asked))
        yield context, bootstrapper.cluster, server


def test_what_only_this_person_can_open_is_not_verified(private):
    """Our own credentials open it, and count for nothing: Argo CD has none."""
    context, _, server = private
    found = check_repository(context)
    assert not found.holds
    assert found.sentence.startswith("with no credentials, as Argo CD has none: cannot reach")
    assert "put them into Secret repository-platform-config, or a repo-creds Secret" in found.sentence  # fmt: skip
    assert server.asked[-1] == ""


@pytest.mark.parametrize("where", ["repository", "repo-creds"])
def test_what_opens_it_is_named(private, where):
    """The Secret's own credentials, or those of the longest fitting template; other templates are left alone."""
    context, cluster, server = private
    if where == "repository":
        cluster.apply(secret("repository-platform-config", where, type="git", url=server.url, username=USER, password=PASSWORD))  # fmt: skip
    else:
        host = server.url.rpartition("/")[0]
        cluster.apply(secret("short", where, url="https://127", username=USER, password="wrong-for-all"))  # fmt: skip
        cluster.apply(secret("fitting", where, url=host, username=USER, password=PASSWORD))
        cluster.apply(secret("other", where, url="https://git.example", username="x", password="of-another-host"))  # fmt: skip
    found = check_repository(context)
    name = "repository-platform-config" if where == "repository" else "fitting"
    assert found.holds, found
    assert found.sentence.endswith(f"; {name} opens it")
    # From here on nothing that prints it shows it.
    assert PASSWORD not in process_redactor().text(f"it is {PASSWORD}")


def test_what_is_refused_is_named(private):
    """A wrong password is the Secret's, whoever else could read the repository."""
    context, cluster, server = private
    cluster.apply(secret("repository-platform-config", "repository", type="git", url=server.url, username=USER, password="an-old-password"))  # fmt: skip
    found = check_repository(context)
    assert not found.holds
    assert found.sentence.startswith("with the credentials in repository-platform-config: cannot reach")  # fmt: skip
    assert "an-old-password" not in found.sentence


def test_what_git_cannot_try_is_said(private):
    """A GitHub App's key is no password of git's."""
    context, cluster, server = private
    cluster.apply(secret("repository-platform-config", "repository", type="git", url=server.url, githubAppPrivateKey="not-a-real-key"))  # fmt: skip
    found = check_repository(context)
    assert found.holds
    assert found.sentence.endswith("credentials of a GitHub App in repository-platform-config are Argo CD's to try")  # fmt: skip


def test_a_password_too_short_to_be_masked_is_refused(private):
    """It would be found in ordinary text everywhere."""
    context, cluster, server = private
    cluster.apply(secret("repository-platform-config", "repository", type="git", url=server.url, username=USER, password="short"))  # fmt: skip
    with pytest.raises(ConfigurationError, match="fewer than 8 characters"):
        check_repository(context)


def test_nothing_of_the_credentials_stays(private, tmp_path, monkeypatch):
    """The private folder of a call is gone with it."""
    context, cluster, server = private
    own = tmp_path / "temporary"
    own.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(own))
    cluster.apply(secret("repository-platform-config", "repository", type="git", url=server.url, username=USER, password=PASSWORD))  # fmt: skip
    assert check_repository(context).holds
    assert list(own.iterdir()) == []
