"""The contract of sources: overrides, several at once, charts, and who brings what; the sandbox against the real thing."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from gitops_nb.argo import Expectation, Judgement, State, current_revisions, history_of, judge
from gitops_nb.argo.evidence import Version
from gitops_nb.argo.overrides import overrides
from gitops_nb.argo.sources import revisions_for
from gitops_nb.model import ObjectRef
from gitops_nb.ports import Snapshot
from gitops_nb.promotion.versions import asks_for
from tests.contract.platforms import Platform, application, config_map, deployment

CHART = "apiVersion: v2\nname: {}\nversion: {}\n"


@pytest.fixture
def name(platform: Platform) -> str:
    """Name of an Application, its folder and its namespace, which exists."""
    found = platform.new_name()
    platform.namespace(found)
    return found


def template() -> str:
    """A Deployment whose tag is a value."""
    return deployment("web").replace(":v1", ":{{ .Values.image.tag }}")


def values(tag: str) -> str:
    """Values with a tag."""
    return f"image: {{tag: {tag}}}\n"


def settled(platform: Platform, name: str, wanted: Expectation) -> Judgement:
    """What is said once the rollout is over: deployed, failed, or all in order and the version not seen."""
    last: list[Judgement] = []

    def is_over(snapshot: Snapshot) -> bool:
        last.append(judge(snapshot, wanted))
        return last[-1].is_final or bool(last[-1].unseen)

    platform.until(name, is_over, timeout_s=90)
    return last[-1]


def brought(platform: Platform, name: str, commit: str, tag: str, identifier: str) -> Judgement:
    """A sync of ours to a commit, and what is seen of a tag then."""
    present = platform.argo.snapshot(name).application
    revisions = revisions_for(present, platform.origin, commit)
    platform.argo.sync(name, revision=revisions, identifier=identifier)
    wanted = Expectation(
        commit, identifier, origin=platform.origin, versions=(Version(tag, names=("example/web",)),)
    )
    return settled(platform, name, wanted)


def test_a_kustomize_image_wins_over_git(platform: Platform, name: str) -> None:
    """Synced and Healthy at the commit with the image that the Application names; the judgement is in doubt, and without the override deployed."""
    kustomization = "resources: [web.yaml]\n"
    platform.push(
        {f"{name}/kustomization.yaml": kustomization, f"{name}/web.yaml": deployment("web")}
    )
    source = platform.source(name, kustomize={"images": ["example/web:v1"]})
    platform.application_of(name, [source])
    commit = platform.push({f"{name}/web.yaml": deployment("web", "v2")})
    judgement = brought(platform, name, commit, "v2", "one")
    assert (judgement.state, judgement.sync, judgement.health) == (
        State.IN_DOUBT,
        "Synced",
        "Healthy",
    )
    assert "no workload runs v2: Deployment web runs example/web:v1" in judgement.sentence
    snapshot = platform.argo.snapshot(name)
    assert overrides(snapshot.application) == ("kustomize image example/web:v1",)
    assert snapshot.application["status"]["sourceType"] == "Kustomize"
    platform.change("Application", "argocd", name, {"spec": {"source": {"kustomize": None}}})
    platform.until(name, lambda s: "v1" not in str(s.application["status"]["sync"]["comparedTo"]))
    assert brought(platform, name, commit, "v2", "two").state is State.DEPLOYED


def test_a_helm_parameter_wins_over_values(platform: Platform, name: str) -> None:
    """A chart's folder: values in Git, and the Application's own parameter past them."""
    files = {
        f"{name}/Chart.yaml": CHART.format("web", "1.0.0"),
        f"{name}/values.yaml": values("v1"),
        f"{name}/templates/web.yaml": template(),
    }
    platform.push(files)
    source = platform.source(name, helm={"parameters": [{"name": "image.tag", "value": "v1"}]})
    platform.application_of(name, [source])
    commit = platform.push({f"{name}/values.yaml": values("v2")})
    judgement = brought(platform, name, commit, "v2", "one")
    assert judgement.state is State.IN_DOUBT
    assert "no workload runs v2" in judgement.sentence
    platform.change("Application", "argocd", name, {"spec": {"source": {"helm": None}}})
    platform.until(name, lambda s: "v1" not in str(s.application["status"]["sync"]["comparedTo"]))
    judgement = brought(platform, name, commit, "v2", "two")
    assert judgement.state is State.DEPLOYED, judgement.sentence
    assert platform.argo.snapshot(name).application["status"]["sourceType"] == "Helm"


def test_an_override_file_in_git_counts(platform: Platform, name: str) -> None:
    """What image updaters write beside a kustomization is part of the Application."""
    commit = platform.push(
        {
            f"{name}/kustomization.yaml": "resources: [web.yaml]\n",
            f"{name}/web.yaml": deployment("web", "v2"),
            f"{name}/.argocd-source-{name}.yaml": "kustomize: {images: ['example/web:v1']}\n",
        }
    )
    platform.application_of(name, [platform.source(name)])
    judgement = brought(platform, name, commit, "v2", "one")
    assert judgement.state is State.IN_DOUBT
    assert "no workload runs v2: Deployment web runs example/web:v1" in judgement.sentence


def test_several_folders_come_to_one_commit(platform: Platform, name: str) -> None:
    """One sync names a revision for each source; all of them are at it, in status, result and history."""
    platform.push(
        {f"{name}/web.yaml": deployment("web"), f"{name}-more/x.yaml": config_map("more")}
    )
    platform.application_of(name, [platform.source(name), platform.source(f"{name}-more")])
    commit = platform.push({f"{name}/web.yaml": deployment("web", "v2")})
    judgement = brought(platform, name, commit, "v2", "one")
    assert judgement.state is State.DEPLOYED, judgement.sentence
    found = platform.argo.snapshot(name).application
    assert current_revisions(found) == (commit, commit)
    assert history_of(found)[-1]["revisions"] == [commit, commit]
    state = found["status"]["operationState"]
    assert state["syncResult"]["revisions"] == [commit, commit]
    assert state["operation"]["sync"]["revisions"] == [commit, commit]


def test_a_chart_of_a_helm_repository_with_values_from_git(platform: Platform, name: str) -> None:
    """The chart has a version, the values have a commit; a new commit moves the one and not the other."""
    for version in ("1.4.0", "1.5.0"):
        files = {"Chart.yaml": CHART.format(name, version), "templates/web.yaml": template()}
        platform.publish(name, version, files)
    platform.push({f"{name}/values.yaml": values("v1")})
    chart = {"repoURL": platform.charts.url, "chart": name, "targetRevision": "1.4.0"}
    chart["helm"] = {"valueFiles": [f"$values/{name}/values.yaml"]}
    reference = {"repoURL": platform.url, "targetRevision": platform.branch, "ref": "values"}
    platform.application_of(name, [chart, reference])
    commit = platform.push({f"{name}/values.yaml": values("v2")})
    judgement = brought(platform, name, commit, "v2", "one")
    assert judgement.state is State.DEPLOYED, judgement.sentence
    found = platform.argo.snapshot(name).application
    assert current_revisions(found) == ("1.4.0", commit)
    assert history_of(found)[-1]["revisions"] == ["1.4.0", commit]
    # Somebody moves the chart: until that was compared, nothing that is said is about it.
    sources = [{**chart, "targetRevision": "1.5.0"}, reference]
    platform.change("Application", "argocd", name, {"spec": {"sources": sources}})
    platform.until(name, lambda s: current_revisions(s.application) == ("1.5.0", commit))


def test_a_chart_alone_is_deployed_at_its_version(platform: Platform, name: str) -> None:
    """A version range resolves, and no commit is waited for."""
    files = {
        "Chart.yaml": CHART.format(name, "2.1.0"),
        "values.yaml": values("v3"),
        "templates/web.yaml": template(),
    }
    platform.publish(name, "2.1.0", files)
    chart = {"repoURL": platform.charts.url, "chart": name, "targetRevision": "2.*"}
    platform.application_of(name, [chart])
    judgement = brought(platform, name, "0" * 40, "v3", "one")
    assert judgement.state is State.DEPLOYED, judgement.sentence
    assert judgement.revision == "2.1.0"


def test_a_parent_has_its_child_ask_for_the_version(platform: Platform, name: str) -> None:
    """The image stands in the child's manifest: the commit is the parent's, what the child asks for is the version."""
    child = f"{name}-child"
    folder = f"{child}/kustomization.yaml"
    platform.push({folder: "resources: [web.yaml]\n", f"{child}/web.yaml": deployment("web", "v0")})
    made: dict[str, Any] = yaml.safe_load(
        application(child, child, url=platform.url, branch=platform.branch, automated=True)
    )

    def manifest(tag: str) -> str:
        made["spec"]["source"]["kustomize"] = {"images": [f"example/web:{tag}"]}
        return str(yaml.safe_dump(made))

    platform.push({f"{name}/child.yaml": manifest("v1")})
    platform.application_of(name, [platform.source(name)], namespace="argocd", automated={})
    one = Expectation("", origin=type(platform.origin)((), ()), versions=(Version("v1"),))
    platform.until(child, lambda s: judge(s, one).state is State.DEPLOYED, timeout_s=90)
    platform.push({f"{name}/child.yaml": manifest("v2")})
    platform.argo.refresh(child)
    # Compared again at the newest commit, and still asking for the version before.
    snapshot = platform.argo.snapshot(child)
    assert not asks_for(snapshot.application, "v2")
    platform.argo.refresh(name)
    two = Expectation("", origin=type(platform.origin)((), ()), versions=(Version("v2"),))
    platform.until(child, lambda s: asks_for(s.application, "v2"), timeout_s=90)
    assert settled(platform, child, two).state is State.DEPLOYED


def test_pods_that_somebody_gave_another_image_are_seen(platform: Platform, name: str) -> None:
    """Drift that nobody heals is OutOfSync; a template that was changed back leaves no pod of it behind."""
    commit = platform.push({f"{name}/web.yaml": deployment("web", "v2")})
    platform.application_of(name, [platform.source(name)])
    assert brought(platform, name, commit, "v2", "one").state is State.DEPLOYED
    containers = [{"name": "main", "image": "example/web:v1"}]
    patch = {"spec": {"template": {"spec": {"containers": containers}}}}
    platform.change("Deployment", name, "web", patch)
    ref = ObjectRef("apps/v1", "Deployment", "web", name)
    assert platform.cluster.get(ref) is not None
    platform.until(
        name,
        lambda s: any(
            w["kind"] == "Pod" and w["spec"]["containers"][0]["image"] == "example/web:v1"
            for w in s.workloads
        ),
    )
    wanted = Expectation(commit, origin=platform.origin, versions=(Version("v2"),))
    assert judge(platform.argo.snapshot(name), wanted).state is not State.DEPLOYED
