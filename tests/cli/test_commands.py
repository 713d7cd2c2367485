"""The command line as processes: exit codes, what is printed, what is left behind."""

from __future__ import annotations

import errno
import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gitops_nb.record.runs import is_held, run_ids
from tests.conftest import COMMAND, REPOSITORY
from tests.record.test_tampering import rewrite_journal
from tests.samples import few

main_module = importlib.import_module(
    "gitops_nb.cli.main"
)  # the package has a function of this name
RUN = re.compile(r"\d{8}T\d{6}Z-[a-z0-9-]+")


def test_run_approve_resume_are_three_processes(workspace):
    """`run` ends with 2, `approve` with 0, `resume` with 0; verify holds at each stop."""
    waiting = workspace.run("run", "promotion", "-p", "application=checkout", "-p", "stable_for=0s")
    assert waiting.returncode == 2, waiting.stderr
    assert "SANDBOX" in waiting.stdout
    assert "gitops-nb approve" in waiting.stdout
    assert workspace.run("verify").returncode == 0
    approved = workspace.run("approve", "last", "--yes", "--reason", "CHG-1")
    assert approved.returncode == 0, approved.stderr
    assert "registry.example/shop/checkout" in approved.stdout
    resumed = workspace.run("resume", "last")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert "runs in production" in resumed.stdout
    assert workspace.run("verify", "last").returncode == 0
    ended = run_ids(workspace.reports)[0]
    again = workspace.run("resume", ended)
    assert again.returncode == 3
    assert "has ended" in again.stderr
    assert workspace.run("resume", "last").returncode == 64, "nothing can be resumed"


def test_approve_asks_for_the_environment(workspace):
    """Another name than the environment's signs nothing."""
    assert workspace.run("run", "promotion", "-p", "application=checkout").returncode == 2
    directory = next(workspace.reports.glob("2*"))
    done = subprocess.run(
        (str(COMMAND), "approve", "last"), cwd=workspace.root, input="staging\n", capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip
    assert done.returncode == 64
    assert "nothing was signed" in done.stderr
    assert not (directory / "approvals").exists()


def test_reject_ends_the_run(workspace):
    """After a rejection the run is refused, sealed, and cannot be resumed."""
    assert workspace.run("run", "promotion", "-p", "application=checkout").returncode == 2
    assert workspace.run("reject", "last", "--reason", "not now").returncode == 0
    assert workspace.run("resume", "last").returncode == 64
    listed = json.loads(workspace.run("list", "runs", "--json").stdout)
    assert listed[0]["status"] == "refused"
    assert "not now" in listed[0]["reason"]
    assert workspace.run("verify").returncode == 0


def test_plan_only_changes_nothing(workspace):
    """`--plan` shows diff and gates, writes no request, and ends with 0."""
    done = workspace.run("run", "promotion", "-p", "application=checkout", "--plan")
    assert done.returncode == 0, done.stderr
    assert "+           image: registry.example/shop/checkout:" in done.stdout
    assert "passed  soak" in done.stdout
    directory = next(workspace.reports.glob("2*"))
    assert not (directory / "request.json").exists()
    kinds = [
        json.loads(line)["kind"] for line in (directory / "journal.jsonl").read_text().splitlines()
    ]
    assert "intent" not in kinds


def test_json_prints_one_document(workspace):
    """With --json stdout is one JSON document and nothing else."""
    done = workspace.run("run", "promotion", "-p", "application=checkout", "--json")
    document = json.loads(done.stdout)
    assert done.returncode == 2
    assert document["status"] == "waiting"
    assert document["gates"][0]["gate"] == "source_healthy"


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("run", "nope"), 64, "unknown runbook"),
        (("run", "promotion", "-p", "application=nope"), 64, "allowed: checkout, catalog, payments"),
        (("run", "promotion"), 64, "application: missing"),
        (("run", "promotion", "-p", "application"), 64, "has no ="),
        (("run", "promotion", "-p", "application=checkout", "-p", "timeout=soon"), 64, "timeout"),
        (("run", "promotion", "-p", "application=checkout", "-p", "1x=2"), 64, "not an identifier"),
        (("run", "promotion", "-p", "application=checkout", "-p", "target=moon"), 64, "allowed: development"),
        (("run", "promotion", "-p", "application=checkout", "-p", "source=development", "-p", "target=production"), 64, "does not follow"),
        (("run", "promotion", "--nope"), 64, "No such option"),
        (("nope",), 64, "No such command"),
        (("approve", "nope"), 64, "no run"),
        (("verify",), 64, "no runs"),
        (("report", "last"), 64, "no runs"),
    ],
)  # fmt: skip
def test_wrong_usage_is_64_and_leaves_nothing(workspace, arguments, code, text):
    """A wrong command says what is wrong and what is allowed; no run begins."""
    done = workspace.run(*arguments)
    assert done.returncode == code, done.stdout + done.stderr
    assert text in done.stderr
    assert list(workspace.reports.glob("2*")) == []


def test_wrong_configuration_is_78_with_every_problem(workspace):
    """All problems of all files at once, each with file, line and path."""
    workspace.replace(
        "runbooks/fleet.yaml",
        "promotes_to:\n  development: [staging]",
        "promotes_to:\n  development: [stagin]",
    )
    workspace.replace("runbooks/policy.yaml", "approval_lifetime: 4h", "approval_lifetime: 4 hours")
    workspace.replace("runbooks/dora.yaml", "risk: read", "risk: none")
    done = workspace.run("run", "dora")
    assert done.returncode == 78
    assert re.search(
        r"runbooks/fleet\.yaml:\d+: promotes_to\.development\[0\]: unknown environment 'stagin'",
        done.stderr,
    )
    assert re.search(r"runbooks/policy\.yaml:\d+: approval_lifetime: ", done.stderr)
    assert re.search(r"runbooks/dora\.yaml:\d+: risk: ", done.stderr)
    assert list(workspace.reports.glob("2*")) == []


def test_the_mode_has_no_default(workspace):
    """Without a mode anywhere nothing runs."""
    workspace.replace("gitops-nb.yaml", "mode: sandbox\n", "")
    done = workspace.run("run", "dora")
    assert done.returncode == 78
    assert "sandbox or live" in done.stderr


def test_no_workspace_is_78(tmp_path):
    """Outside a workspace the command says how to make one."""
    done = subprocess.run(
        (str(COMMAND), "list"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 78
    assert "gitops-nb init" in done.stderr


def test_a_reports_folder_that_cannot_be_written_is_74(workspace):
    """The run refuses before anything happens."""
    blocked = workspace.root / "blocked"
    blocked.write_text("a file")
    done = workspace.run(
        "run", "promotion", "-p", "application=checkout", "--reports", str(blocked)
    )
    assert done.returncode == 74
    assert "nothing was run" in done.stderr


def test_an_unreachable_repository_is_69(workspace):
    """A live run whose repository does not answer says so; nothing was changed."""
    workspace.replace("gitops-nb.yaml", "mode: sandbox", "mode: live")
    workspace.replace(
        "runbooks/fleet.yaml",
        "https://git.example/platform/platform-config.git",
        "file:///nonexistent/x.git",
    )
    text = (workspace.root / "runbooks/fleet.yaml").read_text()
    workspace.write(
        "runbooks/fleet.yaml",
        re.sub(
            r"(?m)^  (development|staging|production|newcomer): \{environment.*\n", "", text
        ).replace(
            "clusters:\n  # An empty cluster of development: bootstrap installs Argo CD on it.\n",
            "",
        ),
    )
    done = workspace.run("run", "promotion", "-p", "application=checkout")
    assert done.returncode == 69, done.stdout + done.stderr
    assert "cannot reach repository" in done.stdout


def test_verify_finds_an_edit(workspace):
    """An edited, a missing and an added file, and a broken chain, are exit code 1."""
    workspace.run("run", "promotion", "-p", "application=checkout", "--plan")
    directory = next(workspace.reports.glob("2*"))
    (directory / "evidence" / "plan.json").write_text("{}")
    (directory / "evidence" / "observe.json").unlink()
    (directory / "evidence" / "new.json").write_text("{}")
    done = workspace.run("verify", "last")
    assert done.returncode == 1
    assert "evidence/plan.json: edited" in done.stdout
    assert "evidence/observe.json: missing" in done.stdout
    assert "evidence/new.json: added" in done.stdout


def test_automation_may_propose_to_staging_and_not_to_production(workspace):
    """staging: proposed by automation, waits for a person. production: a person has to start it."""
    ci = {"GITOPS_NB_MODE": "sandbox"}
    waiting = workspace.run("run", "promotion", "-p", "application=checkout", **ci)
    assert waiting.returncode == 2


def test_papermill_runs_the_same_notebook(workspace):
    """Plain papermill ends with 1 and one plain sentence when a run waits, and leaves a true journal."""
    done = subprocess.run(
        (str(Path(sys.executable).with_name("papermill")), "notebooks/promotion.ipynb", "out.ipynb",
         "-p", "application", "checkout"),
        cwd=workspace.root, capture_output=True, text=True, timeout=120, check=False, env={**os.environ},
    )  # fmt: skip
    assert done.returncode == 1
    assert "waiting for 1 approval" in done.stderr
    assert (
        "Traceback (most recent call last)" not in done.stderr.split("PapermillExecutionError")[-1]
    )
    listed = json.loads(workspace.run("list", "runs", "--json").stdout)
    assert listed[0]["status"] == "waiting"
    assert workspace.run("approve", "last", "--yes").returncode == 0
    assert workspace.run("resume", "last").returncode == 0


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("application", "007", "7 is an integer"),
        ("stable_for", "false", "'false' is not allowed"),
        ("targett", "production", "targett: unknown parameter"),
    ],
)
def test_papermill_retypes_and_the_first_cell_refuses(workspace, name, value, text):
    """What papermill injects is checked again: 7 for "007", the text "false"."""
    parameters = {"application": "checkout", name: value}
    pairs = [item for pair in parameters.items() for item in ("-p", *pair)]
    done = subprocess.run(
        (str(Path(sys.executable).with_name("papermill")), "notebooks/promotion.ipynb", "out.ipynb", *pairs),
        cwd=workspace.root, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert text in done.stderr
    assert list(workspace.reports.glob("2*")) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_cancelled_run_says_so(workspace, number, code):
    """A signal ends the run as cancelled, closes the record, and the exit code names the signal."""
    process = subprocess.Popen(
        (str(COMMAND), "run", "promotion", "-p", "application=checkout"), cwd=workspace.root,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not list(workspace.reports.glob("2*/journal.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.05)  # waits for another process, no test of time
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == code
    listed = json.loads(workspace.run("list", "runs", "--json").stdout)
    assert listed[0]["status"] == "cancelled"
    assert workspace.run("verify").returncode == 0


def test_a_killed_runner_is_closed_by_the_next_command(workspace):
    """A kill -9 leaves an open record; the next command that works on runs closes it and says what is known."""
    process = subprocess.Popen(
        (str(COMMAND), "run", "promotion", "-p", "application=checkout"), cwd=workspace.root,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not list(workspace.reports.glob("2*/journal.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.05)  # waits for another process, no test of time
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=30)
    killed = min(workspace.reports.glob("2*"))
    while is_held(workspace.reports, killed.name) and time.monotonic() < deadline:
        time.sleep(0.05)  # the kernel notices within a second that its parent is gone
    (row,) = json.loads(workspace.run("list", "runs", "--json").stdout)
    assert "its process is gone" in row["reason"]
    assert row["command"] == f"gitops-nb resume {killed.name}"
    done = workspace.run("run", "promotion", "-p", "application=checkout", "--plan")
    assert done.returncode == 0, done.stderr
    last = [json.loads(line) for line in (killed / "journal.jsonl").read_text().splitlines()]
    assert "ended" in {record["kind"] for record in last}
    assert (killed / "report.html").is_file()
    assert workspace.run("verify").returncode == 0


def test_every_command_has_examples_and_the_readme_names_it():
    """--help of each command shows an example; README has each command and each exit code."""
    from gitops_nb.cli.commands import group
    from gitops_nb.errors import ExitCode

    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    commands = {
        f"{name} {part}".strip(): command
        for name, one in group.commands.items()
        for part, command in getattr(one, "commands", {"": one}).items()
    }
    for name, command in commands.items():
        assert "Examples:" in (command.epilog or ""), name
        assert f"gitops-nb {name}" in readme, name
        options = {option for parameter in command.params for option in parameter.opts}
        # One prints what is always the same, one writes into the folder that it is told.
        if name not in ("dora schema", "dora import"):
            assert {"--workspace", "--reports"} <= options, name
    for code in ExitCode:
        assert re.search(rf"^\| {code.value} \|", readme, re.MULTILINE), code


def test_doctor_finds_nothing_wrong_in_a_new_workspace(workspace):
    """Every required check holds, and the JSON form says the same."""
    done = workspace.run("doctor", "--json")
    assert done.returncode == 0, done.stdout
    assert [a["what"] for a in json.loads(done.stdout) if not a["holds"]] == []


def test_doctor_shows_the_environments(workspace):
    """Who starts, who approves, limits and retention of each environment, as fleet.yaml says."""
    printed = workspace.run("doctor").stdout
    assert (
        "a person starts, another approves; cpu unlimited, memory unlimited; records kept 365d"
        in printed
    )
    assert (
        "automation or a person starts, nobody approves; cpu limited, memory limited; records kept 7d"
        in printed
    )


def test_parameters_come_from_a_file(workspace):
    """-f gives typed values, -p wins over them, and the file's mistakes are refused like others."""
    workspace.write("p.yaml", "application: catalog\ntarget: staging\nsource: development\n")
    done = workspace.run(
        "run", "promotion", "-f", "p.yaml", "-p", "application=checkout", "--plan", "--json"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["parameters"]["application"] == "checkout"
    assert json.loads(done.stdout)["environment"] == "staging"
    workspace.write("p.yaml", "application: 7\n")
    assert workspace.run("run", "promotion", "-f", "p.yaml").returncode == 64


def test_an_unchanged_workspace_needs_no_update(workspace):
    """`init --update` on what the package ships says so and ends with 0."""
    team = workspace.root / "team"
    assert workspace.run("init", str(team)).returncode == 0
    done = workspace.run("init", str(team), "--update")
    assert (done.returncode, done.stderr) == (0, "")


def test_one_damaged_record_stops_nobody_else(workspace):
    """A journal that is garbage, or empty, is that run's trouble: others run, and list and verify name it."""
    for name, content in (
        ("20260101T000000Z-dora-production-aaaa", b"garbage\n"),
        ("20260102T000000Z-dora-production-bbbb", b""),
    ):
        (workspace.reports / name).mkdir(parents=True)
        (workspace.reports / name / "journal.jsonl").write_bytes(content)
    done = workspace.run("run", "promotion", "-p", "application=checkout", "--plan")
    assert done.returncode == 0, done.stderr
    listed = {row["run"]: row for row in json.loads(workspace.run("list", "runs", "--json").stdout)}
    assert len(listed) == 3
    assert listed["20260101T000000Z-dora-production-aaaa"]["status"] == "needs_attention"
    assert workspace.run("verify").returncode == 1


def test_two_resumes_at_once_are_one(workspace):
    """One goes on, the other is refused; the run ends once."""
    assert workspace.run("run", "promotion", "-p", "application=checkout").returncode == 2
    assert workspace.run("approve", "last", "--yes").returncode == 0
    second = workspace.run("approve", "last", "--yes")
    assert second.returncode == 3
    assert "already" in second.stderr
    both = [
        subprocess.Popen((str(COMMAND), "resume", "last"), cwd=workspace.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]  # fmt: skip
    for process in both:
        process.communicate(timeout=120)
    assert sorted(process.returncode for process in both) == [0, 3]
    directory = next(workspace.reports.glob("2*"))
    kinds = [
        json.loads(line)["kind"] for line in (directory / "journal.jsonl").read_text().splitlines()
    ]
    assert kinds.count("ended") == 1
    assert workspace.run("verify").returncode == 0


def test_a_closed_pipe_does_not_change_the_exit_code(workspace):
    """Who stops reading the output does not stop the run."""
    line = f"{COMMAND} run promotion -p application=checkout | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ("bash", "-c", line),
        cwd=workspace.root,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr


def test_printed_commands_find_the_run_again(workspace, tmp_path):
    """A command that was given --workspace and --reports prints commands that have them."""
    places = ("--workspace", str(workspace.root), "--reports", str(tmp_path / "elsewhere"))
    done = subprocess.run(
        (str(COMMAND), "run", "promotion", "-p", "application=checkout", *places), cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )  # fmt: skip
    command = re.search(r"`(gitops-nb approve [^`]+)`", done.stdout)[1]
    answered = subprocess.run(
        (str(COMMAND), *command.split()[1:], "--yes"), cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip
    assert answered.returncode == 0, answered.stderr


def test_doctor_gives_a_fix(workspace):
    """A wrong file is answered with what to do."""
    workspace.replace("runbooks/fleet.yaml", "kind: Fleet", "kind: Flet")
    done = workspace.run("doctor")
    assert done.returncode == 78
    assert "Mend" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("run", "promotion", "-p", "application=moon", "--json"), 64),
        (("run", "promotion", "--nonsense", "--json"), 64),
        (("verify", "nothing-like-that", "--json"), 64),
        (("list", "--json", "--workspace", "/nowhere"), 78),
    ],
)
def test_json_tells_errors_too(workspace, arguments, code):
    """A command that is refused before it has a result prints one document: error, hint, exit code."""
    done = workspace.run(*arguments)
    told = json.loads(done.stdout)
    assert (done.returncode, told["exit_code"]) == (code, code)
    assert told["error"].splitlines()[0] in done.stderr


def test_init_refuses_to_overwrite(workspace):
    """A folder with a workspace in it is left as it is."""
    before = {p: p.read_bytes() for p in workspace.root.rglob("*.yaml")}
    done = workspace.run("init", ".")
    assert done.returncode == 64
    assert {p: p.read_bytes() for p in workspace.root.rglob("*.yaml")} == before


def test_init_writes_where_the_records_go(workspace):
    """`--reports` of a new workspace stands in its file, gets its folder, and an update agrees with it."""
    team = workspace.root / "team"
    assert workspace.run("init", "--workspace", "team", "--reports", "records").returncode == 0
    assert 'reports: "records"' in (team / "gitops-nb.yaml").read_text()
    assert (team / "records" / "README.md").is_file()
    assert not (team / "reports").exists()
    assert workspace.run("init", "--workspace", "team", "--update").returncode == 0
    assert str(team / "records") in workspace.run("list", "runs", "--workspace", "team").stdout


def test_init_needs_one_directory(workspace):
    """No directory, or two of them, is wrong usage; nothing is written."""
    before = {p for p in workspace.root.rglob("*") if ".gitops-nb" not in p.parts}
    assert workspace.run("init").returncode == 64
    assert workspace.run("init", "a", "--workspace", "b").returncode == 64
    assert {p for p in workspace.root.rglob("*") if ".gitops-nb" not in p.parts} == before


def test_init_update_shows_what_differs(workspace):
    """A changed notebook or runbook shows as a diff, the team's own fleet does not; nothing is written."""
    workspace.replace("runbooks/promotion.yaml", "title: Promote a release", "title: Promote")
    workspace.replace("runbooks/fleet.yaml", "kind: Fleet", "kind: Fleet # ours")
    done = workspace.run("init", "--update")
    assert done.returncode == 1
    assert "+title: Promote a release" in done.stdout
    assert "# ours" not in done.stdout
    assert "title: Promote\n" in (workspace.root / "runbooks/promotion.yaml").read_text()


@pytest.mark.parametrize(
    ("auto_deploy", "approval_required", "code"),
    few(
        [("true", "true", 2), ("true", "false", 0), ("false", "true", 3), ("false", "false", 3)],
        keep=2,
    ),
)
def test_automation_starts_only_what_deploys_by_itself(
    workspace, auto_deploy, approval_required, code
):
    """All four combinations with CI as the requester: proposed and waiting, done, and refused twice."""
    flags = "production: {auto_deploy: %s, approval_required: %s,"
    workspace.replace(
        "runbooks/fleet.yaml", flags % ("false", "true"), flags % (auto_deploy, approval_required)
    )
    history = ("git", "rev-list", "--all", "--count")
    [repository] = workspace.root.glob(".gitops-nb/sandbox/**/platform-config.git")

    def commits() -> str:
        return subprocess.run(
            history, cwd=repository, capture_output=True, text=True, check=True
        ).stdout

    before = commits()
    done = workspace.run("run", "promotion", "-p", "application=checkout", "--json", CI="true")
    assert done.returncode == code, done.stderr
    assert (commits() != before) is (code == 0)
    if code == 3:
        assert "is started by a person" in json.loads(done.stdout)["reason"]


@pytest.mark.torture
def test_runs_are_listed_by_environment_and_age(workspace):
    """--environment and --since leave the others out, in text and in JSON, and a wrong --since is refused."""
    assert workspace.run("run", "bootstrap", "-p", "cluster=newcomer", "--plan").returncode == 0
    assert workspace.run("run", "promotion", "-p", "application=checkout", "--plan").returncode == 0
    old = workspace.reports / "20250101T000000Z-promotion-production-0000"
    shutil.copytree(next(workspace.reports.glob("2*-promotion-*")), old)
    rewrite_journal(old, lambda rows: rows[0]["body"].update(run=old.name))

    def listed(*arguments: str) -> list[str]:
        done = workspace.run("list", "runs", "--json", *arguments)
        assert done.returncode == 0, done.stderr
        rows = json.loads(done.stdout)
        assert all(row["requester"] == "mara.lindqvist" for row in rows)
        return [f"{row['runbook']} {row['environment']}" for row in rows]

    assert listed("--environment", "production", "--since", "30d") == ["promotion production"]
    assert listed("--environment", "development") == ["bootstrap development"]
    assert len(listed()) == 3
    assert len(listed("--since", "2025-01-02")) == 2
    assert listed("--environment", "moon") == []
    assert "no runs that fit" in workspace.run("list", "runs", "--environment", "moon").stdout
    done = workspace.run("list", "runs", "--since", "yesterday")
    assert done.returncode == 64
    assert "30d" in done.stderr


def test_doctor_goes_on_without_a_kubeconfig(workspace, tmp_path):
    """What a missing kubeconfig says nothing about is asked all the same: repositories, register, tools."""
    workspace.replace("gitops-nb.yaml", "mode: sandbox", "mode: live")
    done = workspace.run("doctor", "--json", KUBECONFIG=str(tmp_path / "none"))
    assert done.returncode == 78, done.stdout + done.stderr
    found = {one["what"]: one for one in json.loads(done.stdout)}
    assert "kubeconfig context" in found["live platform"]["found"]
    assert "repository platform-config" in found
    assert not found["register"]["holds"]
    assert "kubectl" in found


def test_doctor_asks_the_register(workspace):
    """One that does not answer is wrong: nothing that needs approval could begin."""
    repository = workspace.root / ".gitops-nb/sandbox/git/platform-config.git"
    repository.rename(repository.with_name("away.git"))
    done = workspace.run("doctor", "--json")
    found = {one["what"]: one for one in json.loads(done.stdout)}
    assert done.returncode == 78
    assert "cannot reach repository" in found["register"]["found"]


@pytest.mark.parametrize(
    ("code", "ends"), [(errno.EACCES, 74), (errno.ENOSPC, 74), (errno.EIO, 70)]
)
def test_a_file_that_is_not_ours_ends_without_a_traceback(monkeypatch, capsys, code, ends):
    """What the machine does not allow is named with its file; what else goes wrong stays an internal error."""

    def fails(**_):
        raise OSError(code, os.strerror(code), "/srv/reports/index.html")

    monkeypatch.setattr(main_module.group, "main", fails)
    with pytest.raises(SystemExit) as ended:
        main_module.main(["verify"])
    said = capsys.readouterr().err
    assert ended.value.code == ends
    assert f"/srv/reports/index.html: {os.strerror(code)}" in said or ends == 70
    assert ("Traceback" in said) is (ends == 70)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("timeout=0s", "in no time nobody sees whether the version runs"),
        ("timeout=5s", "timeout: 5s is shorter than stable_for, 10s"),
    ],
)
def test_a_timeout_in_which_nothing_can_be_seen_is_a_wrong_parameter(workspace, given, said):
    """A run that could never be settled is not made: it is said before anything runs."""
    done = workspace.run("run", "promotion", "-p", "application=checkout", "-p", given)
    assert done.returncode == 64
    assert said in done.stderr
    assert not list(workspace.reports.glob("2*"))


def test_a_bootstrap_in_no_time_is_a_wrong_parameter(workspace):
    """The same of the time that each of the ten steps may take."""
    done = workspace.run("run", "bootstrap", "-p", "cluster=production", "-p", "timeout=0s")
    assert done.returncode == 64
    assert "in no time no step can be seen to hold" in done.stderr
    assert not list(workspace.reports.glob("2*"))


@pytest.mark.torture
def test_a_service_that_nobody_knows_is_a_wrong_parameter(workspace):
    """A run cannot be resumed with other services, so none is made of it; one that is known is measured."""
    done = workspace.run("run", "dora", "-p", "services=checkout,moon")
    assert done.returncode == 64, done.stdout + done.stderr
    assert "services: nothing is known about moon" in done.stderr
    assert "resume" not in done.stdout + done.stderr
    assert not list(workspace.reports.glob("2*"))
    assert workspace.run("run", "dora", "-p", "services=checkout").returncode == 0
