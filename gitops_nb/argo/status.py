"""Readers of an Argo CD Application: its revisions, its history, its operation.

Every reader takes the custom resource as stored; parts that are absent or null read as empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from gitops_nb.argo.kinds import label
from gitops_nb.argo.rollout import images_of, rolled_out_at
from gitops_nb.model import Json, parse_time
from gitops_nb.ports import Snapshot

IDENTIFIER = "gitops-nb/id"
"""Name of the entry in ``operation.info`` that tells our operations from those of others."""


def current_revisions(application: Json) -> tuple[str, ...]:
    """The commits Argo CD compared with last, one per source; empty when it could not compare."""
    sync = at(application, "status", "sync")
    return tuple(sync.get("revisions") or ()) or tuple(filter(None, (sync.get("revision"),)))


def current_images(snapshot: Snapshot) -> tuple[str, ...]:
    """Images that the workloads' templates name, sorted; not what is still terminating."""
    return tuple(
        sorted({image for workload in snapshot.workloads for image in images_of(workload)})
    )


def is_automated(application: Json) -> bool:
    """True when Argo CD syncs this Application by itself."""
    automated = at(application, "spec", "syncPolicy").get("automated")
    return automated is not None and automated.get("enabled") is not False


def prunes_itself(application: Json) -> bool:
    """True when Argo CD, without being asked, deletes what Git names no more."""
    automated = at(application, "spec", "syncPolicy").get("automated")
    return is_automated(application) and bool((automated or {}).get("prune"))


def is_under_way(application: Json) -> bool:
    """Whether a sync was asked for or runs."""
    phase = operation_state(application).get("phase")
    return bool((application or {}).get("operation")) or phase in ("Running", "Terminating")


def is_left_alone(application: Json) -> bool:
    """Whether nothing will move an Application that differs from Git: no automation, and no sync asked for or under way."""
    return (
        application is not None
        and at(application, "status", "sync").get("status") == "OutOfSync"
        and not is_automated(application)
        and not is_under_way(application)
    )


def last_deployment(application: Json, revision: str) -> Json | None:
    """The newest history entry for a revision, or None.

    An entry means that a full sync succeeded, not that its pods ran; syncs of a part, self-heals and commits
    that change no manifest leave none.
    """
    entries = (e for e in reversed(history_of(application)) if revision in revisions_of(e))
    return next(entries, None)


def healthy_since(application: Json, workloads: Sequence[Json] = ()) -> datetime | None:
    """Since when nothing is known to have interrupted what runs now, or None when the Application is not Healthy.

    A quick rollout may never show as Progressing, and what has no rollout never does, so the arrival of the revision counts too. So
    does each later sync, of the same revision or of a part of it, as self-heal makes them: something else may have been there before.
    The rollouts of ``workloads`` that ended later count too, whoever caused them without a sync.
    """
    health = at(application, "status", "health")
    if health.get("status") != "Healthy":
        return None
    state, history = operation_state(application), history_of(application)
    moments = [
        health.get("lastTransitionTime"),
        history[-1].get("deployedAt") if history else None,
        state.get("finishedAt") or state.get("startedAt"),
        *map(rolled_out_at, workloads),
    ]
    return max((parse_time(moment) for moment in moments if moment), default=None)


def failed_resources(state: Json) -> list[str]:
    """A sentence for each object or hook that failed in the last operation."""
    results = (state.get("syncResult") or {}).get("resources") or ()
    return [
        f"{label(r)}: {r.get('message') or ''}"
        for r in results
        if r.get("status") == "SyncFailed" or r.get("hookPhase") in ("Failed", "Error")
    ]


def failed_hooks(state: Json) -> list[str]:
    """The hooks that failed in the last operation, by name."""
    results = (state.get("syncResult") or {}).get("resources") or ()
    return [label(r) for r in results if r.get("hookPhase") in ("Failed", "Error")]


def out_of_sync(application: Json) -> list[str]:
    """A sentence for each object that differs from Git."""
    differing, left = split_out_of_sync(application)
    return [f"{one} is OutOfSync" for one in differing] + [f"{one} would be pruned" for one in left]


def split_out_of_sync(application: Json) -> tuple[list[str], list[str]]:
    """Objects that differ from Git, by name: those that Git has otherwise, and those that it does not have any more."""
    found = objects_out_of_sync(application)
    left = [label(r) for r in found if r.get("requiresPruning")]
    return [label(r) for r in found if not r.get("requiresPruning")], left


def objects_out_of_sync(application: Json) -> list[Json]:
    """Entries of the objects that differ from Git."""
    resources = at(application, "status").get("resources") or ()
    return [r for r in resources if r.get("status") == "OutOfSync"]


def error_conditions(application: Json) -> list[Json]:
    """The Application's conditions that are errors, each with type and message."""
    conditions = at(application, "status").get("conditions") or ()
    return [c for c in conditions if str(c.get("type") or "").endswith("Error")]


def history_of(application: Json) -> list[Json]:
    """The deployment history, oldest first; Argo CD keeps ten entries."""
    return list(at(application, "status").get("history") or ())


def history_mark(application: Json) -> str:
    """What names the newest entry of the history of exactly this Application: one that was made anew has another uid."""
    entry: Json = next(iter(reversed(history_of(application))), {})
    uid = at(application, "metadata").get("uid") or ""
    return f"{uid}/{entry.get('id', '')}/{entry.get('deployedAt') or ''}"


def is_made_anew(application: Json, mark: str) -> bool:
    """Whether this is another object of the same name than the one of a mark."""
    uid = at(application, "metadata").get("uid") or ""
    return bool(uid) and bool(mark) and mark.split("/", 1)[0] not in ("", uid)


def synced_since(application: Json, mark: str) -> tuple[list[Json], bool]:
    """Entries of the history behind a mark, and whether there may have been more: the mark's own entry is not there any more."""
    history = history_of(application)
    for count in range(len(history), -1, -1):
        cut = {**application, "status": {**at(application, "status"), "history": history[:count]}}
        if history_mark(cut) == mark:
            return history[count:], False
    return history, True


PAUSED = "argocd.argoproj.io/skip-reconcile"


def is_paused(application: Json) -> bool:
    """Whether Argo CD was told to leave an Application alone: it neither compares nor syncs it, and says what it said last."""
    annotations = at(application, "metadata").get("annotations") or {}
    return str(annotations.get(PAUSED) or "").lower() == "true"


def operation_state(application: Json) -> Json:
    """``status.operationState``, {} when there is none."""
    return at(application, "status", "operationState")


def identifiers(operation: Json) -> list[str]:
    """Our identifiers in an operation."""
    info = (operation or {}).get("info") or ()
    return [item.get("value") or "" for item in info if item.get("name") == IDENTIFIER]


def revisions_of(value: Json) -> tuple[str, ...]:
    """Revisions named by an operation, a result or a history entry, one per source."""
    return tuple(value.get("revisions") or ()) or tuple(filter(None, (value.get("revision"),)))


def at(value: Json, *keys: str) -> Json:
    """A part of an object; {} where it is absent or null, as the API server and old versions leave it."""
    for key in keys:
        value = (value or {}).get(key)
    return value or {}
