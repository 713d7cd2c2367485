"""Secrets kept out of every sink: the forms that a value takes, the patterns of unknown ones, and the redactor."""

from gitops_nb.redaction.patterns import pattern_in
from gitops_nb.redaction.redactor import Redactor, StreamRedactor

__all__ = ["Redactor", "StreamRedactor", "pattern_in"]
