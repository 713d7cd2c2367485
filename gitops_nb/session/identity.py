"""The identity of the CI job that this process is, where CI gives it one."""

from __future__ import annotations

import os
from collections.abc import Mapping

from gitops_nb.errors import Refused
from gitops_nb.model import Json

REQUEST_URL, REQUEST_TOKEN = "ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"
VARIABLES = frozenset({REQUEST_URL, REQUEST_TOKEN})
"""What a job needs to ask for its identity; the engine keeps them from the notebook."""
PERMISSION = "Give the job `permissions: id-token: write`, and list its workflow in policy.yaml."


def can_prove() -> bool:
    """Whether GitHub Actions lets this job ask for its identity."""
    return all(os.environ.get(name) for name in VARIABLES)


def prove_here(audience: str, issuer: str) -> Mapping[str, Json]:
    """Asks for the job's identity and verifies it; see ``adapters.oidc.prove``.

    Raises:
        Refused: The job may not ask for its identity, or what came does not count.
        UnavailableError: CI or the issuer did not answer in time.
    """
    if not can_prove():
        raise Refused("this job may not ask for its identity", hint=PERMISSION)
    from gitops_nb.adapters.oidc import prove

    return prove(
        os.environ[REQUEST_URL], os.environ[REQUEST_TOKEN], audience=audience, issuer=issuer
    )
