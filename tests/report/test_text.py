"""Text from outside, made visible."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops_nb.report.text import ci_log, clip, one_line, plain, terminal


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("checkout v2.31.1 → production", "checkout v2.31.1 → production"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("12\u00a0s", "12\u00a0s"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x1b]8;;http://evil\x07x", "\\x1b]8;;http://evil\\x07x"),
        ("\x9b2J", "\\x9b2J"),
        ("over\rwritten", "over\\rwritten"),
        ("a\u202egnp.exe", "a\\u202egnp.exe"),
        ("zero\u200bwidth\ufeff", "zero\\u200bwidth\\ufeff"),
        ("hangul\u3164filler", "hangul\\u3164filler"),
        ("tag\U000e0041", "tag\\U000e0041"),
        ("lone \ud800", "lone \\ud800"),
        ("line\u2028separator", "line\\u2028separator"),
    ],
)
def test_plain(text, shown):
    """Invisible and steering characters become escapes, everything else stays."""
    assert plain(text) == shown


@given(st.text())
def test_plain_has_nothing_invisible(text):
    """Whatever goes in, only printable characters, blanks, tabs and line ends come out, and UTF-8 takes them."""
    shown = plain(text)
    assert all(c.isprintable() or c in "\n\t" or c.isspace() for c in shown)
    assert not set(shown) & {"\r", "\x1b", "\x9b", "\x85", "\u2028", "\u2029", "\u202e"}
    shown.encode()


@given(st.text())
def test_plain_twice_is_plain_once(text):
    """Text that was made visible stays as it is."""
    assert plain(plain(text)) == plain(text)


@given(st.text())
def test_terminal_is_one_line(text):
    """A value on the terminal is one line without control characters."""
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in terminal(text) if c != "\u00a0")
    assert len(terminal(text).splitlines()) <= 1


@given(st.text(alphabet=":#[a\n\r\u200b "))
def test_ci_log_has_no_command(text):
    """No text forms a workflow command in a CI log."""
    assert "::" not in ci_log(text)
    assert "##[" not in ci_log(text)


def test_one_line():
    """A line end in a name cannot pretend to be a second log line."""
    assert one_line("name\n2026-11-23 run succeeded") == "name\\n2026-11-23 run succeeded"


def test_clip():
    """A long text is cut and says how long it was."""
    assert clip("x" * 10_240, 10) == "xxxxxxxxxx… (10,240 characters)"
    assert clip("short", 10) == "short"
