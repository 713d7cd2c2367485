"""Composition root: workspace and mode become handles, run and journal; what notebook, CLI and tests open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gitops_nb.session.opening import open_session
    from gitops_nb.session.run import Front, Session

__all__ = ["Front", "Session", "open_session"]


def __getattr__(name: str) -> Any:
    """Loads what opens a session where somebody asks for it: lists and notes of this package do without."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from gitops_nb.session import opening, run

    return getattr(opening if name == "open_session" else run, name)
