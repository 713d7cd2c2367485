"""Whether a promoted version is seen where it counts: in the running containers of what an Application manages.

Synced and Healthy at a commit says that the cluster is as Argo CD rendered it; what it rendered may hold another version
than the commit's file, by an override in the Application or because the file's key has no effect. So the containers that
run are asked. Pure, on one snapshot.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from gitops_nb.argo.images import (
    Image,
    is_alike,
    is_neighbour,
    is_same_name,
    parse_image,
    shows,
)
from gitops_nb.argo.kinds import BARE, is_opaque, is_scheduled, is_workload, label, may_run
from gitops_nb.argo.overrides import pinned_images
from gitops_nb.argo.rollout import is_owned, partition
from gitops_nb.model import Json
from gitops_nb.ports import Snapshot

LABEL, ANNOTATION = "label", "annotation"


@dataclass(frozen=True, slots=True)
class Other:
    """The value of another promoted key, and the image names that it sets, () where these are not known."""

    value: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Version:
    """A promoted text, and how it shows.

    ``before`` are the texts that stood there earlier, the newest first; ``names`` are image names that are known to carry it. ``mark`` is the label or
    annotation of the pods (``by`` says which of the two) that shows ``text`` where no image does. ``workloads``
    (``Deployment/checkout``) are those that have to show it; by default it is every one that the Application manages, but
    for those that run images of something else. ``also`` are values of other keys, which containers of the images that those set may run.
    ``is_declared`` says that fleet.yaml names the image: then an init container alone may carry it.
    """

    value: str
    before: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    by: str = ""
    mark: str = ""
    text: str = ""
    workloads: tuple[str, ...] = ()
    also: tuple[Other, ...] = ()
    is_declared: bool = False


@dataclass(frozen=True, slots=True)
class Unit:
    """One thing that runs: a workload, or an object of a kind that is not judged, with its pods."""

    item: Json
    pods: tuple[Json, ...]

    @property
    def name(self) -> str:
        """As people call it: Deployment checkout."""
        return label(self.item)

    @property
    def key(self) -> str:
        """As fleet.yaml names it: Deployment/checkout."""
        return self.name.replace(" ", "/", 1)


@dataclass(frozen=True, slots=True)
class Container:
    """One container of a pod. ``runs`` is False while it waits or has failed.

    ``is_pinned`` says that what asks for it names a digest behind the tag: the digest decides what runs, whatever the tag says.
    ``is_init`` says that it ends before the others begin: nothing of it runs any more.
    """

    name: str
    image: Image
    reference: str
    runs: bool
    is_pinned: bool = False
    is_init: bool = False


@dataclass(frozen=True, slots=True)
class Sight:
    """What was seen of one version. ``missing`` is a sentence about what is not, "" when it is all there.

    ``carriers`` are the workloads that run it, ``others`` those that run something else, with their images.
    """

    missing: str = ""
    carriers: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


def look(snapshot: Snapshot, version: Version) -> Sight:
    """Looks for one version in everything that runs for an Application."""
    found = units(snapshot)
    chosen = [u for u in found if not version.workloads or u.key in version.workloads]
    absent = sorted(set(version.workloads) - {u.key for u in chosen})
    if absent:
        return Sight(f"{', '.join(absent)}, which has to show {version.value}, does not exist")
    blind = [u.name for u in chosen if is_opaque_item(u.item) and not u.pods]
    if version.by:
        return _look_at_marks(chosen, version, blind)
    return _look_at_images(snapshot, chosen, version, blind)


def unshared(snapshot: Snapshot, versions: Sequence[Version]) -> str:
    """What keys of one and the same value lack that each of them could show: an image of its own; "" where nothing does.

    A key whose image nobody named may have no effect, and the container that another key sets would show it all the same.
    """
    found = [one for one in versions if not one.by]
    for value in dict.fromkeys(one.value for one in found):
        same = [one for one in found if one.value == value]
        open_ones = [one for one in same if not one.names]
        if len(same) < 2 or not open_ones:
            continue
        known = {name for one in same for name in one.names}
        carrying = {
            c.image.name: None
            for unit in units(snapshot)
            for c in _containers_of(snapshot, unit)
            if any(_carries(c, one) for one in open_ones)
        }
        free = [name for name in carrying if not any(is_alike(name, other) for other in known)]
        alone = [
            name
            for number, name in enumerate(free)
            if not any(is_alike(name, other) for other in free[:number])
        ]
        if len(alone) < len(open_ones):
            what = ", ".join(carrying) or "no image"
            return (
                f"{what} {'have' if len(carrying) > 1 else 'has'} {value}, which {len(same)} keys set: nothing shows that each of "
                "them has its effect, unless `proof` in fleet.yaml says which image each sets"
            )
    return ""


def running_versions(snapshot: Snapshot, version: Version) -> tuple[str, ...]:
    """What pods have of the images that carry a version, in the words that it is written in: tags, digests or references.

    A container that crashes counts as well: whether it runs just now changes by the second.
    Empty where the images are not known, where a mark shows the version, and where nothing runs.
    """
    if version.by:
        return ()
    running = [
        c
        for unit in units(snapshot)
        if not version.workloads or unit.key in version.workloads
        for c in _containers_of(snapshot, unit)
        if any(is_same_name(c.image.name, name) for name in version.names)
    ]
    return tuple(sorted({_as_written(c, version.value) for c in running}))


def is_seen(snapshot: Snapshot, version: Version) -> bool:
    """Whether any container has the version, wherever it stands."""
    return not version.by and any(
        _carries(c, version) for unit in units(snapshot) for c in _containers_of(snapshot, unit)
    )


def left_behind(snapshot: Snapshot, value: str, before: Sequence[str]) -> tuple[str, ...]:
    """What runs an earlier version, in words: where no image is known to carry a value, such a tag was hardly meant to stay."""
    found = (
        f"{unit.name} runs {c.reference}"
        for unit in units(snapshot)
        for c in _containers_of(snapshot, unit)
        if not shows(c.image, value) and any(shows(c.image, text) for text in before)
    )
    return tuple(dict.fromkeys(found))


def image_names(snapshot: Snapshot) -> tuple[str, ...]:
    """Names of all images that containers have, sorted."""
    return tuple(
        sorted({c.image.name for unit in units(snapshot) for c in _containers_of(snapshot, unit)})
    )


def _as_written(container: Container, value: str) -> str:
    """A container's version: the text itself where it shows it, else what stands where that has its tag or digest."""
    image = container.image
    if _shows(container, value):
        return value
    if "/" in value or container.is_pinned:
        return container.reference
    return (image.digest if value.startswith("sha256:") else image.tag) or container.reference


def units(snapshot: Snapshot) -> tuple[Unit, ...]:
    """All that runs for an Application: judged workloads, bare pods, and what has pods or surely runs some."""
    resources = ((snapshot.application or {}).get("status") or {}).get("resources") or ()
    bare = {
        (r.get("kind"), r.get("name"))
        for r in resources
        if r.get("kind") in BARE and not r.get("hook")
    }
    judged = [
        w
        for w in snapshot.workloads
        if is_workload(w) or (w.get("kind"), w["metadata"].get("name")) in bare
    ]
    found = [Unit(item, tuple(_pods_of(snapshot.workloads, item))) for item in judged]
    for resource in resources:
        if may_run(resource):
            stand_in = _stand_in(resource, snapshot.workloads)
            pods = tuple(_pods_of(snapshot.workloads, stand_in))
            if pods or is_opaque(resource):
                found.append(Unit(stand_in, pods))
    return tuple(found)


def not_judged(snapshot: Snapshot) -> tuple[str, ...]:
    """What an Application manages of kinds that are not judged here and may run something, sorted."""
    resources = ((snapshot.application or {}).get("status") or {}).get("resources") or ()
    return tuple(sorted(label(r) for r in resources if is_scheduled(r) or may_run(r)))


def is_opaque_item(item: Json) -> bool:
    """As ``is_opaque``, for an object or a stand-in."""
    group = str(item.get("apiVersion") or "").rpartition("/")[0]
    return is_opaque({"group": group, "kind": item.get("kind")})


def containers(pod: Json) -> Iterator[Container]:
    """The containers of a pod, its init containers and sidecars included."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    for of, states in (
        ("initContainers", "initContainerStatuses"),
        ("containers", "containerStatuses"),
    ):
        known = {s.get("name"): s for s in status.get(states) or ()}
        for container in spec.get(of) or ():
            reference = container.get("image") or ""
            said = known.get(container.get("name"))
            image = parse_image(reference)
            if said is not None and not image.digest:
                # Of one image under several tags the runtime names any: only the digest of what it says is sure.
                image = Image(image.name, image.tag, parse_image(said.get("imageID") or "").digest)
            # A sidecar is an init container that goes on.
            is_init = of == "initContainers" and container.get("restartPolicy") != "Always"
            yield Container(
                container.get("name") or "",
                image,
                reference,
                _runs(said, status, is_init=is_init),
                _is_pinned_by(reference),
                is_init,
            )


def _look_at_images(
    snapshot: Snapshot, found: Sequence[Unit], version: Version, blind: Sequence[str]
) -> Sight:
    seen = [_containers_of(snapshot, unit) for unit in found]
    if not version.is_declared:
        version = replace(version, names=_that_exist(version.names, seen))
    carrying = [c for own in seen for c in own if _carries(c, version)]
    names = (*version.names, *dict.fromkeys(c.image.name for c in carrying))
    pinned = pinned_images(snapshot.application)
    carriers: list[str] = []
    others: list[str] = []
    wrong: list[str] = []
    begun: list[str] = []
    for unit, own in zip(found, seen, strict=True):
        shown = [c for c in own if _carries(c, version)]
        stale = [
            c for c in own if c not in shown and _is_meant(c, version, names, carrying, pinned)
        ]
        running = ", ".join(dict.fromkeys(c.reference for c in own))
        if stale:
            behind = ", ".join(dict.fromkeys(c.reference for c in stale))
            names_of = ", ".join(dict.fromkeys(c.name for c in stale))
            beside = f"container {names_of} of {unit.name}" if shown else unit.name
            why = _why_not(stale, version) or _also_said(stale, version)
            wrong.append(f"{beside} runs {behind}{why}")
        elif shown and not all(c.runs for c in shown):
            wrong.append(f"{unit.name} has {version.value} in a container that does not run")
        elif shown and not version.is_declared and all(c.is_init for c in shown):
            names_of = ", ".join(dict.fromkeys(c.name for c in shown))
            begun.append(
                f"only the init container {names_of} of {unit.name} has {version.value}, and ended; {_beside(own, shown)} runs"
            )
        elif shown:
            carriers.append(unit.name + _by_other_names(shown, version))
            others += _neighbours_of(unit, own, shown)
        elif own and version.workloads:
            wrong.append(f"{unit.name} runs {running}{_why_not(own, version)}")
        elif own:
            others.append(f"{unit.name} ({running}{_why_not(own, version)})")
        elif not is_opaque_item(unit.item):
            wrong.append(f"no pod of {unit.name} was seen")
    if carriers:
        # It runs elsewhere; what begins with it there is told.
        others += begun
    else:
        wrong += begun
    if carrying and not wrong and _is_by_another_name(carrying, version):
        unjudged = not_judged(snapshot)
        if unjudged:
            # What has the file's own image may be among these; an image of the same last name shows nothing then.
            wrong.append(
                f"{', '.join(carriers)} has {version.value}, and nothing here can judge {', '.join(unjudged)}, which may run "
                f"{', '.join(version.names)}"
            )
    if not carriers and not carrying:
        what = "; ".join([*wrong, *(other.replace(" (", " runs ").rstrip(")") for other in others)])
        return Sight(f"no workload runs {version.value}{what and ': '}{what}", (), tuple(others))
    if wrong or blind:
        wrong += [f"nothing shows what {name} runs" for name in blind]
        return Sight(
            f"not everything runs {version.value}: {'; '.join(wrong)}",
            tuple(carriers),
            tuple(others),
        )
    return Sight("", tuple(carriers), tuple(others))


def _that_exist(names: Sequence[str], seen: Sequence[Sequence[Container]]) -> tuple[str, ...]:
    """Of several ways to read a name from a file those that a container has; all of them where none is."""
    there = tuple(
        name for name in names if any(is_alike(c.image.name, name) for own in seen for c in own)
    )
    return there or tuple(names)


def _carries(container: Container, version: Version) -> bool:
    """Whether a container shows the version; where its image is known, no other one's equal tag counts."""
    name = container.image.name
    is_known = not version.names or any(is_alike(name, known) for known in version.names)
    return is_known and _shows(container, version.value, version.also)


def _shows(container: Container, text: str, also: Sequence[Other] = ()) -> bool:
    """Whether a container's image shows a text; a tag before a pinned digest does where the digest is promoted too.

    Where a reference holds a digest alone, which is promoted too, it shows the tag that was promoted with it: charts leave
    the tag out then.
    """
    image = container.image
    digests = [
        one.value.rpartition("@")[2]
        for one in also
        if one.value.rpartition("@")[2].startswith("sha256:")
    ]
    if not shows(image, text):
        asked = parse_image(container.reference)
        return bool(asked.digest) and not asked.tag and asked.digest in digests
    return not container.is_pinned or image.digest in (*digests, text.rpartition("@")[2])


def _why_not(stale: Sequence[Container], version: Version) -> str:
    """Why a tag that is there shows nothing, as the end of a sentence."""
    if not any(c.is_pinned and shows(c.image, version.value) for c in stale):
        return ""
    return ", where the digest decides what runs and is not promoted with the tag"


def _also_said(stale: Sequence[Container], version: Version) -> str:
    """That another key says what a stale container runs, as the end of a sentence: only who knows the chart can tell."""
    open_ones = [other.value for other in version.also if not other.names]
    if not any(shows(c.image, value) for c in stale for value in open_ones):
        return ""
    return ", which another promoted key says too: `proof` of that key in fleet.yaml says which image it sets"


def _is_pinned_by(reference: str) -> bool:
    image = parse_image(reference)
    return bool(image.tag and image.digest)


def _beside(own: Sequence[Container], shown: Sequence[Container]) -> str:
    """What runs beside containers that have ended, as the start of a sentence."""
    return (
        ", ".join(dict.fromkeys(c.reference for c in own if c not in shown and not c.is_init))
        or "nothing"
    )


def _neighbours_of(
    unit: Unit, own: Sequence[Container], shown: Sequence[Container]
) -> Iterator[str]:
    """Containers beside those that carry the version, of images that the same team builds: a reader has to tell."""
    beside: dict[str, None] = {
        f"{c.name} of {unit.name} ({c.reference})": None
        for c in own
        if c not in shown and any(is_neighbour(c.image.name, one.image.name) for one in shown)
    }
    yield from beside


def _is_by_another_name(carrying: Sequence[Container], version: Version) -> bool:
    """Whether the version is seen in images alone that only have the last name of those that are known to carry it."""
    return bool(version.names) and not any(
        is_same_name(c.image.name, name) for c in carrying for name in version.names
    )


def _by_other_names(shown: Sequence[Container], version: Version) -> str:
    """Images that carry the version by another name than the file's: a mirror, or something else; a reader has to tell."""
    names = dict.fromkeys(
        c.image.name
        for c in shown
        if version.names and not any(is_same_name(c.image.name, known) for known in version.names)
    )
    return f" (as {', '.join(names)})" if names else ""


def _is_meant(
    container: Container,
    version: Version,
    names: Sequence[str],
    carrying: Sequence[Container],
    pinned: Sequence[Image],
) -> bool:
    """Whether a container that runs another version should run the promoted one.

    Where nobody knows which image another key sets, its value excuses no container that may as well have been left behind.
    """
    image = container.image
    was = any(text and text != version.value and shows(image, text) for text in version.before)
    is_set = _is_pinned(image, pinned)
    is_own = any(is_same_name(image.name, name) for name in names)
    for other in version.also:
        if not shows(image, other.value):
            continue
        if any(is_same_name(image.name, name) for name in other.names):
            return False
        is_known = any(is_same_name(image.name, name) for name in version.names)
        if not other.names and not (is_known or was or is_set):
            return False
    if is_own:
        return True
    if any(is_alike(image.name, name) for name in names):
        return was or is_set
    if version.names:
        return False
    # Nobody knows which image the key sets, perhaps several of a team: what still runs an earlier version was left behind,
    # whatever it is called, and so was what the Application sets itself of the team's own.
    return was or (is_set and any(is_neighbour(image.name, one.image.name) for one in carrying))


def _look_at_marks(found: Sequence[Unit], version: Version, blind: Sequence[str]) -> Sight:
    field = f"{version.by}s"
    carriers: list[str] = []
    wrong: list[str] = []
    for unit in found:
        said = {
            ((pod.get("metadata") or {}).get(field) or {}).get(version.mark)
            for pod in _moving(unit)
        }
        if said == {version.text}:
            carriers.append(unit.name)
        else:
            shown = (
                ", ".join(sorted(repr(text) if text else "nothing" for text in said)) or "no pod"
            )
            wrong.append(f"{unit.name} shows {shown}")
    wrong += [
        f"nothing shows what {name} runs" for name in blind if f"{name} shows" not in str(wrong)
    ]
    if wrong or not carriers:
        what = "; ".join(wrong) or "nothing runs"
        return Sight(
            f"{version.by} {version.mark} is not {version.text!r} everywhere: {what}",
            tuple(carriers),
        )
    return Sight("", tuple(carriers))


def _containers_of(snapshot: Snapshot, unit: Unit) -> list[Container]:
    """What runs of a unit; a Job that has succeeded may have left no pod behind, and its template never changes."""
    own = [c for pod in _moving(unit) for c in _in_pod(snapshot, unit, pod)]
    if own or unit.item.get("kind") != "Job":
        return own
    return list(
        containers(
            {
                **((unit.item.get("spec") or {}).get("template") or {}),
                "status": {"phase": "Succeeded"},
            }
        )
    )


def _is_pinned(image: Image, pinned: Sequence[Image]) -> bool:
    """Whether the Application itself says which version of an image is used."""
    return any(
        is_same_name(one.name, image.name) if one.name else one.tag in (image.tag, image.digest)
        for one in pinned
    )


def _in_pod(snapshot: Snapshot, unit: Unit, pod: Json) -> Iterator[Container]:
    """The containers of a pod; an image that admission pinned to a digest counts by the tag of its template."""
    owners = [unit.item, *(w for w in snapshot.workloads if is_owned(pod, w))]
    templates = [((o.get("spec") or {}).get("template") or {}).get("spec") or {} for o in owners]
    asked = {
        c.get("name"): parse_image(c.get("image") or "")
        for template in templates
        for of in ("initContainers", "containers")
        for c in template.get(of) or ()
    }
    for container in containers(pod):
        wanted = asked.get(container.name)
        image = container.image
        if wanted and wanted.tag and not image.tag and is_same_name(wanted.name, image.name):
            image = Image(image.name, wanted.tag, image.digest)
        is_pinned = container.is_pinned if wanted is None else bool(wanted.tag and wanted.digest)
        yield replace(container, image=image, is_pinned=is_pinned)


def _moving(unit: Unit) -> Iterator[Json]:
    """Pods that an update reaches: all of them, but for those that a partition holds back."""
    held = partition(unit.item)
    first = int((((unit.item.get("spec") or {}).get("ordinals") or {}).get("start")) or 0)
    for pod in unit.pods:
        number = str(pod["metadata"].get("name") or "").rpartition("-")[2]
        if not held or not number.isdigit() or int(number) >= first + held:
            yield pod


def _pods_of(workloads: Sequence[Json], item: Json, depth: int = 4) -> Iterator[Json]:
    """Pods at the end of the chain of owners that begins at an object, without those that are over."""
    if item.get("kind") == "Pod":
        yield item
        return
    for other in workloads:
        if not is_owned(other, item):
            continue
        if other.get("kind") != "Pod":
            yield from _pods_of(workloads, other, depth - 1) if depth else ()
        elif not other["metadata"].get("deletionTimestamp"):
            phase = (other.get("status") or {}).get("phase")
            is_over = phase == "Failed" or (phase == "Succeeded" and item.get("kind") != "Job")
            if not is_over:
                yield other


def _stand_in(resource: Json, workloads: Sequence[Json]) -> Json:
    """An object for an entry of ``status.resources`` that nobody may have the right to read."""
    group, version = resource.get("group") or "", resource.get("version") or "v1"
    known = {w["metadata"].get("namespace") for w in workloads}
    namespace = resource.get("namespace")
    metadata = {
        "name": resource.get("name"),
        "namespace": namespace if namespace in known else None,
    }
    return {
        "apiVersion": f"{group}/{version}" if group else version,
        "kind": resource.get("kind"),
        "metadata": metadata,
    }


def _runs(said: Json | None, status: Json, *, is_init: bool) -> bool:
    """Whether a container runs, or has done what it is for."""
    if said is None:
        return status.get("phase") in ("Running", "Succeeded")
    state = said.get("state") or {}
    ended = state.get("terminated")
    if ended:
        is_done = is_init or status.get("phase") == "Succeeded"
        return is_done and not ended.get("exitCode")
    return not state.get("waiting")
