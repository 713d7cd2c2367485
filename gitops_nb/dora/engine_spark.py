"""Facts on Spark: a session on this machine, of a cluster, or of Dataproc Serverless; it reads published Parquet files."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, partial
from importlib.util import find_spec
from typing import Any, TypeVar

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from gitops_nb.catalog.engines import EngineChoice
from gitops_nb.dora.engine_remote import within
from gitops_nb.dora.expressions import unbound
from gitops_nb.dora.publishing import CURRENT, Publication, publication_of
from gitops_nb.errors import ConfigurationError, UnavailableError, UsageError, described, said_by

_GLOB = re.compile(r"([\\{}\[\]*?])")
_OWN = {"spark.app.name": "gitops-nb dora", "spark.ui.showConsoleProgress": "false"}
# Nobody else's machine has anything to ask a session of this one.
_LOCAL = {
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.ui.enabled": "false",
}
_T = TypeVar("_T")


def ready(choice: EngineChoice) -> None:
    """Checks what a session needs on this machine, before anything is read.

    Raises:
        ConfigurationError: PySpark or Java is missing.
    """
    if find_spec("pyspark") is None:
        raise ConfigurationError(
            "engine: spark needs PySpark, which is not installed",
            hint="Run `pip install 'gitops-nb[spark]'`.",
        )
    home = os.environ.get("JAVA_HOME")
    java = f"{home}/bin/java" if home else "java"
    if not _is_connect(choice) and shutil.which(java) is None:
        raise ConfigurationError(
            f"engine: spark needs Java, and there is no {java}",
            hint="Install a Java runtime of version 17 or later, or set JAVA_HOME.",
        )


def _is_connect(choice: EngineChoice) -> bool:
    remote = os.environ.get("SPARK_REMOTE") if choice.session == "environment" else choice.session
    return (remote or "").startswith("sc://")


class SparkWarehouse:
    """One session and the publication that it reads."""

    dialect = "spark"

    def __init__(self, choice: EngineChoice) -> None:
        self._choice = choice
        self._tag = f"gitops_nb_{secrets.token_hex(4)}"
        self._views: list[str] = []
        key = (choice.session, tuple(sorted(choice.settings.items())))
        self._session: Any = self._asked("Spark's start", lambda: _session(*key))
        place = choice.tables if choice.tables.startswith("gs://") else f"file://{choice.tables}"
        self._place = _GLOB.sub(r"\\\1", place)
        self.publication = self._publication()
        for name in unbound():
            self._view(name, partial(self._read, name))

    @classmethod
    @contextmanager
    def opened(cls, choice: EngineChoice) -> Iterator[SparkWarehouse]:
        """A session that is left as it was found; what it kept is let go."""
        warehouse = cls(choice)
        try:
            yield warehouse
        finally:
            with suppress(Exception):
                warehouse.leave()

    def stored(self, name: str) -> ir.Table:
        """A published table."""
        return ibis.table(unbound()[name].schema(), name=self._named(name))

    def compile(self, expression: ir.Table) -> str:
        """Spark's SQL for an expression."""
        from ibis.backends.sql.compilers.pyspark import PySparkCompiler

        return str(PySparkCompiler().to_sqlglot(expression).sql(self.dialect))

    def query(self, text: str, schema: pa.Schema) -> pa.Table:
        """The rows of a query, see ``Warehouse.query``."""
        found = self._asked("a query on Spark", lambda: _arrow(self._session.sql(text)))
        return found.rename_columns(schema.names).cast(schema)

    def keep(self, name: str, text: str, schema: ibis.Schema) -> ir.Table:
        """Holds the rows of a query in Spark's memory, and on its disk where that is too small."""
        self._view(f"kept_{name}", lambda: self._session.sql(text).cache())
        return ibis.table(schema, name=self._named(f"kept_{name}"))

    def leave(self) -> None:
        """Lets go of what was kept."""
        for view in self._views:
            if "_kept_" in view:
                self._session.table(view).unpersist()
            self._session.catalog.dropTempView(view)

    def _publication(self) -> Publication:
        from pyspark.errors import AnalysisException

        def read() -> str:
            lines = self._session.read.text(f"{self._place}/{CURRENT}", wholetext=True).collect()
            return str(lines[0][0]) if lines else ""

        try:
            found = self._asked("Spark's first look at the tables", read, passes=AnalysisException)
        except AnalysisException as error:
            raise UsageError(
                f"no tables in {self._choice.tables}", hint="Run `gitops-nb dora collect` first."
            ) from error
        return publication_of(found, place=self._choice.tables)

    def _read(self, name: str) -> Any:
        return self._session.read.parquet(f"{self._place}/{self.publication.version}/{name}")

    def _view(self, name: str, rows: Callable[[], Any]) -> None:
        def make() -> None:
            rows().createOrReplaceTempView(self._named(name))

        self._asked("a table on Spark", make)
        self._views.append(self._named(name))

    def _named(self, name: str) -> str:
        # A notebook's own session may have views of its own.
        return f"{self._tag}_{name}"

    def _asked(
        self, what: str, call: Callable[[], _T], *, passes: type[Exception] | tuple[()] = ()
    ) -> _T:
        def tagged() -> _T:
            if hasattr(self, "_session"):
                self._session.addTag(self._tag)
            return call()

        def cancel() -> None:
            if hasattr(self, "_session"):
                self._session.interruptTag(self._tag)

        from py4j.protocol import Py4JError  # type: ignore[import-untyped]  # it has no types
        from pyspark.errors import PySparkException

        try:
            return within(self._choice.deadline_s, what, tagged, cancel=cancel)
        except passes:
            raise
        except (PySparkException, Py4JError, OSError, RuntimeError) as error:
            raise UnavailableError(
                f"{what} failed: {described(type(error).__name__, said_by(error))}",
                hint="Look at Spark's own log; nothing was written.",
            ) from error


def _arrow(found: Any) -> pa.Table:
    with warnings.catch_warnings():
        # PySpark warns about pandas from version 3 on, which has no part in this.
        warnings.simplefilter("ignore", FutureWarning)
        return found.toArrow()


@cache
def _session(session: str, settings: tuple[tuple[str, str], ...]) -> Any:
    """A session by its configuration; it lives as long as the process, or is the one that a notebook has already."""
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    is_local = session.startswith("local")
    if is_local:
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        from pyspark.sql import SparkSession

        builder = SparkSession.builder
        for name, value in {**_OWN, **(_LOCAL if is_local else {}), **dict(settings)}.items():
            builder = builder.config(name, value)
        if session.startswith("sc://"):
            builder = builder.remote(session)
        elif session != "environment":
            builder = builder.master("local[*]" if session == "local" else session)
        found = builder.getOrCreate()
    with suppress(Exception):
        # Spark Connect has no context of its own.
        found.sparkContext.setLogLevel("ERROR")
    return found
