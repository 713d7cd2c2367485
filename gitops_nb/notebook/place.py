"""Places in a cell that can be redrawn: a display of the running kernel, or standard output outside of one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

Show = Callable[[str, str], None]
"""A place: takes HTML and plain text, and replaces what it showed before."""


def new_place() -> Show:
    """A display in the running cell; outside of IPython a place that prints each new text once.

    A display is updated in place with and without ipywidgets, and its last state stays in the saved notebook.
    """
    if running_shell() is None:
        return _printer()
    handles: list[Any] = []

    def show(html: str, text: str) -> None:
        bundle = {"text/html": html, "text/plain": text}
        if handles:
            handles[0].update(bundle, raw=True)
        else:
            handles.append(display_raw(bundle))

    return show


def display_raw(bundle: dict[str, Any]) -> Any:
    """Displays a MIME bundle in the running cell and returns the handle that can replace it."""
    from IPython.display import display

    return display(bundle, raw=True, display_id=True)  # type: ignore[no-untyped-call]  # IPython has no types here


def running_shell() -> Any:
    """The IPython shell of this process, or None; never imports IPython."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython else None


def is_interactive() -> bool:
    """True when a person's frontend runs this cell.

    JupyterLab lets cells ask for input; papermill, nbclient and Voila do not, and nobody would see a panel there.
    """
    kernel = getattr(running_shell(), "kernel", None)
    if kernel is None:
        return False
    return bool(kernel.get_parent().get("content", {}).get("allow_stdin", False))


def _printer() -> Show:
    printed: list[str] = []

    def show(_: str, text: str) -> None:
        if text and text not in printed[-1:]:
            printed.append(text)
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()

    return show
