# The two doors: `make demo` and `make test`. Both build .venv when something it depends on has changed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help demo demo-stack stack test test-stack test-long tracers lint types docs docs-pages bench soak sdk-lanes prices clean
.PRECIOUS: $(LANES)/%/.installed

help:
	@echo "make demo       run three real web apps and show what each route costs (under 90 s)"
	@echo "make demo-stack the same with Collectors, Prometheus, Alertmanager and a trace UI behind it (about 5 minutes)"
	@echo "make test       lint, types and all tests (under 10 minutes)"
	@echo "make test-long  proofs that run for minutes: conservation, killed workers, fuzzing, memory (about 12 minutes)"
	@echo "make stack      build the Collector, Prometheus, Alertmanager and a trace UI, or find them built (needs Go)"
	@echo "make test-stack tests with all of these (about 10 minutes, and as much again where they have to be built)"
	@echo "make bench      span path against the plain SDK as ratios, models of compute against the truth, time to start"
	@echo "make soak       a quarter of an hour at full speed: memory, threads, series and sums"
	@echo "make sdk-lanes  the span path's tests on the oldest and the newest OpenTelemetry SDK"
	@echo "make tracers    one call under the tracers of three makers is one charge"
	@echo "make docs       build the docs site into .build/site"
	@echo "make docs-pages write the pages of docs/reference that follow from the code"
	@echo "make prices     write data/book.json and docs/prices.md again after a change of the YAML price files"
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

# Programs that tests and the demo run for real. Builds what is missing: about 9 minutes on 2 cores, later seconds.
stack: $(STAMP)
	$(BIN)/python -m examples.stack.build

demo-stack: stack
	$(BIN)/python -m examples.stack

# A missing program is a failure here, never a skip.
test-stack: stack
	$(BIN)/python -m pytest -n 2 --dist loadfile -m stack

test: $(STAMP) lint types
	$(BIN)/python -m pytest -n auto --dist loadfile -m "not e2e and not long and not stack"
	$(BIN)/python -m pytest -n 3 --dist loadfile -m "e2e and not long and not stack"

# Always the same runs, so that a change is judged by what it changes; SEED=$RANDOM looks for what nobody has found yet.
MINUTES_EACH := tests/test_conservation_machine.py tests/test_many_series.py
SEED ?= 20261121
test-long: $(STAMP)
	@echo "hypothesis seed: $(SEED)"
	$(BIN)/python -m pytest -n 2 --dist load $(MINUTES_EACH) --hypothesis-profile=explore --hypothesis-seed=$(SEED)
	$(BIN)/python -m pytest -n 3 --dist loadfile -m long $(MINUTES_EACH:%=--ignore %) --hypothesis-profile=explore --hypothesis-seed=$(SEED)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m spancost.prices.build --check
	$(BIN)/python -m spancost.prices.docs --check
	$(BIN)/python -m docs._make --check
	$(BIN)/python -m grafana._make --check

types: $(STAMP)
	$(BIN)/pyright --pythonpath $(BIN)/python

# A warning is an error: broken links and anchors, pages that stand in no table of contents. `make test` builds it, too.
docs: $(STAMP)
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going --builder html docs .build/site

docs-pages: $(STAMP)
	$(BIN)/python -m docs._make

# The span path on the oldest SDK that is supported and on the newest there is, each in an environment of its own.
LANES := .lanes
LANE_TESTS := tests/test_tree.py tests/test_processor.py tests/test_conservation.py tests/test_span_attributes.py \
	tests/test_sampler.py tests/test_engine.py tests/test_duplicates.py tests/test_guards.py tests/test_fork.py \
	tests/test_recorded_spans.py tests/sinks/test_metrics.py tests/sinks/test_totals.py tests/sinks/test_prometheus.py

$(LANES)/oldest/.installed: SDK := "opentelemetry-sdk==1.40.0" "opentelemetry-api==1.40.0"
$(LANES)/newest/.installed: SDK := --upgrade opentelemetry-sdk opentelemetry-api
$(LANES)/%/.installed: pyproject.toml Makefile
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check $(SDK) --editable ".[prometheus]" pytest hypothesis
	@touch $@

lane-%: $(LANES)/%/.installed
	@$(LANES)/$*/bin/python -c 'from importlib.metadata import version; print("opentelemetry-sdk", version("opentelemetry-sdk"))'
	$(LANES)/$*/bin/python -m pytest -q -p no:cacheprovider $(LANE_TESTS)

sdk-lanes: lane-oldest lane-newest

# LangChain and OpenAI under the tracers of three makers, which would trace each other's calls in any other environment.
$(LANES)/tracers/.installed: pyproject.toml Makefile
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --editable . --group tracers
	@touch $@

tracers: $(LANES)/tracers/.installed
	$(LANES)/tracers/bin/python -m pytest -q -p no:cacheprovider tests/tracers/many_tracers.py

bench: $(STAMP)
	$(BIN)/python -m tests.benchmarks
	$(BIN)/python -m tests.benchmarks.cpu_model
	$(BIN)/python -m tests.benchmarks.start_up

soak: $(STAMP)
	$(BIN)/python -m tests.benchmarks.soak --minutes 15

prices: $(STAMP)
	$(BIN)/python -m spancost.prices.build
	$(BIN)/python -m spancost.prices.docs

clean:
	rm -rf $(VENV) $(LANES) .build .pytest_cache .ruff_cache .hypothesis
