# Start with `make demo`, `make test-quick` or `make test`; each does all its own set-up.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.14 python3.11 python3.10 python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null \
	&& echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin

.PHONY: test about-test test-quick demo agent bundle lint types clean

$(VENV)/.ready: pyproject.toml
	@test -n "$(PYTHON)" || { echo "make: no Python of 3.10 or later with its venv module; try: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

test: $(VENV)/.ready about-test lint types
	$(BIN)/python -m pytest

about-test:
	@echo 'make test: the whole suite takes 30 to 50 minutes on two cores; make test-quick takes less than 2'

# The linter, and the tests of the rooms that do no I/O (tests/conftest.py says which).
test-quick: $(VENV)/.ready lint
	$(BIN)/python -m pytest -m quick

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.ready
	$(BIN)/mypy

demo: $(VENV)/.ready
	$(BIN)/python tools/demo.py

# A directory that runs in any glibc container with a Python of 3.10 to 3.14: build/agent/entrypoint.sh
agent: $(VENV)/.ready
	$(BIN)/python tools/make_agent.py build/agent

# A directory that runs in any container of this machine's architecture, with its own Python: build/bundle/entrypoint.sh
bundle: $(VENV)/.ready
	@mkdir -p build
	$(BIN)/slimagent bundle build/bundle

clean:
	rm -rf build dist .venv .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis
