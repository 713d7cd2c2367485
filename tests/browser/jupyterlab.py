"""A JupyterLab of its own for a test: free port, token, private settings, ended with everything it started."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gitops_nb.record.fold import RunState
from gitops_nb.record.runs import read_run, run_directories

PROGRAMS = Path(sys.executable).parent
READY_S = 90
_TICK = threading.Event()


def until(condition: Callable[[], Any], what: str, *, seconds: float = 120) -> Any:
    """Waits for something that another process does; returns the first true value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        _TICK.wait(0.2)
    return value


@dataclass(frozen=True)
class Lab:
    """A running server. ``root`` is what it serves; workspaces lie directly below it."""

    url: str
    token: str
    root: Path

    def address(self, notebook: Path) -> str:
        """Opens a notebook in a Lab workspace of its own, so that tests do not share tabs."""
        path = notebook.relative_to(self.root).as_posix()
        return f"{self.url}/lab/workspaces/w{secrets.token_hex(4)}/tree/{path}?token={self.token}"

    def is_up(self) -> bool:
        with contextlib.suppress(urllib.error.URLError, OSError):
            address = f"{self.url}/api/status?token={self.token}"
            with urllib.request.urlopen(address, timeout=2) as answer:
                return answer.status == 200
        return False


@contextlib.contextmanager
def running_lab(root: Path) -> Iterator[Lab]:
    """Starts JupyterLab on a loopback port and ends it."""
    private = root / ".private"
    folders = {
        name: private / name.lower()
        for name in (
            "JUPYTER_CONFIG_DIR",
            "JUPYTER_DATA_DIR",
            "JUPYTER_RUNTIME_DIR",
            "JUPYTERLAB_SETTINGS_DIR",
            "JUPYTERLAB_WORKSPACES_DIR",
            "IPYTHONDIR",
        )
    }
    news = folders["JUPYTERLAB_SETTINGS_DIR"] / "@jupyterlab" / "apputils-extension"
    news.mkdir(parents=True)
    (news / "notification.jupyterlab-settings").write_text('{"fetchNews": "false"}')
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    lab = Lab(f"http://127.0.0.1:{port}", secrets.token_hex(16), root)
    # The person in front of it is no automation, wherever the test itself runs.
    left_out = ("GITOPS_NB_", "GITHUB_")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(left_out) and k != "CI"}
    environment |= {name: str(path) for name, path in folders.items()}
    environment["PATH"] = f"{PROGRAMS}{os.pathsep}{environment['PATH']}"
    with (private / "lab.log").open("wb") as log:
        server = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "jupyterlab",
                "--no-browser",
                "--allow-root",
                "--ip=127.0.0.1",
                f"--port={port}",
                "--ServerApp.port_retries=0",
                f"--ServerApp.root_dir={root}",
                f"--IdentityProvider.token={lab.token}",
            ],
            env=environment,
            cwd=root,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        until(lab.is_up, (private / "lab.log").read_text("utf-8", "replace"), seconds=READY_S)
        yield lab
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(20)


def notebook(path: Path, *sources: str) -> None:
    """Writes a notebook of code cells."""
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    cells = [
        {
            "cell_type": "code",
            "execution_count": None,
            "id": f"cell-{number}",
            "metadata": {},
            "outputs": [],
            "source": source.strip(),
        }
        for number, source in enumerate(sources)
    ]
    document = {
        "cells": cells,
        "metadata": {"kernelspec": kernel},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    path.write_text(json.dumps(document), "utf-8")


@dataclass(frozen=True)
class Workspace:
    """A workspace below a Lab's root, with what a person would do in a terminal beside it."""

    root: Path

    @property
    def notebook(self) -> Path:
        return self.root / "notebooks" / "promotion.ipynb"

    def command(self, *arguments: str, exit_code: int = 0) -> str:
        """Runs gitops-nb in this workspace and returns what it says."""
        done = subprocess.run(
            [str(PROGRAMS / "gitops-nb"), *arguments],
            cwd=self.root,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        said = done.stdout + done.stderr
        assert done.returncode == exit_code, f"{arguments}: {done.returncode}\n{said}"
        return said

    def set_parameter(self, name: str, value: str) -> None:
        """Types a value into the parameters cell, as a person does before Run All."""
        document = json.loads(self.notebook.read_text("utf-8"))
        for cell in document["cells"]:
            if "parameters" in cell["metadata"].get("tags", []):
                lines = "".join(cell["source"]).splitlines()
                wanted = [f"{name} = {value}" if x.startswith(f"{name} =") else x for x in lines]
                assert wanted != lines
                cell["source"] = "\n".join(wanted)
        self.notebook.write_text(json.dumps(document, indent=1), "utf-8")

    @property
    def run(self) -> RunState | None:
        """The newest run."""
        directories = run_directories(self.root / "reports")
        return read_run(directories[0]) if directories else None

    def report(self) -> str:
        assert self.run is not None
        return (self.root / "reports" / self.run.run / "report.html").read_text("utf-8")
