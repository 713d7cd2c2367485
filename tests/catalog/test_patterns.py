"""A pattern is never an error message: every one says in words what is allowed."""

from __future__ import annotations

import re
from typing import Any

import pytest

from gitops_nb.catalog.fields import IN_WORDS
from gitops_nb.catalog.load import KINDS, load_catalog
from gitops_nb.catalog.parameters import check, merge
from gitops_nb.catalog.runbooks import Parameter
from gitops_nb.errors import ConfigurationError, UsageError

REGULAR = re.compile(r"\[[^\]\s]*-[^\]\s]*\]|\\[A-Za-z.]|\{\d+,|\(\?|\^|\$|\]\*|\]\+")
"""What gives a regular expression away."""


def patterns(value: Any) -> set[str]:
    """Every pattern in a JSON Schema."""
    if isinstance(value, dict):
        own = {value["pattern"]} if isinstance(value.get("pattern"), str) else set()
        return own.union(*(patterns(item) for item in value.values()))
    if isinstance(value, list):
        return set().union(*map(patterns, value))
    return set()


@pytest.mark.parametrize("kind", KINDS)
def test_every_pattern_of_our_files_has_words(kind):
    """What pydantic checks by a pattern is worded; a duration is read by a function of ours, which words it."""
    found = patterns(KINDS[kind].model_json_schema()) - {r"^\d{1,6}[smhdw]$"}
    assert found <= set(IN_WORDS)
    assert not [words for words in IN_WORDS.values() if REGULAR.search(words)]


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("fleet.yaml", "  development: [staging]", "  Development: [staging]", "lower-case letters"),
        ("fleet.yaml", "branch: main", "branch: '-x'", "is not a branch name that git accepts"),
        ("fleet.yaml", "sha256: ", "sha256: X", "64 digits"),
        ("trust.yaml", "persons: []", "persons: [{person: e e, keys: []}]", "letters, digits and . _ @ + -"),
        ("trust.yaml", "persons: []", "persons: [{person: e, keys: [{key: 'ssh-dss AA'}]}]", "public SSH key"),
        ("promotion.yaml", "requires: gitops_nb>=0.1,<0.2", "requires: gitops", "gitops_nb>=0.1,<0.2"),
        ("promotion.yaml", "notebook: promotion.ipynb", "notebook: ../p.ipynb", "no `..`"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_answered_in_words(workspace, file, old, new, words):
    """The message names the value and what is allowed, and shows no regular expression."""
    workspace.replace(f"runbooks/{file}", old, new)
    with pytest.raises(ConfigurationError) as caught:
        load_catalog(workspace.root / "runbooks")
    assert words in caught.value.message
    assert not REGULAR.search(caught.value.message), caught.value.message


@pytest.mark.parametrize(
    ("runbook", "name", "value", "words"),
    [
        ("promotion", "revision", "-v1", "a version of letters"),
        ("dora", "window", "soon", "90d, 13w, 2026"),
        ("dora", "compare_to", "soon", "previous, none"),
    ],
)
def test_a_parameter_that_does_not_fit_is_answered_in_words(workspace, runbook, name, value, words):
    """Typed and given by a program: the words are the runbook's own."""
    catalog = load_catalog(workspace.root / "runbooks")
    declared, fleet = catalog.runbooks[runbook], catalog.fleet
    for refuse in (
        lambda: check(declared, fleet, {name: value, "application": "checkout"}),
        lambda: merge(declared, fleet, {}, {name: value}),
    ):
        with pytest.raises(UsageError) as caught:
            refuse()
        assert words in caught.value.message
        assert not REGULAR.search(caught.value.message), caught.value.message


def test_a_pattern_without_words_shows_the_description(workspace):
    """A team's runbook that says only a pattern is answered with what the parameter is for."""
    workspace.replace(
        "runbooks/promotion.yaml",
        'allowed: "a version of letters, digits and . _ + / @ : - that begins with a letter or digit", ',
        "",
    )
    done = workspace.run("run", "promotion", "-p", "application=checkout", "-p", "revision=-v1")
    assert done.returncode == 64
    assert "A version instead of the one the source runs" in done.stderr
    assert not REGULAR.search(done.stderr), done.stderr


def test_a_pattern_that_is_none_is_refused_where_it_is_written():
    """The runbook's author reads it, not the person who runs it."""
    with pytest.raises(ValueError, match="no regular expression"):
        Parameter(type="string", description="x", pattern="[")
