# Two commands do everything on a fresh machine: `make run` and `make test`. `make help` lists the rest.

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV ?= .venv
BIN := $(VENV)/bin
WORKERS ?= 6

PIP = $(BIN)/python -m pip --quiet --disable-pip-version-check
# uv takes seconds where pip takes a minute. Where pip is told of an index of one's own, which uv would not ask, or uv cannot do it, pip does.
UV = $(BIN)/uv --quiet --system-certs pip install --python $(BIN)/python --compile-bytecode
define install
@{ ! $(BIN)/python -m pip config list | grep -q index-url && $(PIP) install --require-hashes -r requirements-uv.lock && \
	$(UV) --require-hashes -r $(1) && $(UV) --no-deps -e .; } 2>$(VENV)/uv.log || \
	{ $(PIP) install --require-hashes -r $(1) && $(PIP) install --no-deps -e .; }
endef

.DEFAULT_GOAL := help
.PHONY: help run test check lint types layers stale unit fast generate bench bench-quick cluster cluster-down cluster-tools clean

help: ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

run: $(VENV)/installed ## Install, then run manifests/quickstart on an embedded database and show what happens (Ctrl-C ends)
	@mkdir -p .cache/quickstart
	@echo "to ask or decide, in another terminal: export JOBWARDEN_DB=sqlite:///$(CURDIR)/.cache/quickstart/jobwarden.db; $(BIN)/jobwarden get jobs"
	@$(BIN)/jobwarden run manifests/quickstart --db sqlite:///.cache/quickstart/jobwarden.db --log-format story

test: $(BIN)/python ## Install what is needed, then pass every check and every test
	@WORKERS=$(WORKERS) tests/run

check: lint types layers stale ## All static checks

lint: $(VENV)/installed-dev ## Lint and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed-dev ## Static types
	$(BIN)/mypy

layers: $(VENV)/installed-dev ## Imports point down only
	$(BIN)/lint-imports --no-cache

stale: $(VENV)/installed-dev ## Generated files are what the models say
	$(BIN)/jobwarden schema generate --check

fast: $(VENV)/installed-dev ## The quick tests only
	$(BIN)/python -m pytest tests/unit -q -n $(WORKERS)

generate: $(VENV)/installed-dev ## Write schemas/ and crds/ from the models, the generated tables of the documents, and the chart's copies
	$(BIN)/jobwarden schema generate
	$(BIN)/python -m tests.contract.generate

bench: $(VENV)/installed-dev ## Measure beside limits and rivals; prints ratios
	$(BIN)/python -m tests.performance

bench-quick: $(VENV)/installed-dev ## The same with fewer rounds
	$(BIN)/python -m tests.performance --quick

cluster: $(VENV)/installed-dev ## A throwaway Kubernetes on this machine with jobwarden installed from the chart (Linux, root); POLICIES=1: with NetworkPolicies and DNS
	@$(BIN)/python -m tests.cluster.throwaway up

cluster-down: $(VENV)/installed-dev ## End it
	@$(BIN)/python -m tests.cluster.throwaway down

cluster-tools: ## Build kube-apiserver, kubectl, kwok and the rest into a cache folder (some minutes, once)
	@tests/cluster/tools all

clean: ## Remove what the commands above made
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "jobwarden needs Python 3.11 or newer with venv; install it, or name one: make PYTHON=/path/to/python3.12 …" >&2; exit 1; }
	@echo "making $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/installed: requirements.lock pyproject.toml | $(BIN)/python
	@echo "installing jobwarden and its dependencies"
	$(call install,requirements.lock)
	@touch $@

$(VENV)/installed-dev: requirements-dev.lock pyproject.toml | $(BIN)/python
	@echo "installing jobwarden, its dependencies and its test tools"
	$(call install,requirements-dev.lock)
	@touch $@ $(VENV)/installed
