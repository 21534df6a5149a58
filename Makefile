# Two commands do everything on a fresh machine: `make run` and `make test`. `make help` lists the rest.

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin
WORKERS ?= 6

.DEFAULT_GOAL := help
.PHONY: help run test check lint types layers stale unit fast generate bench bench-quick cluster cluster-down cluster-tools clean

help: ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

run: .venv/installed ## Install, then run manifests/quickstart on an embedded database and show what happens (Ctrl-C ends)
	@mkdir -p .cache/quickstart
	@echo "to ask or decide, in another terminal: export JOBWARDEN_DB=sqlite:///$(CURDIR)/.cache/quickstart/jobwarden.db; $(BIN)/jobwarden get jobs"
	@$(BIN)/jobwarden run manifests/quickstart --db sqlite:///.cache/quickstart/jobwarden.db --log-format story

test: .venv/installed-dev ## Install what is needed, then pass every check and every test
	@PYTHON=$(BIN)/python WORKERS=$(WORKERS) tests/run

check: lint types layers stale ## All static checks

lint: .venv/installed-dev ## Lint and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/installed-dev ## Static types
	$(BIN)/mypy

layers: .venv/installed-dev ## Imports point down only
	$(BIN)/lint-imports --no-cache

stale: .venv/installed-dev ## Generated files are what the models say
	$(BIN)/jobwarden schema generate --check

fast: .venv/installed-dev ## The quick tests only
	$(BIN)/python -m pytest tests/unit -q -n $(WORKERS)

generate: .venv/installed-dev ## Write schemas/ and crds/ from the models, the generated tables of the documents, and the chart's copies
	$(BIN)/jobwarden schema generate
	$(BIN)/python -m tests.contract.generate

bench: .venv/installed-dev ## Measure beside limits and rivals; prints ratios
	$(BIN)/python -m tests.performance

bench-quick: .venv/installed-dev ## The same with fewer rounds
	$(BIN)/python -m tests.performance --quick

cluster: .venv/installed-dev ## A throwaway Kubernetes on this machine with jobwarden installed from the chart (Linux, root)
	@$(BIN)/python -m tests.cluster.throwaway up

cluster-down: .venv/installed-dev ## End it
	@$(BIN)/python -m tests.cluster.throwaway down

cluster-tools: ## Build kube-apiserver, kubectl, kwok and the rest into a cache folder (some minutes, once)
	@tests/cluster/tools all

clean: ## Remove what the commands above made
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "jobwarden needs Python 3.11 or newer with venv; install it, or name one: make PYTHON=/path/to/python3.12 …" >&2; exit 1; }
	@echo "making .venv with $(PYTHON)"
	@$(PYTHON) -m venv .venv

.venv/installed: requirements.lock pyproject.toml | .venv/bin/python
	@echo "installing jobwarden and its dependencies (about a minute the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

.venv/installed-dev: requirements-dev.lock pyproject.toml | .venv/bin/python
	@echo "installing jobwarden, its dependencies and its test tools (about a minute the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@ .venv/installed
