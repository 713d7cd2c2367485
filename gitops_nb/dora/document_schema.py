"""What each key of ``document`` means, as JSON Schema 2020-12: ``gitops-nb dora schema`` prints it."""

from __future__ import annotations

from typing import Any

from gitops_nb.dora.document import FORMAT

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]


def schema() -> Schema:
    """The schema of report.json and of ``dora metrics --json``: both have these keys beside others."""
    return {
        "$schema": DIALECT,
        "title": "Delivery metrics of gitops-nb",
        "description": "The keys that report.json of a dora run and `gitops-nb dora metrics --json` share.",
        "type": "object",
        "required": ["metrics", "measured"],
        "properties": {
            "metrics": {
                "description": "One entry for each metric; none where nothing was measured.",
                "type": "array",
                "items": {"$ref": "#/$defs/metric"},
            },
            "measured": {
                "description": "What the metrics are of; null where nothing was measured.",
                "oneOf": [{"$ref": "#/$defs/measured"}, {"type": "null"}],
            },
        },
        "$defs": {
            "estimate": _estimate(),
            "window": _window(),
            "metric": _metric(),
            "stage": _stage(),
            "cell": _cell(),
            "measured": _measured(),
        },
    }


def _text(description: str, *words: str) -> Schema:
    found: Schema = {"description": description, "type": "string"}
    return {**found, "enum": list(words)} if words else found


def _count(description: str) -> Schema:
    return {"description": description, "type": "integer", "minimum": 0}


def _number(description: str) -> Schema:
    return {"description": description, "type": ["number", "null"]}


def _moment(description: str) -> Schema:
    return {
        "description": f"{description}; RFC 3339 with the offset of `time_zone`.",
        "type": "string",
        "format": "date-time",
    }


def _flag(description: str) -> Schema:
    return {"description": description, "type": "boolean"}


def _reference(name: str, description: str, *, may_lack: bool = False) -> Schema:
    found: Schema = {"$ref": f"#/$defs/{name}"}
    return {
        "description": description,
        **({"oneOf": [found, {"type": "null"}]} if may_lack else found),
    }


def _list(description: str, items: Schema) -> Schema:
    return {"description": description, "type": "array", "items": items}


def _counts(description: str) -> Schema:
    return {
        "description": description,
        "type": "object",
        "additionalProperties": {"type": "integer", "minimum": 0},
    }


def _object(description: str, fields: Schema) -> Schema:
    return {
        "description": description,
        "type": "object",
        "required": list(fields),
        "properties": fields,
        "additionalProperties": False,
    }


def _span(description: str, **fields: Schema) -> Schema:
    borders = {"start": _moment("First moment"), "end": _moment("First moment after it")}
    return _object(description, {**borders, **fields})


def _estimate() -> Schema:
    return _object(
        "A value with its 95 % interval, all in the unit of the metric.",
        {
            "value": _number("The value; null: no data."),
            "low": _number("Lower end of the interval; null: too few for one."),
            "high": _number("Upper end of the interval; null: too few for one."),
            "n": _count(
                "How many were measured: services, changes or versions, deployments, failures."
            ),
        },
    )


def _window() -> Schema:
    return _span("A time, its end not included.")


def _metric() -> Schema:
    change = _object(
        "How it moved against the window before.",
        {
            "kind": _text(
                "What the estimate is: 1 of a ratio and 0 of a difference are no change.",
                "ratio",
                "difference",
            ),
            "estimate": _reference("estimate", "The move with its interval."),
            "direction": _text("flat: no clear change.", "up", "down", "flat", "unknown"),
            "reason": _text("Why the direction is unknown, else empty."),
            "stratified": {
                "description": "Services whose own number went down, and up.",
                "type": "array",
                "items": {"type": "integer", "minimum": 0},
                "minItems": 2,
                "maxItems": 2,
            },
            "compared": {
                "description": "Services that both windows have; null: all.",
                "type": ["integer", "null"],
                "minimum": 0,
            },
            "visible": _number(
                "The smallest change that four of five such histories would have shown: a share of the value before, "
                "of shares their difference."
            ),
        },
    )
    level = _object(
        "Level of DORA's Quick Check, 1 slowest to 6 fastest.",
        {
            "low": _count("Lowest level that the interval touches; 0: none."),
            "high": _count("Highest level that the interval touches; 0: none."),
            "answer": _text("The Quick Check's words, or why there is no single level."),
        },
    )
    target = _object(
        "What the metric is held against, from fleet.yaml.",
        {
            "bound": _number("At least so much of a frequency, at most so much of others."),
            "verdict": _text(
                "met and missed where the whole interval says so.",
                "met",
                "missed",
                "not clear",
                "no data",
            ),
        },
    )
    return _object(
        "One metric.",
        {
            "key": _text(
                "Its name.",
                "frequency",
                "lead_time",
                "fail_rate",
                "recovery",
                "rework",
                "rollbacks",
            ),
            "title": _text("Its name for readers."),
            "question": _text("What it measures."),
            "unit": _text(
                "Unit of values and bounds: per week (of one service), seconds, or a share of 1.",
                "per week",
                "s",
                "ratio",
            ),
            "now": _reference("estimate", "In the window."),
            "before": _reference(
                "estimate", "In the window before; null: none, or not shown.", may_lack=True
            ),
            "change": {"oneOf": [change, {"type": "null"}], "description": change["description"]},
            "level": level,
            "counts": _counts("Further counts by name."),
            "excluded": _counts("Rows that do not count, by reason."),
            "missing": _text("Why there is no value to rely on; empty when there is one."),
            "target": {"oneOf": [target, {"type": "null"}], "description": target["description"]},
        },
    )


def _stage() -> Schema:
    return _object(
        "The median time of one step, in seconds.",
        {
            "source": _text("Environment or moment where it begins."),
            "target": _text("Environment or moment where it ends."),
            "now": _reference("estimate", "Of what ended in the window."),
            "before": _reference("estimate", "Of what ended in the window before.", may_lack=True),
            "excluded": _counts("What has no time, by reason."),
        },
    )


def _cell() -> Schema:
    return _object(
        "One number under another definition.",
        {
            "value": _number("The value; null: none."),
            "n": _count("How many were measured."),
            "missing": _text("Why there is no value, else empty."),
        },
    )


def _measured() -> Schema:
    return _object(
        "What the metrics are of.",
        {
            "format": {"description": "Version of these keys.", "const": FORMAT},
            "known_until": _moment("Until when the facts are known"),
            "environment": _text("Where deployments were measured."),
            "first_environment": _text("Where versions enter on the way to it; may be empty."),
            "window": _reference("window", "What was measured."),
            "before": _reference("window", "What it is compared with.", may_lack=True),
            "complete_weeks": _count("Complete ISO weeks in the window."),
            "time_zone": _text("IANA name of the zone of days and weeks."),
            "definition": {
                "description": "SHA-256 of `options`: equal hashes can be compared.",
                "type": "string",
                "pattern": "^[0-9a-f]{64}$",
            },
            "options": {
                "description": "Every option of the definition; docs/dora.md explains them.",
                "type": "object",
                "additionalProperties": {
                    "type": ["string", "integer", "array"],
                    "items": {"type": "string"},
                },
            },
            "title": _text("The finding."),
            "sentence": _text("The numbers in a sentence."),
            "look_at": _list(
                "Things to look at.",
                _object(
                    "One of them.",
                    {
                        "service": _text("Its service; empty: the whole fleet."),
                        "text": _text("What there is."),
                        "ask": _text("A question to begin with; may be empty."),
                    },
                ),
            ),
            "caveats": _list("What a reader has to know before the numbers.", {"type": "string"}),
            "notes": _list("What a reader has to know before the charts.", {"type": "string"}),
            "services": _count("Services with a deployment in the window."),
            "seen": _count("Rows of deployments seen in the window, counted or not."),
            "excluded": _list(
                "What does not count.",
                _object(
                    "Rows with one reason.",
                    {
                        "reason": _text("Why."),
                        "left_out_of": _text("Which metric, or everything."),
                        "rows": _count("How many."),
                        "where": _text("The services with most of them."),
                    },
                ),
            ),
            "weeks": _list("Every week, all services together.", _week()),
            "stages": _list("Promotions.", {"$ref": "#/$defs/stage"}),
            "split": _list("Stages of a change.", {"$ref": "#/$defs/stage"}),
            "shifts": _list(
                "Weeks from which on the pace differs.",
                _object(
                    "One of them.",
                    {
                        "week": _moment("Where it begins"),
                        "before_deployments": _count("Deployments before it."),
                        "before_weeks": _count("Weeks before it."),
                        "after_deployments": _count("Deployments from it on."),
                        "after_weeks": _count("Weeks from it on."),
                    },
                ),
            ),
            "freezes": _list(
                "Freezes of policy.yaml.", _span("One of them.", name=_text("Its name."))
            ),
            "sync": _sync(),
            "sync_weeks": _list(
                "What Argo CD said per week.",
                _object(
                    "One week.",
                    {
                        "start": _moment("First moment"),
                        "observed": _count("How often it was asked, over all Applications."),
                        "synced": _count("How often it said Synced."),
                        "healthy": _count("How often it said Healthy."),
                    },
                ),
            ),
            "compared": _list("The same facts under other definitions.", _what_if()),
            "is_last": _flag("False when versions are promoted further; then there is no level."),
            "team": _text("The team whose services were measured; empty: all."),
            "teams": _list("Every team of fleet.yaml.", _team()),
            "hours": _list(
                "Deployments by weekday and hour, 168 from Monday on.",
                _count("Deployments of one hour of the week."),
            ),
            "sizes": _list(
                "Deployments by the changes that they brought.",
                _object(
                    "One size.",
                    {
                        "low": _count("From so many changes."),
                        "high": _count("To so many; 0: no upper end."),
                        "deployments": _count("Deployments of it."),
                        "failed": _count("Failed ones."),
                        "fail_rate": _reference("estimate", "Change fail rate, a share of 1."),
                    },
                ),
            ),
            "causes": _list(
                "Why deployments failed.",
                _object(
                    "One cause.",
                    {
                        "name": _text("Its name."),
                        "failures": _count("Failed deployments."),
                        "still_open": _count("Those that have not recovered."),
                        "recovery": _reference("estimate", "Recovery time, in seconds."),
                    },
                ),
            ),
            "months": _list(
                "The last twelve calendar months.",
                _span(
                    "One month.",
                    deployments=_count("Deployments."),
                    failed=_count("Failed ones."),
                    fail_rate=_reference("estimate", "Change fail rate, a share of 1."),
                    lead=_reference("estimate", "Change lead time, in seconds."),
                ),
            ),
        },
    )


def _week() -> Schema:
    return _span(
        "One ISO week.",
        period=_text("partial: not whole in a window.", "before", "now", "partial"),
        deployments=_count("Deployments."),
        failed=_count("Failed ones."),
        rollbacks=_count("Rollbacks."),
        lead_n=_count("Lead times."),
        lead_low_s=_number("Lower quartile of lead times, in seconds."),
        lead_median_s=_number("Their median, in seconds."),
        lead_high_s=_number("Upper quartile of lead times, in seconds."),
    )


def _sync() -> Schema:
    names = {"type": "string"}
    return _object(
        "What Argo CD says now; no DORA metric.",
        {
            "total": _count("Applications."),
            "synced": _count("Synced ones."),
            "out_of_sync": _count("OutOfSync ones."),
            "healthy": _count("Healthy ones."),
            "out_of_sync_names": _list("Those that are OutOfSync.", names),
            "unhealthy_names": _list("Those that are not Healthy.", names),
            "missing": _text("Why nothing was asked or answered, else empty."),
        },
    )


def _what_if() -> Schema:
    return _object(
        "One definition.",
        {
            "name": _text("Whose it is."),
            "note": _text("What it does otherwise."),
            "definition": _text("Its SHA-256."),
            "frequency_unit": _text("Unit of its frequency."),
            "frequency": _reference("cell", "Deployment frequency."),
            "lead_time": _reference("cell", "Change lead time, in seconds."),
            "fail_rate": _reference("cell", "Change fail rate, a share of 1."),
            "recovery": _reference("cell", "Recovery time, in seconds."),
        },
    )


def _team() -> Schema:
    return _object(
        "One team; no person stands in it.",
        {
            "name": _text("Its name."),
            "services": _count("Its services that are there."),
            "deployments": _count("Their deployments in the window."),
            "per_week": _number("Deployments per week, the median of its services."),
            "lead": _reference("estimate", "Change lead time, in seconds."),
            "failed": _count("Failed deployments."),
            "fail_rate": _reference("estimate", "Change fail rate, a share of 1."),
            "targets": {
                "description": "Verdicts by metric.",
                "type": "object",
                "additionalProperties": {"type": "string"},
            },
        },
    )
