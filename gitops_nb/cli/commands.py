"""Commands and their options; what they do is in the modules beside this one, imported when called."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from gitops_nb import __version__
from gitops_nb.cli.dora import dora
from gitops_nb.cli.options import common, complete_runbooks, complete_runs, given_reason
from gitops_nb.imports import uncollected

EXIT_CODES = """\b
Exit codes:
   0  succeeded, or nothing to do       69  an outside system is unavailable
   1  failed; verify: a mismatch        70  internal error
   2  waiting for approval              74  the record cannot be written
   3  refused: policy, rejected, twin   78  wrong configuration
   4  needs attention                  130  cancelled by Ctrl-C (SIGINT)
  64  wrong usage or parameters        143  cancelled by SIGTERM
"""


class _Group(click.Group):
    """Shows subcommands in the order of use, not of the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        return list(self.commands)


@click.group(
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EXIT_CODES
    + """
\b
Examples:
  gitops-nb run promotion -p application=checkout
  gitops-nb approve last
  gitops-nb resume last
\b
Shell completion, for bash:
  eval "$(_GITOPS_NB_COMPLETE=bash_source gitops-nb)"
""",
)
@click.version_option(__version__, prog_name="gitops-nb")
def group() -> None:
    """Runbooks for a GitOps platform: plan, approve, apply, verify, and a record that can be checked."""


@group.command(
    "list",
    epilog="""\b
Examples:
  gitops-nb list
  gitops-nb list runs --limit 5
  gitops-nb list runs --environment production --since 30d --json
""",
)
@click.argument("what", type=click.Choice(["runbooks", "runs"]), default="runbooks")
@click.option("--environment", help="Only runs in this environment.")
@click.option("--since", help="Only runs begun since then: an age (30d) or a date (2026-11-01).")
@click.option(
    "--limit",
    type=click.IntRange(1),
    help="How many runs; by default 30, and with --since or --json all that fit.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@common
def list_(
    what: str,
    environment: str | None,
    since: str | None,
    limit: int | None,
    as_json: bool,
    workspace: Path | None,
    reports: Path | None,
) -> None:
    """Lists the runbooks, or the runs: those that wait on top with the next command, then newest first."""
    from gitops_nb.cli.listing import list_runbooks, list_runs

    if what == "runbooks":
        list_runbooks(workspace, as_json=as_json)
        return
    list_runs(
        workspace,
        reports,
        environment=environment,
        since=since,
        limit=limit or (None if since or as_json else 30),
        as_json=as_json,
    )


@group.command(
    epilog="""\b
Examples:
  gitops-nb run promotion -p application=checkout -p source=staging -p target=production
  gitops-nb run promotion -p application=checkout --plan
  gitops-nb run bootstrap -p cluster=newcomer --mode sandbox
  gitops-nb run dora -f parameters.yaml --json
  gitops-nb run promotion --matrix services.yaml --workers 2 --plan
"""
)
@click.argument("runbook", shell_complete=complete_runbooks)
@click.option(
    "-p", "pairs", multiple=True, metavar="NAME=VALUE", help="A parameter; may be given often."
)
@click.option(
    "-f", "file", type=click.Path(path_type=Path, dir_okay=False), help="YAML file with parameters."
)
@click.option(
    "--mode",
    type=click.Choice(["sandbox", "live"]),
    help="Where to act; by default what the workspace says.",
)
@click.option(
    "--break-glass",
    metavar="REASON",
    help="Go on without approval, for those whom the policy lets; to be reviewed within 24 h.",
)
@click.option(
    "--plan",
    "plan_only",
    is_flag=True,
    help="Stop after decide; shows diff and gates, changes nothing.",
)
@click.option(
    "--matrix",
    type=click.Path(path_type=Path, dir_okay=False),
    help="YAML file with a list of parameter sets: one run for each.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=2,
    show_default=True,
    help="How many runs of a matrix at once.",
)
@click.option(
    "--again",
    is_flag=True,
    help="Lets automation do again what an earlier run did and somebody took back; a person needs no such option.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON document on stdout and nothing else."
)
@common
def run(
    runbook: str,
    pairs: Sequence[str],
    file: Path | None,
    break_glass: str | None,
    mode: str | None,
    plan_only: bool,
    matrix: Path | None,
    workers: int,
    again: bool,
    as_json: bool,
    workspace: Path | None,
    reports: Path | None,
) -> None:
    """Runs a runbook headlessly and leaves its record; `list` shows the runbooks."""
    from gitops_nb.catalog.early import check_early
    from gitops_nb.catalog.workspace import find_workspace
    from gitops_nb.cli.arguments import read_file, split_pairs

    if break_glass is not None:
        if not break_glass.strip():
            raise click.UsageError("--break-glass needs a reason")
        from gitops_nb.redaction import refuse_secret

        refuse_secret("--break-glass", break_glass)

    typed = read_file(file) if file else {}
    texts = split_pairs(pairs)
    if matrix is not None:
        with uncollected():
            from gitops_nb.cli.matrix import run_matrix

        _exit(
            run_matrix(
                runbook,
                matrix=matrix,
                typed=typed,
                texts=texts,
                workers=workers,
                mode=mode,
                plan_only=plan_only,
                again=again,
                break_glass=(break_glass or "").strip(),
                as_json=as_json,
                workspace=workspace,
                reports=reports,
            )
        )
        return
    # Before anything heavy is imported: a typing error is answered at once.
    check_early(find_workspace(workspace).runbooks, runbook, typed, texts)
    from gitops_nb.kernel import KernelProcess

    with KernelProcess() as process:
        with uncollected():
            from gitops_nb.cli.running import run_runbook

        code = run_runbook(
            runbook,
            typed=typed,
            texts=texts,
            mode=mode,
            plan_only=plan_only,
            again=again,
            break_glass=(break_glass or "").strip(),
            as_json=as_json,
            workspace=workspace,
            reports=reports,
            process=process,
        )
    _exit(code)


@group.command(
    epilog="\b\nExamples:\n  gitops-nb approve last\n  gitops-nb approve 7c1e --key ~/.ssh/id_ed25519_sk --reason 'CHG-4711'"
)
@click.argument("run_id", metavar="RUN", shell_complete=complete_runs)
@click.option(
    "--key",
    type=click.Path(path_type=Path),
    help="SSH key to sign with; by default Git's user.signingkey.",
)
@click.option("--reason", default="", help="Kept in the record.")
@click.option("--yes", is_flag=True, help="Do not ask for the environment's name.")
@common
def approve(
    run_id: str,
    key: Path | None,
    reason: str,
    yes: bool,
    workspace: Path | None,
    reports: Path | None,
) -> None:
    """Shows a waiting run with its diff and gates, and signs consent to exactly that."""
    from gitops_nb.cli.answering import answer

    answer(run_id, "approve", key=key, reason=reason, yes=yes, workspace=workspace, reports=reports)


@group.command(
    epilog="\b\nExamples:\n  gitops-nb reject last --reason 'wait for the fix in v2.31.2'"
)
@click.argument("run_id", metavar="RUN", shell_complete=complete_runs)
@click.option("--reason", required=True, callback=given_reason, help="Why; kept in the record.")
@click.option("--key", type=click.Path(path_type=Path), help="SSH key to sign with.")
@common
def reject(
    run_id: str, reason: str, key: Path | None, workspace: Path | None, reports: Path | None
) -> None:
    """Ends a waiting run with a signed no."""
    from gitops_nb.cli.answering import answer

    answer(run_id, "reject", key=key, reason=reason, yes=True, workspace=workspace, reports=reports)


@group.command(epilog="\b\nExamples:\n  gitops-nb withdraw last --reason 'the release has a fault'")
@click.argument("run_id", metavar="RUN", shell_complete=complete_runs)
@click.option("--reason", required=True, callback=given_reason, help="Why; kept in the record.")
@click.option("--key", type=click.Path(path_type=Path), help="SSH key to sign with.")
@common
def withdraw(
    run_id: str, reason: str, key: Path | None, workspace: Path | None, reports: Path | None
) -> None:
    """Takes back your request, or your approval: nothing more is begun by it."""
    from gitops_nb.cli.answering import withdraw as take_back

    take_back(run_id, key=key, reason=reason, workspace=workspace, reports=reports)


@group.group()
def trust() -> None:
    """Says on this machine what a workspace itself cannot say."""


@trust.command(
    name="origin",
    epilog="\b\nExamples:\n  gitops-nb trust origin https://git.example/platform/runbooks.git",
)
@click.argument("url", required=False)
@click.option("--branch", help="The protected branch; by default the remote's default one.")
@common
def trust_origin(
    url: str | None, branch: str | None, workspace: Path | None, reports: Path | None
) -> None:
    """Pins the origin whose branch says who may approve; without URL the present one is shown and asked about."""
    from gitops_nb.cli.trusting import pin_origin

    pin_origin(url, branch=branch, workspace=workspace, reports=reports)


@group.command(
    epilog="\b\nExamples:\n  gitops-nb resume last\n  gitops-nb resume 20261123T020812Z-promotion"
)
@click.argument("run_id", metavar="RUN", shell_complete=complete_runs)
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON document on stdout and nothing else."
)
@common
def resume(run_id: str, as_json: bool, workspace: Path | None, reports: Path | None) -> None:
    """Goes on with a run that waited or was interrupted; nothing that was done is done again."""
    from gitops_nb.cli.running import resume_run

    _exit(resume_run(run_id, as_json=as_json, workspace=workspace, reports=reports))


@group.command(epilog="\b\nExamples:\n  gitops-nb verify\n  gitops-nb verify last")
@click.argument("run_id", metavar="[RUN]", required=False, shell_complete=complete_runs)
@click.option("--full", is_flag=True, help="Read ledgers whole, not from the newest checkpoint on.")
@click.option("--online", is_flag=True, help="Ask GitHub again about reviews that counted.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@common
def verify(
    run_id: str | None,
    full: bool,
    online: bool,
    as_json: bool,
    workspace: Path | None,
    reports: Path | None,
) -> None:
    """Checks the record of one run, or of all: chain, files, request and approval."""
    from gitops_nb.cli.checking import verify_runs

    _exit(
        verify_runs(
            run_id,
            as_json=as_json,
            full=full,
            online=online,
            workspace=workspace,
            reports=reports,
        )
    )


@group.command(
    epilog='\b\nExamples:\n  gitops-nb report last\n  xdg-open "$(gitops-nb report last)"'
)
@click.argument("run_id", metavar="RUN", shell_complete=complete_runs)
@common
def report(run_id: str, workspace: Path | None, reports: Path | None) -> None:
    """Prints the path of a run's report, on a terminal with what it says."""
    from gitops_nb.cli.checking import show_report

    show_report(run_id, workspace=workspace, reports=reports)


@group.command(
    epilog="\b\nExamples:\n  gitops-nb unlock production--checkout --reason 'the CI runner was lost'"
)
@click.argument("name", metavar="NAME|RUN")
@click.option(
    "--reason",
    required=True,
    callback=given_reason,
    help="Why its holder is gone for certain; signed.",
)
@click.option(
    "--key", type=click.Path(path_type=Path), help="SSH key to sign with, if not your usual one."
)
@common
def unlock(
    name: str, reason: str, key: Path | None, workspace: Path | None, reports: Path | None
) -> None:
    """Frees a lock in a bucket, or closes a run, whose holder died where no machine can see it."""
    from gitops_nb.cli.unlocking import free

    free(name, reason=reason, key=key, workspace=workspace, reports=reports)


@group.command(epilog="\b\nExamples:\n  gitops-nb prune\n  gitops-nb prune --older-than 400d --yes")
@click.option(
    "--older-than",
    metavar="AGE",
    help="For example 400d; by default each environment's retention in fleet.yaml.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@common
def prune(older_than: str | None, yes: bool, workspace: Path | None, reports: Path | None) -> None:
    """Removes runs older than their environment's retention; a signed tombstone of each stays in the ledger."""
    from gitops_nb.cli.pruning import prune_runs

    prune_runs(older_than, yes=yes, workspace=workspace, reports=reports)


@group.command(epilog="\b\nExamples:\n  gitops-nb doctor\n  gitops-nb doctor --mode live")
@click.option("--mode", type=click.Choice(["sandbox", "live"]), help="Which mode to check for.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@common
def doctor(mode: str | None, as_json: bool, workspace: Path | None, reports: Path | None) -> None:
    """Checks tools, contexts, repository, key, clock and versions; says how to mend what is wrong."""
    from gitops_nb.cli.doctor import examine

    _exit(examine(mode=mode, as_json=as_json, workspace=workspace, reports=reports))


@group.command(
    epilog="""\b
Examples:
  gitops-nb init platform-runbooks
  gitops-nb init platform-runbooks --reports records
  gitops-nb init --update
"""
)
@click.argument(
    "directory", type=click.Path(path_type=Path, file_okay=False), required=False, default=None
)
@click.option(
    "--update",
    is_flag=True,
    help="Show what this version of the package would change; writes nothing.",
)
@click.option(
    "--workspace", type=click.Path(path_type=Path, file_okay=False), help="The same as DIRECTORY."
)
@click.option(
    "--reports",
    help="Where the new workspace keeps its run records; written into its gitops-nb.yaml.",
)
def init(directory: Path | None, update: bool, workspace: Path | None, reports: str | None) -> None:
    """Writes a workspace that a team commits: fleet, policy, runbooks, notebooks, CI workflow, reports.

    With --update DIRECTORY is by default the workspace that you stand in.
    """
    from gitops_nb.cli.initialising import create_workspace, named_directory, show_update

    place = named_directory(directory, workspace, update=update)
    if update:
        _exit(show_update(place, reports))
    else:
        create_workspace(place, reports)


group.add_command(dora)


def _exit(code: int) -> None:
    if code:
        raise click.exceptions.Exit(code)
