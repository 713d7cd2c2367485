"""Kubernetes objects through an API server: server-side apply, merge patch, watch, access review."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

from kubernetes import config
from kubernetes.client import ApiClient

from gitops_nb.adapters.apiserver import DEADLINE_S, Answer, ApiServer, ExpiredWatch
from gitops_nb.adapters.kubeconfig import Allowed, open_context
from gitops_nb.errors import ConfigurationError, ConflictError, UnavailableError
from gitops_nb.model import Json, ObjectRef

ALLOWED = Allowed()
MANAGER = "gitops-nb"
PAGE = 500
OUTAGE_S = 90.0
"""How long a watch waits for an API server that is away: a minute, and the time in which it gets ready."""
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"


def connect(
    context: str, kubeconfig: Path | None = None, *, allowed: Allowed = ALLOWED
) -> KubernetesCluster:
    """A cluster by the name of its kubeconfig context; nothing is asked of it yet.

    Args:
        context: Name of the context.
        kubeconfig: The file; KUBECONFIG or ~/.kube/config by default.
        allowed: What it may say of who answers and what is run.

    Raises:
        ConfigurationError: There is no such context, it says what is not allowed, or it switches off the check of the server's
            certificate.
    """
    try:
        client = open_context(context, kubeconfig, allowed)
    except (config.ConfigException, OSError) as error:
        raise ConfigurationError(
            f"kubeconfig context {context!r} cannot be used: {error}",
            hint="List the contexts with `kubectl config get-contexts`.",
        ) from error
    if not client.configuration.verify_ssl:
        raise ConfigurationError(
            f"kubeconfig context {context!r} does not check the server's certificate",
            hint="Replace insecure-skip-tls-verify by certificate-authority.",
        )
    return KubernetesCluster(client)


class KubernetesCluster:
    """One API server. Implements ``ClusterReader`` and ``ClusterWriter``."""

    def __init__(
        self, client: ApiClient, *, deadline_s: float = DEADLINE_S, manager: str = MANAGER
    ) -> None:
        """Wraps a configured client; ``deadline_s`` bounds each call in all."""
        self._client = client
        self._api = ApiServer(client, deadline_s=deadline_s)
        self._manager = manager
        self._plurals: dict[tuple[str, str], str] = {}

    @property
    def server(self) -> str:
        """URL of the API server."""
        return self._api.url

    def as_manager(self, manager: str) -> KubernetesCluster:
        """The same cluster, written to under another field manager's name."""
        return KubernetesCluster(self._client, manager=manager)

    def version(self) -> str:
        """The API server's version, once it says that it is ready."""
        ready = self._api.call("GET", "/readyz")
        if ready.status != 200:
            raise UnavailableError(
                f"{self.server} is not ready: {ready.message}", hint="Check the control plane."
            )
        return str(self._api.checked(self._api.call("GET", "/version")).json["gitVersion"])

    def get(self, ref: ObjectRef) -> Json | None:
        """One object, or None when it or its kind does not exist."""
        path = self._path(ref)
        if path is None:
            return None
        answer = self._api.call("GET", path)
        return None if answer.status == 404 else self._api.checked(answer).json

    def list(
        self,
        api_version: str,
        kind: str,
        *,
        namespace: str = "",
        labels: Mapping[str, str] | None = None,
    ) -> tuple[Json, ...]:
        """Objects of a kind, page by page; empty when the kind is not served."""
        path = self._path(ObjectRef(api_version, kind, "", namespace))
        if path is None:
            return ()
        selector = ",".join(f"{name}={value}" for name, value in (labels or {}).items())
        return self._list(path, {"labelSelector": selector} if selector else {})[0]

    def watch(self, ref: ObjectRef, *, timeout_s: float) -> Iterator[Json]:
        """The object now and each later version; see ``ports.ClusterReader.watch``.

        Events are only a hint to look again: after an expired, closed or refused watch the object is listed anew, and a
        version that was shown already is not shown twice.
        """
        until = time.monotonic() + timeout_s
        only = {"fieldSelector": f"metadata.name={ref.name}"}
        seen = ""
        away_since: float | None = None
        while time.monotonic() < until:
            try:
                path = self._path(ObjectRef(ref.api_version, ref.kind, "", ref.namespace))
                if path is None:
                    return
                items, version = self._list(path, only)
                away_since = None
                if not items:
                    return
                if items[0]["metadata"]["resourceVersion"] != seen:
                    seen = items[0]["metadata"]["resourceVersion"]
                    yield items[0]
                for event in self._api.events(path, {**only, "resourceVersion": version}, until):
                    if event["type"] == "DELETED":
                        return
                    if event["object"]["metadata"]["resourceVersion"] != seen:
                        seen = event["object"]["metadata"]["resourceVersion"]
                        yield event["object"]
            except ExpiredWatch:
                continue
            except UnavailableError:
                # An API server that restarts ends every watch; a run outlives that. Counted from the first failure: a
                # watch may have been quiet for long before.
                now = time.monotonic()
                away_since = now if away_since is None else away_since
                if now - away_since > OUTAGE_S or now + 1 > until:
                    raise
                time.sleep(1)

    def allows(self, verb: str, ref: ObjectRef) -> bool:
        """Whether our own user may do this, as the API server's authorizer sees it."""
        group = ref.api_version.rpartition("/")[0]
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {
                "resourceAttributes": {
                    "verb": verb,
                    "group": group,
                    "resource": self._plural(ref.api_version, ref.kind) or f"{ref.kind.lower()}s",
                    "namespace": ref.namespace,
                    "name": ref.name,
                }
            },
        }
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        answer = self._api.checked(self._api.call("POST", path, body=review))
        return bool(answer.json["status"].get("allowed"))

    def fetch_metrics(self, source: str) -> str:
        """Prometheus text from a URL, or from a Service through the API server's proxy."""
        if source.startswith(("http://", "https://")):
            answer = self._api.fetch(source)
        else:
            namespace, _, rest = source.removeprefix("service://").partition("/")
            service, _, path = rest.partition("/")
            if not source.startswith("service://") or not service:
                raise ConfigurationError(
                    f"{source!r} is no place for metrics",
                    hint="Write a URL, or service://NAMESPACE/NAME:PORT/PATH.",
                )
            where = f"/api/v1/namespaces/{quote(namespace)}/services/{quote(service, safe=':')}/proxy/{quote(path)}"
            answer = self._api.call("GET", where)
        if answer.status != 200:
            raise UnavailableError(
                f"{source} answers with status {answer.status}: {answer.message}",
                hint="Check that the service has endpoints.",
            )
        return answer.body.decode(errors="replace")

    def apply(self, manifest: Json) -> Json:
        """Server-side apply as ``gitops-nb``, never forced.

        Raises:
            ConflictError: Another manager owns a field, or the kind or the namespace does not exist, or the object is not
                the one that its metadata names.
        """
        ref = _ref_of(manifest)
        if manifest["metadata"].get("resourceVersion") == "":
            # Server-side apply has no such condition: it is asked as late as can be.
            if self.get(ref) is not None:
                raise ConflictError(
                    f"{ref} was made by somebody else since it was looked for",
                    hint="Read the object, and decide again.",
                )
            kept = {k: v for k, v in manifest["metadata"].items() if k != "resourceVersion"}
            manifest = {**manifest, "metadata": kept}
        path = self._path(ref)
        if path is None:
            raise ConflictError(
                f"the API server does not serve {ref.kind} in {ref.api_version}",
                hint="Install its CustomResourceDefinition first.",
            )
        answer = self._apply(path, manifest)
        if answer.status == 409:
            raise _owned(ref, answer)
        if answer.status == 404:
            raise ConflictError(answer.message, hint="Create the namespace first.")
        return self._api.checked(answer).json

    def try_apply(self, manifest: Json) -> Json | None:
        """See ``ports.ClusterReader.try_apply``."""
        ref = _ref_of(manifest)
        path = self._path(ref)
        if path is None:
            return None
        answer = self._apply(path, manifest, dryRun="All")
        if answer.status in (403, 404):
            return None
        if answer.status == 409:
            raise _owned(ref, answer)
        return self._api.checked(answer).json

    def _apply(self, path: str, manifest: Json, **query: str) -> Answer:
        asked = {"fieldManager": self._manager, "force": "false", **query}
        return self._api.call("PATCH", path, query=asked, body=manifest, content_type=APPLY)

    def merge_patch(self, ref: ObjectRef, patch: Json) -> Json:
        """JSON merge patch as ``gitops-nb``.

        Raises:
            ConflictError: The object does not exist, or has another resourceVersion.
        """
        path = self._path(ref)
        if path is None:
            raise ConflictError(f"{ref} does not exist", hint="Read the object again.")
        query = {"fieldManager": self._manager}
        answer = self._api.call("PATCH", path, query=query, body=patch, content_type=MERGE)
        if answer.status == 404:
            raise ConflictError(f"{ref} does not exist", hint="Read the object again.")
        if answer.status == 409:
            raise ConflictError(
                f"{ref} was changed by somebody else since it was read",
                hint="Read the object again, and decide again.",
            )
        return self._api.checked(answer).json

    def _plural(self, api_version: str, kind: str) -> str | None:
        """The kind's name in paths; only what is served is remembered, since definitions appear."""
        if (api_version, kind) not in self._plurals:
            answer = self._api.call("GET", _root(api_version))
            if answer.status == 404:
                return None
            for item in self._api.checked(answer).json.get("resources") or ():
                if "/" not in item["name"]:
                    self._plurals[api_version, item["kind"]] = item["name"]
        return self._plurals.get((api_version, kind))

    def _path(self, ref: ObjectRef) -> str | None:
        plural = self._plural(ref.api_version, ref.kind)
        if plural is None:
            return None
        namespace = f"/namespaces/{quote(ref.namespace, safe='')}" if ref.namespace else ""
        name = f"/{quote(ref.name, safe='')}" if ref.name else ""
        return f"{_root(ref.api_version)}{namespace}/{plural}{name}"

    def _list(self, path: str, query: Mapping[str, str]) -> tuple[tuple[Json, ...], str]:
        """All pages of a list, and its version; begins again when a page expires."""
        items: tuple[Json, ...] = ()
        following = ""
        for _ in range(10_000):
            page = {"limit": str(PAGE)} | ({"continue": following} if following else {})
            answer = self._api.call("GET", path, query={**query, **page})
            if answer.status == 410 and following:
                items, following = (), ""
                continue
            found = self._api.checked(answer).json
            kind = {
                "apiVersion": found["apiVersion"],
                "kind": found["kind"].removesuffix("List"),
            }
            items += tuple({**kind, **item} for item in found.get("items") or ())
            following = found["metadata"].get("continue", "")
            if not following:
                return items, found["metadata"]["resourceVersion"]
        raise UnavailableError(f"the list {path} has no end", hint="Check the API server.")


def _root(api_version: str) -> str:
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"


def _ref_of(manifest: Json) -> ObjectRef:
    metadata = manifest["metadata"]
    return ObjectRef(
        manifest["apiVersion"], manifest["kind"], metadata["name"], metadata.get("namespace", "")
    )


def _owned(ref: ObjectRef, answer: Answer) -> ConflictError:
    return ConflictError(
        f"{ref}: {_owners(answer)}",
        hint="Remove the field from the manifest, or from the other manager.",
    )


def _owners(answer: Answer) -> str:
    """Which manager owns which field, from the causes of a conflict."""
    causes = (answer.json.get("details") or {}).get("causes") or ()
    found = [
        f"{cause.get('message', '').removeprefix('conflict with ')} owns {cause.get('field', '')}"
        for cause in causes
    ]
    return "; ".join(found) or answer.message
