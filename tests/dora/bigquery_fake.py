"""BigQuery as its REST interface answers, over DuckDB: statements are read in BigQuery's dialect and run in DuckDB's.

It was never compared with the service. Answers have the form of the reference (jobs.query, jobs.getQueryResults, jobs.get:
``jobReference``, ``jobComplete``, ``sessionInfo``, ``rows`` of ``f`` and ``v`` with all values as text, ``pageToken``).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

import duckdb
import sqlglot
from sqlglot import exp

PAGE = 40


@dataclass
class Answer:
    """What a transport gives back."""

    status_code: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)

    def json(self) -> Any:
        return self.body


def refused(status: int, message: str) -> Answer:
    """An error as Google's interfaces tell it."""
    return Answer(status, {"error": {"code": status, "message": message, "errors": []}})


class FakeBigQuery:
    """One project with one dataset. ``is_slow`` queries never end."""

    def __init__(self, folder) -> None:
        self.folder = folder
        self.database = duckdb.connect()
        self.database.execute('create schema "_SESSION"')
        self.database.execute("create macro ieee_divide(a, b) as a / b")
        self.jobs: dict[str, list[Any]] = {}
        self.uploads: dict[str, Any] = {}
        self.statements: list[str] = []
        self.calls: list[tuple[str, str]] = []
        self.sessions: list[str] = []
        self.most_rows = 0
        self.is_slow = False
        self.has_dataset = True
        self.deadlines: list[float | None] = []

    def request(self, method: str, url: str, *, timeout=None, **more: Any) -> Answer:
        """One call."""
        path = url.removeprefix("https://bigquery.googleapis.com")
        self.calls.append((method, path))
        self.deadlines.append(timeout)
        if method == "POST" and path.endswith("/queries"):
            return self._query(more["json"])
        if method == "GET" and "/queries/" in path:
            return self._results(path.rpartition("/")[2], more["params"])
        if method == "POST" and path.startswith("/upload/"):
            return self._begin_load(more["json"])
        if method == "PUT":
            return self._part(path, more["data"], more["headers"]["Content-Range"])
        if method == "POST" and path.endswith("/cancel"):
            return Answer(200, {"job": {"status": {"state": "DONE"}}})
        if method == "GET" and "/jobs/" in path:
            return Answer(200, {"status": {"state": "DONE"}})
        raise AssertionError((method, path))

    def tables(self) -> set[str]:
        """Names of the tables in the dataset."""
        return {row[0] for row in self.database.execute("show tables").fetchall()}

    def _query(self, body: dict[str, Any]) -> Answer:
        assert body["useLegacySql"] is False
        assert body["defaultDataset"] == {"projectId": "acme-data", "datasetId": "dora"}
        text = body["query"]
        self.statements.append(text)
        session = ""
        if body.get("createSession"):
            session = f"session-{len(self.sessions)}"
            self.sessions.append(session)
        for pair in body.get("connectionProperties", []):
            assert pair == {"key": "session_id", "value": self.sessions[-1]}
        try:
            rows = [] if text.startswith("call ") else self._run(text)
        except duckdb.CatalogException as error:
            return refused(404, f"Not found: Table acme-data:dora.x was not found: {error}")
        job = f"job_{len(self.jobs)}"
        self.jobs[job] = rows
        self.most_rows = max(self.most_rows, len(rows))
        answer = {
            "jobReference": {"projectId": "acme-data", "jobId": job, "location": "EU"},
            "jobComplete": False,
        }
        if session:
            answer["sessionInfo"] = {"sessionId": session}
        return Answer(200, answer)

    def _run(self, text: str) -> list[Any]:
        if not self.has_dataset:
            raise duckdb.CatalogException("Dataset")
        parsed = sqlglot.parse_one(text, read="bigquery")
        if isinstance(parsed, exp.Create) and "TEMP" in text.upper().split("AS")[0]:
            # A temporary table of a session has the qualifier _SESSION.
            parsed.this.set("db", exp.to_identifier("_SESSION", quoted=True))
            parsed.set("properties", None)
        found = self.database.execute(parsed.sql("duckdb"))
        return found.fetchall() if isinstance(parsed, exp.Query) else []

    def _results(self, job: str, params: dict[str, Any]) -> Answer:
        assert params["location"] == "EU"
        if self.is_slow:
            return Answer(
                200, {"jobComplete": False, "jobReference": {"jobId": job, "location": "EU"}}
            )
        rows, at = self.jobs[job], int(params.get("pageToken", 0))
        body: dict[str, Any] = {
            "jobComplete": True,
            "jobReference": {"projectId": "acme-data", "jobId": job, "location": "EU"},
            "totalRows": str(len(rows)),
        }
        page = [{"f": [{"v": _text(value)} for value in row]} for row in rows[at : at + PAGE]]
        if page:
            body["rows"] = page
        if at + PAGE < len(rows):
            body["pageToken"] = str(at + PAGE)
        return Answer(200, body)

    def _begin_load(self, body: dict[str, Any]) -> Answer:
        if not self.has_dataset:
            return refused(404, "Not found: Dataset acme-data:dora")
        place = f"https://bigquery.googleapis.com/upload/{len(self.uploads)}"
        load = body["configuration"]["load"]
        assert (load["sourceFormat"], load["writeDisposition"]) == ("PARQUET", "WRITE_TRUNCATE")
        self.uploads[place] = (load, bytearray())
        return Answer(200, {}, {"Location": place})

    def _part(self, path: str, data: bytes, place: str) -> Answer:
        load, content = self.uploads[f"https://bigquery.googleapis.com{path}"]
        first, last, size = map(int, re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", place).groups())
        assert (first, last + 1) == (len(content), len(content) + len(data))
        content += data
        if len(content) < size:
            return Answer(308, {})
        table = load["destinationTable"]["tableId"]
        file = self.folder / f"{table}.parquet"
        file.write_bytes(content)
        names = [column["name"] for column in load["schema"]["fields"]]
        self.database.execute(
            f"create or replace table {table} as select {', '.join(names)} from '{file}'"
        )
        return Answer(
            200, {"jobReference": {"projectId": "acme-data", "jobId": table, "location": "EU"}}
        )


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return json.dumps(value) if isinstance(value, bool) else str(value)
