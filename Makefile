# `make up` and `make test` do all the set-up that they need; `make help` lists the rest.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin

# Tests that wait for pods more than they compute; on two cores three workers are the quickest.
INTEGRATION_WORKERS ?= 3

# What the nodes of a new embedded cluster are: simulated, or containerd (they run containers; Linux and root).
NODE ?=

# The size of `make report`: players and new connections a second.
PLAYERS ?= 200
CONNECTS ?= 100

.PHONY: help up demo shell down test test-unit test-integration test-e2e report lint docs lock bench clean-tools

help:  ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

# The locked packages, checked by their hashes.
.venv/installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed (make PYTHON=python3.12 …); this is " + sys.version)'
	@echo "making the virtual environment in .venv"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@touch $@

up: .venv/installed  ## tools, embedded cluster and dev stack; then a summary (NODE=containerd: with running pods)
	@$(BIN)/python -m testbed.dev_stack $(if $(NODE),--nodes $(NODE))

demo: .venv/installed  ## the article's three scenarios on the dev stack
	@$(BIN)/python -m testbed.demo

shell: .venv/installed  ## a shell in which pulumi and kubectl work on the dev stack
	@$(BIN)/python -m testbed shell

down: .venv/installed  ## remove the embedded cluster and the dev stack
	@$(BIN)/python -m testbed delete

test: lint test-unit test-integration test-e2e  ## everything

test-unit: .venv/installed  ## pure functions and models, components under mocks
	$(BIN)/python -m pytest tests/unit

test-integration: .venv/installed  ## the real engine on the embedded cluster
	$(BIN)/python -m testbed tools --cloud
	$(BIN)/python -m pytest tests/integration -n $(INTEGRATION_WORKERS) --dist worksteal

test-e2e: .venv/installed  ## connections to running pods (Linux, root; SRS_IMAGES gives real SRS images)
	$(BIN)/python -m testbed tools
	$(BIN)/python -m pytest tests/e2e

report: .venv/installed  ## the same scenarios at a size of PLAYERS and CONNECTS, into docs/
	$(BIN)/python -m testbed tools
	$(BIN)/python -m report --players $(PLAYERS) --connects $(CONNECTS)

lint: .venv/installed  ## ruff and strict type checking
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

docs: .venv/installed  ## the config reference, from the models
	$(BIN)/python -m model.reference > docs/config.md

lock: .venv/installed  ## requirements.txt, from pyproject.toml
	$(BIN)/python -m uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
	    --python-version 3.11 --group dev pyproject.toml --output-file requirements.txt

bench: .venv/installed  ## how long first up, no-op up and preview of the dev stack take
	@$(BIN)/python -m bench.stack

clean-tools: .venv/installed  ## remove the cache of tools
	@$(BIN)/python -m testbed clean-tools
