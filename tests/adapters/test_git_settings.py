"""What a person's configuration says about a repository of fleet.yaml: how they prove who they are, and nothing else."""

from __future__ import annotations

import base64

import pytest

from gitops_nb.adapters.git import Git
from gitops_nb.adapters.git_cache import Remote
from gitops_nb.adapters.git_refs import GitRefs
from gitops_nb.adapters.process import LocalProcesses
from gitops_nb.errors import UnavailableError
from tests.adapters.test_git import bare, git
from tests.git_server import PASSWORD, USER, serving

__all__ = ["bare"]
HEADER = "AUTHORIZATION: Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


@pytest.fixture
def server(bare, tmp_path):
    """The repository behind a password, over HTTPS."""
    with serving(bare, tmp_path / "tls") as running:
        yield running


@pytest.fixture
def configured(tmp_path, monkeypatch):
    """Writes the person's configuration."""
    file = tmp_path / "gitconfig"
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(file))
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return file.write_text


def opened(server, tmp_path, *, trusted) -> Git:
    return Git(
        {"r": Remote(server.url, "main")}, cache=tmp_path / "cache", processes=LocalProcesses(),
        author=("t", "t@localhost"), trusted=trusted,
    )  # fmt: skip


@pytest.mark.parametrize("way", ["helper", "header"])
def test_a_persons_credentials_open_a_repository(server, bare, tmp_path, configured, way):
    """A helper, or a header as CI writes it; a proxy and a command for ssh beside them are not taken."""
    store = tmp_path / "store"
    store.write_text(f"{server.url.replace('://', f'://{USER}:{PASSWORD}@')}\n")
    port = server.url.split(":")[2].partition("/")[0]
    own = {
        "helper": f"[credential]\n\thelper = store --file={store}\n",
        "header": f'[http "https://127.0.0.1:{port}"]\n\textraheader = {HEADER}\n',
    }
    configured(
        f"{own[way]}[http]\n\tproxy = http://127.0.0.1:1\n"
        '[url "https://127.0.0.1:1"]\n\tinsteadOf = https://\n'
    )
    found = opened(server, tmp_path, trusted=server.certificate)
    assert found.tip("r", "main") == git("rev-parse", "main", cwd=bare)


def test_a_persons_settings_do_not_say_who_answers(server, tmp_path, configured):
    """An authority, no check at all, another header: none of them is taken, for repositories and for the register."""
    configured(
        f"[http]\n\tsslCAInfo = {server.certificate}\n\tsslVerify = false\n\textraheader = Host: evil.example\n"
        f"\textraheader = {HEADER}\n"
    )
    with pytest.raises(UnavailableError, match="cannot reach repository r"):
        opened(server, tmp_path, trusted=None).tip("r", "main")
    register = GitRefs(
        "r", Remote(server.url, "main"), cache=tmp_path / "register", processes=LocalProcesses(),
        author=("t", "t@localhost"),
    )  # fmt: skip
    with pytest.raises(UnavailableError, match="cannot reach repository r"):
        register.list("register/")
    assert server.asked == []
    found = opened(server, tmp_path, trusted=server.certificate)
    assert found._credentials == (("http.extraheader", HEADER),)


def test_the_folder_where_a_command_is_called_has_no_say(
    server, bare, tmp_path, configured, monkeypatch
):
    """It may be a repository of its own, with an address, an authority or a program of its own."""
    configured("")
    here = tmp_path / "workspace"
    git("init", "--quiet", str(here), cwd=tmp_path)
    for key, value in (
        ("http.sslCAInfo", str(server.certificate)), ("http.extraheader", HEADER),
        (f"url.{bare}.insteadOf", server.url),
    ):  # fmt: skip
        git("config", key, value, cwd=here)
    monkeypatch.chdir(here)
    with pytest.raises(UnavailableError, match="cannot reach repository r"):
        opened(server, tmp_path, trusted=None).tip("r", "main")
    assert server.asked == []
