# Two commands matter: `make demo` and `make test`. Both work from a clean checkout with nothing but
# make and Python >= 3.11: they create $(VENV), install what they need, and are quick from then on.

.DEFAULT_GOAL := help
.PHONY: help demo test browser lint types format torture bench waits reference docs clean

VENV ?= .venv
PYTHON ?=
FOLDER ?=
OPTIONS ?=
JOBS ?= auto

BIN := $(VENV)/bin
export FOLDER

# Where python3 is too old, one of the others may be there. Only running a candidate tells: version
# managers put a python3.12 on the PATH that merely prints an error.
CANDIDATES := $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11 python)
SUITABLE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))

# The stamp names the folder and the Python: a checkout that was moved or copied, or another PYTHON,
# gets a fresh environment, where the old one would run the code of the old place.
KEY := $(shell printf '%s' '$(CURDIR) $(PYTHON)' | cksum | cut -d ' ' -f 1)
CREATED := $(VENV)/.created-$(KEY)
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev
INSTALLED_BENCH := $(VENV)/.installed-bench

RUFF_CHECK := $(BIN)/ruff check . && $(BIN)/ruff format --check .
TYPE_CHECK := $(BIN)/mypy
LADDER_CHECK := $(BIN)/lint-imports --no-logo
PYTEST := $(BIN)/pytest --numprocesses=$(JOBS) --maxprocesses=4 --dist=loadgroup

# $(call stage,name,command): run it, and say which one failed.
define stage
	@echo "==> $(1)"
	@{ $(2); } || { echo "make $@: the stage '$(1)' failed" >&2; exit 1; }
endef

help: ## Show this list
	@echo "Usage: make [target]"
	@echo
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1|\2/p' $(firstword $(MAKEFILE_LIST)) \
	    | while IFS='|' read -r name text; do printf '  %-9s %s\n' "$$name" "$$text"; done
	@echo
	@echo "  PYTHON=python3.12 picks the Python, VENV=.venv-3.12 keeps its environment apart."

demo: $(INSTALLED) ## Survey FOLDER (default: this repository), get killed in the middle, resume
	@$(BIN)/hive demo $(if $(FOLDER),-- "$$FOLDER")

test: $(INSTALLED_DEV) ## Run ruff, mypy, import-linter and pytest
	$(call stage,ruff,$(RUFF_CHECK))
	$(call stage,mypy,$(TYPE_CHECK))
	$(call stage,import-linter,$(LADDER_CHECK))
	@echo "==> pytest"
	@$(PYTEST)

# `make test` runs as anybody and installs nothing outside $(VENV), so this is asked for apart.
browser: ## Install Chromium for the tests of `hive ui` (as root, with apt-get)
	@for name in chromium chromium-browser google-chrome; do \
	    command -v $$name >/dev/null && exit 0; \
	done; \
	if [ "$$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then \
	    echo "Installing Chromium" && apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
	        apt-get install -qq -y --no-install-recommends chromium fonts-dejavu-core >/dev/null; \
	else \
	    echo "make browser: needs root and apt-get; install chromium as your system does" >&2; \
	    exit 1; \
	fi

lint: $(INSTALLED_DEV) ## Run ruff and import-linter
	$(call stage,ruff,$(RUFF_CHECK))
	$(call stage,import-linter,$(LADDER_CHECK))

types: $(INSTALLED_DEV) ## Run mypy
	$(call stage,mypy,$(TYPE_CHECK))

format: $(INSTALLED_DEV) ## Format the code and fix what ruff can fix
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

# A long loop is no hang: both nets of pyproject.toml are opened wide.
torture: $(INSTALLED_DEV) ## Run the long loops and the property tests in full (an hour or more)
	@HIVE_TORTURE=1 $(PYTEST) -m "torture or hypothesis" \
	    --timeout=7200 --override-ini=faulthandler_timeout=7500

bench: $(INSTALLED_BENCH) ## Measure Hive beside its peers (OPTIONS="--quick" for a first look)
	@$(BIN)/python -m benchmarks $(OPTIONS)

waits: $(INSTALLED_DEV) ## Measure how long people wait for the command line
	@$(BIN)/python -m benchmarks.commands $(OPTIONS)

reference: $(INSTALLED_DEV) ## Write docs/reference anew, from the code
	@$(BIN)/python -m tools.commands docs/reference

docs: $(INSTALLED_DEV) ## Build the documentation as a site in build/site
	@$(BIN)/python -m tools.site build/site

clean: ## Remove the environment and everything that tools left behind
	rm -rf $(VENV) benchmarks/results build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find cas manifests hive tests benchmarks tools -name __pycache__ -type d -prune -exec rm -rf {} +

# --clear, since an interrupted attempt may have left half an environment there.
$(CREATED):
	@for candidate in $(CANDIDATES); do \
	    if "$$candidate" -c '$(SUITABLE)' >/dev/null 2>&1; then \
	        echo "Creating $(VENV) with $$("$$candidate" --version)"; \
	        "$$candidate" -m venv --clear $(VENV) && touch $@; \
	        exit; \
	    fi; \
	done; \
	echo "make: no suitable Python; tried: $(CANDIDATES)" >&2; \
	echo "Hive needs Python 3.11 or later with its venv module (some systems package that" >&2; \
	echo "apart, as python3-venv). If yours is elsewhere: make PYTHON=/path/to/python3" >&2; \
	exit 1

$(INSTALLED): pyproject.toml $(CREATED)
	@echo "Installing Hive"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(INSTALLED_DEV): pyproject.toml $(CREATED)
	@echo "Installing Hive and its test tools"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $(INSTALLED) $@

$(INSTALLED_BENCH): pyproject.toml $(CREATED)
	@echo "Installing Hive and what it is measured beside"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $(INSTALLED) $@
