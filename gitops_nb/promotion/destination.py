"""Whether an Application deploys to the cluster that fleet.yaml gives it, as far as its destination tells."""

from __future__ import annotations

from gitops_nb.argo.root import IN_CLUSTER
from gitops_nb.argo.status import at
from gitops_nb.catalog.fleet import Fleet
from gitops_nb.errors import Refused
from gitops_nb.model import Json

_OWN = "in-cluster"
"""What Argo CD calls the cluster that it runs on."""


def refuse_elsewhere(fleet: Fleet, application: Json, cluster: str) -> None:
    """Refuses an Application that deploys to another cluster of the fleet, whose rules and approvers are others.

    An address that no cluster of the fleet has says nothing: Argo CD may reach a cluster by another one than we do.

    Raises:
        Refused: It names both clusters.
    """
    meant = clusters_of(fleet, application, cluster)
    if meant and cluster not in meant:
        raise Refused(
            f"Application {application['metadata']['name']} for {cluster} deploys to {meant[0]}, "
            f"of environment {fleet.clusters[meant[0]].environment}, and fleet.yaml gives it {cluster}",
            hint="Mend its `spec.destination`, or `clusters` in fleet.yaml; nothing was committed.",
        )


def clusters_of(fleet: Fleet, application: Json, cluster: str) -> list[str]:
    """The clusters of the fleet that an Application's destination may mean; [] where it says none that is known.

    Args:
        fleet: Names the clusters.
        application: Whose destination is looked at.
        cluster: The one whose Argo CD has the Application.
    """
    where = at(application, "spec", "destination")
    address, name = _plain(where.get("server")), str(where.get("name") or "")
    if address == _plain(IN_CLUSTER) or name == _OWN:
        return [fleet.clusters[cluster].argocd.cluster or cluster]
    if address:
        return [one for one, known in fleet.clusters.items() if _plain(known.server) == address]
    return [name] if name in fleet.clusters else []


def _plain(address: object) -> str:
    return str(address or "").rstrip("/").removesuffix(":443").lower()
