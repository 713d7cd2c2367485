"""An Application whose destination is another cluster of the fleet is no Application of this one's environment."""

from __future__ import annotations

import pytest

from gitops_nb.catalog.fleet import Cluster
from gitops_nb.errors import Refused
from gitops_nb.promotion.destination import refuse_elsewhere

FLEET = {
    "staging": Cluster(environment="staging", server="https://staging.example"),
    "production": Cluster(environment="production", server="https://production.example:443/"),
    "served": Cluster.model_validate({"environment": "staging", "server": "https://served.example", "argocd": {"cluster": "production"}}),
    "twin": Cluster(environment="development", server="https://staging.example"),
}  # fmt: skip


class Fleet:
    clusters = FLEET


def application(**destination: str) -> dict:
    return {"metadata": {"name": "web"}, "spec": {"destination": destination}}


@pytest.mark.parametrize(
    ("cluster", "destination"),
    [
        ("staging", {"server": "https://production.example"}),
        ("staging", {"server": "https://PRODUCTION.example/"}),
        ("staging", {"name": "production"}),
        ("served", {"server": "https://kubernetes.default.svc"}),
        ("served", {"name": "in-cluster"}),
    ],
)
def test_another_cluster_of_the_fleet_is_refused_by_name(cluster, destination):
    """By its address, by its name, or as the one that the shared Argo CD runs on."""
    with pytest.raises(Refused, match=f"for {cluster} deploys to production, of environment production"):  # fmt: skip
        refuse_elsewhere(Fleet, application(**destination), cluster)


@pytest.mark.parametrize(
    ("cluster", "destination"),
    [
        ("staging", {"server": "https://kubernetes.default.svc"}),
        ("staging", {"name": "in-cluster"}),
        ("staging", {"server": "https://staging.example/"}),
        ("twin", {"server": "https://staging.example"}),
        ("served", {"server": "https://10.0.0.7:6443"}),
        ("served", {"name": "gke-eu-1"}),
        ("served", {"name": "served"}),
        ("staging", {}),
    ],
)
def test_its_own_cluster_and_an_address_that_nobody_knows_go_through(cluster, destination):
    """Argo CD may reach a cluster by a private address, or call it by a name of its own."""
    refuse_elsewhere(Fleet, application(**destination), cluster)
