"""The install manifest becomes the objects that Kubernetes would read."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from gitops_nb.bootstrap.manifests import wanted_objects
from gitops_nb.errors import ConfigurationError

ASKED = SimpleNamespace(
    namespace="argocd",
    manifest="install.yaml",
    install=SimpleNamespace(settings={}, rbac={}),
)


def test_values_are_json_as_kubernetes_has_them():
    """A date stays a text, an octal mode is its number, and merge keys are followed."""
    content = b"""\
apiVersion: v1
kind: Service
metadata: &m {name: s, annotations: {since: 2026-01-01, mode: 0o644}}
---
apiVersion: v1
kind: Service
metadata: {<<: {name: t}}
"""
    found = {item["metadata"]["name"]: item for item in wanted_objects(content, ASKED)}
    assert found["s"]["metadata"]["annotations"] == {"since": "2026-01-01", "mode": 420}
    assert found["t"]["metadata"]["namespace"] == "argocd"


@pytest.mark.parametrize("content", [b"a: &x [*x]\n", b"a: {", b"- 1\n", b"%YAML 1.1\n---\na: 1\n"])
def test_what_kubernetes_does_not_read_is_no_manifest(content):
    """It is a fault of the manifest, and not of the program."""
    with pytest.raises(ConfigurationError):
        wanted_objects(content, ASKED)
