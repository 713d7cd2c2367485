"""What observe found in Git and in Argo CD for both environments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class PromotedKey:
    """One promotable key in one environment.

    ``value`` is the promoted text (the tag, or the whole value), ``blob`` the Git id of the file, ``content``
    its text.
    """

    path: str
    key: str
    part: str
    blob: str
    value: str
    content: str


@dataclass(frozen=True, slots=True)
class Spell:
    """A time during which one version stood in Git; ``until`` is None for the present one.

    ``replaced_by`` is the commit that ended it.
    """

    version: str
    since: datetime
    until: datetime | None = None
    replaced_by: str = ""


@dataclass(frozen=True, slots=True)
class Synced:
    """An Application that is synced when somebody asks, and what such a sync brings.

    ``folders`` are the places of the configuration repository that it reads, ``in_force`` is the commit of them that was synced
    last, "" where that is not known, and ``new`` the places that it did not read then. ``spec`` is a digest of what the Application
    asks for, ``where`` its project and destination in words, ``last`` the newest sync that it remembers; ``sources`` is the text of its sources then and now, where these differ.
    ``others`` are its sources elsewhere, in words, ``secret`` files that a Secret is made of as they are. ``values``
    and ``charts`` are files and folders that no objects stand in, see ``places``. ``settings`` is the text of what it says of how it is
    synced, where that is more than the usual.
    """

    name: str
    folders: tuple[str, ...] = ()
    in_force: str = ""
    spec: str = ""
    others: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    sources: tuple[str, str] = ("", "")
    secret: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    charts: tuple[str, ...] = ()
    where: str = ""
    last: str = ""
    settings: str = ""


@dataclass(frozen=True, slots=True)
class Drift:
    """What differs on a cluster from what was synced last: whose object, how it differs, and what the sync makes of it."""

    application: str
    what: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Sync:
    """One entry of Argo CD's history: a commit of the configuration repository, and when bringing it began and was done.

    ``said`` are versions that the Application set itself then, past what the commit's file says.
    """

    commit: str
    begun: datetime
    done: datetime
    said: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Stay:
    """The longest time for which Argo CD's history has a version without another one between; ``until`` is None for now.

    ``commit`` is the one that was synced last in it.
    """

    since: datetime
    until: datetime | None = None
    commit: str = ""


@dataclass(frozen=True, slots=True)
class Placement:
    """The Argo CD Application of one environment on one cluster.

    ``deployed`` is the judgement: the files of the tip are in force and healthy, and the version is seen in what runs;
    ``sentence`` says it in words. ``synced`` are the Applications that a promotion syncs here. ``parent`` is the Application that renders this one from the files, "" when it reads them
    itself. ``running`` are the versions that its containers have, as far as the image is known. ``replaces`` says which options
    have a sync replace objects, ``unread`` what names such options in a way that nobody here can read. ``prunes`` are the Applications,
    this one or its parent, that delete by themselves what Git names no more. ``neighbours`` are Applications that a sync of the parent would change , each with
    its environment, "" where nobody knows it. ``siblings`` are those that the parent renders from the edited files too. ``follows`` are all texts of what a child asks for, by path, where the parent that renders them and the child are
    synced. ``objects`` are those that it manages and that are named after a promoted value. ``where`` is its
    project and destination in words. ``commits`` are the syncs that Argo CD's history has, oldest first.
    ``drift`` is what differs on the cluster from what was synced last.
    """

    cluster: str
    name: str
    deployed: bool
    sentence: str
    sync: str = ""
    health: str = ""
    revision: str = ""
    automated: bool = False
    healthy_since: datetime | None = None
    images: tuple[str, ...] = ()
    parent: str = ""
    parent_automated: bool = False
    carriers: tuple[str, ...] = ()
    synced: tuple[Synced, ...] = ()
    running: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    prunes: tuple[str, ...] = ()
    neighbours: tuple[tuple[str, str], ...] = ()
    siblings: tuple[tuple[str, str], ...] = ()
    follows: tuple[tuple[str, str], ...] = ()
    objects: tuple[str, ...] = ()
    where: str = ""
    commits: tuple[Sync, ...] = ()
    drift: tuple[Drift, ...] = ()


@dataclass(frozen=True, slots=True)
class Pending:
    """A file that a sync brings beside what is promoted: it was pushed earlier, and is not in force yet.

    ``before`` is its text in the commit that was synced last, ``after`` at the tip; None where it is not there, and values of
    Secrets masked. ``is_version_alone`` says that nothing but the promoted version differs, which the plan says anyway,
    ``is_new`` that it may have been there and was no part of the Application.
    """

    path: str
    before: str | None
    after: str | None
    is_version_alone: bool = False
    is_new: bool = False


def in_words(duration: timedelta) -> str:
    """A duration to the minute, or to the hour where it is long."""
    minutes = int(duration.total_seconds()) // 60
    if minutes >= 48 * 60:
        return f"{minutes // 1440} d {minutes % 1440 // 60} h"
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


def runs_in_words(*, by_field: bool, already: bool = False) -> str:
    """What may be said of a version where all of it was seen: containers run it, or an object's field has it."""
    if by_field:
        return "is already in force" if already else "is in force"
    return "already runs" if already else "runs"


def lacking_in_words(clusters: Sequence[str]) -> str:
    """Clusters of an environment that have no Application, as the end of a sentence; "" for none."""
    return f" (no Application on {', '.join(clusters)})" if clusters else ""


@dataclass(frozen=True, slots=True)
class Side:
    """One environment: what Git asks for and what runs. ``lacking`` are its clusters without the Application.

    ``synced`` are versions that Argo CD's history has, where they were looked for; of several clusters the shortest stay counts.
    ``away`` says why nobody looked at its clusters, "" where somebody did.
    """

    environment: str
    folder: str
    keys: tuple[PromotedKey, ...]
    spells: tuple[Spell, ...]
    placements: tuple[Placement, ...]
    lacking: tuple[str, ...] = ()
    synced: Mapping[str, Stay] = field(default_factory=dict)
    away: str = ""

    @property
    def version(self) -> str:
        """The first key's value: what people call the version."""
        return self.keys[0].value

    @property
    def running(self) -> tuple[str, ...]:
        """Versions that run here instead of the one that Git asks for, or beside it; empty where only that one is seen."""
        found = tuple(sorted({text for p in self.placements for text in p.running}))
        return found if set(found) - {self.version} else ()

    @property
    def sentence(self) -> str:
        """What Git asks for, and what runs where that is something else, or nothing."""
        found = f"{self.environment} has {self.version}"
        if self.running:
            found += f" in Git and runs {', '.join(self.running)}"
        if self.away:
            found += f" in Git, and was not looked at ({self.away})"
        return found + lacking_in_words(self.lacking)

    @property
    def since(self) -> datetime | None:
        """When the present version came into Git."""
        return self.spells[-1].since if self.spells else None

    def last_spell(self, version: str) -> Spell | None:
        """The newest time that a version stood here."""
        return next((spell for spell in reversed(self.spells) if spell.version == version), None)


@dataclass(frozen=True, slots=True)
class PromotionState:
    """Both environments at one moment. ``tip`` is the branch's commit that everything was read at.

    ``recalled`` are all promotable keys as they were synced when the target had the version that was asked for, when
    that is not what the source has with it: one version says only the first key.

    ``pending`` is what a sync that is asked for brings beside the promotion. ``folders`` binds what was looked at for it: a
    digest of all files by folder, of those Applications that do not sync by themselves. ``reverted_by`` is the commit by which
    somebody took the asked version out of the target again. ``untold`` are Applications of other environments that may read what
    is edited, and nobody can tell.
    """

    observed_at: datetime
    repository: str
    branch: str
    tip: str
    source: Side
    target: Side
    recalled: tuple[PromotedKey, ...] = ()
    pending: tuple[Pending, ...] = ()
    folders: Mapping[str, str] = field(default_factory=dict)
    reverted_by: str = ""
    untold: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """What was read, as a sentence."""
        return f"{self.source.sentence}, {self.target.sentence}"
