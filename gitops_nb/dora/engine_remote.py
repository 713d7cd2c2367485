"""An engine that is elsewhere: facts stay where a publication put them, and rows of results come as Arrow tables."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import duckdb
import ibis
import ibis.expr.types as ir
import pandas as pd
import pyarrow as pa

from gitops_nb.dora.definition import Moment
from gitops_nb.dora.engine import in_order
from gitops_nb.dora.expressions import unbound
from gitops_nb.dora.publishing import Publication
from gitops_nb.errors import TimedOut

_PLACE = ("service", "environment", "deployment_id")
_T = TypeVar("_T")


class Warehouse(Protocol):
    """What differs between engines that are elsewhere: their SQL, and how a query and its rows travel."""

    dialect: str
    """Its name for sqlglot."""
    publication: Publication
    """The tables that are read."""

    def stored(self, name: str) -> ir.Table:
        """A published table, under the name that it has there."""

    def compile(self, expression: ir.Table) -> str:
        """The SQL of an expression on stored tables."""

    def query(self, text: str, schema: pa.Schema) -> pa.Table:
        """The rows of a query.

        Raises:
            UnavailableError: It does not answer within its deadline, or refuses.
        """

    def keep(self, name: str, text: str, schema: ibis.Schema) -> ir.Table:
        """Holds the rows of a query until the engine is left."""


@dataclass(frozen=True, slots=True)
class RemoteEngine:
    """The facts in a warehouse; ``tables`` says what each fact table is there."""

    warehouse: Warehouse
    tables: Mapping[str, ir.Table]
    is_native: bool = False

    @classmethod
    def over(
        cls, warehouse: Warehouse, *, services: Sequence[str] = (), moment: Moment
    ) -> RemoteEngine:
        """The published tables, only some services when any are named, with deployments at the definition's moment."""
        return cls(warehouse, _selected(warehouse, services, moment))

    def whole(self) -> RemoteEngine:
        """The tables as they were published."""
        return RemoteEngine.over(self.warehouse, moment=Moment.COMMITTED)

    def sql(self, expression: ir.Table) -> str:
        """The warehouse's SQL for an expression on the fact tables."""
        names = {unbound()[name].op(): found.op() for name, found in self.tables.items()}
        return self.warehouse.compile(expression.op().replace(names).to_expr())

    def arrow(self, expression: ir.Table) -> pa.Table:
        """The rows of an expression, with the types that it says."""
        schema = arrow_schema(expression.schema())
        return self.warehouse.query(self.sql(expression), schema)

    def frame(self, expression: ir.Table) -> pd.DataFrame:
        """The rows of an expression as a frame, with the types that DuckDB gives."""
        answer = self.arrow(expression)
        with duckdb.connect() as connection:
            found: pd.DataFrame = connection.from_arrow(answer).df()
        return found

    def rows(self, expression: ir.Table) -> list[tuple[Any, ...]]:
        """The rows of an expression, sorted."""
        columns = [column.to_pylist() for column in self.arrow(expression).columns]
        return in_order(list(zip(*columns, strict=True)))

    def keep(self, name: str, expression: ir.Table) -> ir.Table:
        """Computes an expression once, for those that build on it; gives the table that holds its rows."""
        return self.warehouse.keep(name, self.sql(expression), expression.schema())

    def count(self, text: str) -> int:
        """The one number that a query in the warehouse's own SQL gives."""
        answer = self.warehouse.query(text, pa.schema([("n", pa.int64())]))
        return int(answer.column(0)[0].as_py())


def arrow_schema(schema: ibis.Schema) -> pa.Schema:
    """The Arrow types of an expression's columns, any of which may be null."""
    return pa.schema([pa.field(f.name, f.type, nullable=True) for f in schema.to_pyarrow()])


def _selected(
    warehouse: Warehouse, services: Sequence[str], moment: Moment
) -> Mapping[str, ir.Table]:
    stored = {name: warehouse.stored(name) for name in unbound()}
    if services:
        stored = {n: t.filter(t.service.isin(tuple(services))) for n, t in stored.items()}
    if moment is Moment.COMMITTED:
        return stored
    deployment, arrived = stored["deployment"], stored["change_deployment"]
    at_s = ibis.coalesce(deployment.synced_s, deployment.finished_s)
    if moment is Moment.HEALTHY:
        at_s = ibis.coalesce(deployment.healthy_s, at_s)
    moved = deployment.mutate(finished_s=at_s)
    times = moved.group_by(_PLACE).agg(moved_s=moved.finished_s.min())
    times = times.rename({f"moved_{name}": name for name in _PLACE})
    joined = arrived.left_join(times, [arrived[n] == times[f"moved_{n}"] for n in _PLACE])
    columns = {name: joined[name] for name in arrived.columns}
    columns["finished_s"] = ibis.coalesce(joined.moved_s, joined.finished_s)
    return {**stored, "deployment": moved, "change_deployment": joined.select(**columns)}


def within(
    deadline_s: float, what: str, call: Callable[[], _T], *, cancel: Callable[[], None]
) -> _T:
    """What a call gives, that has no deadline of its own; one that takes longer is cancelled and left.

    Raises:
        TimedOut: It did not end.
    """
    answers: queue.SimpleQueue[tuple[_T | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put((call(), None))
        except BaseException as error:  # noqa: BLE001  raised where it is waited for
            answers.put((None, error))

    # Nothing waits for it when the process ends.
    threading.Thread(target=run, name=what, daemon=True).start()
    try:
        found, error = answers.get(timeout=deadline_s)
    except queue.Empty:
        cancel()
        raise TimedOut(
            f"{what} took more than {deadline_s:.0f} s and was cancelled",
            hint="Ask for a shorter window, or raise deadline_s of the engine in gitops-nb.yaml.",
        ) from None
    if error is not None:
        raise error
    return found  # type: ignore[return-value]  # a call without an error has an answer
