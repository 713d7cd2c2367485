"""What the sync of an Application brings: places of the configuration repository, sources elsewhere, what it says itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import yaml

from gitops_nb.argo import history_of, revisions_of
from gitops_nb.argo.sources import branch_of, sources_of
from gitops_nb.argo.status import history_mark
from gitops_nb.model import Json, digest
from gitops_nb.ports import Snapshot, View
from gitops_nb.promotion.pending import is_known
from gitops_nb.promotion.places import Reads, reads
from gitops_nb.promotion.reading import origin_of
from gitops_nb.promotion.request import Promotion
from gitops_nb.promotion.state import Synced

_SAID_ELSEWHERE = (
    "source", "sources", "project", "destination", "syncPolicy", "info", "revisionHistoryLimit",
)  # fmt: skip
_USUAL = re.compile(
    r"(CreateNamespace|ApplyOutOfSyncOnly|PruneLast|FailOnSharedResource) *= *(true|false)|PrunePropagationPolicy *= *\w+",
    re.IGNORECASE,
)
"""Options that change no object that is shown."""


def synced_of(
    view: View, request: Promotion, reader: Snapshot, tip: str, *, folder: str = ""
) -> Synced:
    """What a sync of an Application brings, beside what was synced last.

    Args:
        view: Reads the repository.
        request: What was asked.
        reader: The Application.
        tip: The commit that would be synced.
        folder: The promoted application's folder, where this Application reads it.
    """
    name = request.fleet.applications[request.application].repository
    application = reader.application or {}
    spec = application.get("spec") or {}
    sources = sources_of(spec)
    origin = origin_of(view.git, name, request.fleet.repositories[name], sources)

    def places(named: Sequence[Json], commit: str) -> Reads:
        return reads(view.git, application, named, origin=origin, repository=name, tip=commit)

    read = places(sources, tip)
    is_all = "" in read.places
    folders = tuple(dict.fromkeys(("",) if is_all else filter(None, (folder, *read.places))))
    others = tuple(
        f"{source.get('repoURL')} {source.get('chart') or source.get('path') or ''} at {branch_of(source)}"
        for source in sources
        if not origin.has(source)
    )
    history = history_of(application)
    brought = sources_of(history[-1]) if history else ()
    in_force = _in_force(revisions_of(history[-1]), brought, sources, origin.has) if history else ""
    if not is_known(view.git, name, in_force, tip):
        # History was rewritten: what was synced last is no commit of it any more.
        in_force = ""
    is_other = bool(brought) and list(brought) != list(sources)
    was = places(brought, in_force) if in_force and (is_other or in_force != tip) else read
    return Synced(
        name=reader.name,
        folders=folders,
        in_force=in_force,
        # All of it: where it goes and how it is synced comes into force as what it is made of does.
        spec=digest(spec),
        others=(*others, *read.hidden),
        new=_new(read, was) if in_force else folders,
        sources=(_text(brought) if brought else "", _text(sources))
        if is_other or not brought
        else ("", ""),
        settings=_settings(spec),
        secret=tuple(one for one in read.secret if one in was.secret or one not in was.named),
        values=tuple(dict.fromkeys((*read.values, *read.parts, *was.values, *was.parts))),
        charts=tuple(dict.fromkeys((*read.charts, *was.charts))),
        where=where_of(spec),
        last=history_mark(application),
    )


def _new(read: Reads, was: Reads) -> tuple[str, ...]:
    """Places that an Application reads now and did not read when it was synced last, those in its own folders included."""
    before = dict(was.taken)
    other = [folder for folder, how in read.taken if how != before.get(folder, how)]
    named = [name for name in read.named - was.named if not was.is_manifest_of_folder(name)]
    return tuple(sorted({*named, *other}))


def _in_force(
    revisions: Sequence[str],
    brought: Sequence[Json],
    sources: Sequence[Json],
    is_ours: Callable[[Json], bool],
) -> str:
    """The commit of the configuration repository that was synced last, "" where that is not known, or is not one."""
    if len(revisions) == 1 and len(sources) == 1:
        return str(revisions[0]) if is_ours(sources[0]) else ""
    ours = {str(r) for r, source in zip(revisions, brought, strict=False) if is_ours(source)}
    return ours.pop() if len(ours) == 1 else ""


def where_of(spec: Json) -> str:
    """Project and destination of an Application, in words."""
    destination = spec.get("destination") or {}
    cluster = destination.get("name") or destination.get("server") or "no cluster"
    namespace = destination.get("namespace") or "no namespace of its own"
    return f"project {spec.get('project') or 'default'}, {namespace} on {cluster}"


def _settings(spec: Json) -> str:
    """What an Application says of how it is synced, as text; "" where that is nothing but the usual."""
    policy = dict(spec.get("syncPolicy") or {})
    options = [o for o in policy.pop("syncOptions", None) or () if not _USUAL.fullmatch(str(o))]
    for name in ("automated", "retry"):
        policy.pop(name, None)
    if options:
        policy["syncOptions"] = options
    said = {key: value for key, value in spec.items() if key not in _SAID_ELSEWHERE and value}
    if policy:
        said["syncPolicy"] = policy
    return yaml.safe_dump(said, sort_keys=True, allow_unicode=True, width=200) if said else ""


def _text(sources: Sequence[Json]) -> str:
    return yaml.safe_dump(list(sources), sort_keys=True, allow_unicode=True, width=200)
