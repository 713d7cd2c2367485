"""Whether a release runs: what an Application says, what its containers show, and what its parent made of it."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace

from gitops_nb.argo import Expectation, Judgement, State, current_revisions, judge
from gitops_nb.argo.evidence import Version, image_names, is_seen
from gitops_nb.argo.images import is_alike
from gitops_nb.argo.overrides import OVERRIDE_FILES, overrides, with_files
from gitops_nb.argo.sources import Origin, branch_of, sources_of
from gitops_nb.model import Json
from gitops_nb.ports import Snapshot, View
from gitops_nb.promotion.state import PromotedKey
from gitops_nb.promotion.versions import (
    FieldProof,
    Shown,
    asks_for,
    how_to_declare,
    is_declared,
    unproven,
)

NOWHERE = Origin((), ())
"""Of a child's sources none is the configuration repository: each has to be at what it asks for itself."""


@dataclass(frozen=True, slots=True)
class Release:
    """What should run in one Application.

    ``revision`` is the commit that its files came with, ``parent`` the Application that renders it from them ("" when it
    reads them itself), ``shown`` each key that counts with what shows it; the first is the version.
    """

    cluster: str
    name: str
    parent: str
    repository: str
    revision: str
    origin: Origin
    equivalent: Container[str]
    shown: tuple[tuple[PromotedKey, str, Shown], ...]

    @property
    def version(self) -> str:
        """What people call it."""
        return self.shown[0][1]

    def expectation(self, application: Json) -> Expectation:
        """What the Application itself has to say."""
        versions = tuple(
            shown for _, _, shown in self._counting(application) if isinstance(shown, Version)
        )
        if self.parent:
            return Expectation("", origin=NOWHERE, versions=versions)
        return Expectation(
            self.revision, equivalent=self.equivalent, origin=self.origin, versions=versions
        )

    def fields(self, application: Json) -> tuple[FieldProof, ...]:
        """Fields of live objects that count."""
        return tuple(s for _, _, s in self._counting(application) if isinstance(s, FieldProof))

    def _counting(self, application: Json) -> Sequence[tuple[PromotedKey, str, Shown]]:
        """All keys, but for those that a source of a child is at the revision of: that is their proof."""
        if not self.parent:
            return self.shown
        asked = {branch_of(source) for source in sources_of((application or {}).get("spec") or {})}
        return [entry for entry in self.shown if entry[1] not in asked]


def judge_release(
    view: View, release: Release, snapshot: Snapshot, *, expectation: Expectation | None = None
) -> Judgement:
    """Says what a snapshot means for a release.

    Args:
        view: Asked for the parent, for live objects and for override files, where the snapshot alone does not tell.
        release: What should run.
        snapshot: The Application now.
        expectation: The release's, with what is known of an operation of ours.
    """
    application = snapshot.application
    if application is not None and release.parent:
        missing = next((v for _, v, _ in release.shown if not asks_for(application, v)), "")
        if missing:
            return _judge_parent(view, release, missing)
    expected = expectation or release.expectation(application)
    judgement = judge(snapshot, expected)
    if judgement.state is State.DEPLOYED and (files := _files(view, release, application)):
        # What such a file sets, the Application sets: what follows it is no other product.
        merged = with_files(
            application or {}, {place: tuple(own.values()) for place, own in files.items()}
        )
        judgement = judge(replace(snapshot, application=merged), expected)
    if judgement.state is State.DEPLOYED:
        cluster = view.clusters.get(release.cluster)
        missing = unproven(cluster, snapshot, release.fields(application))
        if missing:
            sentence = f"{snapshot.name} is {judgement.sync} and {judgement.health}, and {missing}"
            judgement = replace(judgement, state=State.IN_DOUBT, sentence=sentence, unseen=missing)
    if not judgement.unseen:
        return judgement
    why = (_why(view, release, application, snapshot), _advice(release))
    if judgement.unjudged:
        # What runs it was not judged: that says nothing about the key.
        why = (_named(view, release, application), _of_object(judgement.unjudged))
    unseen = "; ".join(filter(None, (judgement.unseen, *why)))
    return replace(
        judgement,
        sentence="; ".join(filter(None, (judgement.sentence, *why))),
        unseen=unseen,
        trouble=unseen,
    )


def _judge_parent(view: View, release: Release, value: str) -> Judgement:
    """A child that does not ask for the version yet: its parent says whether that may still come."""
    sentence = f"{release.name} does not ask for {value} yet"
    parent = view.argo[release.cluster].snapshot(release.parent)
    expectation = Expectation(
        release.revision, equivalent=release.equivalent, origin=release.origin
    )
    judgement = judge(parent, expectation, children={})
    if judgement.state is State.FAILED:
        return replace(judgement, sentence=f"{sentence}: {judgement.sentence}")
    application = parent.application or {}
    sources = sources_of(application.get("spec") or {})
    is_there = expectation.is_met_by(current_revisions(application), sources)
    if not is_there or judgement.sync != "Synced" or application.get("operation"):
        at = f"its parent {release.parent} is {judgement.sync or 'not compared'} at {judgement.revision[:12]}"
        return replace(judgement, state=State.PROGRESSING, sentence=f"{sentence}; {at}", failing=())
    unseen = (
        f"{release.name} does not ask for {value}, although its parent {release.parent} is Synced at "
        f"{release.revision[:7]}; {_why(view, release, application)}"
    )
    return replace(
        judgement, state=State.IN_DOUBT, sentence=unseen, trouble=unseen, unseen=unseen, failing=()
    )


def _why(
    view: View, release: Release, application: Json | None, snapshot: Snapshot | None = None
) -> str:
    """What overrides the files in Git, by name; or what else the containers show; or that nothing is to be seen that does."""
    named = _named(view, release, application)
    if named:
        return named
    name = ((application or {}).get("metadata") or {}).get("name") or release.name
    key, _, shown = release.shown[0]
    if snapshot is not None and isinstance(shown, Version):
        wrong = _wrong_proof(snapshot, key, shown)
        # Where the key has its effect, what lags behind is named.
        if wrong or is_seen(snapshot, shown):
            return wrong
    return f"Application {name} has no override, so {key.key} of {key.path} may have no effect on what is rendered"


def _named(view: View, release: Release, application: Json | None) -> str:
    """What overrides the files in Git, by name; "" where nothing does."""
    name = ((application or {}).get("metadata") or {}).get("name") or release.name
    files = _files(view, release, application).values()
    found = [*overrides(application), *(path for own in files for path in own)]
    return f"Application {name} has overrides: {', '.join(found)}" if found else ""


def _of_object(unjudged: Sequence[str]) -> str:
    """How a person may have a version shown where nothing runs that is judged."""
    first = unjudged[0].replace(" ", "/", 1)
    return f"a `proof` in fleet.yaml with `object: {first}` and the `field` that holds it would show it"


def _wrong_proof(snapshot: Snapshot, key: PromotedKey, shown: Version) -> str:
    """That no container has the image that a proof, or the file, names; "" where none is named, or one has it."""
    found = image_names(snapshot)
    if shown.by or not shown.names or not found:
        return ""
    if any(is_alike(name, declared) for name in found for declared in shown.names):
        return ""
    there = f"there are {', '.join(found)}"
    if is_declared(key, shown):
        return f"no container has the image {', '.join(shown.names)} that `proof` of {key.key} in fleet.yaml names; {there}"
    return (
        f"no container has the image {' or '.join(shown.names)} that {key.path} names beside {key.key}; {there}; where the chart "
        "puts the name together otherwise, say so with `proof: {image: ...}` in fleet.yaml"
    )


def _advice(release: Release) -> str:
    return "; ".join(
        dict.fromkeys(filter(None, (how_to_declare(key, shown) for key, _, shown in release.shown)))
    )


def _files(view: View, release: Release, application: Json | None) -> dict[int, dict[str, bytes]]:
    """Override files that Argo CD reads beside the manifests: for each source, by place, the contents by path."""
    name = ((application or {}).get("metadata") or {}).get("name") or release.name
    asked = [
        (place, "/".join(filter(None, (str(source["path"]).strip("/"), file.format(name=name)))))
        for place, source in enumerate(sources_of((application or {}).get("spec") or {}))
        if source.get("path") and release.origin.has(source)
        for file in OVERRIDE_FILES
    ]
    blobs = view.git.read_many(release.repository, release.revision, [path for _, path in asked])
    found: dict[int, dict[str, bytes]] = {}
    for (place, path), blob in zip(asked, blobs, strict=True):
        if blob is not None:
            found.setdefault(place, {})[path] = blob.content
    return found
