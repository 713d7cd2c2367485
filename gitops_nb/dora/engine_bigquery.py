"""Facts in BigQuery: tables of a dataset, loaded from a store, asked over its REST interface.

    DATASET.MODE_current             one row: which tables count, as JSON (``publishing.Publication``)
    DATASET.MODE_TABLE_VERSION       the tables of a publication; those of the one before it stay until the next

The client is requests with Google's credentials, which the bucket's client brings; no further package is needed.
Source: cloud.google.com/bigquery/docs/reference/rest/v2, methods jobs.query, jobs.getQueryResults, jobs.insert, jobs.get.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir
import pyarrow as pa
from sqlglot import exp

from gitops_nb.catalog.engines import EngineChoice
from gitops_nb.dora import publishing
from gitops_nb.dora.expressions import unbound
from gitops_nb.dora.fact_tables import FACTS
from gitops_nb.dora.publishing import Publication, publication_of
from gitops_nb.dora.store import FactStore
from gitops_nb.errors import ConfigurationError, TimedOut, UnavailableError, UsageError
from gitops_nb.model import Json

SCOPE = "https://www.googleapis.com/auth/bigquery"
URL = "https://bigquery.googleapis.com"
_CALL_S = 60.0
"""How long one HTTP call may take; a query is waited for in several."""
_WAIT_S = 10.0
_PAGE = 50_000
_CHUNK = 8 << 20
_TYPES = {"str": "STRING", "int64": "INT64", "Int64": "INT64", "bool": "BOOL"}


def connect() -> Any:
    """An HTTP session that has Google's credentials of this environment.

    Raises:
        ConfigurationError: There are none.
    """
    from google import auth
    from google.auth.exceptions import DefaultCredentialsError
    from google.auth.transport.requests import AuthorizedSession

    try:
        credentials, _ = auth.default(scopes=[SCOPE])
    except DefaultCredentialsError as error:
        raise ConfigurationError(
            "engine: bigquery needs Google's credentials, and there are none here",
            hint="Run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS.",
        ) from error
    return AuthorizedSession(credentials)  # type: ignore[no-untyped-call]  # Google has no types for it


def ready(_: EngineChoice) -> None:
    """Checks that there are credentials, before anything is read.

    Raises:
        ConfigurationError: There are none.
    """
    connect()


class _Client:
    """The calls of the REST interface that are needed; each has a deadline."""

    def __init__(self, choice: EngineChoice) -> None:
        self.choice = choice
        self.http = connect()
        self.project = f"/bigquery/v2/projects/{choice.project}"

    def call(self, method: str, url: str, **more: Any) -> Any:
        """The answer to one call; None where there is nothing of that name."""
        where = url if url.startswith("https://") else f"{URL}{url}"
        try:
            answer = self.http.request(method, where, timeout=_CALL_S, **more)
        except (OSError, RuntimeError) as error:
            raise UnavailableError(f"BigQuery did not answer: {error}") from error
        except Exception as error:
            if not _is_of_google(error):
                raise
            raise UnavailableError(f"Google's credentials were refused: {error}") from error
        if answer.status_code == 404:
            return None
        if answer.status_code >= 400:
            raise UnavailableError(
                f"BigQuery refused the call ({answer.status_code}): {_said(answer)}",
                hint="Who runs this needs bigquery.jobUser in the project and bigquery.dataEditor in the dataset.",
            )
        return answer

    def job(self, body: Mapping[str, Json], *, until: float) -> Mapping[str, Any]:
        """Waits for a query; the first page of its answer, with what names the job."""
        found = self._whole("POST", f"{self.project}/queries", json=body)
        job = found["jobReference"]
        query = {"location": job.get("location", ""), "timeoutMs": int(_WAIT_S * 1000)}
        while not found.get("jobComplete"):
            if time.monotonic() > until:
                self.cancel(job)
                raise TimedOut(
                    f"a query in BigQuery took more than {self.choice.deadline_s} s and was cancelled",
                    hint="Ask for a shorter window, or raise deadline_s of the engine in gitops-nb.yaml.",
                )
            path = f"{self.project}/queries/{job['jobId']}"
            found = {**found, **self._whole("GET", path, params={**query, "maxResults": _PAGE})}
        return found

    def pages(self, found: Mapping[str, Any], *, until: float) -> Iterator[list[Any]]:
        """The rows of an answer, page by page."""
        job = found["jobReference"]
        while True:
            yield found.get("rows", [])
            token = found.get("pageToken")
            if not token:
                return
            if time.monotonic() > until:
                raise TimedOut(
                    f"rows from BigQuery took more than {self.choice.deadline_s} s",
                    hint="Ask for a shorter window, or raise deadline_s of the engine in gitops-nb.yaml.",
                )
            params = {
                "location": job.get("location", ""),
                "pageToken": token,
                "maxResults": _PAGE,
            }
            found = self._whole("GET", f"{self.project}/queries/{job['jobId']}", params=params)

    def cancel(self, job: Mapping[str, Any]) -> None:
        """Stops a job that took too long; it costs no more from then on."""
        params = {"location": job.get("location", "")}
        with suppress(UnavailableError):
            self.call("POST", f"{self.project}/jobs/{job['jobId']}/cancel", params=params)

    def load(self, path: Path, table: str, columns: Mapping[str, str]) -> None:
        """Loads a Parquet file as a table."""
        configuration: dict[str, Json] = {
            "destinationTable": {
                "projectId": self.choice.project,
                "datasetId": self.choice.dataset,
                "tableId": table,
            },
            "sourceFormat": "PARQUET",
            "writeDisposition": "WRITE_TRUNCATE",
            "schema": {
                "fields": [{"name": n, "type": _TYPES[kind]} for n, kind in columns.items()]
            },
        }
        until = time.monotonic() + self.choice.deadline_s
        size = path.stat().st_size
        begun = self.call(
            "POST",
            f"/upload{self.project}/jobs",
            params={"uploadType": "resumable"},
            json={"configuration": {"load": configuration}},
            headers={"X-Upload-Content-Length": str(size)},
        )
        if begun is None:
            raise self.no_dataset()
        with path.open("rb") as file:
            done = 0
            while done < size:
                part = file.read(_CHUNK)
                last = done + len(part) - 1
                answer = self.call(
                    "PUT",
                    begun.headers["Location"],
                    data=part,
                    headers={"Content-Range": f"bytes {done}-{last}/{size}"},
                )
                done = last + 1
        self._wait(answer.json()["jobReference"], until=until)

    def _wait(self, job: Mapping[str, Any], *, until: float) -> None:
        params = {"location": job.get("location", "")}
        while True:
            status = self._whole("GET", f"{self.project}/jobs/{job['jobId']}", params=params)[
                "status"
            ]
            if status["state"] == "DONE":
                break
            if time.monotonic() > until:
                self.cancel(job)
                raise TimedOut(f"loading into BigQuery took more than {self.choice.deadline_s} s")
            time.sleep(1)
        if problem := status.get("errorResult"):
            raise UnavailableError(f"BigQuery did not load the facts: {problem.get('message', '')}")

    def _whole(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        answer = self.call(method, path, **more)
        if answer is None:
            raise self.no_dataset()
        return dict(answer.json())

    def no_dataset(self) -> UsageError:
        """Says that there is nothing of these names."""
        return UsageError(
            f"BigQuery has no tables of facts in {self.choice.place}",
            hint=f"Make the dataset (`bq mk {self.choice.place.replace('.', ':')}`) and run "
            "`gitops-nb dora export --to bigquery`.",
        )


class _Queries:
    """Queries of one dataset, in a session of their own where something is to be kept."""

    def __init__(self, choice: EngineChoice, *, has_session: bool) -> None:
        self._choice = choice
        self._has_session = has_session
        self._session = ""
        self.client = _Client(choice)

    def ask(self, text: str, schema: pa.Schema | None = None) -> pa.Table:
        """The rows of a query; none without a schema."""
        until = time.monotonic() + self._choice.deadline_s
        found = self.client.job(self._body(text), until=until)
        if self._has_session and not self._session:
            # It begins with the first query, and so lies where the dataset is.
            self._session = str(found["sessionInfo"]["sessionId"])
        if schema is None:
            return pa.table({})
        return table_of(self.client.pages(found, until=until), schema)

    def current(self) -> Publication:
        """Which tables count.

        Raises:
            UsageError: There are none yet.
        """
        choice = self._choice
        schema = pa.schema([("document", pa.string())])
        rows = self.ask(f"select document from `{choice.mode}_current`", schema).to_pylist()  # noqa: S608  a word of ours
        if not rows:
            raise self.client.no_dataset()
        return publication_of(rows[0]["document"], place=choice.place)

    def _body(self, text: str) -> dict[str, Json]:
        choice = self._choice
        body: dict[str, Json] = {
            "query": text,
            "useLegacySql": False,
            "timeoutMs": int(_WAIT_S * 1000),
            "maxResults": _PAGE,
            # The same call sent again by the transport is one query.
            "requestId": secrets.token_hex(16),
            "defaultDataset": {"projectId": choice.project, "datasetId": choice.dataset},
        }
        if self._session:
            body["connectionProperties"] = [{"key": "session_id", "value": self._session}]
        elif self._has_session:
            body["createSession"] = True
        return body


class BigQueryWarehouse:
    """One session of BigQuery, which holds what is kept, and the publication that it reads."""

    dialect = "bigquery"

    def __init__(self, choice: EngineChoice) -> None:
        self._choice = choice
        self._queries = _Queries(choice, has_session=True)
        self.publication = self._queries.current()

    @classmethod
    @contextmanager
    def opened(cls, choice: EngineChoice) -> Iterator[BigQueryWarehouse]:
        """A session; what it kept is gone afterwards."""
        warehouse = cls(choice)
        try:
            yield warehouse
        finally:
            with suppress(UnavailableError, UsageError):
                warehouse.leave()

    def stored(self, name: str) -> ir.Table:
        """A published table."""
        table = f"{self._choice.mode}_{name}_{self.publication.version}"
        return ibis.table(unbound()[name].schema(), name=table)

    def compile(self, expression: ir.Table) -> str:
        """BigQuery's SQL for an expression."""
        return compiled(expression)

    def query(self, text: str, schema: pa.Schema) -> pa.Table:
        """The rows of a query, see ``Warehouse.query``."""
        return self._queries.ask(text, schema)

    def keep(self, name: str, text: str, schema: ibis.Schema) -> ir.Table:
        """Holds the rows of a query as a temporary table of the session."""
        self._queries.ask(f"create or replace temp table `{name}` as {text}")
        return ibis.table(schema, name=name, database="_SESSION")

    def leave(self) -> None:
        """Ends the session."""
        self._queries.ask("call bq.abort_session()")


def compiled(expression: ir.Table) -> str:
    """BigQuery's SQL for an expression."""
    from ibis.backends.sql.compilers.bigquery import BigQueryCompiler

    return str(BigQueryCompiler().to_sqlglot(expression).sql("bigquery"))


def _reader(kind: pa.DataType) -> Callable[[str], Any]:
    if pa.types.is_integer(kind):
        return int
    if pa.types.is_floating(kind):
        return float
    return _is_true if pa.types.is_boolean(kind) else str


def _is_true(text: str) -> bool:
    return text == "true"


def _is_of_google(error: Exception) -> bool:
    from google.auth.exceptions import GoogleAuthError

    return isinstance(error, GoogleAuthError)


def _said(answer: Any) -> str:
    try:
        return str(answer.json()["error"]["message"]).splitlines()[0]
    except (ValueError, KeyError, TypeError, IndexError):
        return "it does not say why"


def table_of(pages: Iterator[list[Any]], schema: pa.Schema) -> pa.Table:
    """Rows as the interface gives them, ``{"f": [{"v": text}, …]}``, with the types that were asked for."""
    columns: list[list[Any]] = [[] for _ in schema]
    readers = [_reader(field.type) for field in schema]
    for page in pages:
        for row in page:
            for column, reader, cell in zip(columns, readers, row["f"], strict=True):
                column.append(None if cell["v"] is None else reader(cell["v"]))
    arrays = [pa.array(c, type=field.type) for c, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def load(choice: EngineChoice, store: FactStore, *, facts: str) -> dict[str, int]:
    """Publishes a store into the dataset; returns rows by table.

    Raises:
        UsageError: The dataset is not there.
        UnavailableError: BigQuery does not answer, or refuses.
    """
    queries = _Queries(choice, has_session=False)
    try:
        before = queries.current()
    except UsageError:
        before = None
    new = publishing.begin(store, facts=facts, before=before)
    with publishing.written(store, is_split=False) as (folder, rows):
        for name, columns in FACTS.items():
            table = f"{choice.mode}_{name}_{new.version}"
            queries.client.load(folder / f"{name}.parquet", table, columns)
    document = exp.Literal.string(new.document).sql("bigquery")
    queries.ask(f"create or replace table `{choice.mode}_current` as select {document} as document")
    if before and before.before:
        for name in FACTS:
            queries.ask(f"drop table if exists `{choice.mode}_{name}_{before.before}`")
    return rows
