"""Sources one by one: commits, versions of charts, several at once, and whether a comparison is of the present ones."""

from __future__ import annotations

from typing import Any

import pytest

from gitops_nb.argo import Expectation, State, judge
from gitops_nb.argo.overrides import overrides
from gitops_nb.argo.sources import Origin, is_address, revisions_for
from gitops_nb.ports import Snapshot
from tests.argo.applications import (
    CHART,
    OTHER,
    REPOSITORY,
    REVISION,
    SOURCE,
    application,
    deployed,
    resource,
)

ORIGIN = Origin((REPOSITORY,), ("main",))
ELSEWHERE = {"repoURL": "https://git.example/other.git", "targetRevision": "main", "path": "x"}


def seen(*revisions: str, **spec: Any) -> Snapshot:
    """A Healthy, rolled out Application at these revisions."""
    items = deployed("Deployment", "web", "web:v2")
    return Snapshot(
        "web", application(resource(items[0]), revisions=revisions, **spec), tuple(items)
    )


@pytest.mark.parametrize("origin", [None, ORIGIN])
@pytest.mark.parametrize(
    ("revisions", "state"),
    [
        ((REVISION, REVISION), State.DEPLOYED),
        ((REVISION, OTHER), State.PROGRESSING),
        ((OTHER, REVISION), State.PROGRESSING),
        ((REVISION,), State.PROGRESSING),
    ],
)
def test_every_source_has_to_be_at_the_revision(
    revisions: tuple[str, ...], state: State, origin: Origin | None
) -> None:
    """One source at the commit says nothing of the other."""
    sources = [SOURCE, {**SOURCE, "path": "apps/more"}]
    judgement = judge(seen(*revisions, sources=sources), Expectation(REVISION, origin=origin))
    assert judgement.state is state, judgement.sentence


@pytest.mark.parametrize(
    ("asked", "version", "state"),
    [
        ("1.2.3", "1.2.3", State.DEPLOYED),
        ("v1.2.3", "1.2.3", State.DEPLOYED),
        ("1.2.3", "1.2.2", State.PROGRESSING),
        ("1.x", "1.9.0", State.DEPLOYED),
        ("*", "2.0.0", State.DEPLOYED),
    ],
)
def test_a_chart_has_a_version_and_no_commit(asked: str, version: str, state: State) -> None:
    """Values from Git at the commit, the chart at its own version; a range takes what it resolves to."""
    chart = {**CHART, "targetRevision": asked}
    found = seen(version, REVISION, sources=[chart, {**SOURCE, "ref": "values"}])
    for origin in (None, ORIGIN):
        assert judge(found, Expectation(REVISION, origin=origin)).state is state


def test_a_chart_alone_is_judged() -> None:
    """An Application of nothing but a chart is not "not at COMMIT yet" for ever."""
    found = seen("1.2.3", source=CHART)
    assert judge(found, Expectation(REVISION, origin=ORIGIN)).state is State.DEPLOYED


def test_another_repository_is_at_its_own_commit() -> None:
    """Its commits are not ours; a comparison of what the Application names now is all that can be said."""
    found = seen(REVISION, OTHER, sources=[SOURCE, ELSEWHERE])
    assert judge(found, Expectation(REVISION, origin=ORIGIN)).state is State.DEPLOYED
    assert judge(found, Expectation(REVISION)).state is State.PROGRESSING


def test_a_comparison_of_older_sources_says_nothing() -> None:
    """A parent changed what the child asks for; sync and health are still about what it asked for before."""
    found = seen(REVISION)
    found.application["status"]["sync"]["comparedTo"] = {"source": {**SOURCE, "path": "before"}}
    judgement = judge(found, Expectation(REVISION))
    assert judgement.state is State.PROGRESSING
    assert "was not compared since its source was changed" in judgement.sentence


def test_what_is_empty_makes_no_other_source() -> None:
    """Argo CD's copy of a source leaves out what is empty in the Application."""
    found = seen(
        REVISION, source={**SOURCE, "directory": {"recurse": False, "jsonnet": {}}, "helm": None}
    )
    found.application["status"]["sync"]["comparedTo"] = {
        "source": {**SOURCE, "directory": {"jsonnet": {}}}
    }
    assert judge(found, Expectation(REVISION)).state is State.DEPLOYED


def test_history_and_result_are_read_source_by_source() -> None:
    """Our operation on a chart and its values has brought both, or it has not brought it."""
    sources = [CHART, SOURCE]
    found = seen("1.2.3", REVISION, sources=sources)
    started = "2026-11-23T15:52:32Z"
    operation = {"info": [{"name": "gitops-nb/id", "value": "run"}]}
    at = {"revisions": ["1.2.3", REVISION]}
    found.application["status"] |= {
        "reconciledAt": "2026-11-23T15:53:00Z",
        "operationState": {
            "phase": "Succeeded",
            "startedAt": started,
            "finishedAt": "2026-11-23T15:52:40Z",
            "operation": {**operation, "sync": at},
            "syncResult": {**at, "sources": sources},
        },
        "history": [
            {
                **at,
                "sources": sources,
                "deployStartedAt": started,
                "initiatedBy": {"username": "gitops-nb"},
            }
        ],
    }
    wanted = Expectation(REVISION, "run", origin=ORIGIN)
    assert judge(found, wanted).state is State.DEPLOYED
    # The result of a sync that brought other values moves everything away from what is expected.
    found.application["status"]["operationState"]["syncResult"]["revisions"] = ["1.2.3", OTHER]
    found.application["status"]["operationState"]["operation"]["sync"] = {
        "revisions": ["1.2.3", OTHER]
    }
    found.application["status"]["reconciledAt"] = started
    assert judge(found, wanted).state is not State.DEPLOYED


def test_a_sync_names_a_revision_for_each_source() -> None:
    """The commit for ours, and what the Application asks for itself of every other."""
    sources = [CHART, {**SOURCE, "ref": "values"}, ELSEWHERE, {"repoURL": ELSEWHERE["repoURL"]}]
    spec = {"spec": {"sources": sources}}
    assert revisions_for(spec, ORIGIN, REVISION) == f"1.2.3,{REVISION},main,HEAD"
    assert revisions_for({"spec": {"source": SOURCE}}, ORIGIN, REVISION) == REVISION
    assert revisions_for({"spec": {"source": CHART}}, Origin((), ()), REVISION) == "1.2.3"
    assert revisions_for({"spec": {"source": SOURCE}}, Origin((), ()), "") == "main"


@pytest.mark.parametrize(
    "url",
    [
        "https://git.example/platform/config",
        "https://git.example/platform/config.git/",
        "https://robot:secret@GIT.example:443/platform/config.git",
        "ssh://git@git.example/platform/config.git",
        "ssh://git@git.example:22/platform/config",
        "git@git.example:platform/config.git",
    ],
)
def test_one_repository_has_many_addresses(url: str) -> None:
    """Protocol, user, standard port and suffix are ways to get there."""
    assert is_address(url, (REPOSITORY,))
    assert not is_address(url.replace("config", "config2"), (REPOSITORY,))
    assert not is_address(
        url.replace("git.example", "other.example").replace("GIT", "other"), (REPOSITORY,)
    ) or ("GIT" in url)


def test_overrides_are_named_images_first() -> None:
    """Whatever an Application says past the files: parameters, values, patches, plugins, jsonnet."""
    source = {
        **SOURCE,
        "helm": {
            "parameters": [
                {"name": "replicas", "value": "2"},
                {"name": "image.tag", "value": "v1"},
            ],
            "valuesObject": {"a": 1},
            "fileParameters": [{"name": "config", "path": "x"}],
        },
        "kustomize": {"images": ["web:v1"], "patches": [{}], "components": ["c"]},
        "plugin": {"env": [{"name": "TAG"}], "parameters": [{"name": "p"}]},
        "directory": {"jsonnet": {"tlas": [{"name": "tag"}], "extVars": [{"name": "e"}]}},
    }
    found = overrides({"spec": {"source": source}})
    assert found[:3] == (
        "Helm parameter image.tag=v1",
        "kustomize image web:v1",
        "jsonnet variable tag",
    )
    assert len(found) == 11
    assert overrides({"spec": {"source": SOURCE}}) == ()


def test_a_comparison_that_could_not_be_made_is_not_unknown_health() -> None:
    """Sync Unknown leaves the health of before, which is said; health Unknown is another thing."""
    found = seen(REVISION)
    found.application["status"]["sync"] = {"status": "Unknown"}
    judgement = judge(found, Expectation(REVISION))
    assert judgement.state is State.IN_DOUBT
    assert judgement.sentence == (
        "Argo CD cannot compare web with Git; its health, Healthy, is of an earlier comparison"
    )
    found = seen(REVISION)
    found.application["status"]["health"] = {"status": "Unknown"}
    judgement = judge(found, Expectation(REVISION))
    assert judgement.state is State.IN_DOUBT
    assert judgement.sentence == "Argo CD compares web with Git, and cannot tell its health"
