"""The forms in which a known secret shows up: as itself, and as what programs make of it on the way out."""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
import string
import unicodedata
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

MIN_LENGTH = 8
"""Shorter values and forms are found in ordinary text everywhere; a value this short is refused."""

BARE_LENGTH = 16
"""Shorter ones are not looked for without their punctuation."""
_PUNCTUATION = bytes(set(range(128)) - set((string.ascii_letters + string.digits).encode()))

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
    little, big = (text.encode(name, "surrogatepass") for name in ("utf-16-le", "utf-16-be"))
    yield text
    yield text[::-1]
    quoted = dict.fromkeys(_quoted(text))
    yield from quoted
    yield from _bytes_listed(raw)
    yield from (little.hex(), big.hex())
    for four in ("04x", "04X"):
        yield "".join(f"\\u{ord(character):{four}}" for character in text)
    thirty_two = base64.b32encode(raw).decode().rstrip("=")
    yield from (thirty_two, thirty_two.lower())
    whole = len(raw) // 4 * 4  # a last group depends on what follows it
    yield base64.b85encode(raw[:whole]).decode()
    yield base64.a85encode(raw[:whole]).decode()
    for inner in (raw, little, big):
        yield from _base64_forms(inner)
    # What a Kubernetes Secret becomes when a program encodes it once more, and a JSON or address inside of one.
    for again in (
        base64.b64encode(raw),
        *(form.encode("utf-8", "surrogatepass") for form in quoted),
    ):
        yield from _base64_forms(again)


def bare_forms(value: str) -> frozenset[str]:
    """The forms of a value that are found though punctuation stands between its characters, or their case was changed.

    None for a value that is words rather than a token: "service_account" is "ServiceAccount" in any manifest.
    """
    raw = value.strip().encode("utf-8", "surrogatepass")
    known = (value.strip(), value.strip()[::-1], raw.hex(), *_base64_forms(raw))
    found = {bare(form) for form in known}
    is_token = len(bare(value)) >= BARE_LENGTH and any(map(str.isdigit, value))
    return frozenset(form for form in found if len(form) >= BARE_LENGTH and is_token)


def bare(text: str) -> str:
    """Letters and digits of a text alone, in lower case; letters in other shapes (full width, with accents) as their own.

    >>> bare("A-b, c+1")
    'abc1'
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKD", text)
    return text.encode("ascii", "ignore").translate(None, _PUNCTUATION).decode().lower()


def _bytes_listed(raw: bytes) -> Iterator[str]:
    """Bytes one by one, as programs print an array of them: Go, Python, C, openssl, git."""
    yield raw.hex()
    yield raw.hex().upper()
    yield raw.hex(":")
    yield raw.hex(":").upper()
    for joint in (", ", " "):
        yield joint.join(map(str, raw))
        yield joint.join(f"0x{byte:02x}" for byte in raw)
    yield "".join(f"\\x{byte:02x}" for byte in raw)
    yield "".join(f"\\{byte:03o}" for byte in raw)


def _quoted(text: str) -> Iterator[str]:
    for escaped in (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]):
        yield escaped
        # Go, and with it kubectl, writes these so that JSON can stand in HTML; .NET more of them, in upper case.
        yield re.sub("[<>&]", lambda match: f"\\u{ord(match[0]):04x}", escaped)
        plain = escaped.replace('\\"', '"')
        yield re.sub("[<>&+'`\"]", lambda match: f"\\u{ord(match[0]):04X}", plain)
        yield escaped.replace("/", "\\/")
        yield json.dumps(escaped)[1:-1]
    yield repr(text)[1:-1]
    yield repr(text.encode("utf-8", "surrogatepass"))[2:-1]
    yield repr(repr(text)[1:-1])[1:-1]
    for url in (quote(text, safe=""), quote(text), quote_plus(text)):
        yield url
        yield re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), url)
        yield quote(url, safe="")
    for two in ("02X", "02x"):
        yield "".join(f"%{byte:{two}}" for byte in text.encode("utf-8", "surrogatepass"))
    yield html.escape(text)
    yield html.escape(text, quote=False)
    yield html.escape(text).replace("&#x27;", "&#39;").replace("&quot;", "&#34;")
    yield html.escape(text).replace("&#x27;", "&apos;")
    yield "".join(f"&#{ord(character)};" for character in text)
    yield "".join(f"&#x{ord(character):x};" for character in text)
    yield "".join(f"&#x{ord(character):X};" for character in text)
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
