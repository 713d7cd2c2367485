"""The files that people write: accepted as they stand, or refused with every problem and its line."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from gitops_nb.catalog import strict_yaml
from gitops_nb.catalog.early import check_early
from gitops_nb.catalog.fields import Ref
from gitops_nb.catalog.fleet import Fleet
from gitops_nb.catalog.load import KINDS, load_catalog
from gitops_nb.catalog.parameters import check, merge
from gitops_nb.errors import ConfigurationError, UsageError
from tests.conftest import REPOSITORY

PLATFORM = """\
kind: Fleet
environments:
  development: {auto_deploy: true, approval_required: false, resource_limits: {cpu: limited, memory: limited}, retention: 7d}
  staging: {auto_deploy: true, approval_required: true, resource_limits: {cpu: moderate, memory: moderate}, retention: 30d}
  production: {auto_deploy: false, approval_required: true, resource_limits: {cpu: unlimited, memory: unlimited}, retention: 365d}
"""


@pytest.fixture
def runbooks(tmp_path) -> Path:
    """A copy of the shipped runbooks."""
    return Path(shutil.copytree(REPOSITORY / "runbooks", tmp_path / "runbooks"))


def edit(folder, name, old, new):
    """Replaces a text that has to be there."""
    path = folder / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def problems(folder):
    """The problems that loading the catalog finds."""
    with pytest.raises(ConfigurationError) as caught:
        load_catalog(folder)
    return caught.value.message.splitlines()


def test_the_platforms_own_block_is_accepted(tmp_path):
    """The environments block of the platform needs nothing else."""
    (tmp_path / "fleet.yaml").write_text(PLATFORM)
    (tmp_path / "policy.yaml").write_text("kind: Policy\n")
    fleet = load_catalog(tmp_path).fleet
    assert fleet.environments["production"].retention == timedelta(days=365)
    assert fleet.environments["staging"].resource_limits.cpu == "moderate"


def test_the_order_is_a_graph_and_not_the_order_of_the_list():
    """What follows what is said by promotes_to alone."""
    value = strict_yaml.parse(PLATFORM.encode(), name="x").value
    value["environments"] = dict(reversed(value["environments"].items()))
    fleet = Fleet.model_validate(
        {**value, "promotes_to": {"development": ["staging"], "staging": ["production"]}}
    )
    assert fleet.first_environments == ("development",)


def test_every_problem_of_every_file_at_once(runbooks):
    """One pass tells all: file, line, path, problem."""
    edit(runbooks, "fleet.yaml", "  staging: [production]", "  staging: [prod]\n  qa: [staging]")
    edit(runbooks, "fleet.yaml", "cpu: limited", "cpu: small")
    found = problems(runbooks)
    assert found[0].startswith(
        "runbooks/fleet.yaml:6: environments.development.resource_limits.cpu: 'small'; allowed:"
    )
    edit(runbooks, "fleet.yaml", "cpu: small", "cpu: limited")
    edit(runbooks, "policy.yaml", "environments: [production]", "environments: [prodction]")
    edit(runbooks, "promotion.yaml", "owner: platform", "ownr: platform")
    found = problems(runbooks)
    assert [line.split(": ", 2)[1:] for line in found] == [
        [
            "promotes_to.staging[0]",
            "unknown environment 'prod'; there are development, staging, production",
        ],
        ["promotes_to.qa", "unknown environment 'qa'; there are development, staging, production"],
        [
            "freeze_windows[0].environments[0]",
            "unknown environment 'prodction'; there are development, staging, production",
        ],
        ["owner", "missing"],
        ["ownr", "unknown key"],
    ]
    assert all(line.split(":")[1].isdigit() for line in found)


@pytest.mark.parametrize(
    ("name", "old", "new", "problem"),
    [
        ("fleet.yaml", "  staging: [production]", "  staging: [production]\n  production: [development]", "a circle"),
        ("fleet.yaml", "retention: 7d", "retention: 7 days", "a duration is"),
        ("fleet.yaml", "environment: staging, server", "environment: stage, server", "unknown environment 'stage'"),
        ("fleet.yaml", "path: apps/checkout/{environment}", "path: /etc/{environment}", "no slash at the beginning"),
        ("fleet.yaml", "path: apps/checkout/{environment}", "path: ../x/{environment}", "no `..`"),
        ("fleet.yaml", "path: apps/checkout/{environment}", "path: apps/checkout", "{environment} is missing"),
        ("fleet.yaml", "repository: platform-config\n    path: apps/checkout", "repository: other\n    path: apps/checkout", "unknown repository 'other'"),
        ("fleet.yaml", "part: tag", "part: tag, key: a..b", "duplicate key"),
        ("fleet.yaml", 'key: "spec.template.spec.containers[name=checkout].image"', "key: spec..image", "'spec..image' is not a key path; Write it like"),
        ("fleet.yaml", 'key: "spec.template.spec.containers[name=checkout].image"', "key: 'labels.\"app.example'", "is not a key path"),
        ("fleet.yaml", "branch: main", "branch: a..b", "'a..b' is not a branch name that git accepts"),
        ("fleet.yaml", "branch: main", "branch: refs/heads/main", "a branch is called by its name alone: 'main'"),
        ("fleet.yaml", "branch: main", "branch: '-x'", "'-x' is not a branch name that git accepts"),
        ("fleet.yaml", "kind: Fleet", "kind: Policy", "'Policy' where 'Fleet' is due"),
        ("fleet.yaml", "auto_deploy: true", "auto_deploy: yes", "valid boolean"),
        ("fleet.yaml", "policy.default: role:readonly", "policy.default: role:nobody", "a role that no policy defines"),
        ("fleet.yaml", "  settings:", "  settings:\n    admin.enabled: 'false'", "nobody else can log in"),
        ("policy.yaml", "approval_lifetime: 4h", "approval_lifetime: 5h", "between 1s and 4h"),
        ("policy.yaml", "end: 2027-01-04T08:00:00+01:00", "end: 2026-01-04T08:00:00+01:00", "end is not after start"),
        ("policy.yaml", "start: 2026-12-23T12:00:00+01:00", "start: 2026-12-23T12:00:00", "timezone"),
        ("policy.yaml", "approvers: []", "approvers: [{person: '*', environments: [production]}]", "person"),
        ("dora.yaml", "name: dora", "name: other", "in a file called dora.yaml"),
        ("promotion.yaml", "requires: gitops_nb>=0.1", "requires: other>=0.1", "like gitops_nb>=0.1"),
        ("promotion.yaml", "  timeout:", "  class:", "not an identifier"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named(runbooks, name, old, new, problem):
    """Each kind of mistake is refused in words that fit it."""
    edit(runbooks, name, old, new)
    assert any(problem in line for line in problems(runbooks)), problems(runbooks)


@pytest.mark.parametrize("proof", ["{image: a, label: b}", "{image: 5}", "{imag: a}"])
def test_a_wrong_entry_of_a_list_is_one_problem(runbooks, proof):
    """The list is not said to be empty because its only entry is a wrong one."""
    edit(runbooks, "fleet.yaml", "part: tag}", f"part: tag, proof: {proof}}}")
    found = problems(runbooks)
    assert found
    assert all("promotable[0].proof" in line for line in found), found


@pytest.mark.parametrize("branch", ["feature/#42", "größe", "release_1+2@x"])
def test_any_branch_that_git_accepts_is_taken(runbooks, branch):
    """The rules are git's own."""
    edit(runbooks, "fleet.yaml", "branch: main", f"branch: '{branch}'")
    assert load_catalog(runbooks).fleet.repositories["platform-config"].branch == branch


@pytest.mark.parametrize(
    ("ref", "is_taken"),
    [("refs/heads/feature/#42", True), ("refs/tags/größe", True), ("refs/heads/a..b", False), ("refs/pull/1", False), ("main", False)],
)  # fmt: skip
def test_a_workflow_may_run_from_any_branch(ref, is_taken):
    """Branches and tags by the names that git accepts, in full."""
    adapter = TypeAdapter(Ref)
    if is_taken:
        assert adapter.validate_python(ref) == ref
        return
    with pytest.raises(ValidationError, match="a name that git accepts"):
        adapter.validate_python(ref)


def test_a_key_in_quotes_is_taken(runbooks):
    """A name with dots and slashes can be named in fleet.yaml."""
    key = 'metadata.labels."app.kubernetes.io/version"'
    edit(runbooks, "fleet.yaml", 'key: "spec.template.spec.containers[name=checkout].image"', f"key: '{key}'")  # fmt: skip
    assert load_catalog(runbooks).fleet.applications["checkout"].promotable[0].key == key


def test_the_same_key_for_two_persons_is_refused(runbooks):
    """Four eyes need two keys."""
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJmQ0Yx1yTqvbSlKkPVQ8n0mJ0Jm0yQv7C6dD0wq0u1a"
    persons = "".join(f"\n  - {{person: {p}, keys: [{{key: '{key} {p}'}}]}}" for p in "ab")
    edit(runbooks, "trust.yaml", "persons: []", f"persons:{persons}")
    assert "the same key as one of a" in problems(runbooks)[0]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\na: 2\n", "x:2: a: duplicate key 'a'"),
        ("a: &x 1\nb: *x\n", "x:2: b: alias *x"),
        ("a: !!python/object x\n", "tag"),
        ("a: 1\n---\nb: 2\n", "second document"),
        ("[" * 101 + "]" * 101, "nested deeper than 100"),
        ("a: [", "not YAML"),
        ("? [a]\n: b\n", "a key that is not text"),
        ("a: \x01", "not YAML"),
    ],
)
def test_yaml_that_surprises_is_refused(text, problem):
    """Duplicate keys, aliases, tags, several documents, deep nesting."""
    with pytest.raises(ConfigurationError) as caught:
        strict_yaml.parse(text.encode(), name="x")
    assert problem in caught.value.message


def test_bombs_are_refused_before_they_grow():
    """A file over 128 KiB is not parsed; aliases never expand."""
    bomb = b"a: &a [x,x]\n" + b"".join(
        b"%c: &%c [*%c,*%c]\n" % (98 + i, 98 + i, 97 + i, 97 + i) for i in range(20)
    )
    for content in (b"a" * (128 * 1024 + 1), bomb, b"[" * 100_000):
        with pytest.raises(ConfigurationError):
            strict_yaml.parse(content, name="x")


@pytest.mark.parametrize(
    ("text", "value"),
    [("no", "no"), ("on", "on"), ("12:30", "12:30"), ("0123", "0123"), ("1e5x", "1e5x"), ("true", True), ("~", None),
     ("-7", -7), ("1.5", 1.5), ('"true"', "true"), ("2026-01-01", "2026-01-01"), ("0o7", "0o7"), ("1_000", "1_000")],
)  # fmt: skip
def test_scalars_follow_yaml_1_2(text, value):
    """What only YAML 1.1 reads as a boolean, number or date stays text."""
    assert strict_yaml.parse(f"a: {text}\n".encode(), name="x").value == {"a": value}


def test_schemas_are_generated_for_editors():
    """Each kind of file has a JSON Schema with a description on every field."""
    for model in KINDS.values():
        schema = model.model_json_schema()
        for part in (schema, *schema.get("$defs", {}).values()):
            for name, field in part.get("properties", {}).items():
                assert "description" in field, f"{part.get('title')}.{name}"


@pytest.fixture
def catalog():
    """The shipped catalog."""
    return load_catalog(REPOSITORY / "runbooks")


BAD = [
    ({"aplication": "checkout"}, "aplication: unknown parameter; promotion has application"),
    (
        {"application": "nope"},
        "application: 'nope' is not allowed; allowed: checkout, catalog, payments",
    ),
    ({}, "application: missing; allowed: checkout"),
    (
        {"application": "checkout", "timeout": "soon"},
        "timeout: 'soon' is not allowed; a duration such as 24h",
    ),
    ({"application": "checkout", "revision": "x y"}, "revision: 'x y' is not allowed"),
    ({"application": "checkout", "a b": "c"}, "'a b': not an identifier"),
    ({"application": "checkout", "x=1;y": "c"}, "not an identifier"),
    ({"application": "checkout\n"}, "is not allowed"),
]


@pytest.mark.parametrize(("texts", "problem"), BAD)
def test_wrong_parameters_are_refused_early_and_fully(catalog, texts, problem):
    """The quick look and the full catalog say the same, naming the field and what is allowed."""
    with pytest.raises(UsageError) as early:
        check_early(REPOSITORY / "runbooks", "promotion", {}, texts)
    with pytest.raises(UsageError) as full:
        merge(catalog.runbooks["promotion"], catalog.fleet, {}, texts)
    assert problem in early.value.message
    assert early.value.message == full.value.message


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"application": 7}, "application: 7 is an integer"),
        ({"application": True}, "application: True is"),
        ({"application": ["checkout"]}, "application: ['checkout'] is a list"),
        ({"application": None}, "application: None is nothing"),
        ({"application": "checkout", "timeout": 900}, "timeout: 900 is an integer; a duration"),
    ],
)
def test_values_of_another_type_are_refused(catalog, values, problem):
    """What plain papermill injects is not converted silently."""
    with pytest.raises(UsageError) as caught:
        check(catalog.runbooks["promotion"], catalog.fleet, values)
    assert problem in caught.value.message


def test_a_text_wins_over_a_file(catalog):
    """-p is nearer to the person than -f."""
    values = merge(
        catalog.runbooks["promotion"],
        catalog.fleet,
        {"application": "catalog", "target": "staging"},
        {"application": "checkout"},
    )
    assert values["application"] == "checkout"
    assert values["target"] == "staging"
    assert values["source"] == "staging"


def test_the_quick_look_leaves_broken_files_to_the_catalog(runbooks):
    """It refuses only what it can read without doubt."""
    edit(runbooks, "fleet.yaml", "kind: Fleet", "kind: Fleet\nkind: Fleet")
    check_early(runbooks, "promotion", {}, {"application": "nope"})


def test_wrong_shapes_do_not_hide_wrong_references(tmp_path):
    """One file with a wrong type, a missing key, an unknown key and a reference to nowhere names all four at once."""
    runbooks = tmp_path / "runbooks"
    shutil.copytree(REPOSITORY / "runbooks", runbooks)
    fleet = (runbooks / "fleet.yaml").read_text(encoding="utf-8")
    for old, new in (
        ("staging: [production]", "staging: [moon]"),
        ("development: {auto_deploy: true,", "development: {auto_deploy: 7, colour: red,"),
        ("newcomer: {environment: development,", "newcomer: {"),
    ):
        assert old in fleet
        fleet = fleet.replace(old, new)
    (runbooks / "fleet.yaml").write_text(fleet, encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        load_catalog(runbooks)
    lines = caught.value.message.splitlines()
    assert [line.split(": ", 1)[1] for line in lines] == [
        "environments.development.auto_deploy: input should be a valid boolean, not 7",
        "environments.development.colour: unknown key",
        "clusters.newcomer.environment: missing",
        "promotes_to.staging[0]: unknown environment 'moon'",
    ]


def test_a_name_in_another_case_is_the_same_name():
    """Two people cannot share a login that differs in upper and lower case only; one person may list both."""
    from gitops_nb.catalog.trust import Trust

    shared = Trust.model_validate(
        {"persons": [{"person": "tomas", "aliases": ["T@x.org"]}, {"person": "t", "aliases": ["t@X.org"]}]}
    )  # fmt: skip
    assert [text for _, text in shared.problems()] == ["t@X.org stands here twice"]
    one = Trust.model_validate({"persons": [{"person": "tomas", "aliases": ["Tomas"]}]})
    assert one.problems() == []
    assert one.person("TOMAS") is not None
