# Everything below works on Debian 12 with python3, pip and make, as any user. `make help` lists the targets.

# The system's Python when it will do: distributions build theirs with profile-guided optimisation, which halves what
# the gateway costs beside one that was built without.
PYTHON ?= $(shell for p in /usr/bin/python3 python3; do $$p -c 'import sys, importlib.util as u; sys.exit(sys.version_info < \
  (3, 11) or not (u.find_spec("ensurepip") or u.find_spec("pip")))' 2>/dev/null && echo $$p && exit; done; echo python3)
VENV := .venv
BIN := $(VENV)/bin
# Options of `make run`, e.g. make run ARGS=--no-demo
ARGS ?= --demo
# make run ADDRESS=192.168.1.5 is there for phones and clients on other machines: this one's address, which is then the domain, too.
ADDRESS ?=
REACHABLE = $(if $(ADDRESS),TANDEM_DOMAINS=$(ADDRESS) TANDEM_XMPP__LISTEN=$(ADDRESS):5222 TANDEM_XMPP__LISTEN_TLS=$(ADDRESS):5223 \
  TANDEM_SIP__LISTEN_UDP=$(ADDRESS):5060 TANDEM_SIP__LISTEN_TCP=$(ADDRESS):5060 TANDEM_SIP__LISTEN_TLS=$(ADDRESS):5061)
# Processes of `make test`: auto is two for each processor
JOBS ?= auto

.DEFAULT_GOAL := help
.PHONY: help run test check format bench bench-beside clean interop-peers

help: ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /  make \1\t/' | expand -t 24

run: $(VENV)/.run ## Set up what is missing and start the gateway with the accounts alice and bob (for other machines: ADDRESS=this one's)
	@$(REACHABLE) $(BIN)/tandem run $(ARGS)

test: $(VENV)/.dev interop-peers ## Run the whole test suite, in several processes (in one: make test JOBS=0)
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

check: $(VENV)/.dev ## Check style, formatting and types (the architecture test included)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest tests/test_architecture.py

format: $(VENV)/.dev ## Sort imports and format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(VENV)/.dev ## Measure every path: operations per second, latency, CPU per operation
	@$(BIN)/python -m bench

bench-beside: $(VENV)/.dev ## The same beside Prosody, ejabberd and Kamailio, where they are installed
	@$(BIN)/python -m bench.beside

clean: ## Remove what make made, but not the state directory
	rm -rf $(VENV) .boot .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build

interop-peers:
	@.ci/interop-peers

# A virtual environment without python3-venv: virtualenv from PyPI, in a directory of its own.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Tandem needs Python 3.11 or later; if you have one, name it: make PYTHON=/path/to/python3 $(MAKECMDGOALS)" >&2; exit 78; }
	@echo "Setting up $(VENV) (once)"
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || { rm -rf $(VENV); \
	  $(PYTHON) -m pip install --quiet --disable-pip-version-check --upgrade --target .boot virtualenv && \
	  PYTHONPATH=.boot $(PYTHON) -m virtualenv --quiet $(VENV); } || { rm -rf $(VENV) .boot; \
	  echo "No virtual environment could be made: python3 needs either its venv module or pip (apt install python3-pip)" >&2; exit 1; }

$(VENV)/.run: pyproject.toml | $(BIN)/python
	@echo "Installing Tandem and what it needs"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[embedded,fast]'
	@touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/.run
	@echo "Installing what the tests need"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --group dev
	@touch $@
