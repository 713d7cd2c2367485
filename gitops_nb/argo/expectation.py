"""What should be in force in an Application, and what a snapshot says about it: the values that judging goes from and to."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from enum import StrEnum

from gitops_nb.argo.evidence import Version
from gitops_nb.argo.rollout import FailingPod
from gitops_nb.argo.sources import Origin, is_at
from gitops_nb.model import Json

USERNAME = "gitops-nb"
"""What ``initiatedBy.username`` says for operations of ours; the history keeps it."""


class State(StrEnum):
    """What a snapshot says. Only the first two are final; the others may still change by themselves."""

    DEPLOYED = "deployed"
    FAILED = "failed"
    PROGRESSING = "progressing"
    IN_DOUBT = "in doubt"


@dataclass(frozen=True, slots=True)
class Expectation:
    """What should be in force.

    ``revision`` is 40 hex. ``equivalent`` are other revisions with the same files for this Application, as
    later commits to the rest of a shared repository are; they may be looked up when asked for. ``identifier`` marks our operation; None when
    there is none (an observer, or an automated sync). ``started_at`` is ``operationState.startedAt`` as first
    seen with that identifier. ``origin`` says which of the Application's sources have to be at ``revision``: every other one
    has to be at what it asks for itself. Without it all have to be, but for charts.

    ``versions`` and ``images`` must be seen in running containers, and ``workloads`` (``Deployment/checkout``) must exist;
    when they are not given, any resource at all will do, and a manifest that vanished is not noticed.
    """

    revision: str
    identifier: str | None = None
    username: str = USERNAME
    started_at: str = ""
    equivalent: Container[str] = ()
    images: tuple[str, ...] = ()
    workloads: tuple[str, ...] = ()
    origin: Origin | None = None
    versions: tuple[Version, ...] = ()

    def is_met_by(self, revisions: tuple[str, ...], sources: tuple[Json, ...] = ()) -> bool:
        """True when every source of an Application is where it has to be.

        Args:
            revisions: One per source.
            sources: The sources; without them all are taken for ours.
        """
        if not revisions or (sources and len(sources) != len(revisions)):
            return False
        return all(
            self._is_met(revision, sources[number] if sources else {})
            for number, revision in enumerate(revisions)
        )

    def _is_met(self, revision: str, source: Json) -> bool:
        is_ours = not source.get("chart") if self.origin is None else self.origin.has(source)
        if source and not is_ours:
            return is_at(source, revision)
        return revision == self.revision or revision in self.equivalent


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one snapshot says about one expectation.

    ``revision`` is what Argo CD compared with last (multi-source: joined by commas), ``images`` what the
    workloads' templates name. ``trouble`` is a sentence about what stands in the way, or "": a caller with a
    deadline may decide on it early, since Argo CD itself says Degraded only after the Deployment's
    progressDeadlineSeconds. ``failing`` names the pods of the newest ReplicaSets that cannot run. ``unseen`` says which
    promoted version the running containers do not show, although all else is in order: waiting will hardly change it.
    ``carriers`` are the workloads that run it, ``others`` those that run images of something else; ``notes`` say what the
    judgement leaves out: pods that a partition holds back, kinds that are not judged. ``unjudged`` are all that
    an Application without any other workload consists of, in kinds whose rollout nobody here can judge. ``hooks`` are those that
    failed, where a sync ended by that: what it brought may run all the same.
    """

    state: State
    sentence: str
    revision: str = ""
    sync: str = ""
    health: str = ""
    phase: str = ""
    started_at: str = ""
    images: tuple[str, ...] = ()
    failing: tuple[FailingPod, ...] = ()
    trouble: str = ""
    unseen: str = ""
    carriers: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    unjudged: tuple[str, ...] = ()
    hooks: tuple[str, ...] = ()

    @property
    def is_as_argo_says(self) -> bool:
        """True when Argo CD's own word, Synced and Healthy, is all that can be had, or more was seen."""
        return self.state is State.DEPLOYED or bool(self.unjudged)

    @property
    def is_final(self) -> bool:
        """True when waiting longer cannot change the answer."""
        return self.state in (State.DEPLOYED, State.FAILED)
