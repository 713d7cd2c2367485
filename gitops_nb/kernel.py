"""The kernel of a headless run: ipykernel, without the slow import. Started as ``python -m gitops_nb.kernel``."""

from __future__ import annotations

from gitops_nb.imports import skip_slow_imports

if __name__ == "__main__":
    skip_slow_imports()
    from ipykernel import kernelapp

    kernelapp.launch_new_instance()
