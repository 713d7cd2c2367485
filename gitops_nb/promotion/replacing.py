"""What a sync would replace instead of patching it: by options of the Application, or of the objects it brings.

Source: argo-cd 3.0, docs/user-guide/sync-options.md, "Replace Resource Instead Of Applying Changes" and "Force Sync".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from gitops_nb.argo.status import at
from gitops_nb.model import Json
from gitops_nb.ports import GitReader, Snapshot

ANNOTATION = "argocd.argoproj.io/sync-options"
_REPLACES = re.compile(r"\b(?:Replace|Force) *= *true\b", re.IGNORECASE)
# To the end of the line: YAML, JSON and templates of both write the options beside the name.
_IN_TEXT = re.compile(rf"{re.escape(ANNOTATION)}[\"']?\s*[:=]\s*(.*)")
_READ = (".yaml", ".yml", ".json", ".tpl", ".jsonnet", ".libsonnet", ".gotmpl")


def replaced_by_sync(
    git: GitReader, snapshot: Snapshot, *, repository: str, tip: str, places: Iterable[str]
) -> tuple[str, ...]:
    """Each place where an option asks for it, in words; () where a sync patches.

    Args:
        git: Reads the repository.
        snapshot: The Application and what it brought.
        repository: Name of the configuration repository.
        tip: The commit that would be synced.
        places: Folders and files that the Application reads of it.
    """
    options = at(snapshot.application, "spec", "syncPolicy").get("syncOptions") or ()
    found = [f"sync option {option}" for option in options if _REPLACES.search(str(option))]
    found += _of_files(git, repository, tip, places)
    found += _of_objects(snapshot.workloads)
    return tuple(dict.fromkeys(found))


def _of_files(git: GitReader, repository: str, tip: str, places: Iterable[str]) -> Iterator[str]:
    blobs: dict[str, str] = {}
    for place in places:
        blobs |= git.blobs(repository, tip, place)
    paths = [
        path for path in sorted(blobs) if path.endswith(_READ) and " commit " not in blobs[path]
    ]
    contents = git.contents(repository, [blobs[path].rpartition(" ")[2] for path in paths])
    for path, content in zip(paths, contents, strict=True):
        text = content.decode(errors="replace")
        for match in _IN_TEXT.finditer(text):
            yield from (f"{option} in {path}" for option in _options(match[1]))


def _of_objects(items: Sequence[Json]) -> Iterator[str]:
    """Options of what runs: a template may have made them of what no file shows."""
    for item in items:
        metadata = item.get("metadata") or {}
        written = str((metadata.get("annotations") or {}).get(ANNOTATION) or "")
        what = f"{item.get('kind')} {metadata.get('name')}"
        yield from (f"{option} on {what}" for option in _options(written))


def _options(text: str) -> list[str]:
    return [match.replace(" ", "") for match in _REPLACES.findall(text)]
