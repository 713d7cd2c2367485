"""GitHub: the port's contract against a local HTTP server, what is collected, and the shapes of GitHub's own description."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from gitops_nb.adapters.github import GitHub
from gitops_nb.dora.collectors.github import (
    Hosted,
    collect_deployments,
    collect_pull_requests,
    collect_workflow_runs,
    deployment_row,
    pull_requests,
    workflow_row,
)
from gitops_nb.dora.collectors.incidents import Reading, collect_issues
from gitops_nb.dora.store import FactStore, Merged
from gitops_nb.errors import UnavailableError, UsageError
from tests.conftest import REPOSITORY, SHARED
from tests.dora.test_store import tree

SHOP = Hosted("cart", "cart-api", "acme/cart")
BEGIN = datetime(2026, 11, 1, tzinfo=UTC)
Answer = tuple[int, dict[str, str], object]


class Server:
    """A server whose answers a test writes; it keeps what was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.answer: Callable[[str, dict[str, str]], Answer] = lambda path, query: (200, {}, [])
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                outer.asked.append((self.path, dict(self.headers)))
                status, headers, content = outer.answer(parts.path, query)
                body = json.dumps(content).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"


class Clock:
    """A clock that only a sleep moves."""

    def __init__(self) -> None:
        self.time = BEGIN
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += timedelta(seconds=seconds)


@pytest.fixture
def server() -> Iterator[Server]:
    """A running server."""
    made = Server()
    thread = threading.Thread(target=made.http.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.http.shutdown()
    thread.join()
    made.http.server_close()


@pytest.fixture
def clock() -> Clock:
    """A clock of the test's own."""
    return Clock()


@pytest.fixture
def api(server, clock) -> GitHub:
    """The adapter with a token."""
    return GitHub(server.url, token="t0ken", clock=clock)


def paged(
    server: Server, items: list[object], size: int
) -> Callable[[str, dict[str, str]], Answer]:
    """Answers with ``size`` items per page and links as GitHub writes them."""

    def answer(path: str, query: dict[str, str]) -> Answer:
        number = int(query.get("page", "1"))
        link = f'<{server.url}{path}?page={number + 1}>; rel="next", <{server.url}{path}?page=9>; rel="last"'
        more = number * size < len(items)
        return 200, {"Link": link} if more else {}, items[(number - 1) * size : number * size]

    return answer


# -- the port ------------------------------------------------------------------------------------


def test_pages_follow_the_links_and_can_go_on(server, api):
    """All pages in order; from the address of a page the rest comes again."""
    server.answer = paged(server, [1, 2, 3, 4, 5], 2)
    found = list(api.pages("repos/a/b/pulls", {"state": "closed"}))
    assert [page.items for page in found] == [[1, 2], [3, 4], [5]]
    assert found[-1].next == ""
    rest = api.pages("repos/a/b/pulls", start=found[0].next)
    assert [page.items for page in rest] == [[3, 4], [5]]
    path, headers = server.asked[0]
    assert "state=closed" in path
    assert "per_page=100" in path
    assert headers["Authorization"] == "Bearer t0ken"
    assert headers["X-Github-Api-Version"] == "2022-11-28"


@pytest.mark.parametrize(
    ("status", "headers", "slept"),
    [
        (429, {"Retry-After": "7"}, 7),
        (403, {"Retry-After": "60"}, 60),
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(BEGIN.timestamp()) + 90)}, 91),
        (429, {}, 60),
        (502, {}, 1),
    ],
)  # fmt: skip
def test_a_limit_is_waited_for_as_long_as_github_says(server, clock, status, headers, slept):
    """Primary and secondary limits and a passing fault: one wait, then the answer."""
    api = GitHub(server.url, token="", clock=clock)
    answers = iter([(status, headers, {}), (200, {}, [1])])
    server.answer = lambda path, query: next(answers)
    assert [page.items for page in api.pages("x")] == [[1]]
    assert clock.slept == [slept]


def test_a_wait_past_the_deadline_is_refused_at_once(server, clock):
    """An hour's wait does not fit into a minute; nothing is slept."""
    server.answer = lambda path, query: (429, {"Retry-After": "3600"}, {})
    with pytest.raises(UnavailableError, match="answers 429"):
        list(GitHub(server.url, token="", clock=clock, deadline_s=60).pages("x"))
    assert clock.slept == []
    assert "Authorization" not in server.asked[0][1]


@pytest.mark.parametrize("status", [401, 403, 404, 422])
def test_a_refusal_is_not_repeated(server, api, clock, status):
    """What would be answered the same is asked once."""
    server.answer = lambda path, query: (status, {}, {"message": "no"})
    with pytest.raises(UnavailableError, match=f"answers {status}"):
        list(api.pages("x"))
    assert len(server.asked) == 1
    assert clock.slept == []


def test_a_server_that_stays_broken_ends(server, api, clock):
    """Five attempts with growing pauses."""
    server.answer = lambda path, query: (503, {}, {})
    with pytest.raises(UnavailableError, match="answers 503"):
        list(api.pages("x"))
    assert clock.slept == [1, 2, 4, 8, 16]


def test_the_token_never_leaves_for_another_server(server, api):
    """Neither a redirect nor a link to elsewhere is followed."""
    other = Server()
    thread = threading.Thread(target=other.http.serve_forever, args=(0.01,))
    thread.start()
    try:
        server.answer = lambda path, query: (302, {"Location": f"{other.url}/x"}, {})
        with pytest.raises(UnavailableError, match="answers 302"):
            list(api.pages("x"))
        server.answer = lambda path, query: (200, {"Link": f'<{other.url}/x>; rel="next"'}, [])
        with pytest.raises(UnavailableError, match="not below"):
            list(api.pages("x"))
    finally:
        other.http.shutdown()
        thread.join()
        other.http.server_close()
    assert other.asked == []


# -- what is collected ---------------------------------------------------------------------------


def pull(number: int, *, minute: int, merged: bool = True) -> dict[str, object]:
    """A closed pull request as the list shows it."""
    moment = (BEGIN + timedelta(minutes=minute)).isoformat().replace("+00:00", "Z")
    return {
        "number": number,
        "title": "secret title",
        "user": {"login": "ann"},
        "created_at": "2026-10-30T10:00:00Z",
        "updated_at": moment,
        "merged_at": moment if merged else None,
        "merge_commit_sha": f"{number:040x}",
        "head": {"ref": f"hotfix/{number}" if number == 1 else "feature"},
        "labels": [{"name": "urgent"}, {"name": "bug"}],
    }


def serve_pulls(server: Server, pulls: list[dict[str, object]], *, dies_on: str = "") -> None:
    """The list two by two, newest first, and two commits per pull request."""
    listing = paged(server, sorted(pulls, key=lambda p: str(p["updated_at"]), reverse=True), 2)

    def answer(path: str, query: dict[str, str]) -> Answer:
        if path.endswith("/commits"):
            dates = ("2026-10-29T10:00:00Z", "2026-10-28T10:00:00Z")
            return (
                200,
                {},
                [{"commit": {"author": {"name": "Ann", "date": date}}} for date in dates],
            )
        if dies_on and query.get("page") == dies_on:
            return 404, {}, {}
        return listing(path, query)

    server.answer = answer


def test_pull_requests_say_when_the_work_began(server, api, tmp_path):
    """Merged ones only, from the first author time of their commits; no name and no title is kept."""
    serve_pulls(server, [pull(1, minute=1), pull(2, minute=2, merged=False), pull(3, minute=3)])
    store = FactStore(tmp_path / "facts")
    done = collect_pull_requests(api, store, SHOP)
    assert done.rows == 2
    found = {p.sha: p for p in pull_requests(store, service="cart", repository="cart-api")}
    assert set(found) == {f"{1:040x}", f"{3:040x}"}
    one = found[f"{1:040x}"]
    assert one.first_authored_s == int(datetime(2026, 10, 28, 10, tzinfo=UTC).timestamp())
    assert one.opened_s < one.merged_s == int(BEGIN.timestamp()) + 60
    content = b"".join(data for data, _ in tree(store.folder).values())
    assert b"ann" not in content.lower()
    assert b"secret" not in content


def test_an_increment_asks_only_for_what_is_new(server, api, tmp_path):
    """Nothing new: one page, no commits, no byte. One new: its commits only."""
    pulls = [pull(n, minute=60 * n) for n in range(1, 8)]
    serve_pulls(server, pulls)
    store = FactStore(tmp_path / "facts")
    collect_pull_requests(api, store, SHOP)
    before, calls = tree(store.folder), len(server.asked)
    assert collect_pull_requests(api, store, SHOP).merged == Merged()
    assert tree(store.folder) == before
    assert len(server.asked) == calls + 1
    serve_pulls(server, [*pulls, pull(8, minute=600)])
    assert collect_pull_requests(api, store, SHOP).rows == 1
    assert sum("/pulls/8/commits" in path for path, _ in server.asked) == 1


def test_a_collection_that_dies_keeps_its_pages_and_repeats_nothing(server, api, tmp_path):
    """After a fault on page 2, page 1 is stored, the resume point has not moved, and the rest comes later."""
    pulls = [pull(n, minute=60 * n) for n in range(1, 6)]
    serve_pulls(server, pulls, dies_on="2")
    store = FactStore(tmp_path / "facts")
    with pytest.raises(UnavailableError):
        collect_pull_requests(api, store, SHOP)
    assert sorted(store.read("pull_request")["number"]) == [4, 5]
    assert store.resume_point("github pulls cart acme/cart") == {}
    serve_pulls(server, pulls)
    collect_pull_requests(api, store, SHOP)
    assert sorted(store.read("pull_request")["number"]) == [1, 2, 3, 4, 5]
    assert sum("/pulls/5/commits" in path for path, _ in server.asked) == 1


def test_a_label_that_comes_after_the_merge_is_known(server, api, tmp_path):
    """A pull request that is labelled later is listed as updated: its labels change, its commits are not asked again."""
    first = pull(1, minute=60)
    serve_pulls(server, [first])
    store = FactStore(tmp_path / "facts")
    collect_pull_requests(api, store, SHOP)
    later = {**first, "updated_at": "2026-11-20T10:00:00Z", "labels": [{"name": "hotfix"}]}
    serve_pulls(server, [later])
    collect_pull_requests(api, store, SHOP)
    assert store.read("pull_request")["labels"].tolist() == ["hotfix"]
    assert sum("/pulls/1/commits" in path for path, _ in server.asked) == 1


def test_deployments_that_die_on_the_way_ask_for_no_status_twice(server, api, tmp_path):
    """What the first page named is stored when the second one fails, and not asked about again."""
    items = [
        {"id": n, "sha": "a" * 40, "ref": f"v{n}", "environment": "production", "created_at": f"2026-11-0{n}T10:00:00Z"}
        for n in range(1, 5)
    ]  # fmt: skip
    listing = paged(server, items, 2)
    is_whole = False

    def answer(path: str, query: dict[str, str]) -> Answer:
        if path.endswith("/statuses"):
            return 200, {}, [{"id": 1, "state": "success", "created_at": "2026-11-09T10:00:00Z"}]
        return (404, {}, {}) if query.get("page") == "2" and not is_whole else listing(path, query)

    server.answer = answer
    store = FactStore(tmp_path / "facts")
    with pytest.raises(UnavailableError):
        collect_deployments(api, store, SHOP, environments=("production",))
    assert sorted(store.read("deployment")["deployment_id"]) == ["github:1", "github:2"]

    is_whole = True
    collect_deployments(api, store, SHOP, environments=("production",))
    assert len(store.read("deployment")) == 4
    assert sum("/deployments/1/statuses" in path for path, _ in server.asked) == 1


def test_deployments_have_their_first_final_status(server, api, tmp_path):
    """Success, failure, one that goes on, and one of an environment that the fleet does not have."""
    names = {1: "production", 2: "production", 3: "production", 4: "pr-preview"}
    states = {1: ["pending", "success", "inactive"], 2: ["in_progress", "failure"], 3: ["queued"]}
    items = [
        {"id": n, "sha": "a" * 40, "ref": f"v{n}", "environment": name, "created_at": f"2026-11-0{n}T10:00:00Z"}
        for n, name in names.items()
    ]  # fmt: skip

    def answer(path: str, query: dict[str, str]) -> Answer:
        if not path.endswith("/statuses"):
            return 200, {}, items
        number = int(path.split("/")[-2])
        found = [
            {"id": i, "state": state, "created_at": f"2026-11-0{number}T10:0{i}:00Z"}
            for i, state in enumerate(states[number], start=1)
        ]
        return 200, {}, found[::-1]

    server.answer = answer
    store = FactStore(tmp_path / "facts")
    collect_deployments(api, store, SHOP, environments=("staging", "production"))
    table = store.read("deployment").set_index("deployment_id")
    assert table["outcome"].to_dict() == {"github:1": "succeeded", "github:2": "failed"}
    assert (table["finished_s"] - table["started_s"]).tolist() == [120, 120]
    assert store.read("exclusion")["environment"].tolist() == ["pr-preview"]


def test_a_recorded_deployment_status_webhook_is_read():
    """GitHub's own payload: its deployment and status fit the parser."""
    path = SHARED / "data/dora/webhooks_dorametrix/github_deployment-status.json"
    if not path.is_file():
        pytest.skip(f"the recorded webhooks are absent, GitHub's shape was NOT checked: {path}")
    document = json.loads(path.read_text())
    document = document.get("body", document)
    document = json.loads(document) if isinstance(document, str) else document
    row = deployment_row(document["deployment"], [document["deployment_status"]], service="cart")
    assert row is not None
    assert row["outcome"] == "succeeded"
    assert row["revision"] == document["deployment"]["sha"]
    assert row["finished_s"] >= row["started_s"]


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ({}, "succeeded"),
        ({"conclusion": "failure"}, "failed"),
        ({"conclusion": "cancelled"}, None),
        ({"status": "in_progress", "conclusion": None}, None),
    ],
)
def test_workflow_runs_that_ended_are_deployments(change, outcome):
    """Cancelled, skipped and running ones are none."""
    run = {"id": 7, "run_attempt": 2, "status": "completed", "conclusion": "success", "event": "push", "head_sha": "a" * 40, "head_branch": "main", "created_at": "2026-11-01T10:00:00Z", "run_started_at": "2026-11-01T10:01:00Z", "updated_at": "2026-11-01T10:05:00Z"}  # fmt: skip
    row = workflow_row({**run, **change}, service="cart", environment="production")
    assert (row and row["outcome"]) == outcome
    if row:
        assert row["finished_s"] - row["started_s"] == 240
        assert row["trigger"] == "automated"


def test_runs_of_a_workflow_are_collected_once_and_go_on_where_they_ended(server, tmp_path):
    """Two runs first; then a third, and the attempt that a known one made again; an object, not a list, is the answer."""

    def run(number: int, *, attempt: int = 1, conclusion: str = "success") -> dict[str, object]:
        at = (BEGIN + timedelta(hours=number)).isoformat()
        return {"id": number, "run_attempt": attempt, "status": "completed", "conclusion": conclusion, "event": "push", "head_sha": f"{number:040x}", "head_branch": "main", "created_at": at, "run_started_at": at, "updated_at": at}  # fmt: skip

    runs = [run(2, conclusion="failure"), run(1)]
    server.answer = lambda path, query: (200, {}, {"total_count": len(runs), "workflow_runs": runs})
    store, api = FactStore(tmp_path / "facts"), GitHub(server.url, token="t", clock=Clock())

    def collected():
        return collect_workflow_runs(
            api, store, SHOP, workflow="deploy.yml", environment="production"
        )

    collected()
    runs = [run(3), run(2, attempt=2), run(1)]
    collected()

    table = store.read("deployment").sort_values("deployment_id")
    assert list(zip(table["deployment_id"], table["outcome"], strict=True)) == [
        ("github-run:1.1", "succeeded"),
        ("github-run:2.1", "failed"),
        ("github-run:2.2", "succeeded"),
        ("github-run:3.1", "succeeded"),
    ]
    before = tree(store.folder)
    assert collected().merged == Merged()
    assert tree(store.folder) == before
    assert server.asked[0][0].startswith("/repos/acme/cart/actions/workflows/deploy.yml/runs")


def issue(number: int, *labels: str, closed: bool = False, updated: int | None = None) -> dict:
    """An issue as GitHub lists it."""
    at = BEGIN + timedelta(hours=number)
    return {
        "number": number,
        "labels": [{"name": label} for label in ("incident", *labels)],
        "created_at": at.isoformat(),
        "closed_at": (at + timedelta(minutes=90)).isoformat() if closed else None,
        "updated_at": (BEGIN + timedelta(hours=updated or number)).isoformat(),
        "title": "nobody reads this",
        "user": {"login": "nobody-is-named"},
    }


READING = Reading(("staging", "production"), "production", int((BEGIN + timedelta(days=9)).timestamp()), {})  # fmt: skip


def test_issues_are_incidents_and_the_next_time_those_that_changed(server, tmp_path):
    """Labels say service and environment; an issue that was closed meanwhile ends its incident; pull requests are none."""
    pull = {**issue(4, "service:cart"), "pull_request": {"url": "x"}}
    issues = [issue(1, "service:cart", "environment:staging"), issue(2, "service:cart"), pull]
    queries: list[dict[str, str]] = []

    def answer(path: str, query: dict[str, str]) -> Answer:
        assert path == "/repos/acme/ops/issues"
        queries.append(query)
        return 200, {}, issues

    server.answer = answer
    store, api = FactStore(tmp_path / "facts"), GitHub(server.url, token="t", clock=Clock())
    assert collect_issues(api, store, "acme/ops", READING).rows == 2
    issues = [issue(2, "service:cart", closed=True, updated=8)]
    assert collect_issues(api, store, "acme/ops", READING).rows == 1

    table = store.read("incident").sort_values("incident_id")
    assert list(zip(table["incident_id"], table["environment"], table["resolved_s"].notna(), strict=True)) == [
        ("acme/ops#1", "staging", False),
        ("acme/ops#2", "production", True),
    ]  # fmt: skip
    assert queries[0] | {"page": "", "per_page": ""} == {"labels": "incident", "state": "all", "sort": "updated", "direction": "asc", "page": "", "per_page": ""}  # fmt: skip
    assert queries[1]["since"] == (BEGIN + timedelta(hours=4)).isoformat()
    before = tree(store.folder)
    assert collect_issues(api, store, "acme/ops", READING).merged == Merged()
    assert tree(store.folder) == before
    assert "nobody" not in json.dumps([str(row) for row in table.itertuples()])


@pytest.mark.parametrize(
    ("labels", "problem"),
    [((), "no label like service:checkout"), (("service:cart", "environment:lab"), "unknown environment 'lab'")],
)  # fmt: skip
def test_an_issue_that_says_too_little_is_named_and_nothing_is_written(server, tmp_path, labels, problem):  # fmt: skip
    """By repository and number, so that somebody can put the label there."""
    server.answer = lambda path, query: (200, {}, [issue(1, "service:cart"), issue(7, *labels)])
    store, api = FactStore(tmp_path / "facts"), GitHub(server.url, token="t", clock=Clock())
    with pytest.raises(UsageError, match=f"acme/ops#7: .*{problem}"):
        collect_issues(api, store, "acme/ops", READING)
    assert tree(store.folder) == {}


# -- the shapes that GitHub describes ------------------------------------------------------------

USED = {
    "/repos/{owner}/{repo}/pulls": ("number", "created_at", "updated_at", "merged_at", "merge_commit_sha", "head.ref", "labels.name"),
    "/repos/{owner}/{repo}/pulls/{pull_number}/commits": ("commit.author.date",),
    "/repos/{owner}/{repo}/deployments": ("id", "sha", "ref", "environment", "created_at"),
    "/repos/{owner}/{repo}/deployments/{deployment_id}/statuses": ("id", "state", "created_at"),
    "/repos/{owner}/{repo}/actions/runs": (
        "workflow_runs.id", "workflow_runs.status", "workflow_runs.conclusion", "workflow_runs.event",
        "workflow_runs.head_sha", "workflow_runs.head_branch", "workflow_runs.run_attempt",
        "workflow_runs.run_started_at", "workflow_runs.created_at", "workflow_runs.updated_at",
    ),
    "/repos/{owner}/{repo}/issues": ("number", "created_at", "closed_at", "updated_at", "labels", "pull_request"),
}  # fmt: skip


@pytest.mark.parametrize("path", USED)
def test_every_field_that_is_read_is_in_githubs_description(path):
    """Against npm @octokit/openapi, where it is installed."""
    named = os.environ.get("OCTOKIT_OPENAPI") or (
        REPOSITORY / "node_modules/@octokit/openapi/generated/api.github.com.json"
    )
    if not Path(named).is_file():
        pytest.skip(
            "npm @octokit/openapi is not installed, GitHub's shapes were NOT checked against it"
        )
    document = json.loads(Path(named).read_text())
    answer = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"][
        "schema"
    ]
    for name in USED[path]:
        schema = answer
        for part in name.split("."):
            schema = _resolved(document, schema)
            while schema.get("type") == "array":
                schema = _resolved(document, schema["items"])
            assert part in schema["properties"], f"{path}: {name}"
            schema = schema["properties"][part]


def _resolved(document: dict, schema: dict) -> dict:
    while True:
        if "$ref" in schema:
            _, *keys = schema["$ref"].split("/")
            schema = document
            found: dict = document
            for key in keys:
                found = found[key]
            schema = found
        elif "anyOf" in schema:
            schema = schema["anyOf"][0]
        elif "allOf" in schema:
            schema = schema["allOf"][0]
        else:
            return schema
