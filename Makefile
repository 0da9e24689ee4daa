# `make demo`: six small models trained, compared and reported, offline on a CPU.  `make test`: everything that must hold.
BIN := .venv/bin
TORCH := $(shell grep '^torch==' .ci/constraints.txt)

.PHONY: demo test lab clean

demo: .venv/ready
	$(BIN)/dialsum demo

# two tests at a time: threads of their own that wait by spinning would make both eight times slower
test: export OMP_WAIT_POLICY := PASSIVE
test: export OMP_NUM_THREADS := 1
test: .venv/ready
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/nbdev_test --n_workers 2
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

lab: .venv/ready
	$(BIN)/dialsum lab

# torch first and exactly pinned: any other spelling makes pip choose another build of it
.venv/ready: pyproject.toml .ci/constraints.txt
	python3 -c 'import sys; sys.exit(sys.version_info < (3, 11) and "dialsum needs Python 3.11 or newer, this is " + sys.version.split()[0])'
	python3 -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint .ci/constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv build dist
