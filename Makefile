# make        lists the targets
# PYTHON=...  picks another interpreter (3.11 or newer) than the first one found

SHELL := /bin/bash
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	if $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then echo $$p; break; fi; done)
PY := .venv/bin/python
INSTALLED := .venv/installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast lint

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

setup: $(INSTALLED) ## make .venv with the pinned versions; does nothing when that is done

# the stamp comes last, so that an install that was broken off is begun again
$(INSTALLED): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "style_match needs Python 3.11 or newer, and none was found; install one or say make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "style_match needs Python 3.11 or newer; $(PYTHON) is $$("$(PYTHON)" --version 2>&1)" >&2; exit 1; }
	"$(PYTHON)" -m venv .venv
	$(PY) -m pip install --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(INSTALLED) ## set up, then train on the synthetic couples with the tiny backbone
	$(PY) -m style_match.train

test: test-fast ## set up, then run the fast tests and the slow ones
	$(PY) -m pytest -m slow

test-fast: $(INSTALLED) ## set up, then run the tests that take little time
	$(PY) -m pytest

lint: $(INSTALLED) ## set up, then ruff (rules and format) and mypy
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy
