"""Keeps slow imports out of our own processes and kernels."""

from __future__ import annotations

import sys


def skip_slow_imports() -> None:
    """Makes ``import rfc3987_syntax`` fail at once; jsonschema then does without it.

    JupyterLab brings that package. It compiles a grammar for 2.8 s at import, and nbformat would import it both in the
    engine and in the kernel.
    """
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]  # None is how an import is barred


def skip_debugger() -> None:
    """Makes ``import debugpy`` fail at once: nobody sets breakpoints in a headless kernel, and it costs 0.25 s.

    ipykernel does without it where it is not installed.
    """
    sys.modules.setdefault("debugpy", None)  # type: ignore[arg-type]  # the same
