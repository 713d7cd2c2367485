"""What a promotion calls green rests on what runs: overrides, other paths, sources as they are, nobody who looked."""

from __future__ import annotations

import shutil

import pytest

from gitops_nb.cli.show import show_end, show_plan
from gitops_nb.errors import NeedsAttention, Refused, WaitingForApproval
from gitops_nb.model import Decision, ObjectRef, Status, from_json
from gitops_nb.notebook.cards import text_card
from gitops_nb.sandbox.world import key_of
from tests.session.platform_edits import (
    CHART,
    DEPLOYMENT,
    KUSTOMIZATION,
    adopt_fleet,
    change_application,
    commit,
    images,
    patch_application,
    read,
    settle,
    version,
    without_approval,
)

FLEET_KEY = 'promotable: [{file: deployment.yaml, key: "spec.template.spec.containers[name=checkout].image", part: tag}]'
ENVIRONMENTS = ("development", "staging", "production")


@pytest.fixture
def free(runner):
    """Nobody has to approve, and nothing has to soak."""
    without_approval(runner)
    return runner


def verdict(state, gate):
    """One gate's answer."""
    return next(v for v in state.decision["verdicts"] if v["gate"] == gate)


def kustomize(runner, environment):
    """The application's folder becomes a kustomization; what it makes stays the same."""
    folder = DEPLOYMENT.format(environment).rpartition("/")[0]
    commit(runner, {f"{folder}/kustomization.yaml": KUSTOMIZATION})


def test_an_image_override_leaves_it_in_doubt(free):
    """Synced and healthy at the commit while every pod runs the old image: in doubt, and the override is named."""
    old, new = version(free, "production"), version(free, "staging")
    kustomize(free, "production")
    change_application(
        free,
        "production",
        "    path: apps/checkout/production\n",
        "    path: apps/checkout/production\n    kustomize:\n      images:\n"
        f"        - registry.example/shop/checkout:{old}\n",
    )
    state, stop = free.promote()
    assert isinstance(stop, NeedsAttention), stop
    assert (state.status, state.exit_code) == (Status.NEEDS_ATTENTION, 4)
    assert state.outcome["result"] == "in doubt"
    assert f"no workload runs {new}" in state.outcome["sentence"]
    assert f"kustomize image registry.example/shop/checkout:{old}" in state.outcome["sentence"]
    assert f"{new} runs in production" not in state.reason
    assert images(free, "production") == {f"checkout:{old}"}
    assert state.step("verify").status is Status.NEEDS_ATTENTION
    # Somebody who asks again is told the same: nothing was brought, whatever the record says.
    again, stop = free.promote()
    assert isinstance(stop, NeedsAttention)
    assert again.outcome["result"] == "in doubt"


def test_an_override_file_in_git_is_named(free):
    """Image updaters write beside the manifests: Argo CD reads it, so the finding names it."""
    old, new = version(free, "production"), version(free, "staging")
    kustomize(free, "production")
    override = f"kustomize: {{images: ['registry.example/shop/checkout:{old}']}}\n"
    path = "apps/checkout/production/.argocd-source-checkout-production.yaml"
    commit(free, {path: override})
    settle(free, "production")
    state, stop = free.promote()
    assert isinstance(stop, NeedsAttention)
    assert f"no workload runs {new}" in state.outcome["sentence"]
    assert path in state.outcome["sentence"]


def test_the_gate_does_not_believe_a_source_that_runs_something_else(free):
    """Staging is Synced and Healthy at its commit with an override: the version was never seen there, so it goes nowhere."""
    old, new = version(free, "production"), version(free, "staging")
    kustomize(free, "staging")
    change_application(
        free,
        "staging",
        "    path: apps/checkout/staging\n",
        "    path: apps/checkout/staging\n    kustomize:\n      images:\n"
        f"        - registry.example/shop/checkout:{old}\n",
    )
    tip = free.tip()
    state, stop = free.promote()
    assert isinstance(stop, Refused)
    assert not verdict(state, "source_healthy")["passed"]
    assert f"no workload runs {new}" in stop.message
    assert free.tip() == tip


def test_the_gate_names_where_it_saw_the_version(free):
    """The plain flow: the tag is seen in the running containers, and the gate says in which workload."""
    state, stop = free.promote()
    assert stop is None
    assert "seen in Deployment checkout" in verdict(state, "source_healthy")["reason"]
    assert state.outcome["result"] == "deployed"


def test_a_sync_of_the_same_revision_starts_the_soak_again(runner):
    """Why somebody synced it again nobody knows: that it ran for a day without a break was not seen."""
    _, stop = runner.promote(revision=version(runner, "staging"))
    assert isinstance(stop, WaitingForApproval), stop
    platform, tip = runner.platform(), runner.tip()
    writers = platform.open_writers(bool, environment="staging", files=frozenset())
    writers.argo["staging"].sync("checkout-staging", revision=tip, identifier="somebody")
    platform.view.clock.sleep(300)
    state, stop = runner.promote(stable_for="1s")
    assert isinstance(stop, Refused), stop
    assert verdict(state, "source_healthy")["passed"]
    assert not verdict(state, "soak")["passed"]
    assert "min in staging; policy asks for 1d" in verdict(state, "soak")["reason"]


def helm(
    runner, environment, tag, template="{{ .Values.image.repository }}:{{ .Values.image.tag }}"
):
    """The application's folder becomes a chart whose values hold the tag."""
    folder = f"apps/checkout/{environment}"
    text = read(runner, f"{folder}/deployment.yaml")
    line = next(line for line in text.splitlines() if "image:" in line)
    rendered = text.replace(line, f"          image: {template}")
    values = f"image:\n  repository: registry.example/shop/checkout\n  tag: {tag}  # promoted\n"
    return {
        f"{folder}/Chart.yaml": CHART,
        f"{folder}/values.yaml": values,
        f"{folder}/templates/deployment.yaml": rendered,
        f"{folder}/templates/service.yaml": read(runner, f"{folder}/service.yaml"),
    }


def charts(runner, **templates):
    """Every environment is deployed by a chart, and fleet.yaml promotes `image.tag` of its values."""
    runner.workspace.replace(
        "runbooks/fleet.yaml",
        FLEET_KEY,
        "promotable: [{file: values.yaml, key: image.tag}]",
    )
    for environment in ENVIRONMENTS:
        commit(runner, helm(runner, environment, version(runner, environment), **templates))
        settle(runner, environment)


def test_a_tag_in_helm_values_is_seen_in_the_images(free):
    """A key that is only a tag needs no declaration: the containers show it."""
    new = version(free, "staging")
    charts(free)
    state, stop = free.promote()
    assert stop is None, stop
    assert state.outcome["result"] == "deployed"
    assert images(free, "production") == {f"checkout:{new}"}


def test_a_helm_parameter_leaves_it_in_doubt(free):
    """The Application sets the tag itself, past the values in Git."""
    old, new = version(free, "production"), version(free, "staging")
    charts(free)
    change_application(
        free,
        "production",
        "    path: apps/checkout/production\n",
        "    path: apps/checkout/production\n    helm:\n      parameters:\n"
        f"        - {{name: image.tag, value: {old}}}\n",
    )
    state, stop = free.promote()
    assert isinstance(stop, NeedsAttention)
    assert f"no workload runs {new}" in state.outcome["sentence"]
    assert f"Helm parameter image.tag={old}" in state.outcome["sentence"]


def test_a_key_without_effect_leaves_it_in_doubt(free):
    """Nothing renders the key: no override is there to be named, and that is said."""
    old, new = version(free, "production"), version(free, "staging")
    charts(free)
    fixed = helm(free, "production", old, template=f"registry.example/shop/checkout:{old}")
    commit(free, fixed)
    settle(free, "production")
    state, stop = free.promote()
    assert isinstance(stop, NeedsAttention)
    assert f"no workload runs {new}" in state.outcome["sentence"]
    assert (
        "image.tag of apps/checkout/production/values.yaml may have no effect"
        in (state.outcome["sentence"])
    )


def in_lockstep(runner, web):
    """Two tags that are released together; the chart holds the images' names, and renders ``web`` for the first one."""
    both = "promotable: [{file: values.yaml, key: web.tag}, {file: values.yaml, key: agent.tag}]"
    runner.workspace.replace("runbooks/fleet.yaml", FLEET_KEY, both)
    agent = '        - name: agent\n          image: "registry.example/shop/agent:{{ .Values.agent.tag }}"'
    template = f'"registry.example/shop/checkout:{web}"\n{agent}'
    for environment in ("staging", "production"):
        tag = version(runner, environment)
        files = helm(runner, environment, tag, template=template)
        files[f"apps/checkout/{environment}/values.yaml"] = (
            f"web:\n  tag: {tag}\nagent:\n  tag: {tag}\n"
        )
        commit(runner, files)
        settle(runner, environment)


def test_the_container_of_another_key_proves_nothing(free):
    """One of two keys has no effect: what the other one sets has the same version, and shows its own key alone."""
    free.workspace.replace(
        "runbooks/policy.yaml",
        "gates: {soak: {at_least: 0s}",
        "gates: {source_healthy: false, soak: {at_least: 0s}",
    )
    in_lockstep(free, "v1.0.0")
    state, stop = free.promote()
    assert isinstance(stop, NeedsAttention), stop
    new = version_of(state)
    assert f"registry.example/shop/agent has {new}, which 2 keys set" in state.outcome["sentence"]
    assert images(free, "production") == {"checkout:v1.0.0", f"agent:{new}"}


def test_two_keys_of_one_version_are_seen_in_two_images(free):
    """Both have their effect, and nothing has to be declared."""
    in_lockstep(free, "{{ .Values.web.tag }}")
    state, stop = free.promote()
    assert stop is None, stop
    new = version_of(state)
    assert images(free, "production") == {f"checkout:{new}", f"agent:{new}"}


def version_of(state):
    """The version that a run promotes."""
    return state.plan["arguments"]["version_after"]


CRON = """\
apiVersion: batch/v1
kind: CronJob
metadata: {{name: nightly}}
spec:
  schedule: "0 3 * * *"
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          containers: [{{name: main, image: "registry.example/shop/checkout:{}"}}]
"""


def test_an_application_of_a_cron_job_alone_names_it(free):
    """Nothing shows its version before its time comes: the key is not blamed, and what would show it is said."""
    key = "spec.jobTemplate.spec.template.spec.containers[name=main].image"
    free.workspace.replace(
        "runbooks/fleet.yaml",
        FLEET_KEY,
        f'promotable: [{{file: deployment.yaml, key: "{key}", part: tag}}]',
    )
    free.workspace.replace(
        "runbooks/policy.yaml",
        "gates: {soak: {at_least: 0s}",
        "gates: {source_healthy: false, soak: {at_least: 0s}",
    )
    for environment in ("staging", "production"):
        folder, tag = f"apps/checkout/{environment}", version(free, environment)
        files = {
            "deployment.yaml": CRON.format(tag),
            "kustomization.yaml": KUSTOMIZATION,
        }
        commit(free, {f"{folder}/{name}": text for name, text in files.items()})
        settle(free, environment)
    remove(free, "production", ObjectRef("apps/v1", "Deployment", "checkout", "checkout"))
    state, stop = free.promote()
    assert isinstance(stop, NeedsAttention), stop
    assert "nothing here can judge CronJob nightly" in state.outcome["sentence"]
    assert "with `object: CronJob/nightly` and the `field`" in state.outcome["sentence"]
    assert "may have no effect" not in state.outcome["sentence"]


def remove(runner, environment, reference):
    """Somebody deletes an object that Git has no more."""
    world = runner.platform().view.clusters[environment]._world
    with world.turn():
        world.delete(
            environment,
            key_of(reference.api_version, reference.kind, reference.namespace, reference.name),
        )


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "path: apps/checkout/production",
            "path: apps/checkout/prod-eu",
            "its path is apps/checkout/prod-eu, and fleet.yaml edits apps/checkout/production/deployment.yaml",
        ),
        ("targetRevision: main", "targetRevision: release", "it follows release"),
        ("repoURL: ", "repoURL: https://git.example/elsewhere.git#", "its repository is"),
    ],
)
def test_an_application_that_deploys_something_else_is_refused(free, old, new, said):
    """Path, branch and repository are compared with the fleet before anything is planned; nothing is changed."""
    text = read(free, "apps/checkout/production/deployment.yaml")
    application = read(free, "argocd/production/checkout.yaml")
    commit(
        free,
        {
            "apps/checkout/prod-eu/deployment.yaml": text,
            "argocd/production/checkout.yaml": application.replace(old, new),
        },
    )
    settle(free, "production", syncs=False)
    tip = free.tip()
    state, stop = free.promote()
    assert isinstance(stop, Refused), stop
    assert said in stop.message
    assert "checkout-production" in stop.message
    assert (state.status, state.plan, state.effects) == (Status.REFUSED, None, ())
    assert free.tip() == tip


def test_head_is_the_branch_where_the_remote_says_so(free):
    """An Application that follows HEAD follows the default branch."""
    for environment in ("staging", "production"):
        change_application(free, environment, "targetRevision: main", "targetRevision: HEAD")
    state, stop = free.promote()
    assert stop is None, stop
    assert state.outcome["result"] == "deployed"


def test_values_beside_a_chart_of_a_helm_repository(free):
    """A chart has a version and no commit, values come from Git: both sources are judged, each at its own revision."""
    new = version(free, "staging")
    charts(free)
    chart = free.workspace.root / ".gitops-nb/sandbox/charts/charts.example/checkout/1.4.0"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: checkout\nversion: 1.4.0\n")
    for path, text in helm(free, "production", "x").items():
        if "/templates/" in path:
            (chart / "templates" / path.rpartition("/")[2]).write_text(text)
    for environment in ("staging", "production"):
        text = read(free, f"argocd/{environment}/checkout.yaml")
        single = text[text.index("  source:\n") : text.index("  destination:\n")]
        url = next(line for line in single.splitlines() if "repoURL" in line).split()[-1]
        many = (
            "  sources:\n"
            "    - repoURL: https://charts.example\n      chart: checkout\n      targetRevision: 1.4.0\n"
            f"      helm: {{valueFiles: [$values/apps/checkout/{environment}/values.yaml]}}\n"
            f"    - repoURL: {url}\n      targetRevision: main\n      ref: values\n"
        )
        commit(free, {f"argocd/{environment}/checkout.yaml": text.replace(single, many)})
        settle(free, environment)
    state, stop = free.promote()
    assert stop is None, stop
    assert state.outcome["result"] == "deployed"
    assert images(free, "production") == {f"checkout:{new}"}
    application = (
        free.platform().view.argo["production"].snapshot("checkout-production").application
    )
    assert application["status"]["history"][-1]["revisions"] == ["1.4.0", free.tip()]


def test_without_a_cluster_nobody_knows(free):
    """Nobody looked, so the first run ends in doubt, and so does the second; neither says that it runs."""
    free.workspace.replace(
        "runbooks/fleet.yaml",
        '  production: {environment: production, server: "https://production.clusters.example"}\n',
        "",
    )
    shutil.rmtree(free.workspace.root / ".gitops-nb/sandbox")
    _, stop = free.promote()
    assert isinstance(stop, Refused), stop
    assert (
        "names no cluster of production, so nobody looks at what a sync there does" in stop.message
    )
    free.workspace.replace("runbooks/policy.yaml", "{allow: false}", "{allow: true}")
    first, stop = free.promote()
    assert isinstance(stop, NeedsAttention), stop
    second, stop = free.promote()
    assert isinstance(stop, NeedsAttention)
    assert second.status is Status.NEEDS_ATTENTION
    assert second.effects == ()
    for state in (first, second):
        assert state.outcome["result"] == "in doubt"
        assert "nobody watches production" in state.outcome["title"]
    assert "already runs" not in str(second.decision)


def test_two_environments_in_one_file_are_refused(free):
    """A promotion to one would rewrite the other: refused before the plan, and both are named."""
    free.workspace.replace(
        "runbooks/fleet.yaml",
        "  checkout:\n    repository: platform-config\n    path: apps/checkout/{environment}\n",
        "  checkout:\n    repository: platform-config\n    paths: {development: apps/checkout/development,"
        " staging: apps/checkout/shared/, production: ./apps/checkout/shared}\n",
    )
    shutil.rmtree(free.workspace.root / ".gitops-nb/sandbox")
    free.platform()
    tip = free.tip()
    state, stop = free.promote()
    assert isinstance(stop, Refused), stop
    assert "production and staging" in stop.message
    assert "apps/checkout/shared/deployment.yaml" in stop.message
    assert (state.status, state.plan, state.effects) == (Status.REFUSED, None, ())
    assert free.tip() == tip


def test_a_revision_moved_back_on_the_cluster_is_brought_again(free):
    """Git asks for the version and the cluster was synced back to an older commit: a sync is planned, not "already runs"."""
    old, new = version(free, "production"), version(free, "staging")
    before = free.tip()
    done, stop = free.promote()
    assert stop is None
    operation = {"initiatedBy": {"username": "somebody"}, "sync": {"revision": before}}
    patch_application(
        free, "production", {"operation": operation, "status": {"operationState": None}}
    )
    free.platform().view.clock.sleep(60)
    assert images(free, "production") == {f"checkout:{old}"}
    again, stop = free.promote()
    assert stop is None, stop
    assert done.run in " ".join(again.decision["reasons"]) or again.plan["summary"].startswith(
        "sync"
    )
    assert again.outcome["result"] == "deployed"
    assert images(free, "production") == {f"checkout:{new}"}


def test_a_gate_that_is_not_asked_says_so(free, capsys):
    """A policy that switches a gate off, or asks for no soak, leaves "not asked" in decision and report; never "passed"."""
    free.workspace.replace(
        "runbooks/policy.yaml",
        "gates: {soak: {at_least: 0s}",
        "gates: {freeze: false, soak: {at_least: 0s}",
    )
    state, stop = free.promote()
    assert stop is None
    assert [v["gate"] for v in state.decision["verdicts"] if not v["asked"]] == ["soak", "freeze"]
    show_plan(state)
    assert "not asked soak" in capsys.readouterr().out
    assert "not asked  soak" in text_card(from_json(Decision, dict(state.decision)))
    page = (free.workspace.reports / state.run / "report.html").read_text(encoding="utf-8")
    assert "not asked" in page
    assert "Not asked: " in page


def test_a_step_that_found_a_failure_is_not_green(free):
    """The verify step of a release that crashes is failed, in the record as on the screen."""
    free.workspace.replace(
        "runbooks/policy.yaml",
        "gates: {soak: {at_least: 0s}",
        "gates: {source_healthy: false, soak: {at_least: 0s}",
    )
    path = DEPLOYMENT.format("staging")
    text = read(free, path)
    commit(free, {path: text.replace(f":{version(free, 'staging')}", ":v9.9.9-crash")})
    state, stop = free.promote()
    assert state.outcome["result"] == "failed", stop
    assert state.step("verify").status is Status.FAILED


def test_a_neighbour_that_was_left_behind_is_named(free, capsys):
    """Beside the container that has the version another one runs the old image: that is said, not that the key has no effect."""
    old, new = version(free, "production"), version(free, "staging")
    path = DEPLOYMENT.format("production")
    text = read(free, path)
    line = next(line for line in text.splitlines() if "name: checkout" in line and "- " in line)
    indent = line[: line.index("-")]
    beside = f"{indent}- name: neighbour\n{indent}  image: registry.example/shop/checkout:{old}\n"
    commit(free, {path: text.replace(f"{line}\n", f"{beside}{line}\n")})
    settle(free, "production")
    state, stop = free.promote()
    assert isinstance(stop, NeedsAttention)
    said = state.outcome["sentence"]
    assert f"container neighbour of Deployment checkout runs registry.example/shop/checkout:{old}" in said  # fmt: skip
    assert f"not everything runs {new}" in said
    assert "no effect" not in said
    # The terminal says it too, whatever the report holds.
    show_end(state, free.workspace.reports / state.run, plan_only=False)
    assert "container neighbour of Deployment checkout" in capsys.readouterr().out


def test_the_terminal_says_why_nothing_shows_that_it_runs(free, capsys):
    """Scaled to nothing: the finding stands on the terminal, and not in the report alone."""
    path = DEPLOYMENT.format("production")
    text = read(free, path)
    line = next(line for line in text.splitlines() if "replicas:" in line)
    commit(free, {path: text.replace(line, f"{line.partition(':')[0]}: 0")})
    settle(free, "production")
    state, stop = free.promote()
    assert isinstance(stop, NeedsAttention)
    show_end(state, free.workspace.reports / state.run, plan_only=False)
    assert "scaled to 0" in capsys.readouterr().out


def test_a_cluster_without_the_application_is_named_everywhere(runner):
    """An environment of two clusters, of which one has no Application: no sentence speaks of both."""
    runner.workspace.replace(
        "runbooks/fleet.yaml",
        "newcomer: {environment: development",
        "newcomer: {environment: production",
    )
    adopt_fleet(runner)
    without_approval(runner)
    done, stop = runner.promote(application="catalog")
    assert stop is None
    missing = "(no Application on newcomer)"
    assert done.outcome["title"].endswith(f"already runs in production {missing}")
    done, stop = runner.promote()
    assert stop is None, stop
    assert done.plan["summary"].endswith(missing)
    assert done.outcome["title"].endswith(f"runs in production {missing}")
    observed = next(step.sentence for step in done.steps if step.name == "observe")
    assert missing in observed


def test_a_source_of_two_clusters_names_the_one_that_has_none(runner):
    """The gate says where the version is synced and healthy, and where nobody could look."""
    path, now = DEPLOYMENT.format("development"), version(runner, "development")
    commit(runner, {path: read(runner, path).replace(now, version(runner, "production"))})
    settle(runner, "development", syncs=False)
    waiting, stop = runner.promote(source="development", target="staging")
    reason = verdict(waiting, "source_healthy")["reason"]
    assert reason.endswith("(no Application on newcomer)"), stop
