"""Texts that some reader takes for something else are written in quotes."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

import pytest
import yaml

from gitops_nb.edits import VERSION, edit_scalar, is_text, kubernetes_objects
from gitops_nb.edits.scalars import kubernetes_scalar
from tests.conftest import SEED
from tests.edits.plain import plain

# The rules as the specifications have them, one reader each. Written apart from the product's own, on purpose.
YAML_1_1 = (
    # yaml.org/type: bool, int, float, timestamp, null, merge, value. A float of three parts is no number to anybody: its
    # `[0-9.]*` is read as `[0-9]*`, as all libraries do.
    r"y|Y|yes|Yes|YES|n|N|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF",
    r"[-+]?0b[0-1_]+|[-+]?0[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+|[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+",
    r"[-+]?(?:[0-9][0-9_]*)?\.[0-9_]*(?:[eE][-+][0-9]+)?|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*",
    r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{4}-[0-9][0-9]?-[0-9][0-9]?(?:[Tt]|[ \t]+)[0-9][0-9]?:[0-9]{2}:[0-9]{2}(?:\.[0-9]*)?.*",
    r"~|null|Null|NULL|<<|=",
)
YAML_1_2 = (
    r"null|Null|NULL|~|true|True|TRUE|false|False|FALSE|[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+",
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
)
# go-yaml takes underscores away, and then asks Go's own parsers of numbers; v3 also has 0o with a sign behind it.
GO_NUMBER = (
    r"[-+]?(?:0[xX][0-9a-fA-F]+|0[oO][-+]?[0-7]+|0[0-7]+|0[bB][-+]?[01]+|[0-9]+)",
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?",
)
GO_TIME = r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt][0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2}.*)?"
_SPECIFIED = re.compile("|".join((*YAML_1_1, *YAML_1_2, GO_TIME)))
_GO = re.compile("|".join(GO_NUMBER))


def looks_else(text: str) -> bool:
    """Whether the rules above, or PyYAML itself, read a bare text as something else."""
    if _SPECIFIED.fullmatch(text) or (text[:1].isdigit() and _GO.fullmatch(text.replace("_", ""))):
        return True
    try:
        return bool(yaml.safe_load(f"a: {text}") != {"a": text})
    except (yaml.YAMLError, ValueError):
        return True


def texts(chosen: random.Random, count: int) -> Iterator[str]:
    """Different texts that may be written as a version, most of them close to a number, word or time."""
    seen: set[str] = set()
    words = [
        "y",
        "Y",
        "yes",
        "n",
        "no",
        "on",
        "off",
        "true",
        "false",
        "null",
        "nil",
        "none",
        "inf",
        "nan",
        "infinity",
        "tRue",
        "oN",
        "nULL",
    ]

    def some(letters: str, most: int) -> str:
        return "".join(chosen.choice(letters) for _ in range(chosen.randint(1, most)))

    ways = (
        lambda: some("0123456789abcdefxobeE._-+:yYnNtTfF", 8),
        lambda: some("01e+-_.", 8),
        lambda: chosen.choice(("0x", "0X", "0o", "0O", "0b", "0B", "0")) + some("01234567_89abF+-", 6),
        lambda: chosen.choice((str, str.upper, str.title))(chosen.choice(words)) + chosen.choice(("", "", "_", "1", ".", ":")),
        lambda: f"{chosen.randint(1, 3000)}-{chosen.randint(0, 14)}-{chosen.randint(0, 40)}"
        + chosen.choice(("", "T1:2:3", "T01:02:03Z", "t1:2:3+01:00", "T12", "T01:02:03.5-5")),
        lambda: ":".join(str(chosen.randint(0, 90)) for _ in range(chosen.randint(2, 4))) + chosen.choice(("", ".5", ".", "_")),
        lambda: ".".join(str(chosen.randint(0, 90)) for _ in range(chosen.randint(1, 4))) + chosen.choice(("", "e1", "E+2", "_0", "_", "e1_0", ".")),
        lambda: some("0123456789abcdef", 40),
        lambda: some("ABCxyz0123456789._+/@:-", 10),
    )  # fmt: skip
    while len(seen) < count:
        text = chosen.choice(ways)()
        if VERSION.fullmatch(text) and text not in seen:
            seen.add(text)
            yield text


@pytest.mark.parametrize("count", [6_000, pytest.param(150_000, marks=pytest.mark.torture)])
def test_what_stays_bare_is_text_to_every_reader(count, record_property):
    """Kubernetes, PyYAML and the rules of both specifications and of go-yaml read a bare text as itself; 0 wrong."""
    wrong = [
        text
        for text in texts(random.Random(SEED), count)
        if is_text(text) and (looks_else(text) or kubernetes_scalar(plain(text)) != text)
    ]
    record_property("cases", count)
    assert wrong == []


@pytest.mark.parametrize(
    "text",
    ["y", "n", "Y", "N", "yes", "No", "ON", "off", "TRUE", "False", "null", "NULL", "0o17", "0O17", "0X1F", "0x1f", "0b11", "0B11", "017", "08", "1_000", "1e1_0", "1e3", "12e03", "1.10", "1.", "1234567", "190:20:30", "12:30", "2026-01-01", "2026-1-2", "2026-01-01T10:00:00Z", "0b+1", "0o-7", "1__0", "nan", "inf", "Infinity", "v1:"],
)  # fmt: skip
def test_texts_that_are_something_else_are_quoted(text):
    """Words, numbers and times of any reader stand in quotes, and Kubernetes reads the text."""
    after = edit_scalar(b"a: v1 # c\n", "a", "value", text)
    assert after == f'a: "{text}" # c\n'.encode()
    assert kubernetes_objects(after) == ({"a": text},)


@pytest.mark.parametrize("text", ["v1", "1.2.3", "1.2.3-rc.1", "main", "3f2a9c1", "release/2026", "2026.11.23", "x_1", "ye", "0xg"])  # fmt: skip
def test_plain_versions_stay_bare(text):
    """Quotes that nobody needs are not added."""
    assert edit_scalar(b"a: v1\n", "a", "value", text) == f"a: {text}\n".encode()


def test_a_text_of_digits_stays_one_where_a_number_stood():
    """What comes from quotes goes into quotes; a number that comes as one stays bare."""
    assert edit_scalar(b"tag: 20231231\n", "tag", "value", "20240101", as_text=True) == b'tag: "20240101"\n'  # fmt: skip
    assert edit_scalar(b"tag: 20231231\n", "tag", "value", "20240101") == b"tag: 20240101\n"
