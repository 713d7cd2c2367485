"""The version in a file of a configuration repository: YAML, Helm values, kustomization, Application or HCL."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from gitops_nb.edits import MAX_BYTES, is_text, parse_key, read_part
from gitops_nb.edits.images import parse_image
from gitops_nb.edits.keys import Entry, Index, Name
from gitops_nb.errors import NoSuchKey, UnreadableFile, UsageError

MAX_FLAT_BYTES = 4096
MAX_HCL_BRACKETS = 5000
"""The HCL parser takes milliseconds per line; module calls are small files."""
_FLAT_LINE = r"[A-Za-z_][A-Za-z0-9_-]*: [A-Za-z0-9][A-Za-z0-9._/:@-]*\n"
_FLAT = re.compile(rf"(?:{_FLAT_LINE})+".encode())
"""A file of plain ``key: word`` lines, as image updaters write them: the same in YAML, and 50 times faster read."""
_NULL = ("null", "Null", "NULL")
_QUOTED = re.compile(r'"[^"]*"')
_REF = re.compile(r"[?&]ref=([^&${}\s]+)(?:&|$)")


def read_version(content: bytes, *, key: str, part: str, path: str = "") -> tuple[str, str]:
    r"""The version in a YAML or HCL file, and what is wrong when there is none.

    A path that ends in ``.hcl`` or ``.tf`` is read as HCL, where the key names blocks and their labels; all
    others are YAML. ``part`` is ``value``, the ``tag`` of an image or the ``ref`` of a module's source. YAML and JSON are read as promotions read them.

    >>> read_version(b"spec: {containers: [{image: shop/cart:v3}]}", key="spec.containers[0].image", part="tag")
    ('v3', '')
    >>> read_version(b'terraform { \n source = "git::https://x/y.git//vpc?ref=v1.2.0" \n}', key="terraform.source",
    ...              part="ref", path="dev/vpc/terragrunt.hcl")
    ('v1.2.0', '')
    """
    if len(content) > MAX_BYTES:
        return "", "file is larger than 1 MiB"
    if path.endswith((".hcl", ".tf")):
        return _read_hcl(content, key=key, part=part)
    if len(content) < MAX_FLAT_BYTES and _FLAT.fullmatch(content):
        pairs = [line.split(": ", 1) for line in content.decode().splitlines()]
        names = dict(pairs)
        plain = all(is_text(name) and not value.endswith(":") for name, value in pairs)
        if len(names) == len(pairs) and plain and names.get(key) not in _NULL:
            return _part(names.get(key, ""), part)
    try:
        return _part(read_part(content, key, "value"), part)
    except NoSuchKey:
        return "", "no version at the key"
    except UnreadableFile as error:
        deep = "too deep" in error.message
        return "", "file is nested too deeply" if deep else "file is no readable YAML"
    except UsageError as error:
        return "", error.message


def _part(value: str, part: str) -> tuple[str, str]:
    version = _PARTS[part](value)
    return version, "" if version else "no version at the key"


def _read_hcl(content: bytes, *, key: str, part: str) -> tuple[str, str]:
    import hcl2
    from lark.exceptions import LarkError

    if content.count(b"{") + content.count(b"[") + content.count(b"(") > MAX_HCL_BRACKETS:
        return "", "file is nested too deeply"
    try:
        document = _plain(hcl2.loads(content.decode()))
    except (LarkError, ValueError, RecursionError):
        return "", "file is no readable HCL"
    value = _look_up(document, key)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return "", "no version at the key"
    return _part(str(value), part)


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


def _look_up(document: Any, key: str) -> Any:
    for step in parse_key(key):
        match step:
            case Name(name) if isinstance(document, dict):
                document = document.get(name)
            case Index(index) if isinstance(document, list):
                document = document[index] if index < len(document) else None
            case Entry(field, wanted) if isinstance(document, list):
                items = (item for item in document if isinstance(item, dict))
                document = next((item for item in items if item.get(field) == wanted), None)
            case _:
                return None
    return document


def image_tag(image: str) -> str:
    """What names the version of an image: its tag, its digest, or both; "" when neither does."""
    try:
        return parse_image(image).version
    except UsageError:
        return ""


def _ref(source: str) -> str:
    """The ``ref`` of a module's source; none when it is an expression."""
    found = _REF.search(source)
    return found[1] if found else ""


_PARTS: dict[str, Callable[[str], str]] = {"value": str, "tag": image_tag, "ref": _ref}
