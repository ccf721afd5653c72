# The two doors: `make demo` and `make test`. Both build .venv when something it depends on has changed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help demo test lint types bench sdk-lanes prices clean

help:
	@echo "make demo       run three real web apps and show what each route costs (under 90 s)"
	@echo "make test       lint, types and all tests (under 10 minutes)"
	@echo "make bench      span path against the plain SDK, as ratios"
	@echo "make sdk-lanes  the span path's tests on the oldest and the newest OpenTelemetry SDK"
	@echo "make prices     write data/book.json again after a change of the YAML price files"
	@echo "make clean      remove .venv and caches"

$(STAMP): pyproject.toml Makefile
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is missing: install Python 3.11 or newer"; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[all]" --group dev
	@touch $@

demo: $(STAMP)
	$(BIN)/python -m examples.shop

test: $(STAMP) lint types
	$(BIN)/python -m pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m spancost.prices.build --check

types: $(STAMP)
	$(BIN)/pyright --pythonpath $(BIN)/python

bench: $(STAMP)
	$(BIN)/python -m tests.benchmarks

prices: $(STAMP)
	$(BIN)/python -m spancost.prices.build

clean:
	rm -rf $(VENV) .build .pytest_cache .ruff_cache .hypothesis
