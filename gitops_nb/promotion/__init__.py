"""Promotion: carry a version from one environment to the next, by one commit, and see it run there."""

from gitops_nb.promotion.aftermath import aftermath
from gitops_nb.promotion.apply import PromotionWriters, apply, first_effect, shown
from gitops_nb.promotion.brought import brought
from gitops_nb.promotion.observe import observe
from gitops_nb.promotion.overtaken import lost
from gitops_nb.promotion.plan import gates, plan
from gitops_nb.promotion.reach import beyond
from gitops_nb.promotion.request import Promotion, request
from gitops_nb.promotion.shared import edited_files
from gitops_nb.promotion.state import Placement, PromotionState, Side
from gitops_nb.promotion.verify import verify

__all__ = [
    "Placement",
    "Promotion",
    "PromotionState",
    "PromotionWriters",
    "Side",
    "aftermath",
    "apply",
    "beyond",
    "brought",
    "edited_files",
    "first_effect",
    "gates",
    "lost",
    "observe",
    "plan",
    "request",
    "shown",
    "verify",
]
