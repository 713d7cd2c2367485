"""The way into ``gitops-nb``, and out of it: every end has a documented exit code and, where it failed, a sentence."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from gitops_nb.cli.commands import group
from gitops_nb.errors import ExitCode, GitOpsError, RecordError

_OF_THE_MACHINE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)


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
    except OSError as error:  # of a file or folder: not ours to write, or no space; anything else is internal, below
        if error.filename is None or error.errno not in _OF_THE_MACHINE:
            _end_internal(error, wants_json=wants_json)
        what = RecordError(
            f"{error.filename}: {error.strerror}",
            hint="Free disk space, or run it as the user whom the workspace belongs to, where it can be written.",
        )
        _complain(what)
        if wants_json:
            _tell_json(what.message, what.hint, what.exit_code)
        sys.exit(what.exit_code)
    except Exception as error:  # the end of main: nothing leaves without an exit code
        _end_internal(error, wants_json=wants_json)
    sys.exit(code or ExitCode.SUCCEEDED)


def _end_internal(error: Exception, *, wants_json: bool) -> NoReturn:
    text = f"internal error: {type(error).__name__}: {error}"
    _trace(error)
    _say(text)
    if wants_json:
        _tell_json(text, "", ExitCode.INTERNAL)
    sys.exit(ExitCode.INTERNAL)


def _complain(error: GitOpsError) -> None:
    _say(error.message)
    if error.hint:
        _say(error.hint, indent="  ")


def _trace(error: Exception) -> None:
    import traceback

    _say("".join(traceback.format_exception(error)))


def _say(text: str, *, indent: str = "") -> None:
    """Lines on stderr: whatever an error quotes from outside steers nothing there, and shows no secret."""
    from gitops_nb.redaction import process_redactor
    from gitops_nb.report.text import terminal

    for line in process_redactor().text(text).splitlines():
        said = line.lstrip(" ")
        click.echo(f"{indent}{line[: len(line) - len(said)]}{terminal(said)}", err=True)


def _tell_json(error: str, hint: str, code: int) -> None:
    """The one document of a command that has nothing else to say on stdout."""
    from gitops_nb.redaction import process_redactor
    from gitops_nb.report.text import json_text

    told = {"error": error, "hint": hint, "exit_code": int(code)}
    click.echo(json_text(process_redactor().json(told)))
