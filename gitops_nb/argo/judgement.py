"""What a snapshot of an Argo CD Application means: deployed at a revision, failed, on its way, or in doubt.

Pure judgement, shared by every runbook that waits for Argo CD. ``Succeeded``, ``Synced``, ``Healthy`` and
``status.history`` each say "deployed" while pods crash or while the answer still describes the revision
before; the conditions here are the smallest set that held in 84 recordings of Argo CD 3.0.11, which
``tests/test_argo.py`` feeds through ``judge`` event by event.

A snapshot must hold workloads that were read after the Application: then they are never older than
what the Application says about them.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from gitops_nb.argo.evidence import Version, look, not_judged, units
from gitops_nb.argo.kinds import is_workload, label
from gitops_nb.argo.rollout import (
    FailingPod,
    failed_workloads,
    failing_pods,
    strategy_note,
    unfinished,
    unschedulable,
)
from gitops_nb.argo.sources import Origin, branch_of, is_at, sources_of
from gitops_nb.argo.status import (
    at,
    current_images,
    current_revisions,
    error_conditions,
    failed_resources,
    history_of,
    identifiers,
    operation_state,
    out_of_sync,
    revisions_of,
)
from gitops_nb.model import Json
from gitops_nb.ports import Snapshot

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
    an Application without any other workload consists of, in kinds whose rollout nobody here can judge.
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

    @property
    def is_as_argo_says(self) -> bool:
        """True when Argo CD's own word, Synced and Healthy, is all that can be had, or more was seen."""
        return self.state is State.DEPLOYED or bool(self.unjudged)

    @property
    def is_final(self) -> bool:
        """True when waiting longer cannot change the answer."""
        return self.state in (State.DEPLOYED, State.FAILED)


def judge(
    snapshot: Snapshot, expectation: Expectation, *, children: Mapping[str, Snapshot] | None = None
) -> Judgement:
    """Says what a snapshot means for an expectation.

    Args:
        snapshot: The Application and its workloads; the workloads read after the Application.
        expectation: The revision, and the operation of ours that should bring it.
        children: Snapshots of the Applications that this one manages, by name. A parent of Applications is
            never deployed without them: its own Healthy may be two seconds or a whole rollout early.
    """
    application = snapshot.application
    if application is None:
        return Judgement(State.IN_DOUBT, f"Application {snapshot.name} does not exist")
    base = _describe(snapshot, expectation)
    if at(application, "metadata", "deletionTimestamp"):
        return replace(base, state=State.IN_DOUBT, sentence=f"{snapshot.name} is being deleted")
    by_operation = _judge_operation(application, expectation, base)
    if by_operation is not None:
        return by_operation
    return _judge_children(
        application, expectation, _judge_status(snapshot, expectation, base), children or {}
    )


def _describe(snapshot: Snapshot, expectation: Expectation) -> Judgement:
    """What can be read off without judging."""
    application = snapshot.application
    state = operation_state(application)
    failing: tuple[FailingPod, ...] = ()
    if not _is_before_apply(application, expectation):
        # While an operation runs, pods from before it say nothing about the new revision.
        since = state.get("startedAt") or "" if state.get("phase") == "Running" else ""
        failing = failing_pods(snapshot.workloads, created_since=since)
    trouble = [str(pod) for pod in failing]
    trouble += unschedulable(snapshot.workloads)
    trouble += [f"{c['type']}: {c.get('message') or ''}" for c in error_conditions(application)]
    return Judgement(
        State.PROGRESSING,
        "",
        revision=",".join(current_revisions(application)),
        sync=at(application, "status", "sync").get("status") or "",
        health=at(application, "status", "health").get("status") or "",
        phase=state.get("phase") or "",
        started_at=state.get("startedAt") or "",
        images=current_images(snapshot),
        failing=failing,
        trouble="; ".join(trouble),
    )


def _is_before_apply(application: Json, expectation: Expectation) -> bool:
    """True while our operation waits for the controller: what runs is still the revision before."""
    return bool(application.get("operation")) and not (
        expectation.identifier is None
        or _is_ours(operation_state(application), application, expectation)
    )


def _judge_operation(
    application: Json, expectation: Expectation, base: Judgement
) -> Judgement | None:
    """Judges by the operation; None when it is over and the status decides."""
    name = application["metadata"]["name"]
    pending = application.get("operation")
    state = operation_state(application)
    if expectation.identifier is None:
        if pending or state.get("phase") in ("Running", "Terminating"):
            return _running(base, f"an operation on {name}", pending, state)
        if _has_failed(state) and _is_about(state, application, expectation):
            return _failed(base, name, state)
        return None
    if _is_ours(state, application, expectation):
        return _judge_ours(name, pending, state, expectation, base)
    if pending and expectation.identifier in identifiers(pending):
        return replace(base, sentence=f"the sync of {name} waits for Argo CD to take it up")
    if pending or state.get("phase") in ("Running", "Terminating"):
        return replace(base, sentence=f"an operation of somebody else runs on {name}")
    return None


def _judge_ours(
    name: str, pending: Json, state: Json, expectation: Expectation, base: Judgement
) -> Judgement | None:
    if _has_failed(state) and not pending:
        return _failed(base, name, state)
    if state.get("phase") == "Succeeded":
        if pending:
            sentence = f"another operation was started on {name} after ours had succeeded"
            return replace(base, state=State.IN_DOUBT, sentence=sentence)
        return None
    return _running(base, f"the sync of {name} to {_short(expectation)}", pending, state)


def _running(base: Judgement, subject: str, pending: Json, state: Json) -> Judgement:
    """An operation that has not ended; its message may still be the one of the operation before."""
    if not pending:
        sentence = f"{subject} was removed while it ran; Argo CD will not end it"
        return replace(
            base,
            state=State.IN_DOUBT,
            sentence=sentence,
            trouble=_join(sentence, base.trouble),
        )
    message = str(state.get("message") or "")
    if "blocked by sync window" in message:
        return replace(base, sentence=f"{subject} is blocked by a sync window", trouble=message)
    trouble = _join(*failed_resources(state), base.trouble)
    if state.get("finishedAt") and state.get("phase") == "Running":
        count = (state.get("retryCount") or 0) + 1
        sentence = f"{subject} failed {count} time{'' if count == 1 else 's'} and is tried again"
        return replace(base, sentence=sentence, trouble=_join(message, trouble))
    sentence = f"{subject} runs{message and ': '}{message}"
    return replace(base, sentence=sentence, trouble=trouble)


def _judge_status(snapshot: Snapshot, expectation: Expectation, base: Judgement) -> Judgement:
    """Judges by what is in force, once no operation runs."""
    application = snapshot.application
    name = snapshot.name
    has_arrived, note = _has_arrived(application, expectation)
    if base.sync == "Unknown":
        # The controller leaves the health of the last comparison that it could make.
        before = f"; its health, {base.health}, is of an earlier comparison" if base.health else ""
        sentence = f"Argo CD cannot compare {name} with Git{before}"
        trouble = base.trouble or sentence
        return replace(base, state=State.IN_DOUBT, sentence=sentence, trouble=trouble)
    if base.health == "Unknown":
        sentence = f"Argo CD compares {name} with Git, and cannot tell its health"
        trouble = base.trouble or sentence
        return replace(base, state=State.IN_DOUBT, sentence=sentence, trouble=trouble)
    if not _is_of_present_sources(application):
        return replace(base, sentence=f"{name} was not compared since its source was changed")
    is_compared = _is_compared(application, expectation)
    is_elsewhere = has_arrived and not is_compared and _is_compared_since(application)
    if _is_overtaken(application, expectation):
        sentence = note or f"Argo CD has not compared {name} since its last operation"
        state = State.IN_DOUBT if note else State.PROGRESSING
        return replace(base, state=state, sentence=sentence, trouble=_join(note, base.trouble))
    if not is_compared and not is_elsewhere:
        if note:
            return replace(
                base, state=State.IN_DOUBT, sentence=note, trouble=_join(note, base.trouble)
            )
        sentence = f"{name} is {base.sync or 'not compared yet'} at {_short_all(current_revisions(application))}"
        more = " with every source" if len(current_revisions(application)) > 1 else ""
        return replace(base, sentence=f"{sentence}, not at {_short(expectation)}{more} yet")
    if base.sync != "Synced" and not is_elsewhere:
        return replace(
            base,
            sentence=f"{name} is {base.sync} at {_short(expectation)}",
            trouble=_join(*out_of_sync(application), base.trouble),
        )
    if base.health == "Degraded":
        return _judge_degraded(snapshot, expectation, base)
    if base.health != "Healthy":
        sentence = f"{name} is {base.health or 'without a health yet'} at {_short(expectation)}"
        return replace(base, sentence=_join(sentence, base.trouble))
    return _judge_workloads(snapshot, expectation, base, note=note)


def _judge_degraded(snapshot: Snapshot, expectation: Expectation, base: Judgement) -> Judgement:
    """Failed when a cause is there to see: right after a fix, Degraded is still about what it replaced."""
    sentence = f"{snapshot.name} is Degraded at {_short(expectation)}"
    causes = failed_workloads(snapshot.workloads)
    trouble = _join(base.trouble, *causes) or sentence
    is_failed = bool(base.failing or causes)
    state = State.FAILED if is_failed else State.PROGRESSING
    return replace(
        base, state=state, sentence=_join(sentence, base.trouble, *causes), trouble=trouble
    )


def _judge_workloads(
    snapshot: Snapshot, expectation: Expectation, base: Judgement, *, note: str
) -> Judgement:
    """The guards behind Healthy: what should be there is there, each rollout is complete, the version is seen."""
    running = [unit for unit in units(snapshot) if "spec" in unit.item]
    workloads = [unit.item for unit in running]
    present = {unit.key for unit in running}
    resources = at(snapshot.application, "status").get("resources") or ()
    listed = {label(r).replace(" ", "/", 1) for r in resources if is_workload(r)}
    missing = sorted((listed | set(expectation.workloads)) - present)
    if not resources:
        return replace(
            base, sentence=f"{snapshot.name} is Healthy and empty", trouble="it has no resources"
        )
    if missing:
        trouble = f"{', '.join(missing)} does not exist"
        return replace(
            base, sentence=f"{snapshot.name} is Healthy without all of it", trouble=trouble
        )
    waiting = [sentence for workload in workloads if (sentence := unfinished(workload))]
    if waiting:
        return replace(base, sentence="; ".join(waiting), trouble=base.trouble)
    is_so = f"{snapshot.name} is {base.sync} and Healthy at {_short(expectation)}"
    versions = (*expectation.versions, *(Version(image) for image in expectation.images))
    sights = [look(snapshot, version) for version in versions]
    unseen = _join(*(sight.missing for sight in sights))
    base = replace(
        base,
        carriers=tuple(dict.fromkeys(name for sight in sights for name in sight.carriers)),
        others=tuple(dict.fromkeys(name for sight in sights for name in sight.others)),
    )
    if unseen:
        return replace(
            base,
            state=State.IN_DOUBT,
            sentence=f"{is_so}, and {unseen}",
            trouble=unseen,
            unseen=unseen,
        )
    unjudged = ", ".join(names := not_judged(snapshot))
    if not workloads and unjudged and not sights:
        sentence = f"{is_so}, and nothing here can judge {unjudged}"
        return replace(
            base, state=State.IN_DOUBT, sentence=sentence, trouble=sentence, unjudged=names
        )
    count = f"{len(workloads)} workload{'' if len(workloads) == 1 else 's'} rolled out"
    if not workloads:
        count = "no workload of a kind that is judged is part of it"
    left_out = (*map(strategy_note, workloads), unjudged and f"not judged: {unjudged}")
    notes = tuple(filter(None, left_out))
    sentence = _join(f"{is_so}, {count}", *notes, note)
    return replace(base, state=State.DEPLOYED, sentence=sentence, trouble="", notes=notes)


def _judge_children(
    application: Json, expectation: Expectation, own: Judgement, children: Mapping[str, Snapshot]
) -> Judgement:
    """A parent is what the worst of its children is, once its own resources are in order."""
    resources = at(application, "status").get("resources") or ()
    names = [r.get("name") or "" for r in resources if r.get("kind") == "Application"]
    if not names or own.state is State.IN_DOUBT:
        return own
    judgements: list[Judgement] = []
    for name in names:
        child = children.get(name)
        if child is None or child.application is None:
            sentence = f"Application {name} below {application['metadata']['name']} was not read"
            return replace(own, state=State.IN_DOUBT, sentence=sentence)
        judgements.append(judge(child, _of_child(application, expectation), children=children))
    failing = tuple(pod for judgement in judgements for pod in judgement.failing)
    trouble = _join(own.trouble, *(judgement.trouble for judgement in judgements))
    own = replace(own, failing=(*own.failing, *failing), trouble=trouble)
    behind = [j for j in judgements if not j.is_as_argo_says]
    unjudged = _join(*(f"not judged: {', '.join(j.unjudged)}" for j in judgements if j.unjudged))
    own = replace(own, sentence=_join(own.sentence, unjudged))
    failed = [j for j in behind if j.state is State.FAILED]
    if failed or (behind and own.state is State.DEPLOYED):
        worst = (failed or behind)[0]
        return replace(own, state=worst.state, sentence=worst.sentence)
    return own


def _of_child(parent: Json, expectation: Expectation) -> Expectation:
    """What a child has to be at: the parent's commit where it follows the same branch, else what it asks for itself."""
    followed = sources_of(parent.get("spec") or {})
    origin = expectation.origin or Origin(
        tuple(str(source.get("repoURL")) for source in followed if not source.get("chart")),
        tuple(branch_of(source) for source in followed),
    )
    return Expectation(expectation.revision, equivalent=expectation.equivalent, origin=origin)


def _is_compared(application: Json, expectation: Expectation) -> bool:
    """Whether Argo CD's last comparison was with what is expected, source by source."""
    compared = at(application, "status", "sync", "comparedTo")
    sources = sources_of(compared) or sources_of(application.get("spec") or {})
    return expectation.is_met_by(current_revisions(application), sources)


def _is_of_present_sources(application: Json) -> bool:
    """Whether the comparison is of the sources that the Application names now; a parent may just have changed them."""
    compared = sources_of(at(application, "status", "sync", "comparedTo"))
    return not compared or _filled(compared) == _filled(sources_of(application.get("spec") or {}))


def _filled(value: Json) -> Json:
    """Without what is empty: Argo CD's copy leaves it out."""
    if isinstance(value, dict):
        items = {name: _filled(item) for name, item in value.items()}
        return {name: item for name, item in items.items() if item}
    if isinstance(value, (list, tuple)):
        return [_filled(item) for item in value]
    return value


def _is_brought(value: Json, application: Json, expectation: Expectation) -> bool:
    """Whether a result or an entry of the history is about what is expected."""
    sources = sources_of(value) or sources_of(application.get("spec") or {})
    return expectation.is_met_by(revisions_of(value), sources)


def _has_arrived(application: Json, expectation: Expectation) -> tuple[bool, str]:
    """Whether our operation is known to have applied the revision, and a note when something came after it."""
    if expectation.identifier is None:
        return False, ""
    state = operation_state(application)
    entries = [
        (number, entry)
        for number, entry in enumerate(history_of(application), start=1)
        if (entry.get("initiatedBy") or {}).get("username") == expectation.username
        and _is_brought(entry, application, expectation)
        and (not expectation.started_at or entry.get("deployStartedAt") == expectation.started_at)
    ]
    number, entry = entries[-1] if entries else (0, {})
    if _is_ours(state, application, expectation):
        is_last = number == len(history_of(application))
        is_same = bool(entry) and entry.get("deployStartedAt") == state.get("startedAt")
        result = state.get("syncResult") or {}
        if is_last and is_same and _is_brought(result, application, expectation):
            return True, ""
        return False, "the history holds no sync of this run at it"
    if not entry:
        return False, "not by the operation of this run, of which there is no trace"
    later = history_of(application)[number:]
    if all(_is_brought(entry, application, expectation) for entry in later):
        # Another operation has run since, perhaps a partial one that leaves no entry.
        return False, ""
    actor = later[-1].get("initiatedBy") or {}
    who = "an automated sync" if actor.get("automated") else actor.get("username") or "somebody"
    return (
        False,
        f"{who} moved it on to {_short_all(revisions_of(later[-1]))} after the sync of this run",
    )


def _is_compared_since(application: Json) -> bool:
    """True when Argo CD's comparison is newer than the operation, so that sync and health are about its result.

    OutOfSync at another revision is what a rollback to a commit that is not the branch's tip looks like for ever.
    """
    finished = str(operation_state(application).get("finishedAt") or "")
    compared = str(at(application, "status").get("reconciledAt") or "")
    is_out_of_sync = at(application, "status", "sync").get("status") == "OutOfSync"
    return is_out_of_sync or compared > finished > ""


def _is_overtaken(application: Json, expectation: Expectation) -> bool:
    """True while sync and health are from before an operation that brought another revision."""
    state = operation_state(application)
    result = state.get("syncResult") or {}
    compared = str(at(application, "status").get("reconciledAt") or "")
    return (
        bool(revisions_of(result))
        and str(state.get("finishedAt") or "") >= compared
        and not _is_brought(result, application, expectation)
    )


def _failed(base: Judgement, name: str, state: Json) -> Judgement:
    trouble = _join(str(state.get("message") or ""), *failed_resources(state), base.trouble)
    sentence = f"the sync of {name} ended as {state['phase']}: {trouble}"
    return replace(base, state=State.FAILED, sentence=sentence, trouble=trouble)


def _is_ours(state: Json, application: Json, expectation: Expectation) -> bool:
    """The identifier alone lies: a patch by somebody else that sets no ``info`` inherits ours."""
    if expectation.identifier is None or expectation.identifier not in identifiers(
        state.get("operation")
    ):
        return False
    if expectation.started_at and state.get("startedAt") != expectation.started_at:
        return False
    return _is_about(state, application, expectation)


def _is_about(state: Json, application: Json, expectation: Expectation) -> bool:
    """Whether an operation was asked for what is expected; when it was asked for nothing, what it resolved counts."""
    asked = at(state, "operation", "sync")
    value = asked if revisions_of(asked) else state.get("syncResult") or {}
    return _is_brought(value, application, expectation)


def _has_failed(state: Json) -> bool:
    return bool(state.get("phase") in ("Failed", "Error"))


def _short(expectation: Expectation) -> str:
    return expectation.revision[:7] or "what it asks for"


def _short_all(revisions: tuple[str, ...]) -> str:
    return ",".join(revision[:7] for revision in revisions) or "no revision"


def _join(*parts: str) -> str:
    return "; ".join(part for part in parts if part)
