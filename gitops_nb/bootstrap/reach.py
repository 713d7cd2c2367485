"""What a bootstrap may reach: the cluster that was asked for."""

from __future__ import annotations

from collections.abc import Mapping

from gitops_nb.bootstrap.changes import planned
from gitops_nb.bootstrap.manifests import is_as_wanted, ref_of
from gitops_nb.bootstrap.request import Bootstrap
from gitops_nb.errors import ConflictError, Refused
from gitops_nb.model import Action, Json, ObjectRef, Plan, ResourceChange
from gitops_nb.ports import ClusterReader, ClusterWriter

ASKS = 5
"""How often an object is read again that changes between reading and writing, as one does whose status moves."""


class PlannedCluster:
    """A cluster of which objects are changed as a plan shows it, and not otherwise; implements ``ports.ClusterWriter``.

    Args:
        reader: Reads what is there: an object that is as wanted already is left alone.
        writer: Writes.
        planned: The plan's changes by their addresses.
    """

    def __init__(
        self, reader: ClusterReader, writer: ClusterWriter, planned: Mapping[str, ResourceChange]
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._planned = planned

    def allows(self, verb: str, ref: ObjectRef) -> bool:
        """See ``ports.ClusterWriter.allows``."""
        return self._writer.allows(verb, ref)

    def apply(self, manifest: Json) -> Json:
        """See ``ports.ClusterWriter.apply``; the write holds for the very object that was compared with the plan.

        Raises:
            ConflictError: Another field manager owns a field, or the object does not rest.
            Refused: The plan does not name this change.
        """
        ref = ref_of(manifest)
        for asked in range(1, ASKS + 1):
            live = self._reader.get(ref)
            if live is not None and is_as_wanted(live, manifest):
                return live
            self._refuse_other(ref, live, manifest)
            if live is None:
                seen = {"resourceVersion": ""}
            else:
                # Without its uid the API server would make an object anew that somebody has removed since.
                seen = {key: live["metadata"][key] for key in ("resourceVersion", "uid")}
            known = {**manifest, "metadata": {**manifest["metadata"], **seen}}
            try:
                return self._writer.apply(known)
            except ConflictError:
                now = ((self._reader.get(ref) or {}).get("metadata") or {}).get("resourceVersion")
                if asked == ASKS or (now or "") == seen["resourceVersion"]:
                    raise
        raise AssertionError("unreachable")

    def merge_patch(self, ref: ObjectRef, patch: Json) -> Json:  # noqa: ARG002  the port's signature
        """A bootstrap applies whole objects.

        Raises:
            Refused: Always.
        """
        raise Refused(f"{ref}: a bootstrap patches nothing", hint="Apply the object.")

    def _refuse_other(self, ref: ObjectRef, live: Json | None, manifest: Json) -> None:
        """Raises unless the plan shows what an apply would do now."""
        change = self._planned.get(str(ref))
        if change is None:
            raise unplanned(f"{ref} was as wanted when this was planned, and is not now")
        if live is None:
            if change.action is not Action.CREATE:
                raise unplanned(f"{ref} was there when this was planned, and is gone")
        elif change.action is Action.CREATE:
            raise unplanned(f"{ref} was not there when this was planned, and is there now")
        elif planned(self._reader, live, manifest).change != change:
            raise unplanned(f"{ref} was changed since this was planned")


def unplanned(what: str) -> Refused:
    """That an object is in another state than its plan found."""
    return Refused(
        f"{what}: nobody was shown that change",
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
