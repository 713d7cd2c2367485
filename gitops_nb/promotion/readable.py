"""Whether what stands in the source is a version that can be carried on: a text, and the same one to every reader."""

from __future__ import annotations

from gitops_nb.edits import read_scalar
from gitops_nb.errors import UsageError
from gitops_nb.promotion.state import Side


def refuse_unreadable(source: Side) -> None:
    """Looks at every key of the source before its values are carried on.

    Raises:
        UsageError: One has no value yet, or Kubernetes reads another value than its text: what runs in the source would not be what
            is promoted.
    """
    for key in source.keys:
        where = f"{source.environment} has {{}} at {key.key} of {key.path}"
        if not key.value:
            raise UsageError(
                where.format("no value yet"), hint="Write a first one there, or name a revision."
            )
        scalar = read_scalar(key.content.encode(), key.key)
        if isinstance(scalar.seen, bool):
            raise UsageError(
                where.format(f"{scalar.value}, which is no text"),
                hint="A promotion carries texts and whole numbers: take the key out of `promotable`. In quotes it would be another "
                "value, which a chart takes for true whatever it says.",
            )
        if scalar.reads_otherwise:
            raise UsageError(
                where.format(scalar.reads_otherwise),
                hint="Write it there in quotes, as the version that is meant.",
            )
