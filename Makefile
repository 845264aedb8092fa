# One command to run, one to test. Everything lives in .venv, made from uv.lock.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
PEERS := .venv-bench/.ready
BENCH ?= --write

.PHONY: help setup run ui check test test-slow bench map audit docs services pictures lint clean
.DEFAULT_GOAL := help

help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): pyproject.toml uv.lock .ci/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 …"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r .ci/uv.txt
	@VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv sync --active --locked --inexact --quiet --compile-bytecode
	@$(BIN)/platform setup
	@touch $(READY)

setup: $(READY) ## Create the environment and prepare the checkout

run: $(READY) ## Sample deliveries if there are none, then everything that is pending
	@$(BIN)/platform simulate --days 30 --if-empty
	@$(BIN)/platform run || test $$? -eq 3 # done, and something waits for a person: the sample's dirt

ui: $(READY) ## The Dagster UI on 127.0.0.1:3000, sensors on
	@$(BIN)/platform ui

check: $(READY) ## Lint, types and the unit tests of what has changed, in half a minute
	@$(BIN)/python tests/check.py

test: $(READY) ## Lint, types and every test but the slow tier
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder

test-slow: $(READY) ## The slow tier: long fault runs, a quarter of their rounds (FULL=1: all), every example of a property
	@$(BIN)/pytest -m 'slow or hypothesis' --hypothesis-profile long -n auto --dist loadfile --no-loadscope-reorder

bench: $(READY) $(PEERS) ## Measure against bare DuckDB and the peers; writes docs/benchmarks.md (BENCH=--quick: a try)
	@$(BIN)/python -m benchmarks $(BENCH)

$(PEERS): benchmarks/requirements.txt | $(READY)
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-bench
	@$(BIN)/uv pip install --quiet --python .venv-bench/bin/python --require-hashes -r benchmarks/requirements.txt
	@touch $(PEERS)

map: $(READY) ## Draw the rooms of the code into docs/architecture.md
	@$(BIN)/python tests/rooms.py --write

audit: $(READY) ## Look every locked dependency up in the database of known weaknesses (osv.dev)
	@.ci/audit

docs: $(READY) ## Write the reference anew from the code, and build the site in docs/_site
	@$(BIN)/python docs/site/generate.py
	@VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv sync --active --locked --inexact --quiet --group docs
	@$(BIN)/sphinx-build --quiet --fail-on-warning --nitpicky -c docs/site docs docs/_site
	@echo "docs/_site/index.html"

services: $(READY) ## Run the servers that tests use, until Ctrl-C, to try things with (needs Debian's postgresql)
	@$(BIN)/python tests/services.py

pictures: $(READY) ## Take docs/pictures anew from the real UI (needs chromium and chromium-driver)
	@$(BIN)/python docs/pictures.py

lint: $(READY) ## Format and mend what can be mended
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean: ## Remove the environments (state and deliveries stay)
	rm -rf .venv .venv-bench
