"""What the root Application has beside what is wanted: Argo CD acts on all of it, and an apply takes nothing away."""

from __future__ import annotations

from gitops_nb.argo.status import at
from gitops_nb.bootstrap.context import Context
from gitops_nb.bootstrap.manifests import ABSENT, parts_compared
from gitops_nb.errors import ConfigurationError, ConflictError
from gitops_nb.model import Json

_PARTS = ("source", "sources", "syncPolicy")


def refuse_more_than_wanted(context: Context, live: Json, wanted: Json) -> None:
    """Refuses a root Application that would bring something else, or nothing, though all that is wanted stands in it.

    Raises:
        ConfigurationError: It has other sources, filters or rules of syncing; it names each.
    """
    try:
        # What is ours and goes with the apply is not in the way.
        stored = context.cluster.try_apply(wanted) or live
    except ConflictError:
        stored = live
    found = [
        one.path
        for part in _PARTS
        for one in parts_compared(
            at(stored, "spec").get(part, ABSENT), at(wanted, "spec").get(part, ABSENT), part
        )
        if one.after is ABSENT and one.before not in (None, {}, [], "", False)
    ]
    automated = at(stored, "spec", "syncPolicy", "automated")
    if automated.get("enabled") is False:
        found.append("syncPolicy.automated.enabled")
    if found:
        name = f"{context.request.namespace}/{wanted['metadata']['name']}"
        instead = "; Argo CD uses `sources` instead of `source`" if "sources" in found else ""
        raise ConfigurationError(
            f"the root application {name} has what fleet.yaml does not ask for: spec.{', spec.'.join(found)}{instead}",
            hint="Take that out of the Application; an apply adds and changes, and takes nothing away that others wrote.",
        )
