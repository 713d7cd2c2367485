"""Whether a release runs: what an Application says, what its containers show, and what its parent made of it."""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace

from gitops_nb.argo import Expectation, Judgement, State, current_revisions, judge
from gitops_nb.argo.evidence import Version, image_names, is_seen, left_behind
from gitops_nb.argo.images import is_alike
from gitops_nb.argo.overrides import OVERRIDE_FILES, overrides, set_to
from gitops_nb.argo.sources import Origin, branch_of, sources_of
from gitops_nb.model import Json
from gitops_nb.ports import Snapshot, View
from gitops_nb.promotion.places import effective_sources
from gitops_nb.promotion.reading import differences
from gitops_nb.promotion.state import PromotedKey
from gitops_nb.promotion.synced import where_of
from gitops_nb.promotion.versions import (
    FieldProof,
    Shown,
    asks_for,
    how_to_declare,
    is_declared,
    is_image,
    unproven,
)

_INSIDE_HELM = re.compile(r"(^|\.)(parameters\[|valuesObject\b|values\b|images\[)")
NOWHERE = Origin((), ())
"""Of a child's sources none is the configuration repository: each has to be at what it asks for itself."""


@dataclass(frozen=True, slots=True)
class Release:
    """What should run in one Application.

    ``revision`` is the commit that its files came with, ``parent`` the Application that renders it from them ("" when it
    reads them itself), ``shown`` each key that counts with what shows it; the first is the version. ``where`` is the project and
    destination that it was planned for, "" where nothing binds them.
    """

    cluster: str
    name: str
    parent: str
    repository: str
    revision: str
    origin: Origin
    equivalent: Container[str]
    shown: tuple[tuple[PromotedKey, str, Shown], ...]
    where: str = ""

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
        """All keys, but for those that a source of a child is at the revision of: that is their proof.

        A key that sets an image, or a parameter of the child, is none of these, also where its value is the same text; nor is one
        whose earlier value another source of the child is at: that one did not follow.
        """
        if not self.parent:
            return self.shown
        asked = {branch_of(source) for source in sources_of((application or {}).get("spec") or {})}
        return [
            (key, value, shown)
            for key, value, shown in self.shown
            if value not in asked
            or is_image(key)
            or _INSIDE_HELM.search(key.key)
            or (isinstance(shown, Version) and asked & set(shown.before))
        ]


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
    if judgement.state is State.DEPLOYED and application is not None:
        merged = _with_files(view, release, application)
        if merged != application:
            # What an override file sets, the Application sets: what follows it is no other product.
            judgement = judge(replace(snapshot, application=merged), expected)
        said = _elsewhere(view, release, application) or _said_otherwise(release, merged)
        if judgement.state is State.DEPLOYED and said:
            sentence = f"{snapshot.name} is {judgement.sync} and {judgement.health}, and {said}"
            return replace(
                judgement, state=State.IN_DOUBT, sentence=sentence, unseen=said, trouble=said
            )
    if judgement.state is State.DEPLOYED:
        cluster = view.clusters.get(release.cluster)
        missing = unproven(cluster, snapshot, release.fields(application)) or _behind(
            release, snapshot
        )
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


def _behind(release: Release, snapshot: Snapshot) -> str:
    """That containers run a version which a field of an object had earlier, as a sentence; where a key sets an image, that decides."""
    if any(isinstance(shown, Version) for _, _, shown in release.shown):
        return ""
    found = [
        f"{what}, which {key.key} of {key.path} had before"
        for key, value, shown in release.shown
        if isinstance(shown, FieldProof)
        for what in left_behind(snapshot, value, shown.before)
    ]
    return "; ".join(found)


def _with_files(view: View, release: Release, application: Json) -> Json:
    """An Application with what the override files beside its manifests say, as Argo CD takes it."""
    spec = application.get("spec") or {}
    merged, _ = effective_sources(
        view.git,
        application,
        sources_of(spec),
        origin=release.origin,
        repository=release.repository,
        tip=release.revision,
    )
    if merged == sources_of(spec):
        return application
    own = {"sources": list(merged)} if spec.get("sources") else {"source": merged[0]}
    status = application.get("status") or {}
    sync = status.get("sync") or {}
    # It was compared with these all along: only the object does not say so.
    compared = {**sync, "comparedTo": {**(sync.get("comparedTo") or {}), **own}}
    return {**application, "spec": {**spec, **own}, "status": {**status, "sync": compared}}


def _elsewhere(view: View, release: Release, application: Json) -> str:
    """That the Application that reads the files does not read them any more, as a sentence; somebody pointed it elsewhere."""
    name, reader = release.name, application
    where = where_of(application.get("spec") or {})
    if release.where and where != release.where:
        return f"Application {name} deploys elsewhere than when this was planned: {where}, and not {release.where}"
    if release.parent:
        name = release.parent
        reader = view.argo[release.cluster].snapshot(release.parent).application or {}
    found = differences(
        view.git,
        reader,
        origin=release.origin,
        repository=release.repository,
        tip=release.revision,
        files=[key.path for key, _, _ in release.shown],
    )
    return (
        f"Application {name} does not deploy what was promoted: {'; '.join(found)}" if found else ""
    )


def _said_otherwise(release: Release, application: Json | None) -> str:
    """That an Application sets a promoted key itself to something else: whatever shows the version then shows another thing."""
    found = [
        f"the Application sets {key.key} to {text}, not to {value}"
        for key, value, _ in release.shown
        if not release.parent
        and (text := set_to(application, key.key, key.part)) not in (None, value)
    ]
    return "; ".join(found)


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
        at = f"its parent {release.parent} is {judgement.sync or 'not compared'} at {', '.join(one[:12] for one in judgement.revision.split(','))}"
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
    found = [*overrides(application), *_files(view, release, application)]
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


def _files(view: View, release: Release, application: Json | None) -> list[str]:
    """Override files that Argo CD reads beside the manifests."""
    name = ((application or {}).get("metadata") or {}).get("name") or release.name
    folders = [
        str(source["path"]).strip("/")
        for source in sources_of((application or {}).get("spec") or {})
        if source.get("path") and release.origin.has(source)
    ]
    paths = [f"{folder}/{file.format(name=name)}" for folder in folders for file in OVERRIDE_FILES]
    found = view.git.read_many(release.repository, release.revision, paths)
    return [path for path, blob in zip(paths, found, strict=True) if blob is not None]
