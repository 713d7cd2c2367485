"""GitHub's REST API for this process, with the token that the environment has."""

from __future__ import annotations

import os

from gitops_nb.adapters.clock import WallClock
from gitops_nb.ports import ApiReader


def github_api(*, deadline_s: float) -> ApiReader:
    """The API of GITHUB_API_URL, else github.com's; GITHUB_TOKEN opens what is not public."""
    from gitops_nb.adapters.github import GitHub

    url = os.environ.get("GITHUB_API_URL", "https://api.github.com")
    token = os.environ.get("GITHUB_TOKEN", "")
    return GitHub(url, token=token, clock=WallClock(), deadline_s=deadline_s)
