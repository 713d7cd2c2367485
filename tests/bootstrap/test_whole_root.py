"""A root Application is bootstrapped only when it has what is wanted, and nothing that would bring something else."""

from __future__ import annotations

import pytest

from gitops_nb.errors import ConfigurationError
from gitops_nb.model import ObjectRef, Status
from tests.samples import few

ROOT = ObjectRef("argoproj.io/v1alpha1", "Application", "root", "argocd")


@pytest.mark.parametrize(
    ("patch", "said"),
    few(
        [
            ("sources", "spec.sources; Argo CD uses `sources` instead of `source`"),
            (
                {"syncPolicy": {"automated": {"enabled": False}}},
                "spec.syncPolicy.automated.enabled",
            ),
            ({"source": {"directory": {"exclude": "*"}}}, "spec.source.directory"),
        ],
        keep=2,
    ),
)
def test_a_root_that_has_more_is_no_bootstrapped_one(bootstrapper, patch, said):
    """Another source, automation turned off, a filter: named, and nothing is claimed or changed."""
    _, stop = bootstrapper.run()
    assert stop is None, stop
    source = bootstrapper.cluster.get(ROOT)["spec"]["source"]
    if patch == "sources":
        patch = {"sources": [source, {**source, "path": "argocd/staging"}]}
    bootstrapper.cluster.as_manager("somebody").merge_patch(ROOT, {"spec": patch})
    state, stop = bootstrapper.run()
    assert isinstance(stop, ConfigurationError), (stop, state.outcome)
    assert said in stop.message
    assert state.effects == ()


def test_a_root_with_labels_of_its_owners_is_one(bootstrapper):
    """What has no part in what is brought is its owners' to write."""
    bootstrapper.run()
    bootstrapper.cluster.as_manager("somebody").merge_patch(
        ROOT, {"metadata": {"labels": {"team": "platform"}}}
    )
    state, stop = bootstrapper.run()
    assert (stop, state.status) == (None, Status.SUCCEEDED)
    assert state.outcome["result"] == "nothing to do"
