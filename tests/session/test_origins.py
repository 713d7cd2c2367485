"""Whose rules count is said outside of the workspace, and what was asked for is held against the rules of then and now."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from gitops_nb.adapters.process import LocalProcesses
from gitops_nb.catalog.load import load_catalog
from gitops_nb.catalog.policies import Gates, SoakGate
from gitops_nb.catalog.trust import PersonKey, RunnerKey, Trust, TrustedPerson
from gitops_nb.catalog.workspace import find_workspace
from gitops_nb.errors import ConfigurationError, Refused
from gitops_nb.model import Mode
from gitops_nb.policy import rules_for, stricter, trust_then
from gitops_nb.session import origins, warrant
from gitops_nb.session.allowances import LiveRules
from gitops_nb.session.protected import Ground, protected
from gitops_nb.session.warrant import Warrant
from tests.session.test_protected import KEY, cloned, git  # noqa: F401  a fixture


@pytest.fixture(autouse=True)
def _pins(tmp_path, monkeypatch):
    """Pins of a test are its own."""
    monkeypatch.setattr(origins, "FOLDER", tmp_path / "pins")
    monkeypatch.setattr(origins, "CACHES", tmp_path / "caches")


def ground_of(workspace) -> Ground:
    where = find_workspace(workspace.root)
    return protected(where, load_catalog(where.runbooks), LocalProcesses())


def test_a_pinned_origin_counts_and_no_other(cloned, tmp_path):  # noqa: F811
    """Pointed elsewhere, or taken away, nothing is read; pointed back, the pinned branch's rules count."""
    url = git(cloned.root, "remote", "get-url", "origin")
    origins.pin(cloned.root, url, "main")
    assert ground_of(cloned).is_pinned
    other = tmp_path / "evil.git"
    git(tmp_path, "clone", "--quiet", "--bare", url, str(other))
    git(cloned.root, "remote", "set-url", "origin", str(other))
    with pytest.raises(ConfigurationError, match="is pinned for this workspace; nothing was done"):
        ground_of(cloned)
    git(cloned.root, "remote", "remove", "origin")
    with pytest.raises(ConfigurationError, match=r"has no origin, and .* is pinned"):
        ground_of(cloned)
    git(cloned.root, "remote", "add", "origin", url)
    assert ground_of(cloned).is_pinned


def test_a_url_that_git_rewrites_is_compared_as_git_goes(cloned, tmp_path):  # noqa: F811
    """`insteadOf` in the workspace's own configuration cannot move a pinned origin."""
    url = git(cloned.root, "remote", "get-url", "origin")
    origins.pin(cloned.root, url, "main")
    git(cloned.root, "config", f"url.{tmp_path}/evil.git.insteadOf", url)
    with pytest.raises(ConfigurationError, match="evil"):
        ground_of(cloned)


def test_the_pinned_branch_is_asked_for_not_the_default(cloned):  # noqa: F811
    """Whoever may change the host's default branch does not choose the rules."""
    url = git(cloned.root, "remote", "get-url", "origin")
    origins.pin(cloned.root, url, "main")
    before = ground_of(cloned).source["commit"]
    git(cloned.root, "checkout", "--quiet", "-b", "lax")
    cloned.replace("runbooks/fleet.yaml", "approval_required: true", "approval_required: false")
    git(cloned.root, "commit", "--quiet", "-am", "Lax")
    git(cloned.root, "push", "--quiet", "origin", "lax")
    git(url, "symbolic-ref", "HEAD", "refs/heads/lax")
    found = ground_of(cloned)
    assert (found.source["from"], found.source["commit"]) == ("origin/main", before)
    assert found.fleet.environments["production"].approval_required


def test_a_pin_is_not_chosen_by_home(cloned, monkeypatch, tmp_path):  # noqa: F811
    """The folder is the user database's, whatever the variable HOME says."""
    import pwd

    monkeypatch.undo()
    home = pwd.getpwuid(__import__("os").geteuid()).pw_dir
    monkeypatch.setenv("HOME", str(tmp_path / "mine"))
    assert str(origins.FOLDER).startswith(home)


def test_the_command_pins_what_it_shows(cloned):  # noqa: F811
    """Another address than origin's is refused; the branch's name has to be typed where no address is given."""
    from click.testing import CliRunner

    from gitops_nb.cli.main import group

    url = git(cloned.root, "remote", "get-url", "origin")
    where = ("--workspace", str(cloned.root))
    done = CliRunner().invoke(group, ["trust", "origin", "https://evil.example/x", *where])
    assert done.exit_code != 0
    assert origins.pinned(cloned.root) is None
    done = CliRunner().invoke(group, ["trust", "origin", *where], input="no\n")
    assert origins.pinned(cloned.root) is None
    done = CliRunner().invoke(group, ["trust", "origin", *where], input="main\n")
    assert done.exit_code == 0, done.output
    assert origins.pinned(cloned.root) == origins.Pin(url, "main")
    assert origins.pinned(cloned.root).inside == "runbooks"


def test_a_shallow_checkout_asks_for_the_history(cloned, tmp_path):  # noqa: F811
    """Whether the request's policy is a commit of the branch: its history is fetched; an unknown commit is none."""
    url = git(cloned.root, "remote", "get-url", "origin")
    first = git(cloned.root, "rev-parse", "HEAD")
    for number in range(3):
        git(cloned.root, "commit", "--quiet", "--allow-empty", "-m", str(number))
    git(cloned.root, "push", "--quiet", "origin", "HEAD:main")
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{url}", str(shallow))
    where = find_workspace(shallow)
    found = protected(where, load_catalog(where.runbooks), LocalProcesses())
    rules, why = found.at(first)
    assert rules is not None, why
    assert found.at("0" * 40)[0] is None


class Asked:
    """A live run of production, as far as a warrant asks about its runner and rules."""

    def __init__(self, workspace, **source) -> None:
        self.catalog = load_catalog(workspace.root / "runbooks")
        found = {"from": "origin/main", "origin": "https://git.example/x", "commit": "a" * 40}
        self.ground = Ground(
            self.catalog.fleet, self.catalog.policy, Trust(), {**found, **source}, is_pinned=True
        )
        platform = SimpleNamespace(mode=Mode.LIVE)
        self.warrant = Warrant(
            None, platform, None, lambda: None, environment="production", beyond=lambda _: ""
        )
        catalog = self.catalog
        self.rules = rules_for(catalog.fleet, catalog.policy, catalog.trust, "production")


def test_a_live_change_that_needs_approval_wants_pin_and_proven_runner(workspace, monkeypatch):
    """No origin, no pin, or a key in a file: refused with what to do; with `told`, or where nobody approves, it goes on."""
    asked = Asked(workspace)
    ask, rules = asked.warrant._refuse_unbelieved, asked.rules
    monkeypatch.setattr(warrant, "custody", lambda: "memory")
    ask(rules, asked.ground)
    bare = {"from": "workspace"}
    for ground, hint in (
        (replace(asked.ground, source=bare), "trust origin"),
        (replace(asked.ground, is_pinned=False), "trust origin https://git.example/x"),
    ):
        with pytest.raises(Refused) as refusal:
            ask(rules, ground)
        assert hint in refusal.value.hint
        ask(replace(rules, approvals=0), ground)
    monkeypatch.setattr(warrant, "custody", lambda: warrant.HELD_HERE)
    with pytest.raises(Refused, match="no notebook can read") as refusal:
        ask(rules, asked.ground)
    assert "runner_proof: told" in refusal.value.hint
    ask(replace(rules, believes_told=True), asked.ground)


OTHER = KEY[:-4] + "AAAA"
NOW = datetime.now(UTC)


def person(name: str, key: str = KEY, **limits) -> TrustedPerson:
    return TrustedPerson(person=name, keys=(PersonKey(key=key, **limits),))


def test_what_both_rules_allow_counts(workspace):
    """Laxer rules than those of the request help it nothing; stricter ones bind it."""
    asked = Asked(workspace).rules
    soak = Gates(soak=SoakGate(at_least=timedelta(hours=48)))
    lax = replace(
        asked, approvals=0, approval_required=False, auto_deploy=True, lifetime=timedelta(hours=9),
        gates=Gates(source_healthy=False, freeze=False), freeze_windows=(), believes_told=True,
    )  # fmt: skip
    for one, other in ((asked, lax), (lax, asked)):
        found = stricter(one, other)
        assert (found.approvals, found.approval_required, found.auto_deploy) == (
            asked.approvals, True, False,
        )  # fmt: skip
        assert found.gates.freeze
        assert found.gates.soak == asked.gates.soak
        assert found.lifetime == asked.lifetime
        assert found.freeze_windows == asked.freeze_windows
        assert not found.believes_told
    assert stricter(asked, replace(asked, gates=soak)).gates.soak == soak.soak
    assert stricter(replace(asked, gates=soak), asked).gates.soak == soak.soak


def test_only_people_and_keys_of_both_count(workspace):
    """Somebody who came, or a key that changed, since the request says nothing about it; revoked is revoked."""
    asked = Asked(workspace).rules
    gone = NOW - timedelta(hours=1)
    then = Trust(persons=(person("priya"), person("lena", OTHER)))
    for now, expected in (
        (Trust(persons=(person("priya"), person("eve", OTHER))), {"priya": [KEY]}),
        (Trust(persons=(person("priya", OTHER),)), {"priya": []}),
        (Trust(persons=(person("priya", revoked_since=gone),)), {"priya": [KEY]}),
    ):
        found = stricter(replace(asked, trust=then), replace(asked, trust=now)).trust
        assert {p.person: [k.key for k in p.keys] for p in found.persons} == expected
        for key in (k for p in found.persons for k in p.keys):
            assert key.counts_at(NOW) is (now.persons[0].keys[0].revoked_since is None)


def test_a_record_is_judged_by_people_as_they_were_and_revocations_as_they_are():
    """Who left since counted then; whose key was revoked since counts no more from that moment."""
    gone = NOW - timedelta(hours=1)
    then = Trust(persons=(person("priya"), person("lena", OTHER)))
    now = Trust(persons=(person("priya", revoked_since=gone),))
    found = trust_then(then, now)
    by_name = {p.person: p.keys[0] for p in found.persons}
    assert by_name["lena"].counts_at(NOW)
    assert by_name["priya"].counts_at(gone - timedelta(seconds=1))
    assert not by_name["priya"].counts_at(NOW)


def test_a_runner_counts_where_it_is_listed(workspace):
    """A key for staging is no runner of production."""
    catalog = Asked(workspace).catalog
    trust = Trust(
        runners=(
            RunnerKey(name="staging", key=KEY, environments=("staging",)),
            RunnerKey(name="all", key=OTHER),
        )
    )
    named = {
        environment: [
            r.name
            for r in rules_for(catalog.fleet, catalog.policy, trust, environment).trust.runners
        ]
        for environment in ("staging", "production")
    }
    assert named == {"staging": ["staging", "all"], "production": ["all"]}


def test_a_check_says_that_an_origin_is_not_pinned(cloned):  # noqa: F811
    """Whose keys count was said by an origin that nobody trusts on this machine: verify tells; pinned it does not."""
    where = find_workspace(cloned.root)
    url = git(cloned.root, "remote", "get-url", "origin")
    assert "nobody said on this machine" in LiveRules(where, load_catalog(where.runbooks)).source
    origins.pin(cloned.root, url, "main")
    assert "nobody said" not in LiveRules(where, load_catalog(where.runbooks)).source


def test_a_pin_that_changes_under_a_process_is_not_taken(cloned, tmp_path):  # noqa: F811
    """A notebook pins its own repository and points origin there: whoever read the pin before refuses; put back, it counts."""
    url = git(cloned.root, "remote", "get-url", "origin")
    path = origins.pin(cloned.root, url, "main")
    assert ground_of(cloned).is_pinned
    other = tmp_path / "evil.git"
    git(tmp_path, "clone", "--quiet", "--bare", url, str(other))
    true = path.read_text()
    path.write_text(true.replace(url, str(other)))
    git(cloned.root, "remote", "set-url", "origin", str(other))
    with pytest.raises(ConfigurationError, match="the pin of this workspace was changed meanwhile"):
        ground_of(cloned)
    path.unlink()
    with pytest.raises(ConfigurationError, match="was changed meanwhile"):
        ground_of(cloned)
    path.write_text(true)
    git(cloned.root, "remote", "set-url", "origin", url)
    assert ground_of(cloned).is_pinned


@pytest.mark.parametrize("is_pinned", [True, False])
def test_a_process_takes_the_pin_that_its_command_read(cloned, is_pinned):  # noqa: F811
    """It reads the file when the notebook has run: another one, or one where there was none, is refused."""
    url = git(cloned.root, "remote", "get-url", "origin")
    path = origins.pin(cloned.root, url, "main")
    text = origins.pin_text(cloned.root) if is_pinned else ""
    origins.hold_to(cloned.root, text)
    if is_pinned:
        assert ground_of(cloned).is_pinned
        path.write_text(path.read_text().replace('"main"', '"theirs"'))
    with pytest.raises(ConfigurationError, match="was changed meanwhile"):
        ground_of(cloned)
