"""What Argo CD's answers mean: the judgement of an outcome, and readers of an Application's fields."""

from gitops_nb.argo.expectation import USERNAME, Expectation, Judgement, State
from gitops_nb.argo.judgement import judge
from gitops_nb.argo.rollout import FailingPod, failing_pods, unfinished
from gitops_nb.argo.status import (
    IDENTIFIER,
    current_images,
    current_revisions,
    healthy_since,
    history_of,
    is_automated,
    last_deployment,
    operation_state,
    revisions_of,
)

__all__ = [
    "IDENTIFIER",
    "USERNAME",
    "Expectation",
    "FailingPod",
    "Judgement",
    "State",
    "current_images",
    "current_revisions",
    "failing_pods",
    "healthy_since",
    "history_of",
    "is_automated",
    "judge",
    "last_deployment",
    "operation_state",
    "revisions_of",
    "unfinished",
]
