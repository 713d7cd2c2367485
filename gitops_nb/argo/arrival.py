"""Whether a revision has arrived: by an operation of ours, by somebody else's, and whether the comparison is newer than either."""

from __future__ import annotations

from gitops_nb.argo.expectation import Expectation
from gitops_nb.argo.sources import sources_of
from gitops_nb.argo.status import (
    at,
    current_revisions,
    history_of,
    identifiers,
    operation_state,
    revisions_of,
)
from gitops_nb.model import Json


def is_compared(application: Json, expectation: Expectation) -> bool:
    """Whether Argo CD's last comparison was with what is expected, source by source."""
    compared = at(application, "status", "sync", "comparedTo")
    sources = sources_of(compared) or sources_of(application.get("spec") or {})
    return expectation.is_met_by(current_revisions(application), sources)


def is_of_present_sources(application: Json) -> bool:
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


def has_arrived(application: Json, expectation: Expectation) -> tuple[bool, str]:
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
    if is_ours(state, application, expectation):
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
        f"{who} moved it on to {short_all(revisions_of(later[-1]))} after the sync of this run",
    )


def is_compared_since(application: Json) -> bool:
    """True when Argo CD's comparison is newer than the operation, so that sync and health are about its result.

    OutOfSync at another revision is what a rollback to a commit that is not the branch's tip looks like for ever.
    """
    finished = str(operation_state(application).get("finishedAt") or "")
    compared = str(at(application, "status").get("reconciledAt") or "")
    is_out_of_sync = at(application, "status", "sync").get("status") == "OutOfSync"
    return is_out_of_sync or compared > finished > ""


def is_overtaken(application: Json, expectation: Expectation) -> bool:
    """True while sync and health are from before an operation that brought another revision."""
    state = operation_state(application)
    result = state.get("syncResult") or {}
    compared = str(at(application, "status").get("reconciledAt") or "")
    return (
        bool(revisions_of(result))
        and str(state.get("finishedAt") or "") >= compared
        and not _is_brought(result, application, expectation)
    )


def is_ours(state: Json, application: Json, expectation: Expectation) -> bool:
    """The identifier alone lies: a patch by somebody else that sets no ``info`` inherits ours."""
    if expectation.identifier is None or expectation.identifier not in identifiers(
        state.get("operation")
    ):
        return False
    if expectation.started_at and state.get("startedAt") != expectation.started_at:
        return False
    return is_about(state, application, expectation)


def is_about(state: Json, application: Json, expectation: Expectation) -> bool:
    """Whether an operation was asked for what is expected; when it was asked for nothing, what it resolved counts."""
    asked = at(state, "operation", "sync")
    value = asked if revisions_of(asked) else state.get("syncResult") or {}
    return _is_brought(value, application, expectation)


def has_failed(state: Json) -> bool:
    """Whether an operation ended without success."""
    return bool(state.get("phase") in ("Failed", "Error"))


def short(expectation: Expectation) -> str:
    """The expected revision as people read it."""
    return expectation.revision[:7] or "what it asks for"


def short_all(revisions: tuple[str, ...]) -> str:
    """Revisions as people read them."""
    return ",".join(revision[:7] for revision in revisions) or "no revision"
