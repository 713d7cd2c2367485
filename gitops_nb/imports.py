"""Keeps slow imports out of our own processes and kernels."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_PLUGINS = "PYDANTIC_DISABLE_PLUGINS"
_FORMAT_CHECKERS = ("rfc3986_validator", "uri_template", "webcolors", "isoduration", "fqdn")


def skip_slow_imports() -> None:
    """Makes ``import rfc3987_syntax`` fail at once; jsonschema then does without it.

    JupyterLab brings that package. It compiles a grammar for 2.8 s at import, and nbformat would import it both in the
    engine and in the kernel.
    """
    _bar("rfc3987_syntax")


def skip_headless_imports() -> None:
    """Bars what a headless run has no use for, beside the slow ones.

    Nobody sets breakpoints (debugpy, 0.25 s), and nbformat checks no formats (what JupyterLab brings for jsonschema, 0.1 s).
    Both ipykernel and jsonschema do without what is not installed.
    """
    skip_slow_imports()
    _bar("debugpy", *_FORMAT_CHECKERS)


@contextmanager
def uncollected() -> Iterator[None]:
    """What the block imports stays for the life of the process: the garbage collector need not look for it again and again.

    It would do so many times during the imports, for a fourth of their time, and in every fork copy the pages it looks at.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextmanager
def unplugged() -> Iterator[None]:
    """Pydantic builds the block's own models without plugins.

    To find plugins it reads the metadata of every installed package, for 0.1 s, at the first model that it builds. What a
    notebook builds has them as everywhere else.
    """
    given = os.environ.get(_PLUGINS)
    os.environ[_PLUGINS] = "__all__"
    try:
        yield
    finally:
        if given is None:
            del os.environ[_PLUGINS]
        else:
            os.environ[_PLUGINS] = given


def _bar(*names: str) -> None:
    for name in names:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # None is how an import is barred
