# SPDX-License-Identifier: Apache-2.0
# make hello       show a digit and its class, without TensorFlow: a first result in a minute or two
# make demo        train a small binary network, compile it, run it in C, compare it with Keras
# make test        the test suite: every area, in about five minutes on two cores
# make test-all    the same, and then what takes longer: emulators, packages, browsers, training, proofs, more random cases
# make test-kernels   what depends on the kernel family, with each but the fastest and scalar
# make fuzz        fuzz what reads strangers' bytes: a minute for each target, or FUZZ_SECONDS, or FUZZ_RUNS in total
# make lint        ruff, mypy, imports, format, C warnings, generated files
# make format      ruff format and clang-format
# make coverage    the lines, branches and conditions of the C runtime that tests reach, with scalar kernels; needs clang-19
# make proof       what is proven about the parser of files; needs cbmc
# make docs        the documentation as a site, in build/site
# make bench       time every kernel family against this machine's register-loop rates
# make clean       remove what these made, .venv included
#
# All of them make .venv first and install the package there, editable; all but `hello` with everything it can use.
#   PYTHON=python3.11   the interpreter of .venv        VENV=folder   another place for it
#   ARGS="..."          passed on: make demo ARGS="--dataset fashion-mnist"; make test ARGS="-k dense"
#   WORKERS=4           processes of the tests (default: the processors, at most 8); each takes up to 2 GB of memory

help:
	@sed -n 's/^# \{0,1\}\(make\|All\|  \)/\1/p' $(firstword $(MAKEFILE_LIST))

PYTHON ?= python3
VENV ?= .venv
CC ?= cc
ARGS ?=
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(max(2, min(os.cpu_count(), 8)))')

PY := $(VENV)/bin/python
C_SOURCES := $(shell $(PYTHON) bnn/runtime/build.py 2>/dev/null)
C_FILES := $(C_SOURCES) $(shell $(PYTHON) bnn/runtime/build.py headers 2>/dev/null)
FORMATTED := $(filter-out %.gen.h,$(C_FILES)) $(wildcard tests/*/*.[ch] tests/*/*/*.c tests/*/*.inc tools/*.[ch] tools/*/*.[ch] examples/*/*.c)
C_WARNINGS := -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wstrict-prototypes -Wcast-qual -Werror
C_FLAGS := -std=c11 -O2 -ffp-contract=off -Icsrc/include -Icsrc -Ikernels

# NumPy 1 where Python has it, so that both are tested.
NUMPY := import sys; print("numpy<2" if sys.version_info < (3, 13) else "numpy>=2")
# Larq asks for NumPy 1, and works with NumPy 2.
LARQ := 'larq>=0.13,<0.15' 'terminaltables>=3.1,<4'

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Tests start many processes: the modules that these import are compiled once.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help hello demo test test-all test-kernels fuzz coverage proof lint lint-c format bench docs install clean

hello: | $(VENV)/made
	@$(PY) -c 'import bnn' 2>/dev/null || { \
	    echo "compiling the C runtime: a minute or two"; $(PY) -m pip install -q --no-build-isolation --editable .; }
	@$(PY) examples/hello.py

demo: install
	$(PY) tools/demo.py $(ARGS)

test: install
	$(PY) -m pytest -n $(WORKERS) -ra -m "not slow" $(ARGS)

test-all: test
	BNN_TEST_LONG=1 $(PY) -m pytest -n $(WORKERS) -ra -m "slow or drawn" $(ARGS)

# `make test` ran these with the fastest family, and `make coverage` does with scalar.  The sanitizer tests, those of kernels
# alone and of spikes over time go through the families by themselves.
KERNEL_TESTS := tests/ops tests/events/test_engine.py tests/events/test_counters.py tests/file/test_coding.py
test-kernels: install
	for family in $$($(PY) -c 'from bnn.runtime import available_kernels as a; print(*{*a()[1:]} - {"scalar"})'); do \
	    echo "BNN_KERNELS=$$family"; \
	    BNN_KERNELS=$$family $(PY) -m pytest -n $(WORKERS) -q -m "not slow" $(ARGS) $(KERNEL_TESTS) || exit; \
	done

# tests/fuzz/run.py says what there is and how to look at what is found.
FUZZ_SECONDS ?= 60
FUZZ_RUNS ?= 0
fuzz: install
	$(PY) tests/fuzz/run.py --seconds $(FUZZ_SECONDS) --runs $(FUZZ_RUNS) $(ARGS)

coverage: install
	$(PY) tools/coverage_c.py $(ARGS)

proof: install
	$(PY) -m pytest -ra tests/proof $(ARGS)

bench: install
	$(PY) tools/benchmark.py kernels $(ARGS)

docs: install
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict $(ARGS)

lint: install lint-c
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(VENV)/bin/clang-format --dry-run -Werror $(FORMATTED)
	$(PY) -m mypy
	$(VENV)/bin/lint-imports --no-cache
	$(PY) tools/generate_ops.py --check

lint-c: $(C_SOURCES:%=lint-c/%)
	@test -n '$(C_SOURCES)'

# -O2 because some warnings come from the optimizer's analysis; to standard output because clang, run by root, deletes the
# file that it names after an error, /dev/null too.
lint-c/%: %
	$(CC) $(C_FLAGS) $(C_WARNINGS) -S $< -o - >/dev/null

format: install
	$(PY) -m ruff format .
	$(VENV)/bin/clang-format -i $(FORMATTED)

install: $(VENV)/installed

# Made again when a dependency, the build or a C file changed: an editable install sees changed Python by itself.
# `prophesee` is for the tests of recordings: `all` has no copyleft in it.
$(VENV)/installed: pyproject.toml setup.py bnn/runtime/build.py bnn/_version.py $(C_FILES) | $(VENV)/made
	$(PY) -m pip install --no-build-isolation --editable '.[all,prophesee]' "$$($(PY) -c '$(NUMPY)')"
	$(PY) -m pip install --no-deps $(LARQ)
	@touch $@

# Also of an environment that was made by hand, which may have no setuptools.
$(VENV)/made: | $(PY)
	$(PY) -m pip install --upgrade pip 'setuptools>=77,<100' 'cffi>=1.15,<3'
	@touch $@

$(PY):
	@command -v '$(PYTHON)' >/dev/null || { \
	    echo "make: '$(PYTHON)' is not a program; name another one: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || { \
	    echo "make: Python 3.10 to 3.13 is needed, but '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || true);" \
	         "name another one: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	    echo "make: '$(PYTHON)' has no venv module; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf .venv build dist *.egg-info bnn/*.so .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
