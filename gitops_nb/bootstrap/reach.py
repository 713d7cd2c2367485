"""What a bootstrap may reach: the cluster that was asked for."""

from __future__ import annotations

from gitops_nb.bootstrap.manifests import differences, ref_of
from gitops_nb.bootstrap.request import Bootstrap
from gitops_nb.errors import Refused
from gitops_nb.model import Json, ObjectRef, Plan
from gitops_nb.ports import ClusterReader, ClusterWriter


class PlannedCluster:
    """A cluster of which only objects that a plan names are written; implements ``ports.ClusterWriter``.

    Args:
        reader: Reads what is there: an object that is as wanted already is left alone.
        writer: Writes.
        planned: Their addresses, as in the plan's changes.
    """

    def __init__(
        self, reader: ClusterReader, writer: ClusterWriter, planned: frozenset[str]
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._planned = planned

    def allows(self, verb: str, ref: ObjectRef) -> bool:
        """See ``ports.ClusterWriter.allows``."""
        return self._writer.allows(verb, ref)

    def apply(self, manifest: Json) -> Json:
        """See ``ports.ClusterWriter.apply``."""
        ref = ref_of(manifest)
        live = self._reader.get(ref) if str(ref) not in self._planned else None
        if live is not None and not differences(live, manifest):
            return live
        self._refuse_unplanned(ref)
        return self._writer.apply(manifest)

    def merge_patch(self, ref: ObjectRef, patch: Json) -> Json:
        """See ``ports.ClusterWriter.merge_patch``."""
        self._refuse_unplanned(ref)
        return self._writer.merge_patch(ref, patch)

    def _refuse_unplanned(self, ref: ObjectRef) -> None:
        if str(ref) not in self._planned:
            raise Refused(
                f"{ref} was as wanted when this was planned, and is not now: nobody was shown that change",
                hint="Run the bootstrap again: it plans on what is there.",
                is_final=True,
            )


def beyond(request: Bootstrap, plan: Plan) -> str:
    """What a plan would change outside of what was asked for, or what would be changed outside of the plan; "" when nothing."""
    if (plan.runbook, plan.environment) != ("bootstrap", request.environment):
        return f"it is a plan of {plan.runbook} for {plan.environment}"
    if plan.arguments.get("cluster") != request.cluster:
        return f"it changes cluster {plan.arguments.get('cluster')}"
    if plan.arguments.get("wanted") != request.wanted:
        # The steps bring about what fleet.yaml says now; only what was planned and shown has consent.
        return f"fleet.yaml wants something else on {request.cluster} now"
    return ""
