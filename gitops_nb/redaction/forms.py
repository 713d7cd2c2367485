"""The forms in which a known secret shows up: as itself, and as what programs make of it on the way out."""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

MIN_LENGTH = 8
"""Shorter values and forms are found in ordinary text everywhere; a value this short is refused."""

_PEM_FRAME = re.compile(r"-----(BEGIN|END) [A-Z0-9 ]+-----")


def forms(value: str) -> frozenset[str]:
    """Every form of a secret that is looked for, each at least ``MIN_LENGTH`` characters long.

    A value of several lines (a PEM key) is known by each of its lines too, a JSON document by each of its leaves.
    """
    found = {form for part in _parts(value) for form in _encoded(part)}
    return frozenset(form for form in found if len(form) >= MIN_LENGTH)


def _parts(value: str) -> Iterator[str]:
    yield value
    yield value.strip()
    for line in value.splitlines():
        if not _PEM_FRAME.fullmatch(line.strip()):
            yield line.strip()
    try:
        document = json.loads(value)
    except ValueError:
        return
    if isinstance(document, dict | list):
        yield from (part for leaf in _leaves(document) for part in _parts(leaf))


def _leaves(value: object) -> Iterator[str]:
    match value:
        case dict():
            for item in value.values():
                yield from _leaves(item)
        case list():
            for item in value:
                yield from _leaves(item)
        case str() if len(value.strip()) >= MIN_LENGTH:
            yield value


def _encoded(text: str) -> Iterator[str]:
    raw = text.encode("utf-8", "surrogatepass")
    yield text
    yield text[::-1]
    yield from _quoted(text)
    yield raw.hex()
    yield raw.hex().upper()
    yield raw.hex(":")
    yield "".join(f"\\x{byte:02x}" for byte in raw)
    yield "".join(f"\\u{ord(character):04x}" for character in text)
    yield base64.b32encode(raw).decode().rstrip("=")
    for inner in (raw, text.encode("utf-16-le", "surrogatepass")):
        yield from _base64_forms(inner)
    # What a Kubernetes Secret becomes when a program encodes it once more.
    yield from _base64_forms(base64.b64encode(raw))


def _quoted(text: str) -> Iterator[str]:
    for escaped in (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]):
        yield escaped
        yield escaped.replace("/", "\\/")
        yield json.dumps(escaped)[1:-1]
    yield repr(text)[1:-1]
    yield repr(text.encode("utf-8", "surrogatepass"))[2:-1]
    yield repr(repr(text)[1:-1])[1:-1]
    for url in (quote(text, safe=""), quote(text), quote_plus(text)):
        yield url
        yield re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), url)
    yield "".join(f"%{byte:02X}" for byte in text.encode("utf-8", "surrogatepass"))
    yield html.escape(text)
    yield html.escape(text, quote=False)
    yield html.escape(text).replace("&#x27;", "&#39;").replace("&quot;", "&#34;")
    yield "".join(f"&#{ord(character)};" for character in text)
    yield "".join(f"&#x{ord(character):x};" for character in text)
    yield shlex.quote(text).strip("'")
    yield re.sub(r"([^A-Za-z0-9_@%+=:,./-])", r"\\\1", text)
    yield re.sub(r'(["\\$`])', r"\\\1", text)
    yield text.replace("'", "''")


def _base64_forms(raw: bytes) -> Iterator[str]:
    """Base64 of the bytes at each of the three places that they can have inside a longer text.

    Only the characters that depend on nothing but the bytes are kept.
    """
    for offset, first in ((0, 0), (1, 2), (2, 3)):
        encoded = base64.b64encode(b"\0" * offset + raw).decode()
        certain = encoded[first : (offset + len(raw)) * 8 // 6]
        yield certain
        yield certain.replace("+", "-").replace("/", "_")
