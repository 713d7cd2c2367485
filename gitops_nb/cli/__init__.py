"""The command line. ``--help`` and ``list`` load neither pydantic, rich nor pandas."""

from gitops_nb.cli.main import main

__all__ = ["main"]
