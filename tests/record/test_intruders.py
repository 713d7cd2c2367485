"""Links, added folders, pipes, an edited index and ledgers that are gone: each is found or rebuilt, and none is waited for."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.record.runs import run_ids
from tests.conftest import Workspace
from tests.samples import few

LIMIT_S = 60


@pytest.fixture(scope="module")
def _recorded(_pristine, tmp_path_factory):
    """A copy of such a workspace, made once: its place and the copy."""
    root, pristine = _pristine
    shutil.rmtree(root)
    shutil.copytree(pristine, root, symlinks=True)
    workspace = Workspace(root)
    workspace.replace("runbooks/fleet.yaml", "approval_required: true", "approval_required: false")
    done = workspace.run("run", "promotion", "-p", "application=checkout", "-p", "stable_for=0s")
    assert done.returncode == 0, done.stdout + done.stderr
    assert workspace.run("verify").returncode == 0
    copy = tmp_path_factory.mktemp("recorded") / "workspace"
    shutil.copytree(root, copy, symlinks=True)
    return root, copy


@pytest.fixture
def recorded(_recorded):
    """A workspace with one promotion that was done, whose record holds."""
    root, copy = _recorded
    shutil.rmtree(root)
    shutil.copytree(copy, root, symlinks=True)
    return Workspace(root)


def the_run(workspace):
    """The directory of its run."""
    return workspace.reports / run_ids(workspace.reports)[0]


def move_away(path) -> None:
    """Puts a link in the place of a folder."""
    other = path.parent.parent / f"elsewhere-{path.name}"
    shutil.move(path, other)
    path.symlink_to(other)


def replace_by_pipe(path) -> None:
    """Puts a pipe in the place of a file."""
    path.unlink()
    os.mkfifo(path)


def lock_of(workspace):
    """The lock of its run's engine."""
    return workspace.reports / ".locks" / f"{the_run(workspace).name}.engine"


def ledger_of(workspace):
    """The folder of production's ledger."""
    return workspace.reports / "ledger" / "sandbox.production"


DAMAGES = {
    "a run's folder is a link": (lambda w: move_away(the_run(w)), "link"),
    "the ledgers' folder is a link": (lambda w: move_away(w.reports / "ledger"), "link"),
    "one ledger's folder is a link": (lambda w: move_away(ledger_of(w)), "link"),
    "a ledger's record is a pipe": (lambda w: replace_by_pipe(min(ledger_of(w).iterdir())), "a pipe"),
    "a pipe among a ledger's records": (lambda w: os.mkfifo(ledger_of(w) / "000000000099.json"), "a pipe"),
    "an empty folder in a run": (lambda w: (the_run(w) / "jinja2").mkdir(), "a folder that no run makes"),
    "a folder within a run's folder": (lambda w: (the_run(w) / "evidence" / "x").mkdir(), "a folder that no run makes"),
    "a pipe in a run": (lambda w: os.mkfifo(the_run(w) / "evidence" / "more.json"), "a pipe where only files are"),
    "a pipe in a file's place": (lambda w: replace_by_pipe(the_run(w) / "report.html"), "a pipe where only files are"),
    "a pipe in the journal's place": (lambda w: replace_by_pipe(the_run(w) / "journal.jsonl"), "it is no file"),
    "a pipe among approvals": (lambda w: ((the_run(w) / "approvals").mkdir(exist_ok=True), os.mkfifo(the_run(w) / "approvals" / "a.json")), "a pipe"),
    "a lock is a pipe": (lambda w: replace_by_pipe(lock_of(w)), "a pipe"),
    "a lock is a link": (lambda w: (lock_of(w).unlink(), lock_of(w).symlink_to(w.root / "victim")), "link"),
    "the locks' folder is a link": (lambda w: move_away(w.reports / ".locks"), "link"),
    "a file with a run's name": (lambda w: (w.reports / "20200101T000000Z-promotion-production-0000").write_text("x"), "a file in a record's place"),
    "the ledgers are gone": (lambda w: shutil.rmtree(w.reports / "ledger"), "truncated"),
    "ledgers and runs are gone": (lambda w: (shutil.rmtree(w.reports), shutil.rmtree(w.root / ".gitops-nb" / "sandbox" / "none", ignore_errors=True), (w.root / ".gitops-nb" / "verified.json").unlink()), "there is no such ledger"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_what_does_not_belong_is_found(recorded, name):
    """`verify` ends with 1, names it, and does not wait for a pipe."""
    damage, says = DAMAGES[name]
    damage(recorded)
    done = recorded.run("verify", timeout=LIMIT_S)
    assert done.returncode == 1, done.stdout + done.stderr
    assert says in done.stdout
    assert "MISMATCH" in done.stdout


@pytest.mark.parametrize("journal", few([None, b"", b"{"], keep=2))
def test_a_folder_with_a_runs_name_stops_no_command(recorded, journal):
    """Empty, or with a journal that is none: found by `verify`, and every other command goes on, whatever is cached."""
    folder = recorded.reports / "20261129T194154Z-promotion-production-0000"
    folder.mkdir()
    if journal is not None:
        (folder / "journal.jsonl").write_bytes(journal)
    checked = recorded.run("verify")
    assert checked.returncode in (1, 69), checked.stdout + checked.stderr
    assert folder.name in checked.stdout
    plan = ("run", "promotion", "-p", "application=catalog", "--plan")
    for arguments in (("list", "runs"), ("report", "last"), plan):
        done = recorded.run(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
    for verb in ("resume", "approve"):
        done = recorded.run(verb, "0000")
        assert folder.name in done.stderr
        assert "Traceback" not in done.stderr


def test_no_command_waits_for_a_pipe(recorded):
    """Listing and running go on beside a run whose journal is a pipe."""
    replace_by_pipe(the_run(recorded) / "journal.jsonl")
    assert recorded.run("list", "runs", timeout=LIMIT_S).returncode == 0
    done = recorded.run("run", "promotion", "-p", "application=checkout", timeout=LIMIT_S)
    assert done.returncode == 0, done.stdout + done.stderr


def edit_cache(path) -> None:
    """Makes a failed promotion of the one that succeeded."""
    head, *lines = path.read_text(encoding="utf-8").splitlines()
    told = []
    for line in lines:
        stamp, entry = json.loads(line)
        told.append(json.dumps([stamp, {**entry, "html": "<td>forged</td>", "status": "failed"}]))
    path.write_text("\n".join([head, *told]) + "\n", encoding="utf-8")


CACHES = {
    "edited": edit_cache,
    "no JSON": lambda path: path.write_text("{"),
    "deep": lambda path: path.write_text("[" * 100_000),
    "empty": lambda path: path.write_text(""),
    "a link": lambda path: (path.unlink(), path.symlink_to("/dev/null")),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("name", CACHES)
def test_an_index_cache_is_rebuilt(recorded, name):
    """After `verify` the index says what the journals say."""
    cache = find_workspace(recorded.root).index_cache
    CACHES[name](cache)
    assert recorded.run("verify", timeout=LIMIT_S).returncode == 0
    page = (recorded.reports / "index.html").read_text(encoding="utf-8")
    assert "forged" not in page
    assert run_ids(recorded.reports)[0] in page
    assert cache.is_file()
    assert not cache.is_symlink()


def test_a_row_beside_the_reports_is_not_believed(recorded):
    """Who may only write reports writes no row of the index: where the cache was once, a file says nothing."""
    cache = find_workspace(recorded.root).index_cache
    assert recorded.reports not in cache.parents
    edit_cache(cache)
    forged = cache.read_bytes()
    cache.unlink()
    (recorded.reports / ".index.jsonl").write_bytes(forged)
    done = recorded.run("run", "promotion", "-p", "application=checkout", timeout=LIMIT_S)
    assert done.returncode == 0, done.stdout + done.stderr
    page = (recorded.reports / "index.html").read_text(encoding="utf-8")
    assert "forged" not in page
    assert page.count("<tr data-g=") == 2


LINKS = {
    "a symbolic link": lambda path, victim: path.symlink_to(victim),
    "a hard link": lambda path, victim: path.hardlink_to(victim),
}
PLACES = {
    "a run's lock": lambda run: run.parent / ".locks" / run.name,
    "an engine's lock": lambda run: run.parent / ".locks" / f"{run.name}.engine",
    "a journal": lambda run: run / "journal.jsonl",
    "a report": lambda run: run / "report.html",
    "the saved notebook": lambda run: run / "notebook.ipynb",
}


def check_link(workspace, link: str, place: str) -> None:
    """Whoever may write into reports/ chooses no other file of this user to be overwritten, cut or added to."""
    waiting = workspace.run("run", "promotion", "-p", "application=checkout")
    assert waiting.returncode == 2, waiting.stderr
    victim = workspace.root / "victim"
    victim.write_text('{"signed": "a withdrawal"}')
    path = PLACES[place](the_run(workspace))
    path.unlink(missing_ok=True)
    LINKS[link](path, victim)
    for arguments in (
        ("approve", "last", "--yes"),
        ("resume", "last"),
        ("list", "runs"),
        ("verify",),
    ):
        workspace.run(*arguments, timeout=LIMIT_S)
        assert victim.read_text() == '{"signed": "a withdrawal"}', arguments


FEW = [
    ("an engine's lock", "a symbolic link"),
    ("a journal", "a hard link"),
]


@pytest.mark.parametrize(("place", "link"), FEW)
def test_nothing_is_written_through_a_link(workspace, place, link):
    """The places where something was overwritten or cut (a sample)."""
    check_link(workspace, link, place)


@pytest.mark.torture
@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("place", PLACES)
def test_nothing_is_written_through_any_link(workspace, link, place):
    """The same in every place of a reports folder that we write."""
    check_link(workspace, link, place)


@pytest.mark.torture
def test_a_copy_by_hard_links_goes_on(workspace):
    """A backup that shares its files with the reports folder is no obstacle, and stays as it was."""
    waiting = workspace.run("run", "promotion", "-p", "application=checkout", "-p", "stable_for=0s")
    assert waiting.returncode == 2, waiting.stderr
    backup = workspace.root / "backup"
    shutil.copytree(workspace.reports, backup, copy_function=os.link)
    assert workspace.run("approve", "last", "--yes").returncode == 0
    done = workspace.run("resume", "last")
    assert done.returncode == 0, done.stdout + done.stderr
    assert workspace.run("verify").returncode == 0


def stand_in(path, how: str) -> None:
    """Puts something else in the place of a folder."""
    if path.is_dir():
        shutil.move(path, path.parent.parent / f"was-{path.name}")
    victim = path.parent.parent / "victim"
    victim.mkdir()
    (victim / "plan.json").write_text("precious")
    match how:
        case "a link":
            path.symlink_to(victim)
        case "a link that goes round":
            path.symlink_to(path.name)
        case "a link to nothing":
            path.symlink_to(victim / "nothing")
        case "a pipe":
            os.mkfifo(path)


FOLDERS = {
    "locks": lambda run: run.parent / ".locks",
    "evidence": lambda run: run / "evidence",
    "approvals": lambda run: run / "approvals",
    "ledger": lambda run: run.parent / "ledger" / "sandbox.production",
    "all ledgers": lambda run: run.parent / "ledger",
}
HOW = ["a link", "a link that goes round", "a link to nothing", "a pipe"]


def check_folder(workspace, place: str, how: str) -> None:
    """A link, or a pipe, for a folder of the record: a named error, nothing is written where it leads, and `verify` finds it."""
    waiting = workspace.run("run", "promotion", "-p", "application=checkout", "-p", "stable_for=0s")
    assert waiting.returncode == 2, waiting.stderr
    if place != "approvals":
        assert workspace.run("approve", "last", "--yes").returncode == 0
    run = the_run(workspace)
    path = FOLDERS[place](run)
    stand_in(path, how)
    victim = path.parent.parent / "victim"
    for arguments in (
        ("approve", "last", "--yes"),
        ("resume", "last"),
        ("verify",),
        ("list", "runs"),
    ):
        done = workspace.run(*arguments, timeout=LIMIT_S)
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode != 70, (arguments, done.stdout, done.stderr)
        assert [file.name for file in victim.iterdir()] == ["plan.json"], arguments
        assert (victim / "plan.json").read_text() == "precious"
        if arguments == ("resume", "last"):
            assert done.returncode != 0, done.stdout
        if arguments == ("verify",):
            assert done.returncode == 1, done.stdout + done.stderr
            assert path.name in done.stdout


SOME = [("approvals", "a link to nothing"), ("all ledgers", "a pipe")]


@pytest.mark.parametrize(("place", "how"), SOME)
def test_nothing_is_written_into_a_folder_that_is_none_of_ours(workspace, place, how):
    """A folder of the record that somebody made something else: named, and nothing is made elsewhere (a sample)."""
    check_folder(workspace, place, how)


@pytest.mark.torture
@pytest.mark.parametrize("place", FOLDERS)
@pytest.mark.parametrize("how", HOW)
def test_nothing_is_written_into_any_folder_that_is_none_of_ours(workspace, place, how):
    """The same of every folder, in every way."""
    check_folder(workspace, place, how)
