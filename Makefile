# Claire de Binare: what a developer and an operator type. `make help` lists the targets.
# Needs GNU make, Python 3.11 or newer and the package index; Docker only where a target says so.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
COMPOSE ?= docker compose
PYTEST := $(BIN)/python -m pytest

# Test processes: some wait for servers while others compute; each of them imports and collects everything once
WORKERS ?= 3

# Tests start many processes: compiled files are kept, else each of them compiles the whole system anew
unexport PYTHONDONTWRITEBYTECODE

# What the crash day is played with (make paper)
PAPER_FILE ?= backoffice/data/crash-2021-05-19_xbtusd_1m.csv.gz
PAPER_DIR ?= data/paper
PAPER_OPTIONS ?=

.PHONY: help setup test test-unit test-e2e test-local test-search test-chaos test-full-system up down logs paper lint format \
        typecheck coverage mutation audit schemas status bench compiled clean

help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  \033[1m%-17s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv with everything in it (quick when nothing changed)

$(STAMP): requirements.txt requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1). Name another: make setup PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt -e .
	@touch $@

test: setup ## Unit, property and integration tests on embedded real servers, with the coverage gate
	@rm -f .coverage .coverage.*
	$(PYTEST) -m "not e2e and not local_only and not slow" -n $(WORKERS) --dist loadfile --no-loadscope-reorder --cov --cov-report=
	@$(BIN)/coverage json --quiet -o .coverage.json
	@$(BIN)/python backoffice/scripts/check_coverage.py .coverage.json

test-unit: setup ## Unit and property tests alone (any system, no servers)
	$(PYTEST) tests/unit tests/property tests/test_risk_engine_core.py -m "not slow"

test-e2e: setup ## The compose suite on real containers (Docker); starts the stack, takes it down again
	$(PYTEST) -m e2e tests/e2e --timeout 900

test-local test-search test-chaos: export HYPOTHESIS_PROFILE := thorough
test-local: test-search test-chaos ## Slow and chaos tests, thorough properties, and what needs this machine (kills every process at many moments)

test-search: setup ## The part of test-local that computes: thorough properties, slow tests of machines and functions
	$(PYTEST) tests/property -m "not slow" -n 2 --dist loadfile
	$(PYTEST) tests/property tests/unit -m "(slow or local_only) and not e2e" -n 2 --dist loadfile --no-loadscope-reorder --timeout 900

test-chaos: setup ## The part of test-local that starts processes, waits for them and kills them
	$(PYTEST) tests --ignore tests/property --ignore tests/unit -m "(slow or local_only) and not e2e" \
	  -n $(WORKERS) --dist loadfile --no-loadscope-reorder --timeout 900

test-full-system: lint typecheck test test-local test-e2e ## Everything there is

up: ## Start the stack in Docker and wait until every container is healthy: paper trading, no .env needed
	$(COMPOSE) up -d --build --wait --wait-timeout 300 $(SERVICES)

down: ## Stop the stack; data stay in their volumes (make down OPTIONS=-v deletes them)
	$(COMPOSE) down $(OPTIONS)

logs: ## Follow the logs of the stack
	$(COMPOSE) logs --follow --tail 100 $(SERVICES)

paper: setup ## Trade the crash day of 2021-05-19 on paper, here, without Docker
	$(BIN)/python -m claire up --feed recorded --file $(PAPER_FILE) --symbol-map XBTUSD=BTCUSDT --warmup-min 780 \
	  --speed max --turnstile --exit-when-done --data-dir $(PAPER_DIR) $(PAPER_OPTIONS)

lint: setup ## Style, dependency rule, determinism, schemas, configuration files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/python backoffice/scripts/check_determinism.py
	$(BIN)/python backoffice/scripts/make_schemas.py --check
	$(BIN)/python backoffice/scripts/make_codes.py --check
	$(BIN)/python backoffice/scripts/make_metrics.py --check
	$(BIN)/python backoffice/scripts/make_dashboards.py --check
	$(BIN)/python backoffice/scripts/make_protobuf.py --check
	$(BIN)/python backoffice/scripts/check_files.py
	$(BIN)/python backoffice/scripts/check_secrets.py

format: setup ## Put code into the one form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

typecheck: setup ## mypy, strict
	$(BIN)/mypy
	$(BIN)/mypy --explicit-package-bases backoffice/scripts

coverage: test ## Coverage as a page: htmlcov/index.html
	$(BIN)/coverage html --quiet
	@echo "htmlcov/index.html"

mutation: $(BIN)/mutmut ## Break layers, sizing and ledger in every way and see that a test notices (minutes; not in CI)
	rm -rf mutants
	$(BIN)/mutmut run --max-children 2
	$(BIN)/mutmut results

$(BIN)/mutmut: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check mutmut==3.8.1

audit: $(BIN)/pip-audit ## Ask the public databases whether a pinned package has a known hole (needs the internet; else exit code 3)
	$(BIN)/python backoffice/scripts/audit.py

$(BIN)/pip-audit: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check pip-audit==2.10.1

schemas: setup ## Write the JSON Schemas of the events anew
	$(BIN)/python backoffice/scripts/make_schemas.py
	$(BIN)/python backoffice/scripts/make_codes.py
	$(BIN)/python backoffice/scripts/make_metrics.py
	$(BIN)/python backoffice/scripts/make_dashboards.py

status: setup ## Count tests, coverage and extent into backoffice/PROJECT_STATUS.md (after make test)
	$(BIN)/python backoffice/scripts/make_status.py

bench: setup ## Measure against bare Redis, raw COPY and NautilusTrader (BENCH="replay" or "pipeline": a part)
	$(BIN)/python -m tests.benchmarks $(BENCH)

compiled: setup ## Compile machines, feed and kernel into build/compiled (needs a C compiler; two minutes): same bytes, less time
	$(BIN)/python backoffice/scripts/compile_package.py

clean: ## Delete what tests and tools leave behind (not .venv, not data/)
	rm -rf build .coverage .coverage.* coverage.json htmlcov .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .secrets_cache mutants
	find services claire tests backoffice -name __pycache__ -type d -prune -exec rm -rf {} +
