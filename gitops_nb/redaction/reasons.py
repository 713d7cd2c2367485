"""Texts that people type and that are signed: a secret in one could never be masked again."""

from __future__ import annotations

from gitops_nb.errors import UsageError
from gitops_nb.redaction.redactor import process_redactor

LONGEST = 2_000


def refuse_secret(name: str, text: str) -> None:
    """Refuses a text that holds a known secret, or what looks like one, as a parameter is refused; it is not repeated.

    Raises:
        UsageError: It does, or it is no text that one can keep.
    """
    found = process_redactor().find(text)
    if found is not None:
        raise UsageError(
            f"{name}: it looks like a secret ({found}); nothing was signed",
            hint="Say why without it: the text is kept in the record, where many can read it.",
        )
    if len(text) > LONGEST:
        raise UsageError(
            f"{name}: it has {len(text):,} characters, {LONGEST:,} at most; nothing was signed"
        )
