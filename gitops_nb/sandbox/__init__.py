"""The embedded platform: real Git and SSH keys, and clusters with Argo CD that are emulated in this process."""

from gitops_nb.sandbox.cluster import SandboxClock, SandboxCluster
from gitops_nb.sandbox.opening import Person, Sandbox, open_sandbox

__all__ = ["Person", "Sandbox", "SandboxClock", "SandboxCluster", "open_sandbox"]
