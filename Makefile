# The front door: `make demo` shows it, `make test` proves it. Nothing has to be installed first but
# python3 (3.11 to 3.13) with pip and venv.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# uv installs the same locked files faster; pip is enough. The locks are complete, so nothing is resolved
# (--no-deps): the pip of Python 3.11, resolving under hash checking, trips over extras such as sqlalchemy[asyncio].
INSTALL = $(if $(shell command -v uv),uv pip install --quiet --python $(BIN)/python,$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input)

.DEFAULT_GOAL := help
.PHONY: help up down demo demo-reset explore test guarantees screenshots bench dictionary check lint types layers locks format lock clean

help:            ## list these commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 14

up: $(VENV)/.runtime  ## Prefect with its UI, a worker and all schedules, until Ctrl-C (UP_ARGS="--port 4201")
	@$(BIN)/dispatchlake up $(UP_ARGS)

down: $(VENV)/.runtime  ## end what `make up` runs, or what a killed one has left
	@$(BIN)/dispatchlake down

demo: $(VENV)/.runtime  ## real dispatch records, from login to SQL, on this machine alone
	@$(BIN)/dispatchlake demo

demo-reset:      ## forget the demo's lake and start over
	@rm -rf data/demo

explore: $(VENV)/.explore  ## the lake in pictures, in a browser (EXPLORE_ARGS="--port 4213 --no-browser")
	@$(BIN)/dispatchlake explore $(EXPLORE_ARGS)

test: $(VENV)/.dev  ## run the tests
	@$(BIN)/python -m pytest -n auto --dist loadgroup $(PYTEST_ARGS)

# Who has more than half an hour has each property tried twenty times as often.
PROFILE = $(if $(shell [ $(or $(MINUTES),5) -gt 30 ] && echo yes),thorough,patient)

guarantees: $(VENV)/.dev  ## break everything on purpose for five minutes, and print what was lost (MINUTES=60 KILLS=300)
	@DISPATCHLAKE_GUARANTEES_UNTIL=$$(($$(date +%s) + 60 * $(or $(MINUTES),5))) \
	DISPATCHLAKE_RANDOM_KILLS=$(or $(KILLS),30) $(BIN)/python -m pytest -n auto --dist loadgroup \
	--hypothesis-profile=$(PROFILE) tests/guarantees $(PYTEST_ARGS)

screenshots: $(VENV)/.dev  ## take the pictures in docs anew (needs chromium and fonts-noto-color-emoji)
	@mkdir -p docs/images
	@DISPATCHLAKE_KEEP_SCREENSHOTS=1 DISPATCHLAKE_BACKFILL_DAYS=90 $(BIN)/python -m pytest -p no:randomly tests/browser $(PYTEST_ARGS)

bench: $(VENV)/.dev  ## how fast it is, beside others (BENCH_ARGS="throughput --rows 100000")
	@$(BIN)/python -m bench $(BENCH_ARGS)

dictionary: $(VENV)/.runtime  ## write docs/data-dictionary.md anew, after a column or view has changed
	@$(BIN)/dispatchlake dictionary --markdown docs/data-dictionary.md

check: lint types layers locks  ## lint, types, layer rules and locks

lint: $(VENV)/.dev  ## style and formatting
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(VENV)/.dev  ## strict types
	@$(BIN)/mypy

layers: $(VENV)/.dev  ## who may import whom
	@$(BIN)/lint-imports

locks: $(VENV)/.dev  ## what is installed fits together
	@$(BIN)/python -m pip check --disable-pip-version-check

format: $(VENV)/.dev  ## format and fix what can be fixed
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

LOCK = uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q

lock:            ## resolve the dependencies anew (needs uv)
	$(LOCK) pyproject.toml -o requirements/runtime.txt
	$(LOCK) requirements/runtime.txt --extra explore pyproject.toml -o requirements/explore.txt
	$(LOCK) requirements/explore.txt --group dev -o requirements/dev.txt
	$(LOCK) --group build -o requirements/build.txt

clean:           ## remove the environment and caches, never data
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v < (3, 14) else f"Python 3.11 to 3.13 is needed; {sys.executable} is {v.major}.{v.minor}. Try: make PYTHON=python3.11")'
	@echo "Creating an environment in $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: requirements/runtime.txt requirements/build.txt pyproject.toml | $(VENV)/bin/python
	@echo "Installing the locked packages (once; about a minute) ..."
	@$(INSTALL) --no-deps --require-hashes -r requirements/build.txt
	@$(INSTALL) --no-deps --require-hashes -r requirements/runtime.txt
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.explore: requirements/explore.txt $(VENV)/.runtime
	@echo "Installing the explorer (once) ..."
	@$(INSTALL) --no-deps --require-hashes -r requirements/explore.txt
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.runtime
	@echo "Installing the development tools (once) ..."
	@$(INSTALL) --no-deps --require-hashes -r requirements/dev.txt
	@touch $@
