"""Steps 8 and 9: the Applications below the root one, also those that others of them make, and what holds a wave.

Source: Argo CD 3.0, operator-manual/applicationset: a set owns the Applications that it makes (``ownerReferences``), and says by
its condition ``ResourcesUpToDate`` that it has made them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gitops_nb.argo import Expectation, Judgement, State, judge
from gitops_nb.argo.evidence import not_judged
from gitops_nb.argo.rollout import failed_workloads, failing_pods, unschedulable
from gitops_nb.argo.sources import Origin, sources_of
from gitops_nb.argo.status import (
    PAUSED,
    at,
    error_conditions,
    is_left_alone,
    is_paused,
    operation_state,
)
from gitops_nb.bootstrap.context import Context, Finding, has_condition
from gitops_nb.bootstrap.manifests import SETTINGS
from gitops_nb.errors import ConfigurationError
from gitops_nb.model import Json, ObjectRef
from gitops_nb.ports import Snapshot
from gitops_nb.revisions import EquivalentRevisions

WAVE = "argocd.argoproj.io/sync-wave"
HEALTH_OF_APPLICATIONS = "resource.customizations.health.argoproj.io_Application"
NOBODY_SYNCS = (
    "it has no automated sync, so it waits for somebody who syncs it in Argo CD, with what Git has"
)
_ARGO = "argoproj.io/v1alpha1"
_NAMED = 3
"""So many causes are named; the first is the one to mend."""


@dataclass(frozen=True, slots=True)
class Children:
    """What stands below the root Application.

    Args:
        direct: Those that the root itself lists, by name.
        every: They, those that they list, and those that ApplicationSets make.
        unmade: Of ApplicationSets that have not made their Applications, a sentence each.
    """

    direct: Mapping[str, Snapshot]
    every: Mapping[str, Snapshot]
    unmade: tuple[str, ...]


def find_children(context: Context) -> Children:
    """Reads the root's tree of Applications; each is asked for once."""
    namespace = context.request.namespace
    root = context.argo.snapshot(context.request.install.root).application
    direct = {name: context.argo.snapshot(name) for name in _listed(root, "Application")}
    every = dict(direct)
    unmade: list[str] = []
    made: tuple[Json, ...] | None = None
    sets: set[str] = set()
    waiting = [root, *(child.application for child in direct.values())]
    while waiting:
        one = waiting.pop(0)
        names = _listed(one, "Application")
        for name in _listed(one, "ApplicationSet"):
            if name in sets:
                continue
            sets.add(name)
            live = context.cluster.get(ObjectRef(_ARGO, "ApplicationSet", name, namespace))
            if problem := _why_unmade(name, live):
                unmade.append(problem)
            if made is None:
                made = context.cluster.list(_ARGO, "Application", namespace=namespace)
            names += _made_by(live, made)
        for name in names:
            if name not in every:
                every[name] = context.argo.snapshot(name)
                waiting.append(every[name].application)
    return Children(direct, every, tuple(unmade))


def check_children(context: Context) -> Finding:
    """Every Application below the root exists, and the waves wait for each other.

    Raises:
        ConfigurationError: There are waves, and Argo CD is not told how healthy an Application is.
    """
    children = find_children(context)
    if not children.every and not children.unmade:
        held = "".join(f"; {cause}" for cause in _causes(context, children))
        return Finding(False, f"the root application lists no applications yet{held}")
    missing = [name for name, child in children.every.items() if child.application is None]
    if missing or children.unmade:
        waits = [f"not there yet: {', '.join(missing)}"] if missing else []
        causes = list(_causes(context, children))
        others = [f"and {len(causes) - _NAMED} more"] if len(causes) > _NAMED else []
        return Finding(False, "; ".join([*waits, *children.unmade, *causes[:_NAMED], *others]))
    waves = sorted({_wave(child) for child in children.direct.values()})
    if len(waves) > 1 and not _waves_wait(context):
        raise ConfigurationError(
            f"the applications of {context.request.install.root} have {len(waves)} waves, and none waits for the one before",
            hint=f"Put `{HEALTH_OF_APPLICATIONS}` into argocd.settings of fleet.yaml; the file that `gitops-nb init` writes has it.",
        )
    below = len(children.every) - len(children.direct)
    more = f", {below} of them made by others" if below else ""
    counted = f"{len(children.every)} applications in {len(waves)} wave{'s' if len(waves) != 1 else ''}{more}"
    return Finding(True, f"{counted}: {', '.join(children.every)}")


def check_healthy(context: Context) -> Finding:
    """The root and all Applications below it are synced and healthy at the branch's commit."""
    tip = context.tip()
    root = context.argo.snapshot(context.request.install.root)
    if root.application is None:
        return Finding(False, f"{root.name} does not exist yet")
    children = find_children(context)
    if children.unmade:
        return Finding(False, "; ".join(children.unmade))
    unjudged: list[str] = []
    for name, child in sorted(children.every.items(), key=lambda item: _wave(item[1])):
        if is_paused(child.application):
            return Finding(
                False,
                f"{name} is paused by its annotation {PAUSED}: what Argo CD says of it is from before",
            )
        judgement = _judge_child(context, child, tip, children)
        unjudged += [f"{one} of {name}" for one in not_judged(child)]
        if not judgement.is_as_argo_says:
            return Finding(False, f"{name}: {_cause(child, judgement)}")
    if is_paused(root.application):
        return Finding(
            False, f"{root.name} is paused by its annotation {PAUSED}: nothing below it is brought"
        )
    equal = _equal_revisions(context, tip, context.request.path)
    wanted = Expectation(revision=tip, equivalent=equal, origin=_origin(context))
    judgement = judge(root, wanted, children=children.every)
    if judgement.state is not State.DEPLOYED:
        return Finding(False, f"{root.name}: {judgement.sentence}")
    unjudged += [f"{one} of {root.name}" for one in not_judged(root)]
    more = f"; not judged: {', '.join(unjudged)}" if unjudged else ""
    return Finding(
        True,
        f"{root.name} and {len(children.every)} applications are synced and healthy at {tip[:8]}{more}",
        unjudged=tuple(unjudged),
    )


def _why_unmade(name: str, live: Json | None) -> str:
    """Why nobody knows that a set's Applications are all there; "" when Argo CD says that they are."""
    label = f"ApplicationSet {name}"
    if live is None:
        return f"{label} is not there yet"
    conditions = at(live, "status").get("conditions") or ()
    for condition in conditions:
        if condition.get("type") == "ErrorOccurred" and condition.get("status") == "True":
            return f"{label}: {condition.get('message') or condition.get('reason') or 'an error'}"
    if not has_condition(live, "ResourcesUpToDate"):
        return f"{label}: Argo CD has not said that it made the Applications that it asks for"
    return ""


def _made_by(live: Json | None, applications: tuple[Json, ...]) -> list[str]:
    """The Applications that a set owns, and those that it says it made, whether they are there or not."""
    if live is None:
        return []
    uid, name = live["metadata"].get("uid"), live["metadata"]["name"]
    owned = [
        application["metadata"]["name"]
        for application in applications
        for owner in application["metadata"].get("ownerReferences") or ()
        if owner.get("kind") == "ApplicationSet"
        and owner.get("name") == name
        and owner.get("uid") in (uid, None)
    ]
    return sorted({*owned, *_listed(live, "Application")})


def _listed(item: Json | None, kind: str) -> list[str]:
    """Names of one of Argo CD's kinds that an object says it manages."""
    resources = at(item, "status").get("resources") or () if item else ()
    return sorted({r["name"] for r in resources if r.get("kind") == kind and r.get("name")})


def _causes(context: Context, children: Children) -> Iterator[str]:
    """What holds the wave: Applications that are there and not in order, then what the root has beside them."""
    tip = context.tip()
    present = [child for child in children.every.values() if child.application is not None]
    for child in sorted(present, key=_wave):
        judgement = _judge_child(context, child, tip, children)
        if not judgement.is_as_argo_says:
            yield f"{child.name} holds the wave: {_cause(child, judgement)}"
    root = context.argo.snapshot(context.request.install.root)
    if root.application is None:
        return
    own = [*map(str, failing_pods(root.workloads)), *unschedulable(root.workloads)]
    own += [*failed_workloads(root.workloads), *_degraded(root.application)]
    own += [f"{c['type']}: {c.get('message') or ''}" for c in error_conditions(root.application)]
    state = operation_state(root.application)
    if state.get("phase") in ("Running", "Failed", "Error") and state.get("message"):
        own.append(f"its sync: {state['message']}")
    if own:
        yield f"{root.name}: {'; '.join(own)}"


def _cause(child: Snapshot, judgement: Judgement) -> str:
    """Why an Application is not in order: pod and reason, condition, or the object that is Degraded."""
    said = [judgement.trouble or judgement.sentence, *_degraded(child.application)]
    if is_left_alone(child.application):
        # What differs stays so: that nobody syncs it is why.
        said.insert(0, NOBODY_SYNCS)
    return "; ".join(dict.fromkeys(filter(None, said)))


def _degraded(application: Json | None) -> list[str]:
    """Objects of which Argo CD itself says that they are Degraded; newer versions do not keep it per object."""
    resources = at(application, "status").get("resources") or () if application else ()
    found: list[str] = []
    for one in resources:
        health = one.get("health") or {}
        if health.get("status") == "Degraded":
            said = health.get("message")
            found.append(
                f"{one.get('kind')} {one.get('name')} is Degraded{f': {said}' if said else ''}"
            )
    return found


def _waves_wait(context: Context) -> bool:
    """Argo CD 3 takes a child Application for healthy at once, unless a customization says otherwise."""
    reference = ObjectRef("v1", "ConfigMap", SETTINGS, context.request.namespace)
    live = (context.cluster.get(reference) or {}).get("data") or {}
    # What this run is about to write counts: it comes before the applications.
    settings = {**live, **context.request.install.settings}
    older = settings.get("resource.customizations", "")
    return HEALTH_OF_APPLICATIONS in settings or "argoproj.io/Application" in older


def _judge_child(context: Context, child: Snapshot, tip: str, children: Children) -> Judgement:
    """A child that follows the root's branch has to be at its tip, every other one at what it asks for itself."""
    origin = _origin(context)
    sources = sources_of(at(child.application, "spec")) if child.application else ()
    path = next((str(source.get("path") or "") for source in sources if origin.has(source)), "")
    equal = _equal_revisions(context, tip, path)
    wanted = Expectation(revision=tip, equivalent=equal, origin=origin)
    return judge(child, wanted, children=children.every)


def _origin(context: Context) -> Origin:
    """The configuration repository's branch, as Applications name it; HEAD is taken for it."""
    repository = context.request.repository
    return Origin((repository.url, *repository.aliases), (repository.branch, "HEAD"))


def _wave(child: Snapshot) -> int:
    annotations = (
        at(child.application, "metadata").get("annotations") or {} if child.application else {}
    )
    try:
        return int(annotations.get(WAVE, "0"))
    except ValueError:
        return 0  # as Argo CD takes it


def _equal_revisions(context: Context, tip: str, path: str) -> EquivalentRevisions:
    return EquivalentRevisions(context.view.git, context.request.repository_name, tip, path)
