"""The first screen of the DORA report, for ten seconds: four questions, each answered against a target and a level."""

from __future__ import annotations

from dataclasses import dataclass

from gitops_nb.dora import words
from gitops_nb.dora.results import Change, Measured, Metric
from gitops_nb.report import dora_cards, dora_scales
from gitops_nb.report.dora_cards import Card
from gitops_nb.report.dora_scales import Scale

KEYS = ("frequency", "lead_time", "fail_rate", "recovery")
STEPS = 6
_QUESTIONS = {
    "frequency": "How often",
    "lead_time": "How fast",
    "fail_rate": "How safe",
    "recovery": "How soon repaired",
}
_CHIPS = {
    "met": ("succeeded", "good: target met"),
    "missed": ("failed", "bad: target missed"),
    "not clear": ("needs_attention", "near its target: cannot tell"),
    "no data": ("pending", "no data for its target"),
}
_CLEAR = {
    "frequency": ("Clearly less often", "Clearly more often"),
    "lead_time": ("Clearly faster", "Clearly slower"),
    "fail_rate": ("Clearly fewer", "Clearly more"),
    "recovery": ("Clearly faster", "Clearly slower"),
}


@dataclass(frozen=True, slots=True)
class First:
    """One question with its answer. ``steps`` is the range of levels from 1 to 6, (0, 0) for none."""

    card: Card
    question: str
    status: str
    chip: str
    target: str
    say: str
    trend: str
    steps: tuple[int, int]
    step: str
    scale: Scale | None


def first_of(measured: Measured) -> list[First]:
    """The four answers, in the order of the page."""
    return [_first(measured.metric(key), measured) for key in KEYS]


def _first(metric: Metric, measured: Measured) -> First:
    card = dora_cards.card(metric, measured)
    status, chip, target = "", "", ""
    if metric.target is not None:
        status, chip = _CHIPS[metric.target.verdict]
        limit = "at least" if metric.key == "frequency" else "at most"
        target = f"Target: {limit} {words.value(metric.unit, metric.target.bound)}."
    steps, step = _steps(metric)
    return First(
        card=card,
        question=_QUESTIONS[metric.key],
        status=status,
        chip=chip,
        target=target,
        say="" if card.missing else _say(metric, measured),
        trend="" if card.missing else _trend(metric, metric.change),
        steps=steps,
        step=step,
        scale=dora_scales.scale(metric),
    )


def _say(metric: Metric, measured: Measured) -> str:
    """The number as a sentence of everyday words."""
    value = metric.now.value or 0.0
    match metric.key:
        case "frequency":
            return f"The service in the middle gets a new version {words.often(value)}."
        case "lead_time":
            begin = (
                f"they first ran in {measured.first_environment}"
                if "versions" in metric.counts
                else "they were written"
            )
            what = "versions" if "versions" in metric.counts else "changes"
            return f"Half of all {what} are in {measured.environment} {words.duration(value)} after {begin}."
        case "fail_rate":
            share = words.in_how_many(value)
            if not share:
                return "No deployment failed."
            return f"About {share} deployments fails: rolled back, or followed by an incident."
    return f"Half of all failures are repaired within {words.duration(value)}."


def _trend(metric: Metric, change: Change | None) -> str:
    """The direction in a few words; that it cannot be told is one."""
    before = metric.before.value if metric.before else None
    if change is None or before is None or change.direction == "unknown":
        return "Cannot tell a direction."
    if change.direction == "flat" or change.disagrees:
        return f"No clear change: {words.value(metric.unit, before)} before."
    falls, rises = _CLEAR[metric.key]
    said = rises if change.direction == "up" else falls
    return f"{said}: {words.value(metric.unit, before)} before."


def _steps(metric: Metric) -> tuple[tuple[int, int], str]:
    """Which of the six steps of the Quick Check, in words that need no explanation."""
    level = metric.level
    if not level.low:
        return (0, 0), ""
    if not level.is_single:
        return (level.low, level.high), f"Between step {level.low} and {level.high} of {STEPS}"
    text = f"Step {level.low} of {STEPS}: {level.answer}"
    if metric.key == "lead_time" and "versions" in metric.counts:
        text += ". Writing and review come before, and are not measured"
    return (level.low, level.high), text
