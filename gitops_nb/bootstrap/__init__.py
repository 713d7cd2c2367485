"""Bootstrap: Argo CD on a cluster and the root application in it, in ten steps that check, act and verify."""

from gitops_nb.bootstrap.aftermath import aftermath, brought
from gitops_nb.bootstrap.reach import beyond
from gitops_nb.bootstrap.request import Bootstrap, request
from gitops_nb.bootstrap.verbs import (
    BootstrapState,
    BootstrapWriters,
    apply,
    gates,
    observe,
    plan,
    verify,
)

__all__ = [
    "Bootstrap",
    "BootstrapState",
    "BootstrapWriters",
    "aftermath",
    "apply",
    "beyond",
    "brought",
    "gates",
    "observe",
    "plan",
    "request",
    "verify",
]
