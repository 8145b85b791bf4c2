# make run    the main job: results/fid_cxr.json, on phantoms that are computed here
# make test   linters and tests
# make ui     MLflow's pages, on this machine only
# Each sets up the locked environment in .venv first, once.
PYTHON ?= python3
CORES ?= all
BIN := .venv/bin
BY_FILE := --numprocesses=2 --dist=loadfile --no-loadscope-reorder

.PHONY: run test lint ui config lock

run: .venv/ready
	$(BIN)/snakemake --cores $(CORES) results/fid_cxr.json

test: .venv/ready .venv/kubernetes lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --ignore=tests/integration $(BY_FILE)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/integration $(BY_FILE)

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check workflow
	$(BIN)/snakemake --lint

ui: .venv/ready
	$(BIN)/python -m scansynth.tracking
	MLFLOW_DISABLE_TELEMETRY=true $(BIN)/mlflow ui --host 127.0.0.1 --backend-store-uri sqlite:///mlflow.db

# What is generated from src/scansynth/config.py, and the locks from pyproject.toml (needs uv).
config: .venv/ready
	$(BIN)/python -m scansynth.config

lock:
	$(PYTHON) tools/lock.py
	$(PYTHON) tools/environment.py

# torch first: its build is chosen by the machine (CPU, CUDA, Apple), so that it is pinned by version, all else by hash.
# uv installs the lock in seconds where pip takes minutes. Compiled at once: where Python is told to write no bytecode, as in
# many containers, each start would compile all that it imports, for seconds.
.venv/ready: requirements.lock constraints.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13) and "Python 3.11 to 3.13 is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.9 torch --constraint constraints.txt
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --no-deps --require-hashes --requirement requirements.lock
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

# Snakemake's plugins for Kubernetes, beside the environment, where they would make every start slower.
.venv/kubernetes: .venv/ready kubernetes.lock
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --target $@ --no-deps --require-hashes --requirement kubernetes.lock
	touch $@
