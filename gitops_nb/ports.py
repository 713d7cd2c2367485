"""What gitops_nb asks of the outside world: one reader and one writer protocol per system.

``observe`` and ``verify`` get a ``View`` (readers); only ``apply`` gets writers, and only those of its
slice. Every method has a total deadline of its own adapter; an outside system that does not answer raises
``UnavailableError``, a lost race raises ``ConflictError``. Live adapters are in ``gitops_nb.adapters``, the
embedded platform is in ``gitops_nb.sandbox``; one contract suite (``tests/contract``) runs on both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, Protocol

from gitops_nb.model import Blob, Commit, Json, ObjectRef, SecretRef, StepKind


class Clock(Protocol):
    """Time as the cluster sees it. On the sandbox it may run ahead of the wall clock."""

    def now(self) -> datetime:
        """The present moment, in UTC."""

    def sleep(self, seconds: float) -> None:
        """Waits; the sandbox advances its cluster clock instead."""


class FileChange(NamedTuple):
    """One file that one commit changed; ``content`` is the file after it, None when it was deleted.

    Times are UTC epoch seconds; ``status`` is A, M or D (a rename is a D and an A), L for a symbolic link
    and S for a submodule, which are no files and have no content. A tuple, since a history has ten thousands of them.
    """

    sha: str
    authored_s: int
    committed_s: int
    path: str
    status: str
    content: bytes | None


@dataclass(frozen=True, slots=True, repr=False)
class GitCredentials:
    """What somebody else uses to read a repository; empty where they use nothing.

    ``known_hosts`` are lines of OpenSSH's file of that name; "" leaves this machine's.
    """

    username: str = ""
    password: str = ""
    ssh_private_key: str = ""
    known_hosts: str = ""


class GitReader(Protocol):
    """Reads configuration repositories. ``repository`` is a name from fleet.yaml, ``revision`` 40 hex."""

    def tip(self, repository: str, branch: str) -> str:
        """The commit that the remote's branch points to now; UnavailableError when there is none."""

    def tip_for(self, repository: str, branch: str, credentials: GitCredentials) -> str:
        """As ``tip``, for whoever has these credentials and nothing else.

        Raises:
            UnavailableError: The remote refuses them, or does not answer.
        """

    def default_branch(self, repository: str) -> str:
        """The branch that the remote's HEAD names, or "" when it names none."""

    def resolve(self, repository: str, name: str) -> str | None:
        """The commit of a branch, tag or (abbreviated) commit id, or None."""

    def read(self, repository: str, revision: str, path: str) -> Blob | None:
        """One file at a revision, or None when the path is not there."""

    def read_many(
        self, repository: str, revision: str, paths: Sequence[str]
    ) -> tuple[Blob | None, ...]:
        """The same for several files, in the order of their paths."""

    def blobs(self, repository: str, revision: str, folder: str) -> Mapping[str, str]:
        """Mode and Git id of every file below a folder, or of the file itself, by whole path; empty where there is neither."""

    def contents(self, repository: str, ids: Sequence[str]) -> tuple[bytes, ...]:
        """What blobs hold, by their Git ids: of a link its text.

        Raises:
            UnavailableError: One is not there, or is not what its id says.
        """

    def list_files(self, repository: str, revision: str, folder: str) -> tuple[str, ...]:
        """Paths of the files below a folder ("" for all) at a revision, sorted; empty when there are none."""

    def log(
        self, repository: str, revision: str, *, path: str = "", limit: int = 0
    ) -> tuple[Commit, ...]:
        """Commits reachable from a revision, newest first; only those that touch ``path`` if given, also where a merge undid it."""

    def changed(self, repository: str, revision: str) -> Mapping[str, tuple[str, str]]:
        """What a commit has otherwise than its only parent, proven from the objects' bytes: ``mode id`` before and after, by path.

        Raises:
            UnavailableError: An object is missing, or is not what its id says.
        """

    def witness(self, repository: str, name: str) -> Commit | None:
        """The commit that was pushed under a name, see ``GitWriter.commit``; whoever may push may have put another there."""

    def is_ancestor(self, repository: str, ancestor: str, descendant: str) -> bool:
        """Whether a revision contains a commit; False when the commit is not there any more."""

    def is_untouched(self, repository: str, path: str, one: str, other: str) -> bool:
        """Whether no commit that only one of two revisions contains touches ``path``; not so when one is unknown."""

    def changes(
        self,
        repository: str,
        revision: str,
        *,
        folders: tuple[str, ...] = (),
        since: str = "",
        wanted: Callable[[str], bool] | None = None,
    ) -> Iterator[FileChange]:
        """Every file change on the first-parent line up to a revision, oldest first, below ``folders``.

        With ``since``, only those of commits that this ancestor does not contain. With ``wanted``, those of the paths
        that it says yes to, wherever they are: the way for whole histories, since other contents are not read.
        """


@dataclass(frozen=True, slots=True)
class GraphCommit:
    """A commit in the graph; times are UTC epoch seconds. Who wrote it is not in it, only whether a bot did."""

    sha: str
    parents: tuple[str, ...]
    authored_s: int
    committed_s: int
    is_bot: bool = False
    is_revert_of: str = ""


class HistoryReader(GitReader, Protocol):
    """Reads the commit graph of configuration and application repositories."""

    def refresh(self, repository: str) -> None:
        """Fetches branches and tags, so that names resolve to what they are now."""

    def graph(
        self,
        repository: str,
        revisions: Sequence[str],
        *,
        without: Sequence[str] = (),
        folders: Sequence[str] = (),
    ) -> tuple[GraphCommit, ...]:
        """Commits that ``revisions`` contain and ``without`` do not, children before parents.

        With ``folders``, only those that change something below one of them (merges that do not are left out).
        """

    def patch_ids(self, repository: str, shas: Iterable[str]) -> Mapping[str, str]:
        """The stable id of each commit's patch, equal for cherry-picks; merges and empty commits have none."""

    def resolve_all(self, repository: str, names: Iterable[str]) -> Mapping[str, str]:
        """Commits of many names (tags, abbreviated ids) in what was fetched; unknown and ambiguous ones are left out."""


class GitWriter(Protocol):
    """Writes to configuration repositories."""

    def commit(
        self,
        repository: str,
        *,
        branch: str,
        parent: str,
        files: Mapping[str, bytes],
        message: str,
        witness: str = "",
    ) -> str:
        """Pushes one commit with exactly this parent, changing exactly these files; returns its id.

        Under the name ``witness`` (a run's id) the repository keeps it, together with the branch or not at all, where it lets
        us: ``GitReader.witness`` finds it also when the branch is reset.

        Raises:
            ConflictError: The branch no longer points to ``parent``; nothing was pushed.
            Unanswered: The connection broke behind the request; the remote may have done it, or may still do it.
            UnavailableError: The remote refuses (protection, hook, credentials) or does not answer.
        """


class ClusterReader(Protocol):
    """Reads Kubernetes objects, as the JSON the API server returns."""

    @property
    def server(self) -> str:
        """URL of the API server."""

    def version(self) -> str:
        """The API server's version, "v1.32.2"; raises UnavailableError when it is not ready."""

    def get(self, ref: ObjectRef) -> Json | None:
        """One object, or None when it does not exist (its kind unknown counts as that)."""

    def list(
        self,
        api_version: str,
        kind: str,
        *,
        namespace: str = "",
        labels: Mapping[str, str] | None = None,
    ) -> tuple[Json, ...]:
        """Objects of a kind, in one namespace or in all; empty when the kind is not served."""

    def watch(self, ref: ObjectRef, *, timeout_s: float) -> Iterator[Json]:
        """The object now, then each later version, until ``timeout_s`` of cluster time have passed.

        Survives an expired or closed watch by listing again, and a server that is away for up to a minute; a
        deleted object ends it.
        """

    def allows(self, verb: str, ref: ObjectRef) -> bool:
        """Whether our own user may do this (SelfSubjectAccessReview)."""

    def try_apply(self, manifest: Json) -> Json | None:
        """The object that a server-side apply as ``gitops-nb`` would store, by a dry run of the API server.

        None where nobody can try: our own user may not write it, or its kind or namespace does not exist. Nothing is stored.

        Raises:
            ConflictError: Another field manager owns a field that it would change.
        """

    def fetch_metrics(self, source: str) -> str:
        """Prometheus text from a URL, or from ``service://NAMESPACE/NAME:PORT/PATH`` through the API server."""


class ClusterWriter(Protocol):
    """Writes Kubernetes objects as field manager ``gitops-nb``."""

    def allows(self, verb: str, ref: ObjectRef) -> bool:
        """Whether the writing user may do this (SelfSubjectAccessReview, which changes nothing)."""

    def apply(self, manifest: Json) -> Json:
        """Server-side apply of one object; returns it as stored.

        ``metadata.resourceVersion`` and ``uid`` together make it conditional; an empty ``resourceVersion`` says that there
        is no such object.

        Raises:
            ConflictError: Another field manager owns a field that this would change, or the object has another
                resourceVersion, or does not exist any more, or is there where it should not be.
        """

    def merge_patch(self, ref: ObjectRef, patch: Json) -> Json:
        """JSON merge patch (RFC 7386). A ``metadata.resourceVersion`` in it makes it conditional.

        Raises:
            ConflictError: The object has another resourceVersion, or does not exist.
        """


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An Argo CD Application at one moment, with the workloads it manages.

    ``application`` is the custom resource as stored (None: it does not exist). ``workloads`` are the objects
    of kinds Deployment, StatefulSet, DaemonSet, ReplicaSet, Pod and Job that belong to it, as stored.
    """

    name: str
    application: Json | None
    workloads: tuple[Json, ...] = ()


class ArgoReader(Protocol):
    """Reads Argo CD through its custom resources. Names are those of Applications."""

    def names(self) -> tuple[str, ...]:
        """All Applications this Argo CD serves, sorted."""

    def snapshot(self, name: str) -> Snapshot:
        """The Application and its workloads now."""

    def watch(self, name: str, *, timeout_s: float) -> Iterator[Snapshot]:
        """A snapshot now, one for each later change of the Application, and one at least every 5 s.

        Survives an API server that is away for up to a minute.

        Raises:
            UnavailableError: It stays away.
        """


class ArgoWriter(Protocol):
    """Asks Argo CD to act."""

    def may_act(self, name: str) -> bool:
        """Whether the writing user may refresh and sync this Application; asking changes nothing."""

    def refresh(self, name: str, *, timeout_s: float = 120) -> None:
        """Asks for a comparison with Git by annotation, and waits until it was taken up."""

    def sync(
        self,
        name: str,
        *,
        revision: str,
        identifier: str,
        prune: bool = False,
        holds: Callable[[Json], None] | None = None,
    ) -> None:
        """Starts one sync to ``revision``, marked with ``identifier`` so that it can be told from others.

        One merge patch with resourceVersion, ``operation`` and ``status.operationState: null``. ``holds`` is asked of the very
        Application that the patch is conditional on, and raises where it is not to be synced.

        Raises:
            ConflictError: Another operation runs on this Application; nothing was started.
        """


@dataclass(frozen=True, slots=True)
class Completed:
    """How a process ended. ``output`` is its standard output; ``stderr`` is text, undecodable bytes replaced."""

    argv: tuple[str, ...]
    exit_code: int
    output: bytes
    stderr: str

    @property
    def stdout(self) -> str:
        """Standard output as text, undecodable bytes replaced."""
        return self.output.decode(errors="replace")


class Processes(Protocol):
    """Runs external commands: argument lists, never a shell; own process group; ends with its run."""

    def run(
        self,
        argv: tuple[str, ...],
        *,
        timeout_s: float,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        grace_s: float = 5.0,
        silence_s: float | None = None,
        files: Mapping[str, bytes] = MappingProxyType({}),
    ) -> Completed:
        """Runs to the end and returns the exit code, whatever it is.

        Args:
            argv: Program and arguments.
            timeout_s: After that the command is stopped.
            cwd: Its working directory.
            environment: Variables beside the few that are inherited.
            stdin: Its standard input.
            grace_s: How long it may take to end after its one SIGINT, before TERM and KILL.
            silence_s: How long it may write nothing, for one that tells of its progress; None for as long as it likes.
            files: What it reads as files, by the argument that stands for each: nobody else can write there.

        Raises:
            UnavailableError: The program is missing.
            TimedOut: It did not end within ``timeout_s``, or was silent for ``silence_s``; it was stopped.
        """

    def keep_open(self, *descriptors: int) -> None:
        """From now on commands inherit these file descriptors: locks on them are held until the last command is gone."""


class Artifacts(Protocol):
    """Fetches files that the fleet names, most of them together with their digest."""

    def fetch(self, source: str, *, sha256: str) -> bytes:
        """The file at a workspace path or an HTTPS address.

        Raises:
            ConfigurationError: What is there has another digest, or nothing is there.
            UnavailableError: The server does not answer.
        """

    def fetch_json(self, url: str) -> Json:
        """The JSON document at an HTTPS address, which describes a service and may change at any time.

        Raises:
            UnavailableError: The server does not answer, or not with JSON.
        """


class Secrets(Protocol):
    """Resolves references to secrets."""

    def read(self, ref: SecretRef) -> str:
        """The value behind a reference.

        Raises:
            UsageError: Nothing is there, or this identity may not read it.
            UnavailableError: The store does not answer.
        """


@dataclass(frozen=True, slots=True)
class Page:
    """One page of an API's list: its items as the API has them, the address of the next page or "", and its ETag."""

    items: Json
    next: str
    etag: str = ""


class ApiReader(Protocol):
    """Reads lists of a REST API, page by page."""

    def pages(
        self, path: str, parameters: Mapping[str, str] | None = None, *, start: str = ""
    ) -> Iterator[Page]:
        """Every page of a list; ``start`` is a page's ``next`` from an earlier call, to go on from there.

        Waits when the API says that its rate limit is reached, within a total deadline.

        Raises:
            UnavailableError: The API refuses, does not answer, or would keep us waiting past the deadline.
        """


class Store(Protocol):
    """Keeps objects by key, ``ledger/production/000000000042.json``: a folder, or a bucket below a prefix.

    Every call has a total deadline; an ambiguous answer is read back.
    """

    def create(self, key: str, content: bytes) -> bool:
        """Writes an object that must not exist yet.

        Returns:
            True when the object now holds exactly this content (also when an earlier try had written it and its
            answer was lost), False when somebody else's content is there; nothing was changed then.

        Raises:
            UnavailableError: The store does not answer.
            RecordError: It cannot be written.
        """

    def read(self, key: str) -> bytes | None:
        """The object's content, or None when there is none."""

    def read_many(self, keys: Sequence[str]) -> Iterator[bytes | None]:
        """The contents of many objects in their order, as ``read`` gives them; a bucket is asked for several at once."""

    def list(self, prefix: str, *, after: str = "") -> tuple[str, ...]:
        """Keys that begin with ``prefix`` and sort behind ``after``, sorted."""

    def folders(self, prefix: str) -> tuple[str, ...]:
        """Names directly below a prefix that ends in "/" (or is empty) that hold further objects, sorted."""

    def replace(self, key: str, content: bytes) -> None:
        """Writes an object in place of an older one; only for what is rewritten by its nature, as an index is."""

    def remove(self, key: str) -> None:
        """Removes an object; one that is not there is removed already."""


@dataclass(frozen=True, slots=True)
class View:
    """All readers of a run. ``clusters`` is keyed by cluster name, ``argo`` by cluster name as well.

    ``argo[NAME]`` is the Argo CD that deploys to cluster NAME; several names may share one.
    """

    git: GitReader
    clusters: Mapping[str, ClusterReader]
    argo: Mapping[str, ArgoReader]
    clock: Clock
    artifacts: Artifacts


class Probe(Protocol):
    """Finds out whether an interrupted effect happened."""

    def __call__(self) -> Mapping[str, Json] | None:
        """The effect's result when it did happen, None when it surely did not.

        Raises:
            NeedsAttention: Nobody can tell by machine.
        """


class Effects(Protocol):
    """Records each effect: a durable intent before it, a done after it, and never a silent second time."""

    @property
    def run(self) -> str:
        """Id of the run that these effects belong to."""

    def trailers(self, plan: str, parent: str) -> str:
        """Lines for the end of a commit message that say who made it, signed by the runner.

        Args:
            plan: Digest of the plan that the commit carries out.
            parent: The commit's only parent; the signature holds for no other one.
        """

    def made(self, commit: Commit) -> bool:
        """Whether this run's request was begun by whoever made a commit: its trailers are signed, and for its own parent."""

    def perform(
        self,
        key: str,
        *,
        kind: StepKind,
        sentence: str,
        act: Callable[[], Mapping[str, Json]],
        probe: Probe,
    ) -> Mapping[str, Json]:
        """Runs ``act`` once and returns its result, after it was asked whether the run may still change something.

        On resume what an earlier attempt recorded is no proof: an effect is probed, and ``act`` runs only if the probe
        says that it did not happen; an idempotent one is done again.

        Raises:
            Refused: Nothing more may be begun.
            NeedsAttention: Nobody can tell whether it happened.
        """

    def undone(self, key: str, found: Mapping[str, Json]) -> None:
        """Says that somebody else undid an effect of this run since; ``found`` is what is known of it now."""

    def settle(self, key: str, found: Mapping[str, Json]) -> None:
        """Says that what an interrupted effect was for holds now; without such an effect nothing is recorded."""
