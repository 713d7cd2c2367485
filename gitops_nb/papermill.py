"""`papermill --engine gitops_nb`: papermill's command line in front of our engine.

papermill imports this module at each of its starts, whatever engine it is asked for; everything else waits until a notebook is
executed.
"""

from __future__ import annotations

from typing import Any


class GitOpsEngine:
    """Executes a workspace's runbook notebook as ``gitops-nb run`` does; papermill's output file is a copy.

    The methods are those that papermill asks of an engine; it looks for no base class.
    """

    @staticmethod
    def execute_notebook(nb: Any, *_: Any, output_path: str | None = None, **options: Any) -> Any:
        """Runs the runbook under supervision and returns the executed notebook with true statuses.

        Args:
            nb: The notebook as papermill parameterized it.
            output_path: Where papermill writes its copy.
            options: ``input_path`` names the notebook; the others are papermill's own.

        Raises:
            GitOpsError: The notebook is no runbook of a workspace, or the run did not succeed.
        """
        from gitops_nb.cli.frontdoor import run_for_papermill, told_by_click
        from gitops_nb.errors import GitOpsError

        try:
            return run_for_papermill(
                nb, input_path=str(options.get("input_path", "")), output_path=output_path
            )
        except GitOpsError as error:
            raise told_by_click(error) from None

    @staticmethod
    def nb_kernel_name(nb: Any, name: str | None = None) -> str:
        """The kernel that papermill names in its output; the engine starts its own."""
        return name or str(nb.metadata.get("kernelspec", {}).get("name", "python3"))

    @staticmethod
    def nb_language(*_: Any) -> str:
        """Runbooks are Python."""
        return "python"
