"""What readers of YAML make of a scalar: Kubernetes' value of it, and whether all of them read a bare text as that text.

Source: go-yaml v2 as sigs.k8s.io/yaml 1.4 has it (resolve.go), go-yaml v3, PyYAML's resolver, yaml.org/type (YAML 1.1),
yaml.org/spec/1.2.2 chapter 10.3 (core schema).
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import struct

from gitops_nb.edits.nodes import LONG, Node
from gitops_nb.errors import UnreadableFile

Value = str | int | float | bool | None

_WORDS: dict[str, Value] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    **{word: True for text in ("y", "yes", "on", "true") for word in (text, text.title(), text.upper())},
    **{word: False for text in ("n", "no", "off", "false") for word in (text, text.title(), text.upper())},
    **{f"{sign}{word}": math.inf for sign in ("", "+") for word in (".inf", ".Inf", ".INF")},
    **{f"-{word}": -math.inf for word in (".inf", ".Inf", ".INF")},
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
}  # fmt: skip
_NULL = frozenset(word for word, value in _WORDS.items() if value is None)
_DECIMAL = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_PREFIXED = re.compile(r"([-+]?)0(?:[xX]([0-9a-fA-F]+)|[oO]([0-7]+)|[bB]([01]+)|([0-7]+))")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_GO_BINARY = re.compile(r"(-?)0b([-+]?[01]+)")
_MIN, _MAX, _MAX_UNSIGNED = -(2**63), 2**63 - 1, 2**64 - 1
_RESOLVED = frozenset(
    f"{LONG}{name}" for name in ("str", "bool", "int", "float", "null", "timestamp")
)

# What some reader takes for something else than a text, beside the words above. Case and underscores are ignored by one
# reader or another, and so they are here: a text in quotes that would not need them is no harm.
_WORDLIKE = frozenset(word.lower() for word in _WORDS) | {"nil", "none", "inf", "infinity", "nan", "undefined"}  # fmt: skip
_NUMBERLIKE = re.compile(
    r"[-+]?(?:0b[-+]?[01]*|0o[-+]?[0-7]*|0x[-+]?[0-9a-f.]*(?:p[-+]?[0-9]+)?|[0-9]+(?::[0-9]+)+(?:\.[0-9]*)?"
    r"|(?:[0-9]+(?:\.[0-9.]*)?|\.[0-9.]+)(?:e[-+]?[0-9]+)?|\.inf|\.nan)"
)
# Three parts with dots are a text to all of them, though the float of yaml.org/type/float.html has `[0-9.]*` behind its dot.
_VERSION_LIKE = re.compile(r"[0-9]+(?:\.[0-9]+){2,}")
_DATELIKE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:(?:t|\s+)[0-9].*)?")


def kubernetes_scalar(node: Node) -> Value:
    """The value of a scalar in Kubernetes.

    Raises:
        UnreadableFile: Its tag says that it is something else.
    """
    tag, text = node.tag, node.value
    if tag == f"{LONG}binary":
        return _decoded(node)
    if (not tag and node.style) or tag == f"{LONG}str" or (tag and tag not in _RESOLVED):
        return text
    value = _resolve(text)
    if not tag:
        return value
    if tag == f"{LONG}float" and type(value) is int:
        return float(value)
    fits = {
        f"{LONG}bool": isinstance(value, bool),
        f"{LONG}int": type(value) is int,
        f"{LONG}float": isinstance(value, float),
        f"{LONG}null": value is None,
        f"{LONG}timestamp": isinstance(value, str)
        and _DATELIKE.fullmatch(text.lower()) is not None,
    }[tag]
    if not fits:
        raise UnreadableFile(f"line {node.line}: {text!r} is no !!{tag.removeprefix(LONG)}")
    return value


def is_null(node: Node) -> bool:
    """Whether a scalar is no value at all: nothing, ``~`` or ``null``."""
    return (node.is_plain or node.tag == f"{LONG}null") and node.value in _NULL


def is_text(text: str) -> bool:
    """Whether every reader reads the bare text as itself: go-yaml v2 and v3, PyYAML, YAML 1.1 and the core of 1.2.

    >>> [each for each in ("v1", "1.2.3", "y", "0o17", "1e1_0", "1.10", "2026-01-01") if is_text(each)]
    ['v1', '1.2.3']
    """
    folded = text.lower().replace("_", "")
    if folded in _WORDLIKE or text.endswith(":") or text in ("<<", "="):
        return False
    if _VERSION_LIKE.fullmatch(text):
        return True
    return not (_NUMBERLIKE.fullmatch(folded) or _DATELIKE.fullmatch(folded))


def _resolve(text: str) -> Value:
    """As go-yaml v2 resolves a plain scalar."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] == ".":
        return _float(text) if _FLOAT.fullmatch(text) else text
    if text[0] not in "+-0123456789":
        return text
    plain = text.replace("_", "")
    number = _integer(plain)
    if number is not None:
        return number
    if _FLOAT.fullmatch(plain):
        value = _float(plain)
        return text if value is None else value
    # "0b" before a sign of its own, which Go's parser of binary numbers takes.
    if (found := _GO_BINARY.fullmatch(plain)) and not (found[1] and found[2][0] in "+-"):
        value = int(found[1] + found[2], 2)
        return value if _MIN <= value <= _MAX else text
    return text


def _integer(plain: str) -> int | None:
    if _DECIMAL.fullmatch(plain):
        if len(plain) > 30:
            return None
        number, signed = int(plain), plain[0] in "+-"
    elif found := _PREFIXED.fullmatch(plain):
        digits, base = next(
            (d, b) for d, b in zip(found.groups()[1:], (16, 8, 2, 8), strict=True) if d is not None
        )
        number, signed = int(found[1] + digits, base), bool(found[1])
    else:
        return None
    return number if _MIN <= number <= (_MAX if signed else _MAX_UNSIGNED) else None


def _float(plain: str) -> float | None:
    value = float(plain)
    return None if math.isinf(value) else value


def _decoded(node: Node) -> str:
    try:
        content = base64.b64decode(node.value.replace("\n", "").replace("\r", ""), validate=True)
    except (binascii.Error, ValueError) as error:
        raise UnreadableFile(f"line {node.line}: !!binary without base64") from error
    return content.decode(errors="replace")


def key_text(value: Value) -> str | None:
    """The name that Kubernetes gives a key; None for a key that it does not take."""
    match value:
        case bool():
            return "true" if value else "false"
        case float():
            return _short(value)
        case None:
            return None
    return str(value)


def _short(value: float) -> str:
    """The shortest decimal of a 32-bit float, as Go writes it: ``1.1``, ``1e+06``."""
    if math.isinf(value) or math.isnan(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    try:
        single = struct.pack("f", value)
    except OverflowError:
        return ".inf" if value > 0 else "-.inf"
    for places in range(9):
        text = f"{value:.{places}e}"
        if struct.pack("f", float(text)) == single:
            break
    digits, _, exponent = text.partition("e")
    power = int(exponent)
    if power < -4 or power >= 6:
        return f"{digits}e{'-' if power < 0 else '+'}{abs(power):02d}"
    return f"{float(text):.{max(places - power, 0)}f}"
