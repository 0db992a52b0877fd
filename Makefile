# `make` alone shows the targets. Each of them first creates .venv (once per change of pyproject.toml or constraints.txt).
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
CODE := $(wildcard schemas pipeline trainer jobs tests benchmarks tools)
# Many small processes share the cores: one thread each.
export OMP_NUM_THREADS ?= 1
# Each file of tests in one process, so many files at once; pytest alone takes one after the other.
PARALLEL := --numprocesses logical --maxprocesses 4 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help setup demo refine-round train-round run-loop browse test test-slow test-browser test-ceph test-faults test-input lint format bench clean

help: ## show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## create .venv and install the project with exact versions

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"Python >= 3.11 needed, {v.major}.{v.minor} found: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,browse,footage]'
	@touch $@

demo: $(READY) ## the closed loop on a made set with known truth; ends with the errors of labels and networks
	$(BIN)/python jobs/demo.py

# ROUND=k, and ARGS for overrides: make train-round ROUND=3 ARGS='storage.root=s3://bucket/labels network.variant=b'
refine-round: $(READY) ## make generation ROUND (ARGS='data.shards=... storage.root=...')
	$(BIN)/python jobs/refine_round.py --round $(or $(ROUND),$(error say which round: make refine-round ROUND=3)) $(ARGS)

train-round: $(READY) ## train the network on generation ROUND (ARGS='network.variant=b storage.root=...')
	$(BIN)/python jobs/train_round.py --round $(or $(ROUND),$(error say which round: make train-round ROUND=3)) $(ARGS)

run-loop: $(READY) ## publish, train, publish, ... until generation ROUNDS (ARGS='data.shards=... storage.root=...')
	$(BIN)/python jobs/run_loop.py --rounds $(or $(ROUNDS),$(error say how many: make run-loop ROUNDS=3)) $(ARGS)

browse: $(READY) ## look at people and labels in a web browser (ARGS='storage.root=... browse.reviewer=NAME')
	$(BIN)/python jobs/browse_labels.py $(ARGS)

test: $(READY) ## the default test suite
	$(BIN)/python -m pytest $(PARALLEL)

test-faults: $(READY) ## kill, fill, cut off and skew real rounds, then check; SEEDS=n (50) seeded kills
	SEEDS=$(or $(SEEDS),50) $(BIN)/python -m pytest -m faults tests/faults

test-slow: $(READY) ## the tests marked slow
	$(BIN)/python -m pytest -m slow --timeout 1800 $(PARALLEL)

test-browser: $(READY) ## the label browser in headless Chromium (apt-get install chromium)
	$(BIN)/python -m pytest -m browser tests/pipeline/browser

test-ceph: $(READY) ## the label store on an older S3, Ceph RADOS Gateway (apt-get install radosgw ceph-mon ceph-osd)
	$(BIN)/python -m pytest -m ceph

test-input: $(READY) ## 20,000 hostile shards, 6,000 label files, gadgets and bombs (tests/input)
	$(BIN)/python -m pytest -m 'input or not input' tests/input -rP $(PARALLEL)

lint: $(READY) ## ruff check, ruff format --check, pyrefly
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/pyrefly check

format: $(READY) ## rewrite the code in the house format
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

bench: $(READY) ## time the hot paths
	$(BIN)/python -m benchmarks

clean: ## remove .venv and caches, never labels
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis *.egg-info
