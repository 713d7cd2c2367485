"""What `gitops-nb verify` can find, each with a code word."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Code(StrEnum):
    """Code words of findings; docs/record.md says what each means."""

    EDITED = "edited"
    MISSING = "missing"
    ADDED = "added"
    LINK = "link"
    JOURNAL = "journal"
    CONTRADICTION = "contradiction"
    MALFORMED = "malformed"
    SIGNATURE = "signature"
    UNTRUSTED_KEY = "untrusted-key"
    KEY_VALIDITY = "key-validity"
    CHAIN = "chain"
    GAP = "gap"
    REPLAYED = "replayed"
    CLOCK = "clock"
    PHASE = "phase"
    TRUNCATED = "truncated"
    DELETED_RUN = "deleted-run"
    UNRECORDED_RUN = "unrecorded-run"
    APPROVAL = "approval"
    REVIEW_DUE = "review-due"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that does not hold: where, and what."""

    code: Code
    file: str
    text: str

    def __str__(self) -> str:
        """``file: text [code]``."""
        return f"{self.file}: {self.text} [{self.code}]"


@dataclass(frozen=True, slots=True)
class Unasked:
    """What could not be checked, because nobody could be asked."""

    text: str
