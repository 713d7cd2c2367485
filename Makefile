# The commands of this project. `make demo` and `make test` set everything up by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
# Free of the person's own settings: what is installed is what the lock says.
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup demo test fast torture test-live test-spark check format bench calibrate mutate lock clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

setup: $(READY) ## .venv with everything from requirements.lock

# Compiled at once: where PYTHONDONTWRITEBYTECODE is set every process would compile all of it again.
$(READY): pyproject.toml requirements.lock
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@$(BIN)/python -m compileall -q gitops_nb
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -c "from gitops_nb.report.layout import preload_templates as keep; keep()"
	@touch $@

demo: $(READY) ## bootstrap, promotion and dora in the sandbox, headlessly
	@$(BIN)/python tools/demo.py

test: $(READY) ## every test that needs no real control plane
	@$(BIN)/python -m pytest -n 2 --dist worksteal -m "not live and not torture" --doctest-modules tests gitops_nb

fast: $(READY) ## for every change: all but browsers and the slowest (five minutes)
	@$(BIN)/python -m pytest -n 2 --dist worksteal -m "not live and not torture and not browser and not slow" tests

torture: $(READY) ## the long suites: every crash point, every tampering, every hostile text
	@$(BIN)/python -m pytest -n 2 --dist worksteal -m "torture" tests

test-live: $(READY) ## contract and end-to-end tests on the control plane that KUBECONFIG names
	@if [ -z "$$KUBECONFIG" ]; then \
	  echo "SKIPPED: make test-live needs KUBECONFIG; nothing ran against a real control plane"; \
	else $(BIN)/python -m pytest -m live tests; fi

test-spark: $(READY) ## DORA on Spark against DuckDB, expressions and numbers end to end, over a million changes
	@GITOPS_NB_SPARK_CHANGES=1000000 $(BIN)/python -m pytest tests/dora/test_portable.py tests/dora/test_engines.py -k spark_gives

check: $(READY) ## format, lint, types, layers, notebooks
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/nb-clean check --preserve-cell-metadata-field tags notebooks/*.ipynb
	@$(BIN)/python -m pytest -q tests/architecture

format: $(READY) ## format code and notebooks
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .
	@$(BIN)/nb-clean clean --preserve-cell-metadata-field tags notebooks/*.ipynb

bench: $(READY) ## measure what README and docs state, as JSON
	@$(BIN)/python tools/bench.py
	@$(BIN)/python tools/bench_dora.py
	@$(BIN)/python tools/bench_collect.py

calibrate: $(READY) ## how often the DORA report claims a change that is none, and tells one that is
	@$(BIN)/python tools/calibrate.py

mutate: $(READY) ## which breaks of the code no test notices: of what differs from origin/main; SINCE=COMMIT, MODULES=..., ALL=1 (hours)
	@$(BIN)/python tools/mutate.py $(if $(ALL),--all) $(if $(SINCE),--since $(SINCE)) $(MODULES)

lock: $(READY) ## resolve requirements.lock anew
	@$(BIN)/uv pip compile pyproject.toml --extra lab --group dev --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --custom-compile-command "make lock" --quiet --output-file requirements.lock

clean: ## remove what make made
	rm -rf $(VENV) .gitops-nb .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .cache/mutate dist
