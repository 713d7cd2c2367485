"""Parameters as the command line gives them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gitops_nb.catalog import strict_yaml
from gitops_nb.errors import ConfigurationError, UsageError


def split_pairs(pairs: Sequence[str]) -> dict[str, str]:
    """``name=value`` texts by name."""
    texts: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"-p {pair!r} has no =", hint="Write -p name=value.")
        if name in texts:
            raise UsageError(f"-p {name} is given twice", hint="Give it once.")
        texts[name] = value
    return texts


def read_file(path: Path) -> dict[str, Any]:
    """The values of a parameter file by name."""
    try:
        value = strict_yaml.load(path, name=path.name).value
    except ConfigurationError as error:
        raise UsageError(error.message, hint="Mend the file given with -f.") from error
    if not isinstance(value, dict):
        raise UsageError(f"{path.name} is not a mapping of parameters to values")
    return dict(value)
