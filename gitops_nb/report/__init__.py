"""What people see of a run: report.html, report.json and the index, folds over its journal and nothing else.

``write`` and ``write_index`` put them on disk; ``render``, ``summary`` and ``index`` are the pure functions behind.
"""

from gitops_nb.report.document import summary
from gitops_nb.report.files import write, write_index
from gitops_nb.report.index_page import index
from gitops_nb.report.run_page import render

__all__ = ["index", "render", "summary", "write", "write_index"]
