"""What of a kubeconfig is obeyed: a file that a variable names says neither who answers for a cluster nor what is run here.

Source: kubernetes.io/docs/reference/config-api, "kubeconfig (v1)"; KEP-541 (exec plugins).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubernetes.client import ApiClient, Configuration
from kubernetes.config import ConfigException
from kubernetes.config import kube_config as library

from gitops_nb.errors import ConfigurationError

PLUGINS = frozenset(
    {"gke-gcloud-auth-plugin", "aws", "aws-iam-authenticator", "kubelogin", "oci", "doctl"}
)
"""How one logs in at the well-known hosts, by the name that PATH finds; another one is listed in fleet.yaml."""
_PLUGIN_VARIABLES = frozenset(
    {
        "USE_GKE_GCLOUD_AUTH_PLUGIN", "CLOUDSDK_CORE_PROJECT", "CLOUDSDK_CORE_ACCOUNT",
        "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_STS_REGIONAL_ENDPOINTS",
        "AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AAD_LOGIN_METHOD", "AAD_SERVICE_PRINCIPAL_CLIENT_ID",
    }
)  # fmt: skip
"""What a kubeconfig may tell a plugin: whose credentials are meant. Others name programs or libraries."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """What fleet.yaml allows the kubeconfig of a cluster to say.

    Args:
        plugins: Programs beside ``PLUGINS`` that a context's user may have run.
        proxy: The address that ``proxy-url`` has to be, "" for none.
        tls_server_name: The name that ``tls-server-name`` has to be, "" for none.
        authority: SHA-256 (hex) of the certificate authority, as the file has it; "" for any.
    """

    plugins: tuple[str, ...] = ()
    proxy: str = ""
    tls_server_name: str = ""
    authority: str = ""


def open_context(context: str, file: Path | None, allowed: Allowed) -> ApiClient:
    """A client by the name of its context; files are read once, and what they say was looked at before anything is run.

    Raises:
        ConfigurationError: It says what fleet.yaml does not allow; nothing was run or asked.
        ConfigException: There is no such context, or it cannot be used.
        OSError: A file cannot be read.
    """
    # The library reads KUBECONFIG, a list of files, as kubectl does.
    places = str(file) if file else library.KUBE_CONFIG_DEFAULT_LOCATION
    merged = library.KubeConfigMerger(places)  # type: ignore[no-untyped-call]  # untyped there
    if merged.config is None:
        raise ConfigException(f"there is no kubeconfig at {places}")
    loader: Any = library.KubeConfigLoader(  # type: ignore[no-untyped-call]  # untyped there
        config_dict=merged.config,
        config_base_path=None,
        active_context=context,
        config_persister=merged.save_changes,
    )
    user = loader._user.value if loader._user is not None else {}  # noqa: SLF001  it has no other reader
    cluster = loader._cluster  # noqa: SLF001  see above
    problems = [*_of_cluster(cluster.value, cluster.path, allowed), *_of_user(user, allowed)]
    if problems:
        raise ConfigurationError(
            f"kubeconfig context {context!r}: {'; '.join(problems)}; nothing was run or asked",
            hint="Find out who wrote it. What is right is listed below `kubeconfig` of the cluster in fleet.yaml.",
        )
    configuration = Configuration()
    loader.load_and_set(configuration)
    return ApiClient(configuration=configuration)


def _of_cluster(cluster: Mapping[str, Any], path: str, allowed: Allowed) -> Iterator[str]:
    for key, wanted in (
        ("proxy-url", allowed.proxy),
        ("tls-server-name", allowed.tls_server_name),
    ):
        said = str(cluster.get(key) or "")
        if said != wanted:
            yield f"{key} is {said or 'not there'}, and fleet.yaml says {wanted or 'none'}"
    if allowed.authority:
        found = _authority(cluster, path)
        if found != allowed.authority:
            yield f"its certificate authority is {found or 'not there'}, and fleet.yaml says {allowed.authority}"


def _authority(cluster: Mapping[str, Any], path: str) -> str:
    inside = cluster.get("certificate-authority-data")
    try:
        if inside:
            content = base64.b64decode(str(inside))
        elif named := cluster.get("certificate-authority"):
            content = Path(path).parent.joinpath(str(named)).read_bytes()
        else:
            return ""
    except (OSError, binascii.Error):
        return ""
    return hashlib.sha256(content).hexdigest()


def _of_user(user: Mapping[str, Any], allowed: Allowed) -> Iterator[str]:
    if "auth-provider" in user:
        yield "auth-provider names a program, and kubectl knows it no more since 1.26"
    plugin = user.get("exec")
    if not isinstance(plugin, Mapping):
        return
    command = str(plugin.get("command") or "")
    if command not in PLUGINS and command not in allowed.plugins:
        yield f"it runs {command}, which is no program that fleet.yaml lists"
    names = [str(one.get("name")) for one in plugin.get("env") or () if isinstance(one, Mapping)]
    odd = [name for name in names if name not in _PLUGIN_VARIABLES]
    if odd:
        yield f"it sets {', '.join(odd)} for {command}"
