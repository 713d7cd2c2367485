"""What other people do to the sandbox's platform: commits by hand, changed Applications."""

from __future__ import annotations

from gitops_nb.argo.sources import sources_of
from gitops_nb.catalog.load import load_catalog
from gitops_nb.edits import read_part
from gitops_nb.model import ObjectRef, digest
from gitops_nb.sandbox import opening

DEPLOYMENT = "apps/checkout/{}/deployment.yaml"
KUSTOMIZATION = "resources: [deployment.yaml, service.yaml]\n"
CHART = "apiVersion: v2\nname: checkout\nversion: 1.0.0\n"


def commit(runner, files, message="By hand"):
    """One commit by somebody else on the configuration branch; None is not possible, a text replaces."""
    git = runner.platform().git
    content = {path: text.encode() for path, text in files.items()}
    return git.commit(
        "platform-config", branch="main", parent=runner.tip(), files=content, message=message
    )


def read(runner, path):
    """A file's text at the tip."""
    return runner.platform().git.read("platform-config", runner.tip(), path).content.decode()


def manifest(runner, environment, application="checkout"):
    """The text of an Application's manifest."""
    return read(runner, f"argocd/{environment}/{application}.yaml")


def change_application(runner, environment, old, new, *, files=None, application="checkout"):
    """Somebody changes an Application in Git, and Argo CD brings it."""
    path = f"argocd/{environment}/{application}.yaml"
    text = manifest(runner, environment, application)
    assert old in text
    commit(runner, {path: text.replace(old, new), **(files or {})}, "Change the Application")
    settle(runner, environment, application)


def settle(runner, environment, application="checkout", *, syncs=True):
    """Root and child are compared with the tip; what does not sync by itself is synced by a person."""
    platform = runner.platform()
    argo = platform.open_writers(bool, environment=environment, files=frozenset()).argo[environment]
    name = f"{application}-{environment}"
    argo.refresh("root")
    platform.view.clock.sleep(30)
    argo.refresh(name)
    platform.view.clock.sleep(5)
    found = argo.snapshot(name).application
    if syncs and found["status"]["sync"]["status"] == "OutOfSync" and "operation" not in found:
        texts = ["" for _ in sources_of(found["spec"])]
        argo.sync(name, revision=",".join(texts) or runner.tip(), identifier="somebody")
    platform.view.clock.sleep(60)


def images(runner, environment, application="checkout"):
    """What the pods run."""
    snapshot = runner.platform().view.argo[environment].snapshot(f"{application}-{environment}")
    return {
        container["image"].rpartition("/")[2]
        for item in snapshot.workloads
        if item["kind"] == "Pod" and not item["metadata"].get("deletionTimestamp")
        for container in item["spec"]["containers"]
    }


def adopt_fleet(runner):
    """fleet.yaml describes the platform that is there in another way: the sandbox stays as it was built."""
    directory = runner.workspace.root / ".gitops-nb" / "sandbox"
    fleet = load_catalog(runner.workspace.root / "runbooks").fleet
    folders = {name: directory / "git" / f"{name}.git" for name in fleet.repositories}
    local = opening._localized(fleet, folders)
    described = local.model_dump(mode="json", include=opening._BUILT_FROM, exclude_defaults=True)
    described["environments"] = list(local.environments)
    (directory / "origin").write_text(digest([described, str(directory)]))


def without_approval(runner):
    """Nobody has to approve, and nothing has to soak."""
    fleet, policy = "runbooks/fleet.yaml", "runbooks/policy.yaml"
    runner.workspace.replace(fleet, "approval_required: true", "approval_required: false")
    runner.workspace.replace(policy, "at_least: 24h", "at_least: 0s")


def patch_application(runner, environment, patch, application="checkout"):
    """Somebody patches the Application on the cluster."""
    cluster = runner.platform().view.clusters[environment].as_manager("kubectl-edit")
    name = f"{application}-{environment}"
    cluster.merge_patch(ObjectRef("argoproj.io/v1alpha1", "Application", name, "argocd"), patch)


OWN = (
    "    path: apps/checkout/{environment}\n"
    '    promotable: [{file: deployment.yaml, key: "spec.template.spec.containers[name=checkout].image", part: tag}]'
)
IMAGE = (
    "    path: argocd/{environment}\n"
    '    promotable: [{file: checkout.yaml, key: "spec.source.kustomize.images[0]", part: tag}]'
)


def put_images_into_manifests(runner, environments):
    """Each child's image stands in its own manifest, which the root Application brings, and is promoted there."""
    for environment in environments:
        folder, tag = f"apps/checkout/{environment}", version(runner, environment)
        commit(runner, {f"{folder}/kustomization.yaml": KUSTOMIZATION})
        change_application(
            runner,
            environment,
            f"    path: {folder}\n",
            f"    path: {folder}\n    kustomize:\n      images:\n        - registry.example/shop/checkout:{tag}\n",
        )
    runner.workspace.replace("runbooks/fleet.yaml", OWN, IMAGE)
    adopt_fleet(runner)


def version(runner, environment, application="checkout"):
    """The version in Git."""
    platform = runner.platform()
    path = f"apps/{application}/{environment}/deployment.yaml"
    blob = platform.git.read("platform-config", runner.tip(), path)
    key = f"spec.template.spec.containers[name={application}].image"
    return read_part(blob.content, key, "tag")
