"""Composition root: workspace and mode become handles, run and journal; what notebook, CLI and tests open."""

from gitops_nb.session.opening import open_session
from gitops_nb.session.run import Front, Session

__all__ = ["Front", "Session", "open_session"]
