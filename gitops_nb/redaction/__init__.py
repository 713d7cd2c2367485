"""Secrets kept out of every sink: the forms that a value takes, the patterns of unknown ones, and the redactor."""

from gitops_nb.redaction.patterns import pattern_in
from gitops_nb.redaction.reasons import refuse_secret
from gitops_nb.redaction.redactor import Redactor, StreamRedactor, process_redactor
from gitops_nb.redaction.secret import Secret

__all__ = [
    "Redactor",
    "Secret",
    "StreamRedactor",
    "pattern_in",
    "process_redactor",
    "refuse_secret",
]
