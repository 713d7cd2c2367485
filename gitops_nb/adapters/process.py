"""Runs external commands: argument lists, own process group, a total deadline, no inherited secrets."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from gitops_nb.errors import UnavailableError
from gitops_nb.ports import Completed

_PASSED_ON = ("HOME", "PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "USER", "LOGNAME", "SSH_AUTH_SOCK", "SSH_AGENT_PID", "XDG_RUNTIME_DIR", "DISPLAY", "SSH_ASKPASS", "SSH_ASKPASS_REQUIRE", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR")  # fmt: skip
GRACE_S = 5.0


class LocalProcesses:
    """Runs programs on this machine; implements ``ports.Processes``."""

    def run(
        self,
        argv: tuple[str, ...],
        *,
        timeout_s: float,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
        stdin: bytes = b"",
    ) -> Completed:
        """See ``ports.Processes.run``. ``environment`` is added to a short list of inherited variables."""
        passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        try:
            process = subprocess.Popen(
                argv,
                cwd=cwd,
                env={**passed, **(environment or {})},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise UnavailableError(
                f"cannot start {argv[0]}: {error.strerror}",
                hint=f"Install {argv[0]}; see `gitops-nb doctor`.",
            ) from error
        try:
            stdout, stderr = process.communicate(stdin, timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            _end(process)
            raise UnavailableError(
                f"{' '.join(argv[:3])} did not end within {timeout_s:g} s",
                hint="Try again; it was stopped.",
            ) from error
        except BaseException:
            _end(process)
            raise
        return Completed(
            argv=argv,
            exit_code=process.returncode,
            output=stdout,
            stderr=stderr.decode(errors="replace"),
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process and everything it started: TERM, then KILL."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        try:
            process.communicate(timeout=GRACE_S)
        except subprocess.TimeoutExpired:
            continue
        return
