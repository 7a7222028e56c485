# Every target sets itself up: a virtual environment in .venv with the versions of requirements.lock.
#
#   PYTHON=/path/to/python   the Python to build the environment with (3.11 or newer)
#   TORCH=cpu                take PyTorch from its CPU index (Linux without a GPU: spares gigabytes of CUDA)
#   NB=08                    only the chapters whose names begin so (make execute)
#   PORT=8000                where make serve listens
#   ONLY=sampling            one of the benchmarks

.DEFAULT_GOAL := help
.PHONY: help setup book serve execute format lint test test-lib test-book test-all test-pythons benchmarks system-deps wheel lock clean distclean

# One thread a process: sums come out in the same order every time, and two workers do not fight over two cores.
export OMP_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1
export TORCH PYTHON UPGRADE

RUN := .venv/bin/python -m
PORT ?= 8000
SITE := _build/html/index.html

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile
	@echo
	@sed -n 's/^#   /  /p' Makefile

setup: ## make .venv ready; does nothing when it is
	@.ci/setup

book: setup ## build the site, every warning an error
	@.venv/bin/jupyter-book build . -n -W --keep-going
	@echo
	@echo "The book stands: open file://$(CURDIR)/$(SITE)"
	@echo "or run \`make serve\`, which also rebuilds what you change."

serve: setup ## build the site, show it in a browser and rebuild it at every change
	@$(RUN) book._tools.serve --port $(PORT)

execute: setup ## run the chapters anew, store their outputs, bring .py and .ipynb into step [NB=08]
	@$(RUN) book._tools.execute $(NB)

format: setup ## put code and notebooks into the one format
	@$(RUN) ruff check --fix-only --quiet .
	@$(RUN) ruff format .

lint: setup ## ruff (notebooks included) and mypy
	@$(RUN) ruff check .
	@$(RUN) ruff format --check .
	@$(RUN) mypy

test-lib: setup ## the library: tests and doctests
	@$(RUN) pytest -n 2 -m "not slow" -q

test-book: setup ## the chapters: pairs in step, every output as stored, every cell fit to be run again
	@$(RUN) pytest --book --book-rerun notebooks -n 2 -q

test: lint test-lib test-book ## everything that must hold

# What `make test` ran is not run again: here come the slow suites, then the chapters with the kernels of other
# processors and with another number of threads, where sums are rounded in another order. Threads wait without spinning,
# which on a busy machine takes the time that they wait for.
test-all: test ## make test, and what is slow
	@$(RUN) pytest -n 2 -m slow -q
	@ATEN_CPU_CAPABILITY=avx2 $(RUN) pytest --book notebooks -n 2 -q
	@ATEN_CPU_CAPABILITY=default $(RUN) pytest --book notebooks -n 2 -q
	@LVM_THREADS=2 OMP_WAIT_POLICY=passive $(RUN) pytest --book notebooks -q

test-pythons: ## the library's tests on each Python from 3.10 to 3.13 that is here; downloads torch for each
	@.ci/pythons

# The other libraries go into a folder of their own, so that the environment stays as the lock has it.
RIVALS := .venv/rivals
BENCHMARKS := three_ways cost_per_position training_step flow_step likelihood sampling completion quality compression
# Freed memory stays with the process: asking the system for it again and again costs as much as a small network.
KEEP_MEMORY := MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 MALLOC_TOP_PAD_=500000000

benchmarks: setup ## time ours beside other libraries, into benchmarks/results; wants a quiet machine [ONLY=sampling REPEATS=5]
	@test $(RIVALS)/installed -nt benchmarks/requirements.txt || { rm -rf $(RIVALS) && \
	    $(RUN) pip install --quiet --no-deps --target $(RIVALS) -r benchmarks/requirements.txt && \
	    touch $(RIVALS)/installed; }
	@for script in $(or $(ONLY),$(BENCHMARKS)); do \
	    $(KEEP_MEMORY) PYTHONPATH=$(RIVALS) $(RUN) benchmarks.$$script --repeats $(or $(REPEATS),5) || exit 1; done

system-deps: ## what only the system's package manager has: Chromium, for the browser tests
	@.ci/system-deps

wheel: setup ## the library alone, as dist/*.whl
	@$(RUN) build --wheel --no-isolation --outdir dist

lock: ## write requirements.lock anew from the ranges in pyproject.toml [UPGRADE="torch numpy" | UPGRADE=all]
	@.ci/lock

clean: ## remove what was built
	rm -rf _build dist htmlcov .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache
	find book lvmlib tests notebooks -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## remove the environment too
	rm -rf .venv
