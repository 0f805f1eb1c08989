# make        lists the targets
# PYTHON=...    picks another interpreter (3.11 or newer) than the first one found
# VERSIONS=...  pinned (constraints.txt, in .venv), oldest or newest that pyproject.toml admits (in .venv-oldest, .venv-newest)

SHELL := /bin/bash
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	if $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then echo $$p; break; fi; done)
VERSIONS ?= pinned
VENV_pinned := .venv
VENV_oldest := .venv-oldest
VENV_newest := .venv-newest
VENV_bench := .venv-bench
VENV := $(or $(VENV_$(VERSIONS)),$(error VERSIONS=$(VERSIONS): take pinned, oldest or newest))
PINS_pinned := constraints.txt
PINS_bench := experiments/benchmarks/constraints.txt
PY := $(VENV)/bin/python
INSTALLED := $(VENV)/installed

PIP := $(PY) -m pip install --disable-pip-version-check
UV := $(PIP) uv && $(PY) -m uv pip install --python $(PY)
INSTALL_pinned := $(PIP) --constraint $(PINS_pinned) --editable '.[dev]'
INSTALL_oldest := $(UV) --resolution lowest-direct --editable '.[dev]'
INSTALL_newest := $(UV) --resolution highest --editable '.[dev]'
# open-metric-learning by itself, since it asks for numpy below 2; what is measured of it works with this numpy
INSTALL_bench := $(PIP) --constraint $(PINS_bench) --editable '.[bench]' \
	&& $(PIP) --constraint $(PINS_bench) --no-deps open-metric-learning

.DEFAULT_GOAL := help
.PHONY: help setup demo docs test test-fast test-all mutants lint bench audit

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

setup: $(INSTALLED) ## make .venv with the pinned versions; does nothing when that is done

# the stamp comes last, so that an install that was broken off is begun again
$(INSTALLED): pyproject.toml $(PINS_$(VERSIONS))
	@test -n "$(PYTHON)" || { echo "style_match needs Python 3.11 or newer, and none was found; install one or say make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "style_match needs Python 3.11 or newer; $(PYTHON) is $$("$(PYTHON)" --version 2>&1)" >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)
	$(INSTALL_$(VERSIONS))
	touch $@

demo: $(INSTALLED) ## set up, then train on the synthetic couples with the tiny backbone
	$(PY) -m style_match.train

PYTEST := $(PY) -m pytest --numprocesses 2 --dist worksteal --durations 25

docs: $(INSTALLED) ## set up, then renew the option pages and everything that the pages quote
	$(PY) -m experiments.docs.build

test: $(INSTALLED) ## set up, then run unit, integration and smoke tests: what a change must pass
	$(PYTEST) -m "not thorough"

test-fast: $(INSTALLED) ## set up, then run the unit tests alone
	$(PYTEST) -m "not integration and not smoke and not thorough"

test-all: $(INSTALLED) ## set up, then run every test: also Slurm, a browser, README commands, kills at random moments, 200 examples a property
	HYPOTHESIS_PROFILE=thorough $(PYTEST)

mutants: $(INSTALLED) ## set up, then check that the tests notice every fault of tests/mutants
	$(PY) -m tests.mutants.run

lint: $(INSTALLED) ## set up, then ruff (rules and format), mypy and the layers of imports
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy
	$(VENV)/bin/lint-imports

bench: ## set up .venv-bench, then measure the speed; PART=... for some parts
	$(MAKE) setup VERSIONS=bench
	$(VENV_bench)/bin/python experiments/benchmarks/run.py $(PART)

audit: ## ask the advisory databases about every pinned version
	"$(PYTHON)" -m venv .venv-audit
	.venv-audit/bin/python -m pip install --disable-pip-version-check pip-audit
	.venv-audit/bin/python -m pip_audit --requirement constraints.txt --no-deps --disable-pip --strict
