"""Which engine measures collected facts: DuckDB on this machine, Spark, or BigQuery, as gitops-nb.yaml says it.

Standard library only: the workspace is opened in a few milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from gitops_nb.errors import ConfigurationError

DUCKDB, SPARK, BIGQUERY = KINDS = ("duckdb", "spark", "bigquery")
DEADLINE_S = 900
_OPTIONS: Mapping[str, tuple[str, ...]] = {
    DUCKDB: (),
    SPARK: ("tables", "session", "settings", "deadline_s"),
    BIGQUERY: ("project", "dataset", "deadline_s"),
}
_SESSION = re.compile(
    r"environment|yarn|local(\[(\*|[1-9]\d{0,2})\])?|(spark|sc)://[A-Za-z0-9.:_/-]+"
)
_PROJECT = re.compile(r"(?:[a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")
_DATASET = re.compile(r"[A-Za-z0-9_]{1,1024}")
_SETTING = re.compile(r"spark\.[A-Za-z0-9._-]+")
# What Spark itself hides when it shows a configuration.
_SECRET = re.compile(r"secret|password|token|access[.]?key", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """An engine and where its tables are.

    ``tables`` is a folder or ``gs://BUCKET/PREFIX`` (Spark); ``session`` local, local[N], environment (what Spark's own
    configuration says, as in a batch of Dataproc Serverless), yarn, spark:// or sc://; ``settings`` are Spark's own.
    ``project`` and ``dataset`` are BigQuery's. ``deadline_s`` is how many seconds one question may take. ``mode`` keeps
    tables of the sandbox and of the live platform apart; ``facts`` is the store that the tables have to be of, "" for any.
    """

    kind: str = DUCKDB
    tables: str = ""
    session: str = "local"
    settings: Mapping[str, str] = field(default_factory=dict)
    project: str = ""
    dataset: str = ""
    deadline_s: int = DEADLINE_S
    mode: str = ""
    facts: str = ""

    @property
    def is_remote(self) -> bool:
        """Whether facts stay where the engine has them, and only rows of results come to this machine."""
        return self.kind != DUCKDB

    @property
    def place(self) -> str:
        """Where the tables are, for people."""
        return self.tables if self.kind == SPARK else f"{self.project}.{self.dataset}"

    def named(self, kind: str) -> EngineChoice:
        """The engine that a command names, with what the workspace says about it.

        Raises:
            ConfigurationError: BigQuery is named, and the workspace has no project and dataset for it.
        """
        if not kind or kind == self.kind:
            return self
        if kind == BIGQUERY:
            raise ConfigurationError(
                "gitops-nb.yaml names no project and dataset of BigQuery",
                hint="Write `engine: {bigquery: {project: PROJECT, dataset: DATASET}}`.",
            )
        return EngineChoice(kind)

    def at(self, mode: str, *, own: Path, root: Path) -> EngineChoice:
        """The same with a place of its own for a mode: ``own/tables``, or below what the workspace names."""
        if self.kind != SPARK:
            return replace(self, mode=mode)
        if not self.tables:
            return replace(self, mode=mode, tables=str(own / "tables"))
        base = self.tables if self.tables.startswith("gs://") else str(root / self.tables)
        return replace(self, mode=mode, tables=f"{base.rstrip('/')}/{mode}")


def read_engine(value: object) -> EngineChoice:
    """Reads ``engine`` of gitops-nb.yaml: a name, or one name with its options.

    >>> read_engine({"bigquery": {"project": "acme-data", "dataset": "dora"}}).place
    'acme-data.dora'

    Raises:
        ValueError: It is neither; the message says what is due.
    """
    if value is None:
        return EngineChoice()
    options: object
    if isinstance(value, str):
        kind, options = value, {}
    elif isinstance(value, dict) and len(value) == 1:
        ((kind, options),) = value.items()
        options = {} if options is None else options
    else:
        raise ValueError(f"one of {', '.join(KINDS)} is due, alone or with its options")
    if kind not in KINDS:
        raise ValueError(f"{kind!r}; allowed: {', '.join(KINDS)}")
    if not isinstance(options, dict):
        raise ValueError(f"options of {kind} are due, not {options!r}")  # noqa: TRY004  one kind of error
    unknown = [str(name) for name in options if name not in _OPTIONS[kind]]
    if unknown:
        allowed = ", ".join(_OPTIONS[kind]) or "none"
        raise ValueError(f"{kind} has no option {', '.join(unknown)}; allowed: {allowed}")
    texts = {k: v for k, v in options.items() if k not in ("settings", "deadline_s")}
    for name, text in texts.items():
        if not isinstance(text, str):
            raise ValueError(f"{name}: text is due, not {text!r}")  # noqa: TRY004  the same
    deadline_s = options.get("deadline_s", DEADLINE_S)
    if isinstance(deadline_s, bool) or not isinstance(deadline_s, int) or deadline_s < 1:
        raise ValueError(f"deadline_s: whole seconds are due, not {deadline_s!r}")
    found = EngineChoice(
        kind, settings=_settings(options.get("settings")), deadline_s=deadline_s, **texts
    )
    if not _SESSION.fullmatch(found.session):
        raise ValueError(
            f"session: {found.session!r}; allowed: local, local[N], environment, yarn, spark://HOST:PORT, sc://HOST:PORT"
        )
    if kind == BIGQUERY and not (
        _PROJECT.fullmatch(found.project) and _DATASET.fullmatch(found.dataset)
    ):
        raise ValueError("bigquery needs the names of a project and a dataset")
    return found


def _settings(value: object) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"settings: names and values of Spark's are due, not {value!r}")  # noqa: TRY004  one kind of error
    for name, setting in value.items():
        if not isinstance(name, str) or not _SETTING.fullmatch(name):
            raise ValueError(f"settings: {name!r} is no setting of Spark's")
        if _SECRET.search(name):
            # The file lies in a repository, and the request of a run in its record.
            raise ValueError(
                f"settings: {name} may hold a secret; set it in spark-defaults.conf and use `session: environment`"
            )
        if not isinstance(setting, str | int | float):
            raise ValueError(f"settings: {name} has no plain value")  # noqa: TRY004  the same
    return {name: _plain(setting) for name, setting in value.items()}


def _plain(setting: object) -> str:
    return str(setting).lower() if isinstance(setting, bool) else str(setting)
