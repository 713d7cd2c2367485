"""DORA metrics of a GitOps platform, from the history of its configuration repository."""

from __future__ import annotations

from gitops_nb.dora.definition import DoraDefinition
from gitops_nb.dora.facts import frames
from gitops_nb.dora.measure import measure, measure_metrics
from gitops_nb.dora.observe import DoraState, observe, refuse_unknown
from gitops_nb.dora.request import DoraRequest, request
from gitops_nb.dora.results import Measured
from gitops_nb.dora.verify import verify

__all__ = [
    "DoraDefinition",
    "DoraRequest",
    "DoraState",
    "Measured",
    "frames",
    "measure",
    "measure_metrics",
    "observe",
    "refuse_unknown",
    "request",
    "verify",
]
