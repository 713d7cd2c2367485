"""Pinned rules are read from a repository of our own, at the pinned address, by objects that are what their ids say."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import zlib
from datetime import timedelta
from types import SimpleNamespace

import pytest

from gitops_nb.adapters.git_pinned import PinnedRepository
from gitops_nb.adapters.process import LocalProcesses
from gitops_nb.catalog.load import load_catalog
from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.cli.pruning import _kept
from gitops_nb.errors import ConfigurationError, UnavailableError
from gitops_nb.session import origins
from gitops_nb.session.allowances import rules_now
from gitops_nb.session.protected import default_branch, protected
from tests.session.test_origins import _pins, ground_of  # noqa: F401  a fixture
from tests.session.test_protected import cloned, git  # noqa: F401  a fixture


@pytest.fixture
def trap(cloned, tmp_path):  # noqa: F811
    """A pinned workspace, and another repository whose production needs no approval: its address, and the honest commit."""
    url = git(cloned.root, "remote", "get-url", "origin")
    honest = git(cloned.root, "rev-parse", "HEAD")
    evil = tmp_path / "evil.git"
    git(tmp_path, "clone", "--quiet", "--bare", url, str(evil))
    cloned.replace("runbooks/fleet.yaml", "approval_required: true", "approval_required: false")
    git(cloned.root, "commit", "--quiet", "-am", "Lax")
    git(cloned.root, "push", "--quiet", str(evil), "HEAD:main")
    lax = git(cloned.root, "rev-parse", "HEAD")
    git(cloned.root, "reset", "--quiet", "--hard", honest)
    origins.pin(cloned.root, url, "main")
    return SimpleNamespace(workspace=cloned, url=url, evil=str(evil), honest=honest, lax=lax)


def is_honest(trap) -> bool:
    found = ground_of(trap.workspace)
    strict = found.fleet.environments["production"].approval_required
    return found.is_pinned and strict and found.source["commit"] == trap.honest


def rewrite(repository, sha: str, content: bytes, kind: str = "blob") -> None:
    """Puts other content under the id of an object, as a loose one."""
    path = repository / "objects" / sha[:2] / sha[2:]
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(zlib.compress(f"{kind} {len(content)}\0".encode() + content))


def unpack(repository) -> None:
    """Each object becomes a file of its own."""
    for pack in (repository / "objects" / "pack").glob("*.pack"):
        content = pack.read_bytes()
        for one in pack.parent.glob(f"{pack.stem}.*"):
            one.unlink()
        subprocess.run(
            ("git", "--git-dir", str(repository), "unpack-objects", "-q"), input=content, check=True
        )


def test_an_address_that_is_rewritten_twice_is_refused(trap):
    """One rule makes the pinned address of origin, a second one another of that: nothing is read."""
    root = trap.workspace.root
    git(root, "remote", "set-url", "origin", "x:y")
    git(root, "config", f"url.{trap.url}.insteadOf", "x:y")
    assert is_honest(trap)
    git(root, "config", f"url.{trap.evil}.insteadOf", trap.url)
    with pytest.raises(ConfigurationError, match=r"origin is .*, and settings of Git make .*evil"):
        ground_of(trap.workspace)
    git(root, "config", "--unset", f"url.{trap.evil}.insteadOf")
    url = f"file://{trap.url}"
    git(root, "remote", "set-url", "origin", url)
    origins.pin(root, url, "main")
    assert is_honest(trap)
    git(root, "config", f"remote.{url}.url", trap.evil)
    with pytest.raises(ConfigurationError, match=r"settings of Git make .*evil"):
        ground_of(trap.workspace)
    assert not is_cached(trap.lax)


def is_cached(commit: str) -> bool:
    """Whether a cache has a commit."""
    return any(has(folder, commit) for folder in origins.CACHES.glob("*.git"))


def has(folder, commit: str) -> bool:
    return subprocess.run(("git", "--git-dir", str(folder), "cat-file", "-e", commit), check=False, stderr=subprocess.DEVNULL).returncode == 0  # fmt: skip


def test_home_does_not_choose_where_a_pinned_origin_is(trap, tmp_path, monkeypatch):
    """A configuration in the folder that HOME names is refused where origin is compared, and unknown where it is fetched."""
    home = tmp_path / "mine"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    (home / ".gitconfig").write_text(f'[url "{trap.evil}"]\n\tinsteadOf = {trap.url}\n')
    with pytest.raises(ConfigurationError, match="evil"):
        ground_of(trap.workspace)
    assert default_branch(trap.url, LocalProcesses()) == "main"
    repository = pinned_repository(trap)
    assert repository.tip("main") == ("main", trap.honest)
    repository.ensure("main", trap.honest)
    assert not is_cached(trap.lax)
    git(trap.workspace.root, "remote", "set-url", "origin", "x:y")
    (home / ".gitconfig").write_text(
        f'[url "{trap.url}"]\n\tinsteadOf = x:y\n[url "{trap.evil}"]\n\tinsteadOf = {trap.url}\n'
    )
    with pytest.raises(ConfigurationError, match="evil"):
        ground_of(trap.workspace)


def pinned_repository(trap, home=None) -> PinnedRepository:
    return PinnedRepository(
        trap.url, home=home or origins.HOME, caches=origins.CACHES, processes=LocalProcesses()
    )


def test_of_the_persons_settings_only_credentials_are_taken(trap, tmp_path, monkeypatch):
    """A helper of the home's configuration is asked; its rewriting, transport, hooks and proxy are not in force."""
    home = tmp_path / "own"
    home.mkdir()
    (home / ".gitconfig").write_text(
        f'[credential]\n\thelper = store\n[url "{trap.evil}"]\n\tinsteadOf = {trap.url}\n'
        "[core]\n\tsshCommand = false\n[http]\n\tproxy = http://evil.example\n"
    )
    monkeypatch.setenv("HOME", str(tmp_path / "mine"))
    repository = pinned_repository(trap, home)
    settings = dict(repository._settings)
    assert settings["credential.helper"] == "store"
    assert all(key.startswith("credential.") for key in settings)
    assert repository.tip("main") == ("main", trap.honest)


def objects_rewritten(trap) -> None:
    """The fleet under its own id, as the work tree would like it."""
    git_folder = trap.workspace.root / ".git"
    sha = git(trap.workspace.root, "rev-parse", "HEAD:runbooks/fleet.yaml")
    rewrite(git_folder, sha, git_bytes(trap, f"{trap.lax}:runbooks/fleet.yaml"))


def git_bytes(trap, name: str) -> bytes:
    kind = "commit" if ":" not in name else "blob"
    done = subprocess.run(("git", "-C", str(trap.workspace.root), "cat-file", kind, name), capture_output=True, check=True)  # fmt: skip
    return done.stdout


def commit_rewritten(trap) -> None:
    """The tip under its own id, with the files of another commit."""
    content = git_bytes(trap, trap.lax)
    rewrite(trap.workspace.root / ".git", trap.honest, content, "commit")


def grafted(trap) -> None:
    """The other commit as a parent of the tip."""
    info = trap.workspace.root / ".git" / "info"
    info.mkdir(exist_ok=True)
    (info / "grafts").write_text(f"{trap.honest} {trap.lax}\n")


def replaced(trap) -> None:
    """The tip by another commit."""
    git(trap.workspace.root, "replace", trap.honest, trap.lax)


def transported(trap) -> None:
    """Programs of the workspace's choice, wherever Git lets one be named."""
    root = trap.workspace.root
    program = root / "serve"
    program.write_text(f"#!/bin/sh\ntouch {root}/ran\nexec git-upload-pack {trap.evil}\n")
    program.chmod(0o755)
    for key in ("core.sshCommand", "core.gitProxy", "remote.origin.uploadpack", "core.fsmonitor", "uploadpack.packObjectsHook"):  # fmt: skip
        git(root, "config", key, str(program))
    git(root, "config", "core.hooksPath", str(root))


def borrowed(trap) -> None:
    """Objects of another repository."""
    info = trap.workspace.root / ".git" / "objects" / "info"
    (info / "alternates").write_text(f"{trap.evil}/objects\n")


@pytest.mark.parametrize(
    "deed", [objects_rewritten, commit_rewritten, grafted, replaced, transported, borrowed]
)
def test_what_the_workspaces_repository_holds_does_not_count(trap, deed):
    """Pinned rules are read elsewhere: they stay, and another commit is none of the branch."""
    deed(trap)
    assert is_honest(trap)
    assert ground_of(trap.workspace).at(trap.lax) == (None, "")
    assert not (trap.workspace.root / "ran").exists()


def test_an_ssh_command_of_the_workspace_is_not_run(trap):
    """A pinned origin behind SSH is reached by the system's own ssh."""
    transported(trap)
    root = trap.workspace.root
    url = "ssh://git@127.0.0.1:1/x.git"
    git(root, "remote", "set-url", "origin", url)
    origins.pin(root, url, "main")
    with pytest.raises(UnavailableError, match="origin does not answer"):
        ground_of(trap.workspace)
    assert not (root / "ran").exists()


@pytest.mark.parametrize("what", ["runbooks/fleet.yaml", "runbooks", "", "^{commit}"])
def test_an_object_that_somebody_changed_in_the_cache_is_named(trap, what):
    """File, folder, tree and commit: content that is not what the id says is an error, and stays one."""
    assert is_honest(trap)
    (folder,) = origins.CACHES.glob("*.git")
    unpack(folder)
    name = f"{trap.honest}{what if '^' in what else ':' + what}"
    sha = git(folder, "rev-parse", name)
    kind = git(folder, "cat-file", "-t", sha)
    git(folder, "fetch", "--quiet", trap.evil, "main")
    (folder / "FETCH_HEAD").unlink()
    other = name.replace(trap.honest, trap.lax)
    done = subprocess.run(("git", "--git-dir", str(folder), "cat-file", kind, other), capture_output=True, check=True)  # fmt: skip
    rewrite(folder, sha, done.stdout, kind)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=rf"{kind} {sha[:12]} in .*caches.* is not what its id says"):  # fmt: skip
            ground_of(trap.workspace)
    for one in origins.CACHES.glob("*.git"):
        shutil.rmtree(one)
    assert is_honest(trap)


def config(folder) -> None:
    git(folder, "config", "core.sshCommand", "false")


def alternates(folder) -> None:
    (folder / "objects" / "info").mkdir(exist_ok=True)
    (folder / "objects" / "info" / "alternates").write_text("/tmp\n")


def grafts(folder) -> None:
    (folder / "info").mkdir(exist_ok=True)
    (folder / "info" / "grafts").write_text("x\n")


def mode(folder) -> None:
    folder.chmod(0o777)


@pytest.mark.parametrize("deed", [config, alternates, grafts, mode])
def test_a_cache_that_is_not_as_it_was_made_is_named(trap, deed):
    """Its settings, borrowed objects and grafts are refused, not followed; deleted, it is made again."""
    assert is_honest(trap)
    (folder,) = origins.CACHES.glob("*.git")
    assert folder.stat().st_mode & 0o777 == 0o700
    deed(folder)
    with pytest.raises(ConfigurationError, match=r"somebody edited .*caches"):
        ground_of(trap.workspace)
    shutil.rmtree(folder)
    assert is_honest(trap)


def test_history_is_a_chain_of_proven_commits(trap):
    """A commit in the cache that names another parent than its id says makes nothing an ancestor."""
    root = trap.workspace.root
    git(root, "commit", "--quiet", "--allow-empty", "-m", "More")
    git(root, "push", "--quiet", "origin", "HEAD:main")
    middle = git(root, "rev-parse", "HEAD")
    git(root, "commit", "--quiet", "--allow-empty", "-m", "Last")
    git(root, "push", "--quiet", "origin", "HEAD:main")
    found = ground_of(trap.workspace)
    assert found.at(trap.honest)[0] is not None
    assert found.at(trap.lax) == (None, "")
    (folder,) = origins.CACHES.glob("*.git")
    unpack(folder)
    git(folder, "fetch", "--quiet", trap.evil, "main")
    (folder / "FETCH_HEAD").unlink()
    content = git_bytes(trap, middle).replace(trap.honest.encode(), trap.lax.encode())
    rewrite(folder, middle, content, "commit")
    with pytest.raises(ConfigurationError, match=f"commit {middle[:12]}"):
        found.at(trap.lax)


def test_a_pinned_branch_is_fetched_once_with_its_history(trap, tmp_path):
    """A shallow checkout of a pinned workspace knows the earlier commits, and asking again fetches nothing."""
    root = trap.workspace.root
    for number in range(3):
        git(root, "commit", "--quiet", "--allow-empty", "-m", str(number))
    git(root, "push", "--quiet", "origin", "HEAD:main")
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{trap.url}", str(shallow))
    origins.pin(shallow, f"file://{trap.url}", "main")
    where = find_workspace(shallow)
    asked = Counted()
    found = protected(where, load_catalog(where.runbooks), asked)
    assert asked.named("fetch") == 1
    assert found.at(trap.honest)[0] is not None
    assert git(shallow, "rev-parse", "--is-shallow-repository") == "true"
    before = len(asked.words)
    assert protected(where, load_catalog(where.runbooks), asked).source == found.source
    assert asked.named("fetch") == 1
    assert len(asked.words) - before <= 8


class Counted(LocalProcesses):
    """Real processes, counted."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[tuple[str, ...]] = []

    def run(self, argv, **options):
        self.words.append(argv)
        return super().run(argv, **options)

    def named(self, word: str) -> int:
        return sum(word in argv for argv in self.words)


@pytest.mark.parametrize("way", ["gitops-nb.yaml", "link", "core.worktree"])
def test_which_folder_has_the_rules_is_pinned_too(trap, way):
    """Another folder of the trusted branch, an example with laxer rules, is no choice of the workspace."""
    root = trap.workspace.root
    shutil.copytree(root / "runbooks", root / "example")
    git(root, "add", "-A")
    git(root, "commit", "--quiet", "-m", "An example")
    git(root, "push", "--quiet", "origin", "HEAD:main")
    origins.pin(root, trap.url, "main", "runbooks")
    assert ground_of(trap.workspace).is_pinned
    match way:
        case "gitops-nb.yaml":
            with (root / "gitops-nb.yaml").open("a") as file:
                file.write("runbooks: example\n")
        case "link":
            shutil.rmtree(root / "runbooks")
            (root / "runbooks").symlink_to("example")
        case _:
            git(root, "config", "core.worktree", str(root.parent))
    with pytest.raises(ConfigurationError, match=r"rules are in .*, and runbooks is pinned"):
        ground_of(trap.workspace)


def test_an_unpinned_branch_is_proven_by_its_ids_too(trap):
    """Without a pin an object that somebody rewrote in the workspace's repository is named as well."""
    origins.unpin(trap.workspace.root)
    objects_rewritten(trap)
    with pytest.raises(ConfigurationError, match="is not what its id says"):
        ground_of(trap.workspace)


def test_a_repository_of_sha_256_is_read(trap, tmp_path):
    """Ids of the longer kind are proven by their own algorithm."""
    root, url = trap.workspace.root, tmp_path / "long.git"
    git(tmp_path, "init", "--quiet", "--bare", "--object-format=sha256", "--initial-branch=main", str(url))  # fmt: skip
    shutil.rmtree(root / ".git")
    git(root, "init", "--quiet", "--object-format=sha256", "--initial-branch=main")
    git(root, "add", "-A")
    git(root, "commit", "--quiet", "-m", "Begin")
    git(root, "remote", "add", "origin", str(url))
    git(root, "push", "--quiet", "origin", "main")
    origins.pin(root, str(url), "main")
    assert ground_of(trap.workspace).source["commit"] == git(root, "rev-parse", "HEAD")


def test_proven_files_are_never_written_and_read_again(trap, monkeypatch, tmp_path):
    """What was hashed is what is parsed: a folder for temporary files, that others may write to, has no part in it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    assert is_honest(trap)


def test_a_branch_without_a_file_says_which(trap):
    """Messages name the branch's files as those of the workspace."""
    git(trap.workspace.root, "rm", "--quiet", "runbooks/policy.yaml")
    git(trap.workspace.root, "commit", "--quiet", "-m", "Without policy")
    git(trap.workspace.root, "push", "--quiet", "origin", "HEAD:main")
    git(trap.workspace.root, "revert", "--no-edit", "HEAD")
    with pytest.raises(
        ConfigurationError, match=r"runbooks/policy\.yaml:1: \(file\): No such file"
    ):
        ground_of(trap.workspace)


@pytest.mark.parametrize("mode", ["live", "sandbox"])
def test_retention_and_ci_api_are_the_branchs(trap, mode):
    """Edits that nobody merged have nothing removed, and choose nobody who says that a lock's holder is gone."""
    workspace = trap.workspace
    merged = _kept(find_workspace(workspace.root), None)("production")
    ci_api = rules_now(find_workspace(workspace.root)).policy.ci_api
    workspace.replace("gitops-nb.yaml", "mode: sandbox", f"mode: {mode}")
    workspace.replace("runbooks/fleet.yaml", "retention: 365d", "retention: 1h")
    policy = workspace.root / "runbooks/policy.yaml"
    policy.write_text(f"{policy.read_text(encoding='utf-8')}\nci_api: https://evil.example\n")
    where = find_workspace(workspace.root)
    assert _kept(where, None)("production") == merged
    assert rules_now(where).policy.ci_api == ci_api
    git(workspace.root, "commit", "--quiet", "-am", "Shorter")
    git(workspace.root, "push", "--quiet", "origin", "main")
    assert _kept(where, None)("production") == timedelta(hours=1)
