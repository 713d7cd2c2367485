"""Step 5: Argo CD knows the repository, and what it has to open it does open it.

Before the root Application, which would otherwise start its life with a ComparisonError and a back-off.

Source: Argo CD 3.0, operator-manual/declarative-setup: a Secret labelled ``repository`` is used with its own credentials,
or, where it has none, with those of the ``repo-creds`` Secret whose address is the longest beginning of its own.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping

from gitops_nb.bootstrap.context import Context, Finding
from gitops_nb.bootstrap.manifests import ref_of, repository_secret
from gitops_nb.errors import ConfigurationError, UnavailableError, UsageError
from gitops_nb.model import Json, ObjectRef
from gitops_nb.ports import ArgoWriter, ClusterWriter, GitCredentials
from gitops_nb.redaction import process_redactor

_TYPE = "argocd.argoproj.io/secret-type"
_KNOWN_HOSTS = "argocd-ssh-known-hosts-cm"
_TRIED = ("username", "password", "sshPrivateKey")
_NOT_TRIED = {
    "githubAppPrivateKey": "of a GitHub App",
    "gcpServiceAccountKey": "of a Google service account",
    "tlsClientCertKey": "with a client certificate",
    "bearerToken": "with a bearer token",
}
"""Credentials that plain git does not take, or takes otherwise than Argo CD does."""


def check_repository(context: Context) -> Finding:
    """Branch and folder exist, and Argo CD knows the repository and can read it with what it has.

    Raises:
        ConfigurationError: The folder of the root Application is not there.
    """
    request = context.request
    tip = context.tip()
    files = context.view.git.list_files(request.repository_name, tip, request.path)
    if not files:
        raise ConfigurationError(
            f"{request.repository_name} has no folder {request.path} at {tip[:8]}",
            hint="Check `argocd.path` in fleet.yaml, or commit the folder.",
        )
    wanted = repository_secret(request)
    live = context.cluster.get(ref_of(wanted))
    change = context.planned(live, wanted)
    if live is None or change is not None:
        return Finding.of("Argo CD does not know the repository", *filter(None, [change]))
    where, held = _held_credentials(context, live)
    opens = _opens(context, where, held)
    found = f"{request.repository.branch} is at {tip[:8]}, {len(files)} files in {request.path}"
    return Finding(opens.holds, f"{found}; {opens.sentence}" if opens.holds else opens.sentence)


def act_repository(context: Context, cluster: ClusterWriter, _: ArgoWriter) -> Mapping[str, Json]:
    """Applies the repository Secret."""
    cluster.apply(repository_secret(context.request))
    return {"url": context.request.repository.url}


def _opens(context: Context, where: str, held: Mapping[str, str]) -> Finding:
    """Whether the remote lets Argo CD's credentials read the branch; they are tried as git's, and go nowhere else."""
    request = context.request
    untried = next((words for name, words in _NOT_TRIED.items() if held.get(name)), None)
    if untried:
        return Finding(True, f"credentials {untried} in {where} are Argo CD's to try")
    is_known = any(held.get(name) for name in _TRIED)
    credentials = GitCredentials(
        username=held.get("username", ""),
        password=held.get("password", ""),
        ssh_private_key=held.get("sshPrivateKey", ""),
        known_hosts=_known_hosts(context),
    )
    try:
        context.view.git.tip_for(request.repository_name, request.repository.branch, credentials)
    except UnavailableError as error:
        whose = f"the credentials in {where}" if is_known else "no credentials, as Argo CD has none"
        hint = f"put them into Secret {where}, or a repo-creds Secret for its host"
        return Finding(False, f"with {whose}: {error.message}" + ("" if is_known else f"; {hint}"))
    return Finding(True, f"{where} opens it" if is_known else "it opens without credentials")


def _held_credentials(context: Context, live: Json) -> tuple[str, Mapping[str, str]]:
    """The Secret whose credentials Argo CD uses for the repository, and what is in it; known to the redactor from here on."""
    own = _values(live)
    if any(own.get(name) for name in (*_TRIED, *_NOT_TRIED)):
        return live["metadata"]["name"], own
    url = own.get("url", "")
    templates = context.cluster.list(
        "v1", "Secret", namespace=context.request.namespace, labels={_TYPE: "repo-creds"}
    )
    fitting = [
        (len(prefix), template)
        for template in templates
        if (prefix := _values(template).get("url", "")) and url.startswith(prefix)
    ]
    if not fitting:
        return live["metadata"]["name"], {}
    _, best = max(fitting, key=lambda item: item[0])
    return best["metadata"]["name"], _values(best)


def _values(secret: Json) -> Mapping[str, str]:
    values = {
        name: base64.b64decode(text).decode(errors="replace")
        for name, text in (secret.get("data") or {}).items()
    }
    for name in ("password", "sshPrivateKey", *_NOT_TRIED):
        if values.get(name):
            _mask(f"{secret['metadata']['name']}.{name}", values[name])
    return values


def _mask(name: str, value: str) -> None:
    try:
        process_redactor().register(name, value)
    except UsageError as error:
        raise ConfigurationError(error.message, hint=error.hint) from error


def _known_hosts(context: Context) -> str:
    """Argo CD's own list of hosts, which decides whom it trusts; "" where it has none."""
    found = context.cluster.get(
        ObjectRef("v1", "ConfigMap", _KNOWN_HOSTS, context.request.namespace)
    )
    return str(((found or {}).get("data") or {}).get("ssh_known_hosts", ""))
