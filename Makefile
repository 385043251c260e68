# The same commands for a person, for pre-commit and for CI. `make` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
export PIP_DISABLE_PIP_VERSION_CHECK := 1

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.stamp
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
CACHES := .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

.PHONY: help setup demo bench bench-serve bench-data bench-evidence bench-console screenshots test browser faults soak fuzz check format lock docs dist clean

help: ## List the targets
	@echo "Usage: make TARGET [ARGS='...']"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' Makefile

setup: $(READY) ## Build .venv from requirements.lock (the other targets do it when needed)
	@echo "Ready: $$($(BIN)/python --version), $(BIN)/driftloop"

demo: $(READY) ## Watch the loop retrain and promote on real flights; ARGS for `driftloop demo`
	@$(BIN)/driftloop demo $(ARGS)

bench: bench-serve bench-data bench-evidence bench-console ## Every benchmark

bench-serve: $(READY) ## Measure inference beside peers; ARGS for `driftloop bench serve`
	@$(BIN)/driftloop bench serve $(ARGS)

bench-data: $(READY) ## Measure the data plane and write docs/explanation/performance.md
	@$(BIN)/driftloop bench data --page docs/explanation/performance.md $(ARGS)

bench-evidence: $(READY) ## Measure verdicts and alarms for docs/explanation/evidence.md
	@$(BIN)/driftloop bench evidence --page docs/explanation/evidence.md $(ARGS)

bench-console: $(READY) ## 1,000 models and 1,000 events/s in a browser; ARGS='--seconds 30'
	@$(BIN)/python -m tests.browser.bench $(ARGS)

screenshots: $(READY) ## Every page of the console, light and dark, into docs/images/console
	@$(BIN)/python -m tests.browser.screenshots $(ARGS)

test: $(READY) ## Run the tests, two at a time; those that need Docker skip without; ARGS for pytest
	@$(BIN)/pytest -q -rs -n 2 --dist loadfile --no-loadscope-reorder -m "not browser" $(ARGS)

browser: $(READY) ## Use the console in Chromium on real flights, as `make test` does not; ARGS for pytest
	@$(BIN)/pytest -q -rs -m browser $(ARGS) tests/browser

faults: $(READY) ## Bring about every fault of tests/faults; ARGS='--seed 7', '--fault 12', for pytest
	@$(BIN)/pytest -q -m fault --faults -n 2 --dist loadfile --table=faults-report.json $(ARGS) tests
	@$(BIN)/python -m tests.faults.table faults-report.json docs/explanation/guarantees.md

soak: $(READY) ## An hour's worth of events with kill -9 every 10 s; ARGS='--minutes 10 --seed 3'
	@$(BIN)/python -m tests.faults.soak $(ARGS)

fuzz: $(READY) ## 100,000 wrong inputs at every door; ARGS='--seed 7 --door http-v2 --inputs 5000'
	@nice -n 10 $(BIN)/python -m tests.fuzz $(ARGS)

check: $(READY) ## Check format, style, types and import rules
	@failed=; \
	step() { echo "== $$*"; $(BIN)/"$$@" || failed+=" $$1"; }; \
	step ruff format --check --output-format concise .; \
	step ruff check --output-format concise .; \
	step mypy; \
	step lint-imports --no-logo; \
	test -z "$$failed" || { echo "Not in order:$$failed" >&2; exit 1; }

format: $(READY) ## Format the code and repair what ruff can repair
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lock: $(READY) ## Pin the dependencies of pyproject.toml; ARGS=--upgrade takes the newest
	@echo "Resolving the dependencies into requirements.lock"
	@$(BIN)/uv pip compile pyproject.toml --quiet --output-file requirements.lock \
	  --all-extras --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-annotate --no-header $(ARGS)
	@echo "$$(grep -c '==' requirements.lock) packages pinned; the next target installs them"

docs: $(READY) ## Generate the reference pages from the code
	@$(BIN)/python -m driftloop.cli.reference

dist: $(READY) ## Build the wheel in dist/
	@$(BIN)/hatchling build --target wheel

clean: ## Remove caches and built files; keeps .venv and the data in .driftloop
	@rm -rf dist demo-report.json demo-report.png faults-report.json $(CACHES)
	@find libs services tests -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "Removed caches and built files"

$(READY): requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -c '$(SUPPORTED)' 2>/dev/null || { \
	  echo "Driftloop needs Python 3.11, 3.12 or 3.13; $(PYTHON) is" \
	    "$$($(PYTHON) --version 2>/dev/null || echo missing)." \
	    "Try: make PYTHON=python3.12 ..." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -c '$(SUPPORTED)' || { \
	  echo "Driftloop needs Python 3.11, 3.12 or 3.13; .venv holds" \
	    "$$($(BIN)/python --version). Remove .venv and try again." >&2; exit 1; }
	@echo "Installing $$(grep -c '==' requirements.lock) pinned packages into .venv" \
	  "(the first time about a minute, 1.6 GB)"
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
