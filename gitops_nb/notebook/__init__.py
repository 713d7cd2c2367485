"""What a notebook opens and sees: the session, cards for its values, live progress, the approval panel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gitops_nb.imports import skip_slow_imports

if TYPE_CHECKING:
    from gitops_nb.notebook.front import open_session

__all__ = ["open_session"]

# In a kernel that JupyterLab or papermill started, this is the first line of ours that runs.
skip_slow_imports()


def __getattr__(name: str) -> Any:
    """Imports ``open_session`` when a notebook asks for it: cards and panel work without a session."""
    if name == "open_session":
        from gitops_nb.notebook.front import open_session

        return open_session
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
