"""Keys that are no image: a plain manifest shows them, everything else is declared or in doubt."""

from __future__ import annotations

import pytest

from gitops_nb.errors import ConfigurationError, NeedsAttention, Refused
from gitops_nb.model import Status
from tests.session.platform_edits import (
    KUSTOMIZATION,
    commit,
    read,
    settle,
    version,
    without_approval,
)

OWN = 'promotable: [{file: deployment.yaml, key: "spec.template.spec.containers[name=checkout].image", part: tag}]'
SETTINGS = "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: settings}}\ndata:\n  level: {}\n"


@pytest.fixture
def free(runner):
    """Nobody has to approve; each environment has settings of its own level."""
    without_approval(runner)
    for environment, level in (("staging", "quiet-2"), ("production", "loud-1")):
        commit(runner, {f"apps/checkout/{environment}/settings.yaml": SETTINGS.format(level)})
        settle(runner, environment)
    return runner


def promotable(runner, *entries: str) -> None:
    """What fleet.yaml promotes of checkout."""
    runner.workspace.replace("runbooks/fleet.yaml", OWN, f"promotable: [{', '.join(entries)}]")


def test_a_field_of_a_plain_manifest_is_read_in_the_live_object(free):
    """The key stands in a ConfigMap's own file: the live object shows it, and nothing has to be declared."""
    promotable(free, "{file: settings.yaml, key: data.level}")
    state, stop = free.promote()
    assert stop is None, stop
    assert state.outcome["result"] == "deployed"
    again, stop = free.promote()
    assert (stop, again.outcome["result"]) == (None, "nothing to do")


def test_a_field_that_something_overrides_is_in_doubt(free):
    """The live object holds another value than its file: it says which."""
    promotable(free, "{file: settings.yaml, key: data.level}")
    for environment in ("staging", "production"):
        folder = f"apps/checkout/{environment}"
        fixed = SETTINGS.format("fixed-0").replace("name: settings", "name: settings")
        commit(
            free,
            {
                f"{folder}/kustomization.yaml": KUSTOMIZATION.replace("[", "[fixed.yaml, "),
                f"{folder}/fixed.yaml": fixed,
            },
        )
        settle(free, environment)
    free.workspace.replace(
        "runbooks/policy.yaml",
        "gates: {soak: {at_least: 0s}",
        "gates: {source_healthy: false, soak: {at_least: 0s}",
    )
    state, stop = free.promote()
    assert isinstance(stop, NeedsAttention)
    assert "ConfigMap settings has data.level fixed-0, not quiet-2" in state.outcome["sentence"]


def values(runner, level: str, environment: str) -> None:
    """A chart whose values hold a level that only an annotation of the pods shows."""
    folder = f"apps/checkout/{environment}"
    text = read(runner, f"{folder}/deployment.yaml")
    shown = text.replace(
        "  template:\n    metadata:\n",
        '  template:\n    metadata:\n      annotations: {level: "is {{ .Values.level }}"}\n',
    )
    assert shown != text
    files = {
        "Chart.yaml": "apiVersion: v2\nname: checkout\nversion: 1.0.0\n",
        "values.yaml": f"level: {level}\n",
        "templates/deployment.yaml": shown,
        "templates/service.yaml": read(runner, f"{folder}/service.yaml"),
        "templates/settings.yaml": read(runner, f"{folder}/settings.yaml"),
    }
    commit(runner, {f"{folder}/{path}": content for path, content in files.items()})
    settle(runner, environment)


@pytest.fixture
def charts(free):
    """Both environments are charts whose `level` travels."""
    values(free, "quiet-2", "staging")
    values(free, "loud-1", "production")
    return free


def test_a_value_that_nothing_shows_is_in_doubt_and_says_how_to_declare(charts):
    """No image has it, and it may be any value of a chart: in doubt, with the way to declare a proof."""
    promotable(charts, "{file: values.yaml, key: level}")
    charts.workspace.replace(
        "runbooks/policy.yaml",
        "gates: {soak: {at_least: 0s}",
        "gates: {source_healthy: false, soak: {at_least: 0s}",
    )
    state, stop = charts.promote()
    assert isinstance(stop, NeedsAttention)
    assert "no workload runs quiet-2" in state.outcome["sentence"]
    assert (
        "if level sets no image, declare `proof` for it in fleet.yaml" in state.outcome["sentence"]
    )


def test_a_declared_proof_is_seen(charts):
    """fleet.yaml says which annotation shows the value; the pods have it."""
    promotable(
        charts, '{file: values.yaml, key: level, proof: {annotation: level, text: "is {value}"}}'
    )
    state, stop = charts.promote()
    assert stop is None, stop
    assert state.outcome["result"] == "deployed"


def test_a_declared_proof_that_does_not_show_is_in_doubt(charts):
    """The pods show something else: it says what stands where."""
    promotable(
        charts, '{file: values.yaml, key: level, proof: {annotation: level, text: "was {value}"}}'
    )
    charts.workspace.replace(
        "runbooks/policy.yaml",
        "gates: {soak: {at_least: 0s}",
        "gates: {source_healthy: false, soak: {at_least: 0s}",
    )
    state, stop = charts.promote()
    assert isinstance(stop, NeedsAttention)
    assert "annotation level is not 'was quiet-2' everywhere" in state.outcome["sentence"]
    assert "Deployment checkout shows 'is quiet-2'" in state.outcome["sentence"]


def unseen_second_key(free) -> None:
    """The second key is nowhere to be seen, and the source's gate is not asked."""
    promotable(
        free,
        OWN.partition("[")[2][:-1],
        "{file: settings.yaml, key: data.level, proof: {object: ConfigMap/other, field: data.level}}",
    )
    free.workspace.replace(
        "runbooks/policy.yaml",
        "gates: {soak: {at_least: 0s}",
        "gates: {source_healthy: false, soak: {at_least: 0s}",
    )


def test_every_key_is_asked(free):
    """The image runs, the second key of the promotion is nowhere to be seen: in doubt, and no "already runs" later."""
    unseen_second_key(free)
    new = version(free, "staging")
    state, stop = free.promote()
    assert isinstance(stop, NeedsAttention)
    assert "manages no ConfigMap other" in state.outcome["sentence"]
    assert version(free, "production") == new
    assert state.status is Status.NEEDS_ATTENTION
    again, stop = free.promote()
    assert isinstance(stop, NeedsAttention)
    assert "already runs" not in again.plan["summary"]


def test_a_key_that_had_no_value_is_asked(free):
    """It gets one by the promotion: the live object has to show it as any other."""
    unseen_second_key(free)
    commit(free, {"apps/checkout/production/settings.yaml": SETTINGS.format("")})
    settle(free, "production")
    state, stop = free.promote()
    assert isinstance(stop, NeedsAttention)
    assert "manages no ConfigMap other" in state.outcome["sentence"]


def test_the_gate_asks_every_key_of_the_source(free):
    """The second key is not in force in the source: the gate says so, and nothing is promoted."""
    promotable(
        free,
        OWN.partition("[")[2][:-1],
        "{file: settings.yaml, key: data.level, proof: {object: ConfigMap/other, field: data.level}}",
    )
    before = free.tip()
    _, stop = free.promote()
    assert isinstance(stop, Refused)
    assert "source healthy" in stop.message
    assert "manages no ConfigMap other" in stop.message
    assert free.tip() == before


def test_an_application_with_two_keys_travels_as_a_whole(free):
    """Both keys are seen: it arrives, and afterwards it already runs."""
    promotable(free, OWN.partition("[")[2][:-1], "{file: settings.yaml, key: data.level}")
    state, stop = free.promote()
    assert (stop, state.status) == (None, Status.SUCCEEDED)
    again, stop = free.promote()
    assert (stop, again.outcome["result"]) == (None, "nothing to do")


@pytest.mark.parametrize(
    ("proof", "said"),
    [
        ("{}", "give one of image, label, annotation, or object with field"),
        ("{label: a, annotation: b}", "give one of"),
        ("{object: ConfigMap/x}", "object and field belong together"),
        ("{object: Secret/x, field: data.a}", "Secrets are not read"),
        ("{label: a, text: fixed}", "text has no {value}"),
    ],
)
def test_a_proof_that_proves_nothing_is_a_mistake(free, proof, said):
    """Wrong declarations are answered when fleet.yaml is read."""
    promotable(free, f"{{file: settings.yaml, key: data.level, proof: {proof}}}")
    tip = free.tip
    with pytest.raises(ConfigurationError) as caught:
        free.promote()
    assert said in str(caught.value)
    assert callable(tip)


def test_a_proof_of_an_image_that_nothing_has_is_the_cause(free):
    """fleet.yaml names another image than the containers have: that is said, and which there are, not that the key has no effect."""
    promotable(
        free,
        f"{OWN.partition('[')[2][:-2]}, proof: {{image: registry.example/shop/chekout}}}}",
    )
    free.workspace.replace(
        "runbooks/policy.yaml",
        "gates: {soak: {at_least: 0s}",
        "gates: {source_healthy: false, soak: {at_least: 0s}",
    )
    state, stop = free.promote()
    assert isinstance(stop, NeedsAttention)
    said = state.outcome["sentence"]
    assert "no container has the image registry.example/shop/chekout that `proof` of" in said
    assert "there are registry.example/shop/checkout" in said
    assert "no effect" not in said
