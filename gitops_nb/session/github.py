"""The Git host's REST API for this process: where it is says policy, the token comes from the environment."""

from __future__ import annotations

import os

from gitops_nb.adapters.clock import WallClock
from gitops_nb.ports import ApiReader


def github_api(url: str, *, deadline_s: float) -> ApiReader:
    """The API at an address of policy.yaml (``ci_api``); GITHUB_TOKEN opens what is not public."""
    from gitops_nb.adapters.github import GitHub

    token = os.environ.get("GITHUB_TOKEN", "")
    return GitHub(url, token=token, clock=WallClock(), deadline_s=deadline_s)
