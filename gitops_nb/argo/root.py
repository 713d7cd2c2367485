"""The root Application: the one object that hands a cluster over to Git."""

from __future__ import annotations

from gitops_nb.model import Json

IN_CLUSTER = "https://kubernetes.default.svc"


def root_application(*, name: str, namespace: str, url: str, branch: str, path: str) -> Json:
    """A manifest for the Application that manages the others; it follows Git by itself, and prunes nothing."""
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "project": "default",
            "source": {"repoURL": url, "targetRevision": branch, "path": path},
            "destination": {"server": IN_CLUSTER, "namespace": namespace},
            "syncPolicy": {"automated": {"selfHeal": True}},
        },
    }
