# Two commands do all set-up on a fresh machine with Python 3.11+: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/.stamps

.PHONY: demo test unit check bench clean help

help:  ## what there is
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

demo: $(STAMPS)/core  ## the main job on synthetic faces: no network, no GPU, a few minutes on two cores
	$(BIN)/facemae demo

test: $(STAMPS)/test  ## every test, and the checks of `make check`
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 2

unit: $(STAMPS)/test  ## the quick tests only
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 2 -m "not slow and not real"

check: $(STAMPS)/test  ## style, types, direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMPS)/bench  ## speed and memory beside this machine's matrix product and public tools: results/bench-*
	$(BIN)/facemae bench results

$(STAMPS)/core: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e .
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/test: $(STAMPS)/core
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[test,check]"
	@touch $@

$(STAMPS)/bench: $(STAMPS)/core
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[bench]"
	@touch $@

clean:  ## everything that was built, but not runs/
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
