# `make demo` and `make test` do all set-up on a fresh machine with Python 3.11 or 3.12.
# PYTHON=/path/to/python3.12 chooses the interpreter, JOBS=n the number of test processes.

VENV  := .venv
READY := $(VENV)/.ready
TORCH ?= 2.13.0
SEED  ?= 0
JOBS  ?= $(shell nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)

# One thread a process: the tests run in parallel, and several torch pools on few cores crawl.
TEST_ENV := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 \
	HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 WANDB_MODE=offline
# loadfile keeps the tests of one file in one process, so that a file's fixtures are made once.
PYTEST := $(TEST_ENV) $(VENV)/bin/python -m pytest -n $(JOBS) --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help demo test check fuzz lint lock audit clean

help:
	@echo "make demo   set up, then run the main job on the embedded model"
	@echo "make test   set up, then lint and all tests that need no GPU and no network;"
	@echo "            as root it first installs the distribution's Slurm with apt-get, for its tests"
	@echo "make check  the same without the slow tests"
	@echo "make fuzz   property tests with a large budget; SEED=n tries other cases"
	@echo "make lint   ruff and mypy"
	@echo "make lock   write requirements.lock anew; UPGRADE='a b' frees the pins of a and b"
	@echo "make audit  ask osv.dev for known vulnerabilities of the locked packages; error 2: no answer"
	@echo "make clean  remove caches and build output, not .venv and not outputs"

$(READY): pyproject.toml requirements.lock
	@PYTHON="$(PYTHON)" TORCH="$(TORCH)" bash scripts/setup.sh

demo: $(READY)
	@$(VENV)/bin/sparc

test: lint
	@bash scripts/slurm_packages.sh
	$(PYTEST) -m "not network and not gpu"

check: lint
	$(PYTEST) -m "not slow and not network and not gpu"

fuzz: $(READY)
	FUZZ=1 $(PYTEST) tests/fuzz --hypothesis-seed=$(SEED)

lint: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

lock: $(READY)
	@$(VENV)/bin/python scripts/lock.py --torch "$(TORCH)" $(addprefix --upgrade ,$(UPGRADE))

audit: $(READY)
	@$(VENV)/bin/python -m scripts.audit --torch "$(TORCH)"

clean:
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
	find sparc tests benchmarks scripts -name __pycache__ -type d -prune -exec rm -rf {} + \
		2>/dev/null || true
