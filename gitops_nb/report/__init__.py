"""What people see of a run: report.html, report.json and the index, folds over its journal and nothing else.

``files.write`` and ``files.write_index`` put them on disk; ``run_page.render``, ``document.summary`` and
``index_page.index`` are the pure functions behind. Nothing is imported here: ``gitops-nb list`` needs only ``text``.
"""
