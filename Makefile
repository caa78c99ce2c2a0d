# `make demo` and `make test` do all the set-up themselves; Python 3.11 or later, make and pip are all they need.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# What it may take is asserted there.
ALONE := tests/integration/test_many_dead_letters.py

.DEFAULT_GOAL := help
.PHONY: help demo test test-long chaos lint audit docs clean

help:  ## Show this.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

demo: $(VENV)/.local  ## Run the whole stream here on a few hundred captions.
	$(BIN)/imgdiff demo $(ARGS)

# Tests of processes wait half of their time: three at once keep two cores busy.
test: lint  ## Lint, types, import contracts, and all tests but the long ones.
	$(BIN)/pytest -q -n 2 -m 'not long' --dist loadfile tests/schemas tests/common tests/workers tests/ops tests/malformed tests/parity
	$(BIN)/pytest -q -n 3 -m 'not long' --dist worksteal tests/chaos tests/integration

test-long: $(VENV)/.dev  ## The tests that take long.
	$(BIN)/pytest -q -m long $(ALONE)
	$(BIN)/pytest -q -n 2 -m long --dist worksteal $(ALONE:%=--ignore=%) tests

chaos: $(VENV)/.dev  ## Try faults on running streams, and see whether anything is lost or doubled: docs/chaos.md.
	$(BIN)/python -m tests.chaos $(ARGS)

lint: $(VENV)/.dev  ## Lint, types and import contracts alone.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

audit: $(VENV)/.dev  ## Look the installed packages up in the database of known vulnerabilities.
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[audit]'
	$(BIN)/python .ci/audit.py

docs: $(VENV)/.dev  ## Write the generated pages of docs/ and the dashboard again.
	$(BIN)/python -m ops.docs
	$(BIN)/python -m ops.grafana
	$(BIN)/python -m tests.chaos.report

clean:  ## Remove the environment and everything that ran here. Stop a local broker first: imgdiff broker stop.
	rm -rf $(VENV) .imgdiff build *.egg-info

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or later is needed, $(PYTHON) is $$($(PYTHON) -V 2>&1); name one with make PYTHON=python3.12" >&2; exit 78; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.local: $(VENV)/bin/python pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[local]'
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[local,dev,models,fastsam,endpoint,quantized,s3]'
	@touch $@ $(VENV)/.local
