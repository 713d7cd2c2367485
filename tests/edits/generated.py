"""Files that are hard to edit: random blocks in every style, with anchors, merge keys, tags, tabs, comments and odd texts."""

from __future__ import annotations

import random
import re

SCALARS = (
    "v1", "1.10", "y", "0x1F", "~", "", "'q'", '"d\\u0031"', '"a\\x41\\tb"', "r/c:v1", "r.example:5000/c:v1.2", "!env v1",
    "!!str 1.9", "&{a} v1", "*{a}", "1e3", "2024-01-01", "|\n{pad}    blk\n{pad}    two", "'it''s'", "a b", "a:b", "!!int 12",
    "!!float 3", "!!binary aGk=", "!local {{x: 1}}", "{{a: 1, b: [x, y]}}", "[1,  2,3]", "{{a: v1,}}", "[]", "{{}}",
    "[a, {{b: c}}]", "{{? x : y}}", "-x", "?x", "x#y", "#y", "\tv1", "v1\t", '"a b"', "[a:b, c]", "{{a: 'x', \"b\": v}}", "é🚀",
    ">-\n{pad}    folded\n{pad}    more", "a\n{pad}    continued", '"multi\n{pad}    line"', "! 12", "0b1", "1_000", "12:30:45",
    ".5", "Null", "r/c:v1@sha256:0a1b2c", "r/c@sha256:0a1b2c", '"r\\x2fc:v\\u0031"',
)  # fmt: skip
KEYS = (
    "a",
    "b",
    "c",
    "d",
    "e",
    "f",
    "tag",
    "image",
    "'q k'",
    '"dq"',
    "1",
    "1.5",
    "true",
    "a.b/c",
    "!!str k",
    "é",
    "app.example/v",
)
TAILS = ("", "", "", " # c", "\t# c", "  ")
SEPARATORS = (": ",) * 8 + (":\t", ":  ", " : ")
NEW = (
    "v2",
    "1.11",
    "y",
    "0o17",
    "1e1_0",
    "2026-01-01",
    "main",
    "12:30",
    "sha256:ff00",
    "v2@sha256:ff00",
    "3",
)


class Writer:
    """Writes random documents; each anchor is used by later aliases of the same document alone."""

    def __init__(self, chosen: random.Random) -> None:
        self._chosen = chosen
        self._scalars: list[str] = []
        self._mappings: list[str] = []
        self._count = 0

    def document(self) -> str:
        """The body of one document, of a mapping."""
        self._scalars, self._mappings = [], []
        return self._mapping(0, depth=0)

    def _mapping(self, indent: int, depth: int) -> str:
        pad = " " * indent
        lines: list[str] = []
        names = self._chosen.sample(KEYS, self._chosen.randint(1, 5))
        for name in names:
            kind = self._chosen.random()
            if kind < 0.35 and depth < 3:
                anchor = self._anchor() if self._chosen.random() < 0.4 else ""
                body = self._mapping(indent + 2, depth + 1)
                lines.append(f"{pad}{name}:{f' &{anchor}' if anchor else ''}\n{body}")
                if anchor:
                    self._mappings.append(anchor)
            elif kind < 0.42 and depth < 3:
                lines.append(f"{pad}{name}:\n{self._sequence(indent + 2)}")
            elif kind < 0.5 and self._mappings:
                lines.append(f"{pad}{name}: *{self._chosen.choice(self._mappings)}")
            else:
                lines.append(f"{pad}{name}{self._chosen.choice(SEPARATORS)}{self._scalar(pad)}")
        if self._mappings and self._chosen.random() < 0.4:
            source = self._chosen.choice(self._mappings)
            merge = self._chosen.choice((f"*{source}", f"[*{source}, {{tag: v1}}]", "{z: v1}"))
            lines.insert(self._chosen.randint(0, len(lines)), f"{pad}<<: {merge}")
        if self._chosen.random() < 0.2:
            lines.insert(
                self._chosen.randint(0, len(lines)),
                self._chosen.choice(("# comment", "", f"{pad}  # indented")),
            )
        return "\n".join(lines)

    def _sequence(self, indent: int) -> str:
        pad = " " * indent
        lines = []
        for number in range(self._chosen.randint(1, 3)):
            if self._chosen.random() < 0.6:
                lines.append(f"{pad}- name: n{number}\n{pad}  image: {self._scalar(pad)}")
            else:
                lines.append(f"{pad}- {self._scalar(pad)}")
        return "\n".join(lines)

    def _scalar(self, pad: str) -> str:
        text = self._chosen.choice(SCALARS)
        if "*{a}" in text:
            if not self._scalars:
                return "v1"
            text = text.format(a=self._chosen.choice(self._scalars), pad=pad)
        elif "&{a}" in text:
            anchor = self._anchor()
            text = text.format(a=anchor, pad=pad)
            self._scalars.append(anchor)
        else:
            text = text.format(a="", pad=pad)
        return text if "\n" in text else f"{text}{self._chosen.choice(TAILS)}"

    def _anchor(self) -> str:
        self._count += 1
        return f"m{self._count}"


def manifest(number: int, seed: int) -> str:
    """One file: a ConfigMap by its first lines, whatever comes after."""
    chosen = random.Random(f"{seed} {number}")
    head = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: f{number}}}\n"
    body = Writer(chosen).document()
    start = chosen.choice(("", "", "---\n", "# head\n"))
    indented = re.sub("^", "  ", body, flags=re.MULTILINE)
    end = chosen.choice(("", "\n", "\n", "\n# end\n"))
    text = f"{start}{head}data:\n{indented}{end}"
    if chosen.random() < 0.15:
        text = text.replace("\n", "\r\n")
    return chosen.choice(("", "", "", "\ufeff")) + text


def leaves(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The paths of all leaves of a JSON value."""
    if isinstance(value, dict):
        return [leaf for key, part in value.items() for leaf in leaves(part, (*path, key))]
    if isinstance(value, list):
        return [leaf for at, part in enumerate(value) for leaf in leaves(part, (*path, at))]
    return [path]


def replaced(value: object, path: tuple[str | int, ...], new: object) -> object:
    """A copy of a JSON value with another leaf."""
    if not path:
        return new
    step, *rest = path
    if isinstance(value, dict):
        return {k: replaced(v, tuple(rest), new) if k == step else v for k, v in value.items()}
    assert isinstance(value, list)
    return [replaced(v, tuple(rest), new) if at == step else v for at, v in enumerate(value)]


def fits(value: object, before: object, path: tuple[str | int, ...], new: str) -> bool:
    """Whether a value is the one before with another leaf: the text, or where a number stood the number of the same digits."""
    is_number = type(at(before, path)) is int and new.isdecimal()
    wanted = (new, int(new)) if is_number else (new,)
    return any(same(value, replaced(before, path, each)) for each in wanted)


def at(value: object, path: tuple[str | int, ...]) -> object:
    """The leaf at a path."""
    for step in path:
        value = value[step]  # type: ignore[index]
    return value


def same(one: object, other: object) -> bool:
    """Equal as JSON: a boolean is no number, and 3 is 3.0."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return one == other and isinstance(one, str) == isinstance(other, str)
