"""Opens the engine that a request names: DuckDB over the run's own files, or one that is elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gitops_nb.catalog.engines import BIGQUERY, EngineChoice
from gitops_nb.dora.engine import DuckEngine, Engine
from gitops_nb.dora.engine_remote import RemoteEngine, Warehouse
from gitops_nb.dora.facts import FOLDER
from gitops_nb.dora.request import DoraRequest
from gitops_nb.errors import UsageError


def ready(choice: EngineChoice) -> None:
    """Checks what an engine needs on this machine, before anything is read.

    Raises:
        ConfigurationError: Something is missing; it says what to install or to do.
    """
    if not choice.is_remote:
        return
    if choice.kind == BIGQUERY:
        from gitops_nb.dora import engine_bigquery

        engine_bigquery.ready(choice)
    else:
        from gitops_nb.dora import engine_spark

        engine_spark.ready(choice)


@contextmanager
def warehouse(choice: EngineChoice) -> Iterator[Warehouse]:
    """The warehouse of a choice.

    Raises:
        UsageError: It has no tables yet.
        UnavailableError: It does not answer.
    """
    if choice.kind == BIGQUERY:
        from gitops_nb.dora.engine_bigquery import BigQueryWarehouse

        with BigQueryWarehouse.opened(choice) as found:
            yield found
    else:
        from gitops_nb.dora.engine_spark import SparkWarehouse

        with SparkWarehouse.opened(choice) as spark:
            yield spark


@contextmanager
def remote(request: DoraRequest) -> Iterator[RemoteEngine]:
    """The published facts of a request.

    Raises:
        UsageError: There are none, or they are those of another store.
        UnavailableError: The engine does not answer.
    """
    choice = request.engine
    assert choice is not None
    with warehouse(choice) as found:
        facts = found.publication.facts
        if choice.facts and choice.facts != facts:
            raise UsageError(
                f"the tables in {choice.place} are those of {facts}, and not of {choice.facts}",
                hint=f"Run `gitops-nb dora export --to {choice.kind} --facts {choice.facts}`.",
            )
        yield RemoteEngine.over(
            found, services=request.services, moment=request.definition.deployment_time
        )


@contextmanager
def engine_of(request: DoraRequest) -> Iterator[Engine]:
    """What answers questions about the facts of a request that was observed."""
    if request.engine is None:
        with DuckEngine.over(request.workdir / FOLDER) as duck:
            yield duck
    else:
        with remote(request) as found:
            yield found
