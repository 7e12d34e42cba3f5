# Two commands for a fresh machine that has python3 and make: `make report` and `make test`. What stands is reused.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
JOBS ?= auto
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
SAY := printf '==> %s\n'
AGAIN := $(MAKE) --no-print-directory# another target from within a recipe, which -n does not run

.PHONY: help report test lint format docs bench power clean browser compilers

help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

report: $(VENV)/.base ## Test every implementation that can be had here, and write a report
	@$(AGAIN) compilers || $(SAY) 'going on without the implementations that need them'
	$(SAY) 'setting up the implementations'
	$(BIN)/fdspec impls --setup
	@$(SAY) 'running conformance'
	run="reports/out/$$(date -u +%Y%m%dT%H%M%SZ)-$$$$"; code=0
	$(BIN)/fdspec run -n $(JOBS) --out "$$run" || code=$$?
	if [ -e "$$run/index.html" ]; then $(SAY) "the report: $(CURDIR)/$$run/index.html"; fi
	if [ "$$code" -gt 1 ]; then $(SAY) "the run ended with exit code $$code" >&2; exit "$$code"; fi

test: $(VENV)/.dev browser compilers ## Run the tests of fdspec itself; ARGS go to pytest
	$(BIN)/python -m pytest -n $(JOBS) $(ARGS)

lint: $(VENV)/.dev ## Check style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/basedpyright

format: $(VENV)/.dev ## Bring the code into the house's form
	$(BIN)/ruff format

docs: $(VENV)/.dev ## Build the manual into site/
	$(BIN)/mkdocs build --strict

bench: $(VENV)/.dev ## Measure fdspec's own speed; ARGS go to the benchmarks of cases
	$(BIN)/python benchmarks/cost_of_a_case.py $(ARGS)
	$(BIN)/python benchmarks/time_to_first_case.py $(ARGS)
	$(BIN)/python benchmarks/cost_of_a_held_call.py
	$(BIN)/python benchmarks/programs_a_second.py
	$(BIN)/python benchmarks/programs_in_process.py

power: $(VENV)/.dev ## Hunt every mutant by fuzzing and write fuzz/POWER.md; takes hours, goes on where it was ended
	$(BIN)/python -m fdspec.fuzz.power $(ARGS)

clean: ## Remove everything that was built here; implementations' environments stay in the user's cache
	rm -rf $(VENV) build dist site *.egg-info fdspec-out .pytest_cache .ruff_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The virtual environment. It is made once; a changed pyproject.toml installs again into it.
.ONESHELL:

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
	  echo "fdspec needs Python 3.11 or later, and $(PYTHON) is $$($(PYTHON) -V 2>&1); name another: make PYTHON=python3.12" >&2
	  exit 1
	}
	if ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then
	  package="python$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	    $(SAY) "installing $$package, which $(PYTHON) lacks"
	    apt-get update -q && apt-get install -y --no-install-recommends "$$package"
	  else
	    echo "$(PYTHON) lacks the modules venv and ensurepip: install $$package (Debian, Ubuntu), or what your system calls it" >&2
	    exit 1
	  fi
	fi
	$(SAY) 'making a virtual environment in $(VENV)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.base: pyproject.toml | $(BIN)/python
	@$(SAY) 'installing fdspec and what it needs'
	$(PIP) install -e '.[impls]'
	$(BIN)/python -m compileall -q cli conformance fuzz impls/*.py impls/protocol impls/reference reports
	mkdir -p $(VENV)/checkout
	ln -sfn ../.. $(VENV)/checkout/fdspec
	touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/.base
	@$(SAY) 'installing what the tests need'
	$(PIP) install -e '.[dev,impls]'
	touch $@

# A test looks at the HTML report in a headless browser.
browser:
	@if ! command -v chromium >/dev/null && ! command -v chromium-browser >/dev/null && ! command -v google-chrome >/dev/null; then
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	    $(SAY) 'installing chromium, in which a test looks at the report'
	    apt-get update -q && apt-get install -y --no-install-recommends chromium
	  else
	    echo 'a test looks at the report in a headless Chromium: install the package chromium' >&2
	    exit 1
	  fi
	fi

# The kernel is tested by a program in C, which is built for 64 bits, for 32 bits and with musl.
compilers:
	@missing=''
	probe() { echo 'int main(void) { return 0; }' | "$$@" -x c - -o /dev/null 2>/dev/null; }
	probe cc || missing='gcc libc6-dev'
	if [ "$$(uname -m)" = x86_64 ] && ! probe cc -m32; then
	  missing="$$missing gcc-$$(cc -dumpversion 2>/dev/null | cut -d. -f1 | grep . || echo 12)-multilib"
	fi
	command -v musl-gcc >/dev/null || missing="$$missing musl-tools"
	if [ -n "$$missing" ]; then
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	    $(SAY) "installing $${missing# }, by which the testee of the kernel is built"
	    apt-get update -q && apt-get install -y --no-install-recommends $$missing
	  else
	    echo "the testee of the kernel is built in three ways: install $${missing# } (Debian, Ubuntu)" >&2
	    exit 1
	  fi
	fi
