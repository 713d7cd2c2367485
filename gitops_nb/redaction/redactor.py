"""The redactor: what is registered with it does not leave the process.

One redactor per process stands before each sink: kernel messages, journal, evidence, terminal. A value is registered
at the moment it is resolved. What cannot be masked in place is withheld whole, and then the redactor has *tripped*:
the run must not go on. Compressed, encrypted and otherwise computed forms of a value are out of its reach.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import ahocorasick

from gitops_nb.errors import UsageError
from gitops_nb.redaction.forms import MIN_LENGTH, bare, bare_forms, forms
from gitops_nb.redaction.patterns import find_and_mask, pattern_in

_DEPTH = 100
"""What is nested deeper is withheld unseen."""

_ANSI = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])|\\x1b\[[0-9;]*m"
)
_INVISIBLE = "".join(
    chr(code)
    for first, last in ((0x2000, 0x200F), (0x2028, 0x202F), (0x205F, 0x206F), (0xFE00, 0xFE0F), (0xE0000, 0xE01EF))
    for code in range(first, last + 1)
)  # fmt: skip
_LOOSE = str.maketrans("", "", f" \t\r\n\v\f\b\0\\|\u00a0\u00ad\u034f\u3000\ufeff{_INVISIBLE}")
"""What a value can be spread out with and still be read: blanks, line ends, backslashes, characters without width."""
_UNFINISHED_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]*)?\Z")
_SPREAD = 16
"""How far a value that is still being written may be spread out to be waited for: times its longest form."""


class Redactor:
    """Masks what was registered, and patterns. Its methods may be called from several threads."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._names: dict[str, str] = {}
        self._bare_names: dict[str, str] = {}
        self._exact: Any = None
        self._squeezed: Any = None
        self._bare: Any = None
        self._longest = 0
        self._is_built = False
        self._tripped: list[str] = []
        self._counts: Counter[str] = Counter()

    @property
    def is_empty(self) -> bool:
        """True while no value is registered; patterns are masked all the same."""
        return not self._names

    @property
    def tripped(self) -> tuple[str, ...]:
        """Names of secrets that showed up in a form which could only be withheld."""
        with self._lock:
            return tuple(self._tripped)

    @property
    def counts(self) -> Mapping[str, int]:
        """How often something was masked, by secret ("secret NAME") or rule, and withheld; each sink counts by itself."""
        with self._lock:
            return dict(sorted(self._counts.items()))

    def register(self, name: str, value: str) -> None:
        """Makes a value known by the name that is shown in its place.

        Raises:
            UsageError: It is too short to be told from ordinary text; nothing was registered.
        """
        if len(value.strip()) < MIN_LENGTH:
            raise UsageError(
                f"the value of {name} has fewer than {MIN_LENGTH} characters and cannot be masked",
                hint="Use a longer secret: a short one is found in ordinary text everywhere.",
            )
        with self._lock:
            for form in forms(value):
                self._names.setdefault(form, name)
            for form in bare_forms(value):
                self._bare_names.setdefault(form, name)
            self._is_built = False

    def text(self, text: str) -> str:
        """The text with every known form and every pattern masked; withheld whole when masking is not enough."""
        if len(text) < MIN_LENGTH:
            return text
        with self._lock:
            masked, patterns = find_and_mask(self._mask(text))
            self._counts.update(patterns)
            hidden = self._hidden_in(masked)
            if hidden is None:
                return masked
            self._trip(hidden)
            return _withheld(hidden)

    def json(self, value: Any) -> Any:
        """As ``text``, for every text in a JSON value, the names of members too."""
        return self._walk(value, _DEPTH)

    def raw(self, content: bytes) -> bytes:
        """Bytes cannot be masked in place: they pass, or they are withheld whole."""
        with self._lock:
            found = self._hidden_in(content.decode("utf-8", "replace"))
            if found is None:
                return content
            self._trip(found)
            return b""

    def find_known(self, value: Any) -> str | None:
        """Name of a registered secret that a JSON value holds in any form; None when it holds none."""
        with self._lock:
            return next(filter(None, map(self._hidden_in, _texts(value))), None)

    def find(self, value: Any) -> str | None:
        """As ``find_known``, or the name of a pattern that a text of it fits."""
        return self.find_known(value) or next(filter(None, map(pattern_in, _texts(value))), None)

    def unfinished(self, text: str) -> int:
        """Where the end of a text begins that could be the beginning of a known form; its length when there is none."""
        with self._lock:
            if not self._build():
                return len(text)
            begin = min(_beginning(self._exact, text, self._longest), self._spread_beginning(text))
            # A whole form that reaches into it is held together with it.
            for first, last, _ in reversed(self._spans(text)):
                if first < begin < last:
                    begin = first
            return begin

    def _spread_beginning(self, text: str) -> int:
        """Where the end of a text begins that could be a known form spread out; its length when there is none."""
        colour = _UNFINISHED_ANSI.search(text)
        whole = text[: colour.start()] if colour else text
        window = whole[-_SPREAD * self._longest :]
        squeezed = _squeeze(window)
        count = len(squeezed) - _beginning(self._squeezed, squeezed, self._longest)
        at = len(window)
        colours = [match.span() for match in _ANSI.finditer(window)]
        while count:
            at -= 1
            if colours and colours[-1][1] > at:
                at = colours.pop()[0]
            elif ord(window[at]) not in _LOOSE:
                count -= 1
        return len(whole) - len(window) + at

    def _build(self) -> bool:
        """Makes what was registered searchable; False when nothing was."""
        if not self._is_built and self._names:
            squeezed = {_squeeze(form): name for form, name in self._names.items()}
            self._exact = _automaton(self._names)
            self._squeezed = _automaton({k: v for k, v in squeezed.items() if len(k) >= MIN_LENGTH})
            self._bare = _automaton(self._bare_names) if self._bare_names else None
            self._longest = max(map(len, self._names))
            self._is_built = True
        return bool(self._names)

    def _mask(self, text: str) -> str:
        parts: list[str] = []
        done = 0
        for first, last, name in self._spans(text):
            parts += [text[done:first], f"[secret {name}]"]
            self._counts[f"secret {name}"] += 1
            done = last
        return "".join([*parts, text[done:]]) if parts else text

    def _spans(self, text: str) -> list[tuple[int, int, str]]:
        """Where known forms are, from first to last character, overlapping ones as one."""
        if not self._build():
            return []
        spans: list[tuple[int, int, str]] = []
        found = [(end + 1 - size, end + 1, name) for end, (size, name) in self._exact.iter(text)]
        for first, last, name in sorted(found):
            if spans and first < spans[-1][1]:
                spans[-1] = (spans[-1][0], max(last, spans[-1][1]), spans[-1][2])
            else:
                spans.append((first, last, name))
        return spans

    def _hidden_in(self, text: str) -> str | None:
        """Name of a secret that can be read in a text once blanks, colours and escapes are taken out."""
        if len(text) < MIN_LENGTH or not self._build():
            return None
        found = next((name for _, (_, name) in self._squeezed.iter(_squeeze(text))), None)
        if found is None and self._bare is not None:
            found = next((name for _, (_, name) in self._bare.iter(bare(text))), None)
        return found

    def _trip(self, name: str) -> None:
        self._counts["withheld"] += 1
        if name not in self._tripped:
            self._tripped.append(name)

    def _walk(self, value: Any, depth: int) -> Any:
        match value:
            case str():
                return self.text(value)
            case dict() if depth:
                return {
                    self.text(key) if isinstance(key, str) else key: self._walk(item, depth - 1)
                    for key, item in value.items()
                }
            case list() | tuple() if depth:
                return [self._walk(item, depth - 1) for item in value]
            case dict() | list() | tuple():
                return "[withheld: nested too deeply]"
            case bytes() | bytearray() | memoryview():
                return self.raw(bytes(value))
        return value


class StreamRedactor:
    """A redactor for text that comes in pieces: a value split between two pieces is found all the same."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._held = ""

    def feed(self, piece: str) -> str:
        """What may be shown now; the end that could be the beginning of a secret is held back."""
        text = self._held + piece
        cut = self._redactor.unfinished(text)
        self._held = text[cut:]
        return self._redactor.text(text[:cut])

    def flush(self) -> str:
        """What was held back, when nothing follows any more."""
        text, self._held = self._held, ""
        return self._redactor.text(text)


@cache
def process_redactor() -> Redactor:
    """The one redactor of this process. What one run of a kernel made known, no later run of it may show."""
    return Redactor()


def _withheld(name: str) -> str:
    return f"[withheld: it holds {name} in another form]"


def _squeeze(text: str) -> str:
    return (_ANSI.sub("", text) if "\x1b" in text or "\\x1b" in text else text).translate(_LOOSE)


def _beginning(automaton: Any, text: str, longest: int) -> int:
    """Where the end of a text begins that is the beginning of one of the words; the text's length when there is none."""
    places = range(max(0, len(text) - longest + 1), len(text))
    return next((at for at in places if automaton.match(text[at:])), len(text))


def _automaton(names: dict[str, str]) -> Any:
    automaton = ahocorasick.Automaton()
    for form, name in names.items():
        automaton.add_word(form, (len(form), name))
    automaton.make_automaton()
    return automaton


def _texts(value: Any, depth: int = _DEPTH) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict() if depth:
            for key, item in value.items():
                yield from _texts(key, depth - 1)
                yield from _texts(item, depth - 1)
        case list() | tuple() if depth:
            for item in value:
                yield from _texts(item, depth - 1)
