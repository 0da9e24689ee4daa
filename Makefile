# `make demo`: six toys trained, compared and reported, offline on a CPU.  `make real`: a model that learns.  `make test`: what must hold.
BIN := .venv/bin
TORCH := $(shell grep '^torch==' .ci/constraints.txt)

.PHONY: demo real fast test test-slow test-anywhere bench gpu gpu-wheels table format lint lab clean

demo: .venv/ready
	$(BIN)/dialsum demo

# one small model with real weights (some 240 MB, fetched once); asks whether its licence is accepted, or is told: make real ACCEPT_LICENCE=yes
real: .venv/ready
	$(BIN)/dialsum real $(if $(filter yes,$(ACCEPT_LICENCE)),--accept-licence)

# both suites run, whatever the first one does, and either one's failure fails
test: .venv/ready
	$(BIN)/python .ci/suites.py

# before a commit: layout, lint, and the tests that start no process and train no model
fast: lint
	$(BIN)/python -m pytest tests/unit -n auto

# what takes long by its nature: kills, browsers, every README block, every model, the benchmarks' notebooks
test-slow: .venv/slow
	$(BIN)/python .ci/suites.py --slow

# with other toys, on other processors, in another order, on a busy machine; goes on where it stopped
test-anywhere: .venv/ready
	$(BIN)/python .ci/anywhere.py

# how many times as fast, side by side, into reports/benchmarks.md; on a machine that does nothing else
bench: .venv/ready
	$(BIN)/python .ci/bench.py

# models of full size on one GPU, into the same file; with the python3 that has torch there: make gpu PYTHON=python3
PYTHON := $(if $(wildcard $(BIN)/python),$(BIN)/python,python3)
gpu:
	$(PYTHON) .ci/gpu.py $(if $(wildcard .whl),--wheels .whl)

# what a machine without internet that has torch and transformers lacks for that, into .whl
gpu-wheels: .venv/ready
	$(BIN)/python .ci/wheels.py

# the simulations that ship, after a change of a card, of torch or transformers, or of what is simulated; ten minutes
table: .venv/ready
	$(BIN)/python -c "from dialsum.models.simulation_table import write_table; write_table()"

# layout, and what a program can see without running
format: .venv/ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/ruff check --isolated --select F401 dialsum # a module does not import what only an example uses
	$(BIN)/mypy

lab: .venv/ready
	$(BIN)/dialsum lab

# torch first and exactly pinned: any other spelling makes pip choose another build of it
# nothing is compiled in advance: a minute for modules of which most are never imported
.venv/ready: pyproject.toml .ci/constraints.txt
	python3 -c 'import sys; sys.exit(sys.version_info < (3, 11) and "dialsum needs Python 3.11 or newer, this is " + sys.version.split()[0])'
	python3 -m venv .venv
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check $(TORCH)
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --constraint .ci/constraints.txt --editable '.[dev]'
	touch $@

# and what only its tests want
.venv/slow: .venv/ready
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --constraint .ci/constraints.txt --editable '.[dev,ray]'
	touch $@

clean:
	rm -rf .venv build dist
