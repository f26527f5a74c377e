# Two commands do everything: `make quickstart` and `make test`. Both make the environment first.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: install quickstart test test-fast check fix bench fuzz clean

install: $(STAMP)

$(STAMP): pyproject.toml setup.py constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed: name one with make PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --constraint constraints.txt --editable '.[train,web,dev]'
	@mkdir -p $(VENV)/links/memoirist
	@for folder in data extractors generators train flows; do \
	  ln -sfn ../../../$$folder $(VENV)/links/memoirist/$$folder; done
	@touch $(STAMP)

quickstart: $(STAMP)
	@$(BIN)/memoirist build data/samples/memoir.pdf data/samples/interview.vtt \
	  data/samples/exchanges.jsonl --persona "Edith Thackwray"
	@echo
	@echo '$$ memoirist chat --message "What did your father do wrong?" --temperature 0.7'
	@$(BIN)/memoirist chat --message "What did your father do wrong?" --temperature 0.7

PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest \
  --numprocesses 3 --dist loadfile --no-loadscope-reorder --durations 15

test: $(STAMP)
	$(PYTEST)

# Without the tests that take more than two seconds.
test-fast: $(STAMP)
	$(PYTEST) -m 'not slow and not medium'

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fix: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP) .venv-bench/.installed
	$(BIN)/python -m tests.benchmarks

# The peers of the book benchmark, apart from everything else; without them it says so and goes on.
.venv-bench/.installed: tests/benchmarks/peers.txt
	$(PYTHON) -m venv .venv-bench
	-.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -r $< && touch $@

fuzz: $(STAMP)
	$(BIN)/python -m tests.tools.fuzz --seconds $(or $(SECONDS),180)

clean:
	rm -rf $(VENV) .venv-bench workspace build *.egg-info
