"""The Kubernetes adapter against a small local server that answers badly."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from kubernetes.client import ApiClient, Configuration

from gitops_nb.adapters import apiserver, kubernetes
from gitops_nb.adapters.kubeconfig import Allowed
from gitops_nb.adapters.kubernetes import KubernetesCluster, connect
from gitops_nb.errors import ConfigurationError, ConflictError, UnavailableError
from gitops_nb.model import ObjectRef

REF = ObjectRef("v1", "ConfigMap", "a", "default")
CORE = {
    "resources": [{"name": "configmaps", "kind": "ConfigMap"}, {"name": "pods/log", "kind": "Pod"}]
}
MANIFEST = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "a", "namespace": "default"},
    "data": {"x": "1"},
}
Route = Callable[[BaseHTTPRequestHandler], None]


class Server:
    """A server whose answers a test writes; it remembers what it was asked."""

    def __init__(self) -> None:
        self.routes: dict[str, list[Route]] = {"GET /api/v1": [reply(200, CORE)]}
        self.asked: list[tuple[str, str, dict[str, str], Any]] = []
        self.is_over = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(size)) if size else None
                server.asked.append((self.command, self.path, dict(self.headers), body))
                route = f"{self.command} {self.path.partition('?')[0]}"
                answers = server.routes[route]
                with contextlib.suppress(ConnectionError):
                    (answers.pop(0) if len(answers) > 1 else answers[0])(self)

            do_GET = do_POST = do_PATCH = handle_any  # noqa: N815  names of the standard library

            def log_message(self, *arguments: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def count(self, method: str, path: str) -> int:
        """How often a path was asked for."""
        return sum((m, p.partition("?")[0]) == (method, path) for m, p, _, _ in self.asked)


def reply(status: int, body: Any, **headers: str) -> Route:
    """A whole answer."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def stream(*events: Any) -> Route:
    """A watch that sends some events and closes."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        for event in events:
            handler.wfile.write(json.dumps(event).encode() + b"\n")
        handler.close_connection = True

    return answer


@pytest.fixture
def server() -> Iterator[Server]:
    """A server for one test."""
    found = Server()
    yield found
    found.is_over.set()
    found.http.shutdown()
    found.http.server_close()


@pytest.fixture
def cluster(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesCluster]:
    """An adapter that talks to it, with a short deadline and no pauses."""
    monkeypatch.setattr(apiserver.time, "sleep", lambda _: None)
    configuration = Configuration(host=server.url)
    configuration.api_key["authorization"] = "Bearer secret"
    client = ApiClient(configuration)
    yield KubernetesCluster(client, deadline_s=0.5)
    client.rest_client.pool_manager.clear()


def _drip_body(server: Server) -> Route:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        while not server.is_over.wait(0.05):
            handler.wfile.write(b" ")

    return answer


def _drip_headers(server: Server) -> Route:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not server.is_over.wait(0.05):
            handler.wfile.write(b"x")

    return answer


def _hang(server: Server) -> Route:
    def answer(_: BaseHTTPRequestHandler) -> None:
        server.is_over.wait(30)

    return answer


@pytest.mark.parametrize("trouble", [_drip_body, _drip_headers, _hang])
def test_total_deadline(
    server: Server, cluster: KubernetesCluster, trouble: Callable[[Server], Route]
) -> None:
    """A server that drips or hangs holds a call no longer than its total deadline."""
    server.routes["GET /version"] = [trouble(server)]
    server.routes["GET /readyz"] = [reply(200, b"ok")]
    started = time.monotonic()
    with pytest.raises(UnavailableError, match=r"did not end within 0\.5 s"):
        cluster.version()
    assert time.monotonic() - started < 1.0


def test_write_that_may_have_been_taken_is_not_repeated(
    server: Server, cluster: KubernetesCluster
) -> None:
    """A patch without an answer is sent once, and reported."""
    server.routes["PATCH /api/v1/namespaces/default/configmaps/a"] = [_hang(server)]
    with pytest.raises(UnavailableError, match="did not end"):
        cluster.merge_patch(REF, {"data": {}})
    assert server.count("PATCH", "/api/v1/namespaces/default/configmaps/a") == 1


def test_write_that_was_shed_is_repeated(server: Server, cluster: KubernetesCluster) -> None:
    """A patch answered with 429 was not taken, and is sent again."""
    shed = reply(429, {"message": "too many"}, Retry_After="0")
    server.routes["PATCH /api/v1/namespaces/default/configmaps/a"] = [shed, reply(200, MANIFEST)]
    assert cluster.merge_patch(REF, {"data": {}}) == MANIFEST


def test_failed_write_is_not_repeated(server: Server, cluster: KubernetesCluster) -> None:
    """A patch answered with 500 is sent once."""
    server.routes["PATCH /api/v1/namespaces/default/configmaps/a"] = [
        reply(500, {"message": "etcd"})
    ]
    with pytest.raises(UnavailableError, match="status 500: etcd"):
        cluster.merge_patch(REF, {"data": {}})
    assert server.count("PATCH", "/api/v1/namespaces/default/configmaps/a") == 1


def test_read_is_repeated_while_the_server_is_busy(
    server: Server, cluster: KubernetesCluster
) -> None:
    """A read answered with 503 is asked again."""
    busy = reply(503, {"message": "starting"})
    path = "GET /api/v1/namespaces/default/configmaps/a"
    server.routes[path] = [busy, reply(200, MANIFEST)]
    assert cluster.get(REF) == MANIFEST


def test_apply_conflict_names_manager_and_field(server: Server, cluster: KubernetesCluster) -> None:
    """A conflict of server-side apply says who owns which field, and was not forced."""
    cause = {
        "reason": "FieldManagerConflict",
        "message": 'conflict with "helm"',
        "field": ".data.x",
    }
    refused = reply(409, {"message": "Apply failed", "details": {"causes": [cause]}})
    server.routes["PATCH /api/v1/namespaces/default/configmaps/a"] = [refused]
    with pytest.raises(ConflictError, match=r'ConfigMap default/a: "helm" owns \.data\.x'):
        cluster.apply(MANIFEST)
    method, path, headers, body = server.asked[-1]
    assert (method, body) == ("PATCH", MANIFEST)
    assert path.endswith("?fieldManager=gitops-nb&force=false")
    assert headers["Content-Type"] == "application/apply-patch+yaml"


@pytest.mark.parametrize("status", [403, 404])
def test_what_may_not_be_tried_is_no_answer(
    server: Server, cluster: KubernetesCluster, status: int
) -> None:
    """A dry run that the reading user may not make, or that has no namespace yet, is None; it asks for a dry run, unforced."""
    server.routes["PATCH /api/v1/namespaces/default/configmaps/a"] = [
        reply(status, {"message": "no"})
    ]
    assert cluster.try_apply(MANIFEST) is None
    assert server.asked[-1][1].endswith("?fieldManager=gitops-nb&force=false&dryRun=All")


@pytest.mark.parametrize(
    ("status", "hint"), [(401, "Renew your credentials"), (403, "Ask for the missing permission")]
)
def test_refusals_say_what_to_do(
    server: Server, cluster: KubernetesCluster, status: int, hint: str
) -> None:
    """A refused call becomes an error of ours with a hint."""
    path = "GET /api/v1/namespaces/default/configmaps/a"
    server.routes[path] = [reply(status, {"message": "no"})]
    with pytest.raises(UnavailableError) as caught:
        cluster.get(REF)
    assert hint in caught.value.hint


def test_absent_things_read_as_nothing(server: Server, cluster: KubernetesCluster) -> None:
    """A missing object and an unknown kind are None or empty, never an error."""
    missing = reply(404, {"message": "not found"})
    server.routes["GET /api/v1/namespaces/default/configmaps/a"] = [missing]
    server.routes["GET /apis/x.example/v1"] = [missing]
    assert cluster.get(REF) is None
    assert cluster.get(ObjectRef("x.example/v1", "Widget", "w", "default")) is None
    assert cluster.list("x.example/v1", "Widget") == ()


def _page(names: list[str], more: str = "") -> Any:
    items = [{"metadata": {"name": name, "resourceVersion": name}} for name in names]
    metadata = {"resourceVersion": "9", "continue": more}
    return {"apiVersion": "v1", "kind": "ConfigMapList", "metadata": metadata, "items": items}


def test_list_begins_again_when_a_page_expires(server: Server, cluster: KubernetesCluster) -> None:
    """A list whose next page has expired is read from the start, and nothing is in it twice."""
    server.routes["GET /api/v1/configmaps"] = [
        reply(200, _page(["a"], more="next")),
        reply(410, {"message": "expired"}),
        reply(200, _page(["a", "b"])),
    ]
    found = cluster.list("v1", "ConfigMap")
    assert [item["metadata"]["name"] for item in found] == ["a", "b"]
    assert {item["kind"] for item in found} == {"ConfigMap"}


def test_a_list_of_null_is_empty(server: Server, cluster: KubernetesCluster) -> None:
    """Some API servers say null where they have no items."""
    page = _page([]) | {"items": None}
    page["metadata"]["continue"] = None
    server.routes["GET /api/v1/configmaps"] = [reply(200, page)]
    assert cluster.list("v1", "ConfigMap") == ()
    server.routes["GET /apis/x.example/v1"] = [reply(200, {"resources": None})]
    assert cluster.list("x.example/v1", "Widget") == ()


def _event(kind: str, version: str) -> Any:
    return {"type": kind, "object": {"metadata": {"name": "a", "resourceVersion": version}}}


def test_watch_survives_expiry_and_closed_streams(
    server: Server, cluster: KubernetesCluster
) -> None:
    """A watch lists again after 410 and after a closed stream, shows no version twice, and ends at a deletion."""
    expired = {"type": "ERROR", "object": {"code": 410, "message": "too old"}}
    server.routes["GET /api/v1/namespaces/default/configmaps"] = [
        reply(200, _page(["1"])),
        stream(_event("MODIFIED", "2"), expired),
        reply(200, _page(["2"])),
        stream(),
        reply(200, _page(["3"])),
        stream(_event("MODIFIED", "4"), _event("DELETED", "5")),
    ]
    seen = [item["metadata"]["resourceVersion"] for item in cluster.watch(REF, timeout_s=10)]
    assert seen == ["1", "2", "3", "4"]


def test_watch_survives_a_server_that_is_away_after_a_long_silence(
    server: Server, cluster: KubernetesCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The outage is counted from its first failure, for the kind's name in paths too: what was quiet before does not count."""
    busy = reply(503, {"message": "starting"})
    found = reply(200, _page(["1"])), stream()
    server.routes["GET /api/v1/namespaces/default/configmaps"] = [
        *found, *([busy] * 12), reply(200, _page(["2"])), stream(_event("DELETED", "3")),
    ]  # fmt: skip
    server.routes["GET /api/v1"] = [*([busy] * 8), reply(200, CORE)]
    monkeypatch.setattr(kubernetes, "OUTAGE_S", 5.0)
    seen = [item["metadata"]["resourceVersion"] for item in cluster.watch(REF, timeout_s=60)]
    assert seen == ["1", "2"]


def test_watch_gives_up_on_a_server_that_stays_away(
    server: Server, cluster: KubernetesCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the time of an outage the server's own words are the error."""
    busy = reply(503, {"message": "starting"})
    server.routes["GET /api/v1/namespaces/default/configmaps"] = [
        reply(200, _page(["1"])), stream(), busy,
    ]  # fmt: skip
    monkeypatch.setattr(kubernetes, "OUTAGE_S", 0.1)
    seen = []
    with pytest.raises(UnavailableError, match="starting"):
        seen.extend(cluster.watch(REF, timeout_s=60))


def test_watch_ends_with_its_time(server: Server, cluster: KubernetesCluster) -> None:
    """A watch on a silent object ends when its time is over, even though the stream stays open."""
    path = "GET /api/v1/namespaces/default/configmaps"
    server.routes[path] = [reply(200, _page(["1"])), _hang(server)]
    started = time.monotonic()
    assert len(list(cluster.watch(REF, timeout_s=0.3))) == 1
    assert time.monotonic() - started < 1.0


def test_metrics_elsewhere_get_no_credentials(server: Server, cluster: KubernetesCluster) -> None:
    """Metrics through the API server carry our token; metrics from a URL do not."""
    server.routes["GET /metrics"] = [reply(200, b"up 1\n")]
    proxied = "/api/v1/namespaces/argocd/services/argocd-metrics:8082/proxy/metrics"
    server.routes[f"GET {proxied}"] = [reply(200, b"argocd_app_info 1\n")]
    source = "service://argocd/argocd-metrics:8082/metrics"
    assert cluster.fetch_metrics(source) == "argocd_app_info 1\n"
    assert server.asked[-1][2]["authorization"] == "Bearer secret"
    assert cluster.fetch_metrics(f"{server.url}/metrics") == "up 1\n"
    assert "authorization" not in {name.lower() for name in server.asked[-1][2]}


def test_access_review(server: Server, cluster: KubernetesCluster) -> None:
    """Permissions are asked for ourselves, with the resource's plural name."""
    path = "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    server.routes[path] = [reply(201, {"status": {"allowed": False}})]
    assert not cluster.allows("patch", REF)
    attributes = server.asked[-1][3]["spec"]["resourceAttributes"]
    assert attributes == {
        "verb": "patch",
        "group": "",
        "resource": "configmaps",
        "namespace": "default",
        "name": "a",
    }


def _kubeconfig(folder: Path, server: str, *, user: Any, **cluster: Any) -> Path:
    path = folder / "kubeconfig"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "other",
        "clusters": [{"name": "c", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "staging", "context": {"cluster": "c", "user": "u"}}],
    }
    path.write_text(json.dumps(content))
    return path


def test_context_with_an_exec_plugin(server: Server, tmp_path: Path) -> None:
    """A context is found by name, and its exec plugin supplies the token."""
    plugin = tmp_path / "plugin"
    credential = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": "from-plugin"},
    }
    plugin.write_text(f"#!/bin/sh\necho '{json.dumps(credential)}'\n")
    plugin.chmod(0o755)
    version = "client.authentication.k8s.io/v1"
    user = {"exec": {"apiVersion": version, "command": str(plugin), "interactiveMode": "Never"}}
    server.routes["GET /readyz"] = [reply(200, b"ok")]
    server.routes["GET /version"] = [reply(200, {"gitVersion": "v1.32.2"})]
    path = _kubeconfig(tmp_path, server.url, user=user)
    with pytest.raises(ConfigurationError, match="is no program that fleet"):
        connect("staging", path)
    found = connect("staging", path, allowed=Allowed(plugins=(str(plugin),)))
    assert found.server == server.url
    assert found.version() == "v1.32.2"
    assert server.asked[-1][2]["authorization"] == "Bearer from-plugin"
    found._client.rest_client.pool_manager.clear()


def test_how_everybody_logs_in_needs_no_line(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GKE's plugin, found by PATH, with the project that gcloud writes."""
    plugin = tmp_path / "gke-gcloud-auth-plugin"
    status = {
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "kind": "ExecCredential",
        "status": {"token": "t"},
    }
    plugin.write_text(f"#!/bin/sh\necho '{json.dumps(status)}'\n")
    plugin.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    exec_ = {
        "apiVersion": "client.authentication.k8s.io/v1beta1", "command": plugin.name,
        "provideClusterInfo": True, "env": [{"name": "CLOUDSDK_CORE_PROJECT", "value": "acme"}],
    }  # fmt: skip
    path = _kubeconfig(tmp_path, server.url, user={"exec": exec_})
    server.routes["GET /readyz"] = [reply(200, b"ok")]
    server.routes["GET /version"] = [reply(200, {"gitVersion": "v1"})]
    found = connect("staging", path)
    assert found.version() == "v1"
    assert server.asked[-1][2]["authorization"] == "Bearer t"
    found._client.rest_client.pool_manager.clear()


@pytest.mark.parametrize(
    ("user", "cluster", "said"),
    [
        ({}, {"proxy-url": "http://evil.example"}, "proxy-url is http://evil.example"),
        ({}, {"tls-server-name": "evil.example"}, "tls-server-name is evil.example"),
        ({"auth-provider": {"name": "gcp", "config": {"cmd-path": "{ran}"}}}, {}, "auth-provider names"),
        ({"exec": {"apiVersion": "v1", "command": "{ran}"}}, {}, "it runs /"),
        ({"exec": {"apiVersion": "v1", "command": "./aws"}}, {}, "it runs ./aws"),
        (
            {"exec": {"apiVersion": "v1", "command": "aws", "env": [{"name": "LD_PRELOAD", "value": "x"}]}},
            {},
            "it sets LD_PRELOAD for aws",
        ),
    ],
)  # fmt: skip
def test_a_kubeconfig_says_neither_who_answers_nor_what_runs(
    server: Server, tmp_path: Path, user: Any, cluster: Any, said: str
) -> None:
    """A variable may name the file: what it says beside address and user is fleet.yaml's to allow; nothing ran."""
    ran = tmp_path / "ran"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {ran}\n")
    program.chmod(0o755)
    given = json.loads(json.dumps(user).replace("{ran}", str(program)))
    path = _kubeconfig(tmp_path, server.url, user=given, **cluster)
    with pytest.raises(ConfigurationError, match=f"{said}.*nothing was run or asked"):
        connect("staging", path)
    assert (ran.exists(), server.asked) == (False, [])


def test_what_fleet_yaml_says_of_a_kubeconfig_has_to_be_there(
    server: Server, tmp_path: Path
) -> None:
    """Its proxy, its name and its authority: another one, or none, is refused; the same is obeyed."""
    content = b"an authority"
    allowed = Allowed(
        proxy="http://proxy.example", tls_server_name="api.example", authority=hashlib.sha256(content).hexdigest()
    )  # fmt: skip
    right = {
        "proxy-url": "http://proxy.example", "tls-server-name": "api.example",
        "certificate-authority-data": base64.b64encode(content).decode(),
    }  # fmt: skip
    other = base64.b64encode(b"another").decode()
    for wrong in (
        {"proxy-url": ""},
        {"tls-server-name": "x"},
        {"certificate-authority-data": other},
    ):
        path = _kubeconfig(tmp_path, server.url, user={}, **{**right, **wrong})
        with pytest.raises(ConfigurationError, match=r"and fleet\.yaml says"):
            connect("staging", path, allowed=allowed)
    found = connect("staging", _kubeconfig(tmp_path, server.url, user={}, **right), allowed=allowed)
    assert found._client.configuration.proxy == "http://proxy.example"


def test_unchecked_certificates_are_refused(server: Server, tmp_path: Path) -> None:
    """A context that skips the check of the certificate is refused, and the server is not asked."""
    path = _kubeconfig(tmp_path, server.url, user={}, **{"insecure-skip-tls-verify": True})
    with pytest.raises(ConfigurationError, match="does not check"):
        connect("staging", path)
    assert server.asked == []


def test_unknown_context(tmp_path: Path) -> None:
    """A context that is not in the kubeconfig is a configuration error with its name."""
    path = _kubeconfig(tmp_path, "https://127.0.0.1:1", user={})
    with pytest.raises(ConfigurationError, match="'nowhere'"):
        connect("nowhere", path)


def test_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An API server that does not listen is unavailable, with its address."""
    monkeypatch.setattr(apiserver.time, "sleep", lambda _: None)
    path = _kubeconfig(tmp_path, "http://127.0.0.1:1", user={})
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1/readyz failed"):
        connect("staging", path).version()
