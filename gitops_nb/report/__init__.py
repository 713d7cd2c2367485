"""What people see of a run: report.html, report.json and the index, folds over its journal and nothing else."""
