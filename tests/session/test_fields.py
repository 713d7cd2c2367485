"""A promoted key that is no image: what is seen is a field of an object, and no sentence says more than that."""

from __future__ import annotations

import re

from gitops_nb.errors import Refused
from tests.session.platform_edits import commit, images, read, settle

KEY = 'key: "spec.template.spec.containers[name=checkout].image", part: tag'
FILE = "apps/checkout/{}/deployment.yaml"


def labelled(runner, *, own: bool):
    """Each environment's Deployment has an annotation, which alone is promoted: its image's version, or one of a scheme of its own."""
    runner.workspace.replace("runbooks/fleet.yaml", KEY, "key: metadata.annotations.release")
    runner.workspace.replace(
        "runbooks/policy.yaml",
        "gates: {soak: {at_least: 24h}",
        "gates: {source_healthy: false, soak: {at_least: 0s}",
    )
    for environment, value in (("staging", "w2"), ("production", "w1")):
        text = read(runner, FILE.format(environment))
        version = value if own else re.search(r"image: \S+:(\S+)", text)[1]
        kept = text.replace("metadata:\n", f"metadata:\n  annotations: {{release: {version}}}\n", 1)
        commit(runner, {FILE.format(environment): kept}, "Annotate")
        settle(runner, environment)


def gone_through(runner, **parameters):
    """Asked, approved, resumed."""
    waiting, _ = runner.promote(**parameters)
    runner.answer(waiting.run)
    return runner.promote(run=waiting.run)


def test_pods_of_an_earlier_version_put_a_field_in_doubt(runner):
    """The annotation says the new version, and every pod runs the image of the old one: nobody is told that it runs."""
    labelled(runner, own=False)
    before = images(runner, "production")
    done, _ = gone_through(runner)
    assert done.outcome["result"] == "in doubt"
    assert images(runner, "production") == before
    assert (
        "which metadata.annotations.release of apps/checkout/production/deployment.yaml had before"
        in done.outcome["sentence"]
    )
    again, stop = runner.promote()
    assert isinstance(stop, Refused) or again.status.value != "succeeded"


def test_a_field_is_in_force_and_does_not_run(runner):
    """Where no pod tells of an earlier version, the field is what was seen, and the words say that."""
    labelled(runner, own=True)
    done, stop = gone_through(runner)
    assert stop is None
    assert done.outcome["title"] == "checkout w2 is in force in production"
    again, stop = runner.promote()
    assert stop is None
    assert again.outcome["title"] == "checkout w2 is already in force in production"
