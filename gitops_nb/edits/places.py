"""Which places of a document a node reaches: by its own path, by aliases, and by merge keys, as Kubernetes reads it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gitops_nb.edits.keys import Entry, Index, Name, Step, show
from gitops_nb.edits.nodes import Kind, Node, Source, is_merge
from gitops_nb.edits.objects import merged, name_of
from gitops_nb.errors import NoSuchKey, UnreadableFile, UsageError

MAX_NAMED = 100
_MAX_VISITED = 100_000
Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """A node, the root of its document, and the path by which it was found."""

    node: Node
    root: Node
    path: Path


def find(source: Source, key: str, steps: tuple[Step, ...]) -> Place:
    """The one place that a key path names.

    Raises:
        NoSuchKey: There is none.
        UsageError: There are several, or readers do not agree which it is.
    """
    found = [place for root in source.roots if (place := _walk(root, key, steps)) is not None]
    if not found:
        raise NoSuchKey(
            f"no key {key}", hint="Check `promotable` and `versions` in fleet.yaml; a name with a dot stands in quotes."
        )  # fmt: skip
    if len(found) > 1:
        raise UsageError(f"{len(found)} documents of the file have {key}", hint="Split the file.")
    return found[0]


def _walk(root: Node, key: str, steps: tuple[Step, ...]) -> Place | None:
    node = root
    path: list[str | int] = []
    for step in steps:
        found = _part(node, step, key)
        if found is None:
            return None
        part, node = found
        path.append(part)
    return Place(node, root, tuple(path))


def _part(node: Node, step: Step, key: str) -> tuple[str | int, Node] | None:
    match step:
        case Index(index) if node.kind is Kind.SEQUENCE and index < len(node.items):
            return index, node.items[index]
        case Entry(field, wanted) if node.kind is Kind.SEQUENCE:
            fitting = [
                (at, item) for at, item in enumerate(node.items) if _field(item, field) == wanted
            ]
            if len(fitting) > 1:
                raise UsageError(f"{key}: {len(fitting)} entries have {field} {wanted}")
            return fitting[0] if fitting else None
        case Name(name) if node.kind is Kind.MAPPING:
            value = _value(node, name, key)
            return None if value is None else (name, value)
    return None


def _value(mapping: Node, name: str, key: str) -> Node | None:
    """The value of a name in a mapping; the file's words count, as people see them there."""
    own = [at for at, (k, _) in enumerate(mapping.pairs) if _is_named(k, name)]
    if len(own) > 1:
        raise UsageError(f"{key}: {name} stands there {len(own)} times")
    merges = [at for at, (k, _) in enumerate(mapping.pairs) if is_merge(k)]
    if own:
        _refuse_same_name(mapping, own[0], key)
        at = own[0]
        if any(_inherited(mapping.pairs[m], name, key) is not None for m in merges if m > at):
            raise UsageError(
                f"{key}: {name} stands above a merge key that brings {name} too, and readers do not agree which counts",
                hint="Write the merge key first.",
            )
        return mapping.pairs[at][1]
    if len(merges) > 1:
        raise UsageError(f"{key}: two merge keys in one mapping, and readers do not agree on them")
    return _inherited(mapping.pairs[merges[0]], name, key) if merges else None


def _refuse_same_name(mapping: Node, at: int, key: str) -> None:
    wanted = name_of(mapping.pairs[at][0])
    for other, (each, _) in enumerate(mapping.pairs):
        if other != at and each.kind is Kind.SCALAR and not is_merge(each):
            try:
                same = name_of(each) == wanted
            except UnreadableFile:
                continue  # a key that is no text is none that counts here
            if same:
                raise UsageError(
                    f"{key}: {mapping.pairs[at][0].value} and {each.value} are the same key in Kubernetes"
                )


def _inherited(merge: tuple[Node, Node], name: str, key: str) -> Node | None:
    for each in merged(*merge):
        if (found := _value(each, name, key)) is not None:
            return found
    return None


def _is_named(key: Node, name: str) -> bool:
    return key.kind is Kind.SCALAR and key.value == name and not is_merge(key)


def _field(item: Node, field: str) -> str | None:
    if item.kind is not Kind.MAPPING:
        return None
    value = _value(item, field, field)
    return value.value if value is not None and value.kind is Kind.SCALAR else None


def other_places(place: Place) -> tuple[str, ...]:
    """Every other place of the document that would change with a node, as key paths; at most ``MAX_NAMED`` of them, and then how many more.

    A node that is written once and has no alias on its way is in one place, and nothing is searched.
    """
    holders = _holders(place.root)
    up, seen = [place.node], {id(place.node)}
    shared = False
    while up:
        above = holders.get(id(up.pop()), [])
        shared = shared or len(above) > 1
        for holder in above:
            if id(holder) not in seen:
                seen.add(id(holder))
                up.append(holder)
    if not shared:
        return ()
    found: list[str] = []
    for path in _paths(place.root, place.node, seen):
        if path != place.path:
            found.append(show(path))
        if len(found) > MAX_NAMED:
            return (*found[:MAX_NAMED], "more")
    return tuple(found)


def _holders(root: Node) -> dict[int, list[Node]]:
    """The collections that each node stands in, once for each time that it does."""
    found: dict[int, list[Node]] = {}
    stack, opened = [root], {id(root)}
    while stack:
        top = stack.pop()
        for part in top.parts:
            found.setdefault(id(part), []).append(top)
            if part.kind is not Kind.SCALAR and id(part) not in opened:
                opened.add(id(part))
                stack.append(part)
    return found


def _paths(root: Node, node: Node, above: set[int]) -> Iterator[Path]:
    """All paths from the root to a node that come through the collections ``above`` it.

    What a merge key brings counts where nothing else has the name: there the node is not seen.
    """
    stack: list[tuple[Node, Path]] = [(root, ())]
    visited = 0
    while stack:
        top, path = stack.pop()
        if top is node:
            yield path
            continue
        visited += 1
        if visited > _MAX_VISITED:
            raise UsageError("aliases within aliases; too many places to tell them")
        ways = [
            (part, (*path, step)) for step, part in _seen(top) if part is node or id(part) in above
        ]
        stack += reversed(ways)


def _seen(top: Node) -> Iterator[tuple[str | int, Node]]:
    """The parts of a collection as some reader sees them, with the step to each; keys are parts too.

    What stands below a merge key counts alone. What stands above one that brings the same name is seen by some readers, and what
    the merge key brings by others; so are two merge keys.
    """
    yield from enumerate(top.items)
    names: dict[str, list[Node]] = {}
    for key, value in top.pairs:
        if is_merge(key):
            brought: dict[str, Node] = {}
            for each in merged(key, value):
                for step, part in _seen(each):
                    brought.setdefault(str(step), part)
            for name, part in brought.items():
                names.setdefault(name, []).append(part)
            continue
        if key.kind is Kind.SCALAR:
            yield f"{key.value} (the key)", key
            names[key.value] = [value]
        else:
            yield "(a key)", key
    for name, parts in names.items():
        yield from ((name, part) for part in parts)
