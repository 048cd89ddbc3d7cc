# Every target runs in a virtual environment, made when it is missing and renewed when what it is made from changes.
PYTHON ?= python3
BIN := .venv/bin
BENCHMARKS := blocks compiled growth label_audit linear_loss mixin_overhead regularizers rings speed speed_binary startup switches
BACKENDS := plain cut wide by_rows on_cuda
PYTEST_OPTIONS := -n auto --maxprocesses 8

.DEFAULT_GOAL := help
.PHONY: help demo test test-long test-lowest lint audit docs notebooks bench faults evidence clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

demo: .venv/installed ## the main job: two noisy rings, focal loss, L1 and L2, biases kept out of both
	$(BIN)/lightning-losses experiment=rings_focal

test: .venv/installed ## all tests but the long ones
	OMP_NUM_THREADS=1 $(BIN)/pytest $(PYTEST_OPTIONS) -m "not long"

test-long: .venv/installed ## the long tests, those of losses on every backend, and whether the tests notice mutants of functional/ (hours)
	OMP_NUM_THREADS=1 $(BIN)/pytest $(PYTEST_OPTIONS) -m long
	set -e; for backend in $(BACKENDS); do \
		OMP_NUM_THREADS=1 $(BIN)/pytest $(PYTEST_OPTIONS) -m "not long" --backend $$backend tests/losses tests/functional; done
	$(BIN)/pip install --quiet mutmut==3.8.1
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/mutation.py

test-lowest: .venv-lowest/installed ## all tests but the long ones, on the lowest versions allowed (downloads gigabytes)
	OMP_NUM_THREADS=1 .venv-lowest/bin/pytest $(PYTEST_OPTIONS) -m "not long"

lint: .venv/installed ## ruff and mypy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

audit: .venv/installed ## published advisories about what is pinned, where a network reaches them
	@if $(BIN)/python -c 'import socket; socket.create_connection(("api.osv.dev", 443), 5)' 2>/dev/null; then \
		$(BIN)/pip install --quiet pip-audit==2.10.1 && \
		$(BIN)/pip-audit --vulnerability-service osv --no-deps --disable-pip --requirement constraints.txt; \
	else echo "api.osv.dev is out of reach: nothing was audited"; fi

docs: .venv/installed ## build the pages into site/; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

notebooks: .venv/installed ## run the notebooks and keep their outputs in them
	$(BIN)/python notebooks/build.py

bench: .venv/installed .venv-peers/installed ## run every benchmark, beside other libraries too (a quiet machine, an hour)
	set -e; for name in $(BENCHMARKS); do $(BIN)/python benchmarks/$$name.py; done
	.venv-peers/bin/python benchmarks/peers.py
	$(BIN)/python benchmarks/results.py

faults: .venv/installed ## kill runs and break files (half an hour); FAULTS='--folder DISK --temporary OTHER_FILE_SYSTEM'
	OMP_NUM_THREADS=1 $(BIN)/python -W ignore benchmarks/faults/kill.py $(FAULTS)
	OMP_NUM_THREADS=1 $(BIN)/python -W ignore benchmarks/faults/malformed.py
	$(BIN)/python benchmarks/faults/page.py

evidence: .venv/installed ## measure what the pages claim, and write them (minutes)
	$(BIN)/python benchmarks/exactness.py
	$(BIN)/python benchmarks/evidence/page.py && $(BIN)/python benchmarks/evidence/plots.py

clean: ## remove what was built and installed; the runs in outputs/ stay
	rm -rf .venv .venv-lowest .venv-peers build dist site *.egg-info .cache .hypothesis .mypy_cache .pytest_cache .ruff_cache

.venv/installed: constraints.txt
.venv-lowest/installed: constraints-lowest.txt
.venv/installed .venv-lowest/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or later is needed; $(PYTHON) is " + v + ". Name another one: make PYTHON=python3.12")'
	$(PYTHON) -m venv --upgrade-deps $(@D)
	$(@D)/bin/pip install --constraint $(filter constraints%,$^) --editable '.[dev]'
	@touch $@

.venv-peers/installed: pyproject.toml constraints.txt benchmarks/peers.txt
	$(PYTHON) -m venv --upgrade-deps $(@D)
	$(@D)/bin/pip install --constraint constraints.txt --editable . --requirement benchmarks/peers.txt
	@touch $@
