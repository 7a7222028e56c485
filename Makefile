# Every target sets itself up: a virtual environment in .venv with the versions of requirements.lock.
#
#   PYTHON=/path/to/python   the Python to build the environment with (3.11 or newer)
#   TORCH=cpu                take PyTorch from its CPU index (Linux without a GPU: spares gigabytes of CUDA)
#   NB=08                    only the chapters whose names begin so (make execute, make pdf, make test-colab)
#   PORT=8000                where make serve listens
#   ONLY=sampling            one of the benchmarks
#   BASE=main                what make test-kernels compares with; the last day's commits are a change when left out

.DEFAULT_GOAL := help
.PHONY: help line-ends setup book serve execute format lint test test-lib test-book test-kernels test-slow test-homework test-all test-matrix test-pythons test-wheel test-colab site-check pdf mutants benchmarks system-deps wheel lock clean distclean

# One thread a process: sums come out in the same order every time, and two workers do not fight over two cores.
export OMP_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1
export TORCH PYTHON UPGRADE BASE
# Packages of another Python, which these would mix in, are neither ours nor tested with ours.
unexport PYTHONPATH PYTHONHOME

RUN := .venv/bin/python -m
PORT ?= 8000
SITE := _build/html/index.html

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile
	@echo
	@sed -n 's/^#   /  /p' Makefile

# A script whose lines end as on Windows fails with words that help nobody.
line-ends:
	@! grep -q "$$(printf '\r')" .ci/setup || { echo "make: the lines of .ci/setup end as on Windows, which the shell" \
	    "cannot read: clone or unpack the project anew, its line ends left as they are." >&2; exit 1; }

# `sh` and `python` in front: what an archive or a mail unpacks may have lost its permission to run. The path of this
# folder stands in no command, whatever characters are in it.
setup: line-ends ## make .venv ready; does nothing when it is
	@sh .ci/setup

book: setup ## build the site, every warning an error
	@.venv/bin/python .venv/bin/jupyter-book build . -n -W --keep-going
	@echo
	@echo "The book stands: open file://$$PWD/$(SITE)"
	@echo "or run \`make serve\`, which also rebuilds what you change."

serve: setup ## build the site, show it in a browser and rebuild it at every change
	@$(RUN) book._tools.serve --port $(PORT)

execute: setup ## run the chapters anew, store their outputs, bring .py and .ipynb into step [NB=08]
	@$(RUN) book._tools.execute $(NB)

format: setup ## put code and notebooks into the one format
	@$(RUN) ruff check --fix-only --quiet .
	@$(RUN) ruff format .
	@$(RUN) book._tools.execute --tidy

lint: setup ## ruff (notebooks included) and mypy
	@$(RUN) ruff check .
	@$(RUN) ruff format --check .
	@$(RUN) mypy

test-lib: setup ## the library: tests and doctests
	@$(RUN) pytest -n 2 -m "not slow" -q

test-book: setup ## the chapters: pairs in step, every output as stored, every cell fit to be run again
	@$(RUN) book._tools.pairing
	@$(RUN) pytest --book --book-rerun notebooks -n 2 -q

test: lint test-lib test-book ## everything that must hold

test-kernels: setup ## chapters that a change touches, as other processors round and on two threads [BASE=main]
	@$(RUN) book._tools.matrix --touched

test-slow: setup ## browsers, several processes, mutations, attacks on the grader
	@$(RUN) pytest -n 2 -m slow -q

test-homework: setup ## all homework, its solutions and every wrong answer, at SEEDS=20 seeds
	@$(RUN) pytest -n 2 --dist loadgroup -q tests/homework/test_masters.py tests/homework/test_wrong_answers.py \
	    --seeds $(or $(SEEDS),20)

test-all: test test-slow test-homework test-kernels ## make test and all that takes longer

test-matrix: setup ## all chapters on all kernels, into book/matrix.json; by hand, before a release
	@$(RUN) book._tools.matrix

test-pythons: setup ## the library's tests with the oldest versions, Colab's and others; gigabytes [SETS="oldest colab"]
	@.venv/bin/python .ci/pythons.py $(SETS)

test-wheel: wheel ## the chapters outside the repository, with the wheel alone; by hand, before a release
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && here=$$PWD && \
	    $(RUN) pip install --quiet --no-deps --target "$$folder/wheel" dist/*.whl && \
	    cp -r book conftest.py notebooks pyproject.toml tests "$$folder" && cd "$$folder" && \
	    PYTHONPATH="$$folder/wheel" "$$here/.venv/bin/python" -m pytest --book notebooks -n 2 -q

site-check: book ## every page in a browser: requests, errors, accessibility, weight, speed; a table [PAGES="notebooks/08"]
	@$(RUN) book._tools.site_check $(PAGES)

pdf: book ## print the book, or one chapter, into _build/pdf [NB=08]
	@$(RUN) book._tools.pdf $(NB)

test-colab: book ## the Colab editions with Colab's own packages, kept in COLAB_CACHE: 5 GB; by hand, before a release [NB="08 09"]
	@$(RUN) book._tools.colab --keep _build/colab $(NB)

mutants: setup ## changes of the library's core that no test notices; by hand, before a release [SAMPLE=200 FILES=lvmlib/bounds.py]
	@$(RUN) tests.mutation --sample $(or $(SAMPLE),200) $(FILES)

# The other libraries go into a folder of their own, so that the environment stays as the lock has it.
RIVALS := .venv/rivals
BENCHMARKS := three_ways cost_per_position training_step flow_step flow_sampling flow_quality flow_costs determinant likelihood sampling completion quality compression
# Freed memory stays with the process: asking the system for it again and again costs as much as a small network.
KEEP_MEMORY := MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 MALLOC_TOP_PAD_=500000000

benchmarks: setup ## time ours beside other libraries, into lvmlib/experiments/benchmarks; wants a quiet machine [ONLY=sampling REPEATS=5]
	@test $(RIVALS)/installed -nt benchmarks/requirements.txt || { rm -rf $(RIVALS) && \
	    $(RUN) pip install --quiet --no-deps --target $(RIVALS) -r benchmarks/requirements.txt && \
	    touch $(RIVALS)/installed; }
	@for script in $(or $(ONLY),$(BENCHMARKS)); do \
	    $(KEEP_MEMORY) PYTHONPATH=$(RIVALS) $(RUN) benchmarks.$$script --repeats $(or $(REPEATS),5) || exit 1; done

system-deps: line-ends ## what only the system's package manager has: Chromium for the browser tests, bubblewrap for the grader
	@sh .ci/system-deps

wheel: setup ## the library alone, as dist/*.whl
	@$(RUN) build --wheel --no-isolation --outdir dist

lock: line-ends ## write requirements.lock anew from the ranges in pyproject.toml [UPGRADE="torch numpy" | UPGRADE=all]
	@sh .ci/lock

clean: ## remove what was built
	rm -rf _build dist htmlcov .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache
	find book lvmlib tests notebooks -name __pycache__ -type d -prune -exec rm -rf {} +

# Renamed first: an environment that is half removed is not to be taken for one.
distclean: clean ## remove the environment too
	if [ -e .venv ] || [ -L .venv ]; then mv .venv .venv-old-$$$$; fi
	rm -rf .venv-old-*
