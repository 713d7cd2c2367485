"""What a run's own command told its notebook's process: never read from the environment, which anybody can set.

The engine sends it through the pipe that starts the process. A process that got none is JupyterLab's or plain papermill's.
"""

from __future__ import annotations

from dataclasses import dataclass

_GIVEN: list[Order] = []


@dataclass(frozen=True, slots=True)
class Order:
    """What decides about a run beside its parameters.

    Args:
        run: The run to go on with, "" for a new one.
        head: Hash of the newest record that the command saw of it; "" where no command stands behind this process. A file tells
            who the run is of, and the notebook's process can write it.
        plan_only: Stop after decide.
        again: Do again what an earlier run did.
        break_glass: Why the requester goes on without approval, "" when they do not.
        is_supervised: An engine stands behind this process: it closes the record.
        notary: Path of the engine's socket, "" where there is none.
        executor: Path of the socket of the process that calls the verbs, "" where there is none.
        workspace: Which workspace the process works in, whoever asks it.
        reports: The same of its reports, for the process that calls the verbs.
        mode: Sandbox or live, as the command chose.
        pin: Which origin the command read to be pinned, see ``origins.pin_text``.
    """

    run: str = ""
    head: str = ""
    plan_only: bool = False
    again: bool = False
    break_glass: str = ""
    is_supervised: bool = False
    notary: str = ""
    executor: str = ""
    workspace: str = ""
    reports: str = ""
    mode: str = ""
    pin: str = ""


def obey(order: Order) -> None:
    """Takes the order of this process, once, before any cell runs."""
    _GIVEN[:] = [order]


def given() -> Order:
    """The order of this process; one that says nothing where it got none."""
    return _GIVEN[0] if _GIVEN else Order()
