"""Image references taken apart: a name, and what names the image's version."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gitops_nb.errors import UsageError

_DIGEST = re.compile(r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[0-9a-fA-F]{3,}")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


@dataclass(frozen=True, slots=True)
class Image:
    """An image reference. ``version`` is its tag, its digest, or both as ``tag@digest``; ``start`` is where it begins.

    A digest decides what runs. Where a tag stands before it, the two are one version: either alone would say too little.
    """

    reference: str
    name: str
    tag: str
    digest: str

    @property
    def version(self) -> str:
        """What comes after the name, without the sign before it."""
        return "@".join(part for part in (self.tag, self.digest) if part)

    @property
    def start(self) -> int:
        """The character at which the version begins."""
        return len(self.name) + 1

    def with_version(self, version: str) -> str:
        """The reference with another version of the same kind.

        Raises:
            UsageError: It is of another kind, or none.
        """
        changed = self.reference[: self.start] + version
        try:
            found = parse_image(changed)
        except UsageError:
            found = None
        if found is None or (found.name, found.kind) != (self.name, self.kind):
            raise UsageError(
                f"{self.reference!r} names its image by {self.kind}, and {version!r} is none",
                hint=f"Promote a {self.kind}, or change by hand how the target names its image.",
            )
        return changed

    @property
    def kind(self) -> str:
        """``tag``, ``digest`` or ``tag with digest``."""
        return "tag with digest" if self.tag and self.digest else "tag" if self.tag else "digest"


def parse_image(reference: str) -> Image:
    """Takes an image reference apart.

    >>> parse_image("registry.example:5000/shop/checkout:v2.31.1@sha256:0a1b2c").version
    'v2.31.1@sha256:0a1b2c'

    Raises:
        UsageError: It has neither a tag nor a digest.
    """
    before, at, digest = reference.partition("@")
    name, colon, tag = before.rpartition(":")
    if not colon or "/" in tag:
        name, tag = before, ""
    if (
        not name
        or (not tag and colon and name != before)
        or (at and not _DIGEST.fullmatch(digest))
        or (tag and not _TAG.fullmatch(tag))
    ):
        raise UsageError(f"{reference!r} is no image reference with a tag or a digest")
    if not tag and not digest:
        raise UsageError(f"{reference!r} has no tag")
    return Image(reference, name, tag, digest)


def split_image(reference: str) -> tuple[str, str]:
    """Name and version of an image reference.

    >>> split_image("registry.example:5000/shop/checkout:v2.31.1")
    ('registry.example:5000/shop/checkout', 'v2.31.1')

    Raises:
        UsageError: It has neither a tag nor a digest.
    """
    image = parse_image(reference)
    return image.name, image.version
