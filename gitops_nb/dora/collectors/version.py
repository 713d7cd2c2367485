"""The version in a file of a configuration repository: YAML, Helm values, kustomization, Application or HCL."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import yaml

MAX_FILE_BYTES = 1 << 20
MAX_DEPTH = 100
MAX_FLAT_BYTES = 4096
MAX_HCL_BRACKETS = 5000
"""The HCL parser takes milliseconds per line; module calls are small files."""
_INDENT = re.compile(rb"^[ ?:-]+", re.MULTILINE)
_FLAT_LINE = r"[A-Za-z_][A-Za-z0-9_-]*: [A-Za-z0-9][A-Za-z0-9._/:@-]*\n"
_FLAT = re.compile(rf"(?:{_FLAT_LINE})+".encode())
"""A file of plain ``key: word`` lines, as image updaters write them: the same in YAML, and 50 times faster read."""
_QUOTED = re.compile(r'"[^"]*"')
_REF = re.compile(r"[?&]ref=([^&${}\s]+)(?:&|$)")
_KEY_PART = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]|\[([A-Za-z0-9_-]+)=([^\]]+)\]")
"""The grammar of keys in fleet.yaml: ``a.b``, ``[0]`` and ``[name=checkout]``, as edits have it."""


def read_version(content: bytes, *, key: str, part: str, path: str = "") -> tuple[str, str]:
    r"""The version in a YAML or HCL file, and what is wrong when there is none.

    A path that ends in ``.hcl`` or ``.tf`` is read as HCL, where the key names blocks and their labels; all
    others are YAML. ``part`` is ``value``, the ``tag`` of an image or the ``ref`` of a module's source.

    >>> read_version(b"spec: {containers: [{image: shop/cart:v3}]}", key="spec.containers[0].image", part="tag")
    ('v3', '')
    >>> read_version(b'terraform { \n source = "git::https://x/y.git//vpc?ref=v1.2.0" \n}', key="terraform.source",
    ...              part="ref", path="dev/vpc/terragrunt.hcl")
    ('v1.2.0', '')
    """
    if len(content) > MAX_FILE_BYTES:
        return "", "file is larger than 1 MiB"
    if path.endswith((".hcl", ".tf")):
        return _read_hcl(content, key=key, part=part)
    if len(content) < MAX_FLAT_BYTES and _FLAT.fullmatch(content):
        pairs = [line.split(": ", 1) for line in content.decode().splitlines()]
        names = dict(pairs)
        if len(names) == len(pairs) and not any(value.endswith(":") for value in names.values()):
            return _choose([names], key=key, part=part)
    try:
        if _may_be_deep(content) and _depth(content) > MAX_DEPTH:
            return "", "file is nested too deeply"
        documents = list(yaml.load_all(content, Loader=_LOADER))
    except (yaml.YAMLError, ValueError, RecursionError):
        return "", "file is no readable YAML"
    return _choose(documents, key=key, part=part)


def _choose(documents: list[Any], *, key: str, part: str) -> tuple[str, str]:
    for document in documents:
        value = _look_up(document, key)
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            continue
        version = _PARTS[part](str(value))
        if version:
            return version, ""
    return "", "no version at the key"


def _read_hcl(content: bytes, *, key: str, part: str) -> tuple[str, str]:
    import hcl2
    from lark.exceptions import LarkError

    if content.count(b"{") + content.count(b"[") + content.count(b"(") > MAX_HCL_BRACKETS:
        return "", "file is nested too deeply"
    try:
        document = _plain(hcl2.loads(content.decode()))
    except (LarkError, ValueError, RecursionError):
        return "", "file is no readable HCL"
    return _choose([document], key=key, part=part)


def _plain(value: Any) -> Any:
    """HCL as nested mappings: blocks of one type become one mapping by label, quotes of literals are gone."""
    if isinstance(value, dict):
        return {
            str(name).strip('"'): _plain(item)
            for name, item in value.items()
            if name != "__is_block__"
        }
    if isinstance(value, list):
        if value and all(isinstance(item, dict) and _is_block(item) for item in value):
            merged: dict[str, Any] = {}
            for item in value:
                merged = {**_plain(item), **merged}
            return merged
        return [_plain(item) for item in value]
    return value[1:-1] if isinstance(value, str) and _QUOTED.fullmatch(value) else value


def _is_block(value: dict[str, Any]) -> bool:
    return "__is_block__" in value or any(
        isinstance(item, dict) and _is_block(item) for item in value.values()
    )


def _may_be_deep(content: bytes) -> bool:
    """False when brackets and indentation cannot nest deeper than is allowed, as in any usual file."""
    brackets = content.count(b"[") + content.count(b"{")
    return brackets + max(map(len, _INDENT.findall(content)), default=0) > MAX_DEPTH


def _depth(content: bytes) -> int:
    """How deep a file nests; counted on events, because building its nodes would crash the interpreter."""
    depth = deepest = 0
    for event in yaml.parse(content, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            deepest = max(deepest, depth)
            if deepest > MAX_DEPTH:
                break
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return deepest


def _look_up(document: Any, key: str) -> Any:
    for match in _KEY_PART.finditer(key):
        name, index, field, wanted = match.groups()
        if name is not None and isinstance(document, dict):
            document = document.get(name)
        elif index is not None and isinstance(document, list):
            document = document[int(index)] if int(index) < len(document) else None
        elif field is not None and isinstance(document, list):
            items = (item for item in document if isinstance(item, dict))
            document = next((item for item in items if item.get(field) == wanted), None)
        else:
            return None
    return document


def image_tag(image: str) -> str:
    """Tag of an image reference; the digest when it has no tag."""
    name, _, digest = image.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    return tag or digest


def _ref(source: str) -> str:
    """The ``ref`` of a module's source; none when it is an expression."""
    found = _REF.search(source)
    return found[1] if found else ""


_PARTS: dict[str, Callable[[str], str]] = {"value": str, "tag": image_tag, "ref": _ref}


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # no libyaml: slower
    """A safe loader that leaves versions alone: ``1.10`` stays text and is not the number 1.1."""


_Loader.yaml_implicit_resolvers = {}
_LOADER = _Loader
