"""The way into ``gitops-nb``, and out of it: every end has a documented exit code and, where it failed, a sentence."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from gitops_nb.cli.commands import group
from gitops_nb.errors import ExitCode, GitOpsError


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of ``gitops-nb``; always ends by SystemExit with a documented exit code."""
    wants_json = "--json" in (sys.argv[1:] if arguments is None else arguments)
    if "GITOPS_NB_RUNNER_KEY" in os.environ:
        from gitops_nb.record.keys import hide_given_key

        hide_given_key()
    try:
        # Without standalone mode click returns the code of `ctx.exit` instead of ending the process.
        code = group.main(args=arguments, prog_name="gitops-nb", standalone_mode=False)
    except click.Abort:
        click.echo("cancelled; nothing was changed", err=True)
        sys.exit(ExitCode.INTERRUPTED)
    except click.ClickException as error:
        error.show()
        if wants_json:
            _tell_json(error.format_message(), "", ExitCode.USAGE)
        sys.exit(ExitCode.USAGE)
    except GitOpsError as error:
        _complain(error)
        if wants_json:
            _tell_json(error.message, error.hint, error.exit_code)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(ExitCode.SUCCEEDED)
    except Exception as error:  # the end of main: nothing leaves without an exit code
        import traceback

        traceback.print_exc()
        text = f"internal error: {type(error).__name__}: {error}"
        click.echo(text, err=True)
        if wants_json:
            _tell_json(text, "", ExitCode.INTERNAL)
        sys.exit(ExitCode.INTERNAL)
    sys.exit(code or ExitCode.SUCCEEDED)


def _complain(error: GitOpsError) -> None:
    from gitops_nb.report.text import terminal

    for line in error.message.splitlines():
        click.echo(terminal(line), err=True)
    if error.hint:
        click.echo(f"  {terminal(error.hint)}", err=True)


def _tell_json(error: str, hint: str, code: int) -> None:
    """The one document of a command that has nothing else to say on stdout."""
    import json

    click.echo(json.dumps({"error": error, "hint": hint, "exit_code": int(code)}, indent=2))
