"""What comes with the root application: the files of its folder, shown whole in the plan and bound until it is applied.

A bootstrap hands the cluster over to Git: whatever lies in the folder when Argo CD first looks is applied there. Whoever approves
reads it, and a push to the folder after that makes the plan stale.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gitops_nb.argo.sources import sources_of
from gitops_nb.argo.status import at, is_automated
from gitops_nb.bootstrap.context import Context
from gitops_nb.edits import diff, kubernetes_objects, without_secret_values
from gitops_nb.errors import Refused, UnreadableFile
from gitops_nb.model import Action, Json, Plan, ResourceChange, digest

KEY = "brings"
"""Of the plan's arguments: what the folder held when it was planned."""
STEPS = ("repository", "root")
"""Those behind which Argo CD reads the folder; before each it has to be as it was shown."""
_READ = (".yaml", ".yml", ".json", ".jsonnet")
_MADE_BY = ("kustomization.yaml", "kustomization.yml", "Kustomization", "Chart.yaml")
_OVERRIDE = ".argocd-source"
_LINK, _SUBMODULE = "120000 ", "160000 "


@dataclass(frozen=True, slots=True)
class Brings:
    """The folder of the root application at the branch's tip.

    ``commit`` is the newest one that touched it, ``digest`` covers mode and content of each file below it, ``files`` counts
    those that objects are made of.
    """

    commit: str
    digest: str
    files: int
    changes: tuple[ResourceChange, ...]


def find_brings(context: Context) -> Brings:
    """What the root application would bring now.

    Raises:
        UnavailableError: The repository does not answer.
    """
    request, git = context.request, context.view.git
    name, path, tip = request.repository_name, request.path, context.tip()
    held = git.blobs(name, tip, path)
    shown = {file: about for file, about in held.items() if _is_read(file, path, held)}
    files = [file for file, about in shown.items() if not about.startswith(_SUBMODULE)]
    ids = [shown[file].rpartition(" ")[2] for file in files]
    contents: dict[str, bytes] = dict(zip(files, git.contents(name, ids), strict=True))
    newest = git.log(name, tip, path=path, limit=1)
    # A tool may make any other object of what stands in a file.
    is_plain = not _tools(path, held)
    return Brings(
        newest[0].sha if newest else tip,
        digest(dict(held)),
        len(shown),
        tuple(
            _change(f"{name}:{file}", about, contents.get(file), is_manifest=is_plain)
            for file, about in sorted(shown.items())
        )
        + tuple(_unseen(name, path, held)),
    )


def arguments_of(brings: Brings | None) -> Mapping[str, Json]:
    """What the plan keeps of it."""
    if brings is None:
        return {}
    return {KEY: {"commit": brings.commit, "digest": brings.digest, "files": brings.files}}


def refuse_pushed(context: Context, plan: Plan) -> None:
    """Refuses to have Argo CD read a folder that is not as the plan shows it.

    Raises:
        Refused: Somebody pushed to it since, or the plan shows none of it.
        UnavailableError: The repository does not answer.
    """
    request = context.request
    held = context.view.git.blobs(request.repository_name, context.tip(), request.path)
    shown = plan.arguments.get(KEY) or {}
    if shown.get("digest") == digest(dict(held)):
        return
    what = "changed since this was planned" if shown else "is in no part of this plan"
    raise Refused(
        f"{request.repository_name}: {request.path} {what}: nobody was shown what the root application would bring",
        hint="Run the bootstrap again: it plans on what is there.",
        is_final=True,
    )


def _is_read(file: str, folder: str, held: Mapping[str, str]) -> bool:
    """Whether Argo CD makes objects of a file; where a tool makes them, of which one is not known from outside."""
    if _tools(folder, held):
        return True
    return posixpath.dirname(file) == folder.strip("/") and file.endswith(_READ)


def _tools(folder: str, held: Mapping[str, str]) -> list[str]:
    """Files of a folder that have something else than its own files made of it."""
    here = folder.strip("/")
    return sorted(
        file
        for file in held
        if posixpath.dirname(file) == here
        and (
            posixpath.basename(file) in _MADE_BY
            or posixpath.basename(file).startswith(_OVERRIDE)
            or file.endswith(".jsonnet")
        )
    )


def _unseen(repository: str, folder: str, held: Mapping[str, str]) -> Iterator[ResourceChange]:
    for file in _tools(folder, held):
        yield ResourceChange(
            f"{repository}:{file}, what it names elsewhere",
            Action.CREATE,
            before="not looked at",
            after="what is there when Argo CD looks comes with the root application too",
        )


def _change(
    address: str, about: str, content: bytes | None, *, is_manifest: bool
) -> ResourceChange:
    if content is None or about.startswith(_LINK):
        leads = "a submodule" if content is None else f"a link to {content.decode(errors='backslashreplace')}"  # fmt: skip
        return ResourceChange(
            address, Action.CREATE, before="not looked at", after=f"{leads}: what it leads to comes"
        )
    hidden = without_secret_values(content, path=address, is_manifest=is_manifest)
    masked = hidden.decode(errors="backslashreplace").encode()
    return ResourceChange(
        address,
        Action.CREATE,
        after=f"comes with the root application: {_told(content)}",
        diff=diff(b"", masked),
    )


def _told(content: bytes) -> str:
    try:
        objects = kubernetes_objects(content)
    except UnreadableFile as error:
        return f"which objects cannot be told ({error.message})"
    return ", ".join(_object(item) for item in _items(objects)) or "no object"


def _items(objects: tuple[Any, ...]) -> Iterator[Any]:
    """Objects as Argo CD takes them: a list stands for what is in it."""
    for item in objects:
        inside = item.get("items") if isinstance(item, dict) else None
        if isinstance(inside, list) and str(item.get("kind", "")).endswith("List"):
            yield from inside
        else:
            yield item


def _object(item: Any) -> str:
    if not isinstance(item, dict) or not isinstance(item.get("metadata"), dict):
        return "something that is no object"
    kind, metadata = item.get("kind"), item["metadata"]
    namespace = metadata.get("namespace")
    label = f"{kind} {f'{namespace}/' if namespace else ''}{metadata.get('name')}"
    if kind == "ApplicationSet":
        return f"{label}, which makes Applications that are not shown here"
    if kind != "Application" or not isinstance(item.get("spec"), dict):
        return label
    try:
        places = ", ".join(
            f"{s.get('path') or s.get('chart')} of {s.get('repoURL')}"
            for s in sources_of(item["spec"])
        )
        synced = "by itself" if is_automated(item) else "when somebody asks"
        where = at(item, "spec", "destination")
        target = where.get("server") or where.get("name") or "no cluster"
    except (AttributeError, TypeError):
        return f"{label}, which Argo CD may refuse"
    return f"{label}, of {places or 'no path'} to {target}, synced {synced}"
