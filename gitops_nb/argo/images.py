"""Image references: name, tag and digest, and whether one shows a version that somebody promoted."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Image:
    """A parsed reference. ``name`` holds the registry as written; ``tag`` and ``digest`` may be ""."""

    name: str
    tag: str = ""
    digest: str = ""


def parse_image(reference: str) -> Image:
    """Takes a reference apart, as ``docker`` does.

    >>> parse_image("registry.example:5000/shop/checkout:v2@sha256:ab")
    Image(name='registry.example:5000/shop/checkout', tag='v2', digest='sha256:ab')
    >>> parse_image("registry.example:5000/shop/checkout").tag
    ''
    """
    rest, _, digest = reference.rpartition("@") if "@" in reference else (reference, "", "")
    name, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        name, tag = rest, ""
    return Image(name, tag, digest)


def is_same_name(one: str, other: str) -> bool:
    """Whether two names are the same repository, perhaps in a registry that mirrors the other one.

    >>> is_same_name("registry.example/shop/checkout", "mirror.internal/registry.example/shop/checkout")
    True
    >>> is_same_name("shop/api", "billing/api")
    False
    """
    first, second = _path(one), _path(other)
    short, long = sorted((first, second), key=len)
    return bool(short) and long[-len(short) :] == short


def is_alike(one: str, other: str) -> bool:
    """Whether two names may be one repository: the same, or of the same last name in a mirror of its own paths.

    >>> is_alike("mirror.internal/cache/checkout", "registry.example/shop/checkout")
    True
    """
    return _path(one)[-1] == _path(other)[-1]


def is_neighbour(one: str, other: str) -> bool:
    """Whether two names stand in the same folder of the same registry: images that one team builds together."""
    return one.rpartition("/")[0] == other.rpartition("/")[0] != ""


def shows(image: Image, version: str) -> bool:
    """Whether a reference names a version: its tag, its digest, both, or all of it.

    >>> shows(parse_image("mirror.internal/shop/checkout:v2"), "v2")
    True
    >>> shows(parse_image("shop/checkout:v2"), "registry.example/shop/checkout:v2")
    True
    """
    whole = f"{image.tag}@{image.digest}" if image.tag and image.digest else ""
    if version in {image.tag, image.digest, whole} - {""}:
        return True
    wanted = parse_image(version)
    if not (wanted.tag or wanted.digest) or not is_same_name(wanted.name, image.name):
        return False
    if wanted.digest and image.digest:
        return wanted.digest == image.digest
    return bool(wanted.tag) and wanted.tag == image.tag


def _path(name: str) -> list[str]:
    """The segments of a name without its registry."""
    first, *rest = name.split("/")
    is_registry = bool(rest) and ("." in first or ":" in first or first == "localhost")
    return rest if is_registry else [first, *rest]
