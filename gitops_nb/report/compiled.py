"""Compiled templates, kept where Python keeps compiled modules, and under the same conditions."""

from __future__ import annotations

import contextlib
import io
import pickle
import secrets
import sys
from importlib.util import cache_from_source
from pathlib import Path

from jinja2 import BytecodeCache
from jinja2.bccache import Bucket


class CompiledTemplates(BytecodeCache):
    """Keeps compiled templates in ``__pycache__`` beside them: compiling takes longer than a whole report.

    Jinja2 takes none that another version of it or of Python made, or that was made of another source. Whoever can write
    there can change the package's own modules too. Where nobody can write, or Python is told to keep nothing, each process
    compiles for itself.

    Args:
        folder: Where the templates are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get_cache_key(self, name: str, filename: str | None = None) -> str:  # noqa: ARG002  jinja2's signature
        """A template's name is its key."""
        return name

    def load_bytecode(self, bucket: Bucket) -> None:
        """Reads what is there; anything that is not whole counts as not there."""
        try:
            bucket.load_bytecode(io.BytesIO(self._path(bucket).read_bytes()))
        except (OSError, EOFError, ValueError, TypeError, pickle.UnpicklingError):
            bucket.reset()

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keeps a template that was just compiled; its name appears when it is complete."""
        if sys.dont_write_bytecode:
            return
        path = self._path(bucket)
        temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                temporary.write_bytes(bucket.bytecode_to_string())
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)

    def _path(self, bucket: Bucket) -> Path:
        return Path(cache_from_source(str(self._folder / f"{bucket.key}.py")) + "-j2")
