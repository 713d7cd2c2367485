"""Supervises a headless run: kernel, signals, timeouts, the saved notebook, and the end of the record.

The kernel writes the journal. The engine writes the notebook into the run directory, reaps the kernel, and only then closes
the record. The exit code comes from the journal.
"""

from gitops_nb.engine.closing import Unrecorded
from gitops_nb.engine.signals import Signals
from gitops_nb.engine.supervise import Order, execute

__all__ = ["Order", "Signals", "Unrecorded", "execute"]
