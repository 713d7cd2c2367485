"""Every environment variable that gitops_nb reads, and what for. None of them is a permission.

What decides about a run is the order that its command gives its process (``session.order``), and what the protected branch says.
"""

from __future__ import annotations

from collections.abc import Mapping

READ: Mapping[str, str] = {
    "GITOPS_NB_WORKSPACE": "stands in for --workspace",
    "GITOPS_NB_REPORTS": "stands in for --reports",
    "GITOPS_NB_MODE": "stands in for --mode where the workspace's file leaves the mode open",
    "GITOPS_NB_STORE_S": "how many seconds one call to a bucket may take",
    "STORAGE_EMULATOR_HOST": "an emulator that answers for the sandbox's buckets; live refuses it",
    "GITOPS_NB_RUNNER_KEY": "the runner's private key, or its file; whoever has it is this runner, never a person",
    "KUBECONFIG": "where clusters' credentials are; addresses and UIDs are fleet.yaml's",
    "GITHUB_TOKEN": "opens what is not public on the Git host that policy.yaml names",
    "GITHUB_ACTIONS": "whether this is a job of GitHub's; who asks there is proved by its identity token",
    "GITHUB_EVENT_NAME": "shown, and compared with the identity token",
    "GITHUB_ACTOR": "shown, and compared with the identity token",
    "GITHUB_TRIGGERING_ACTOR": "shown, and compared with what the Git host says of the run",
    "GITHUB_REPOSITORY": "shown, and compared with the identity token",
    "GITHUB_RUN_ID": "shown, and compared with the identity token",
    "GITHUB_RUN_ATTEMPT": "shown, and compared with the identity token",
    "GITHUB_SHA": "shown, and compared with the identity token",
    "GITHUB_SERVER_URL": "the only server that GITHUB_TOKEN is sent to when origin is asked",
    "GITHUB_OUTPUT": "where a step's outputs are written",
    "GITHUB_STEP_SUMMARY": "where a step's summary is written",
    "ACTIONS_ID_TOKEN_REQUEST_URL": "where the job asks for its identity token",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "opens that door; no notebook gets it",
    "RUNNER_ENVIRONMENT": "whether the machine is gone with its job; the Git host has to say that it ended",
    "CI": "colours and signals of a CI log; who asks there is not proven by it",
    "TF_BUILD": "colours of a CI log",
    "HTTPS_PROXY": "carries calls to Git hosts, issuer and buckets, and cannot answer them",
    "NO_PROXY": "which hosts are asked without HTTPS_PROXY",
    "USER": "a name to show",
    "GIT_CONFIG_GLOBAL": "where the person's own credentials for Git hosts are named; nothing else of it counts",
    "GIT_CONFIG_NOSYSTEM": "whether the machine's are read, too",
    "PYDANTIC_DISABLE_PLUGINS": "set while our own models are built, and put back",
}
"""By name. The shell's own (PATH, HOME, TMPDIR, LANG, proxies) reach the programs that are started: docs/approvals.md."""
