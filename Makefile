# One virtual environment, made by pip from pyproject.toml under constraints.txt.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Byte code is made when a module is first imported: making it for all of them takes longer than the installation.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt

.PHONY: help setup demo test test-all check audit bench docs clean

help:  ## what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "python3 -m venv failed; on Debian: apt-get install python3-venv"; exit 1; }

$(VENV)/.user: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing desirepath into $(VENV) ..."
	@$(PIP) -e '.[all]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing desirepath and its tests' tools into $(VENV) ..."
	@$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/.user

setup: $(VENV)/.dev  ## the environment for working on desirepath

demo: $(VENV)/.user  ## simulate a small marketplace, run everything on it, say where to look
	@$(BIN)/desirepath demo --to demo

test: $(VENV)/.dev  ## the tests (a few minutes)
	@$(BIN)/python -m pytest -n auto --dist loadfile

test-all: $(VENV)/.dev  ## the slow tests too
	@$(BIN)/python -m pytest -n auto --dist loadfile -m ''

check: $(VENV)/.dev  ## style, types, floors
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

audit: $(VENV)/.dev  ## known faults of the versions that are pinned (asks a public data base)
	@$(PIP) pip-audit || true
	@$(BIN)/python .ci/audit.py constraints.txt

bench: $(VENV)/.dev  ## every benchmark, one after the other (an hour; see benchmarks/RESULTS.md)
	@for f in benchmarks/[!r]*.py; do $(BIN)/python $$f || exit 1; done

clean:  ## remove what was made here
	rm -rf $(VENV) demo build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache
