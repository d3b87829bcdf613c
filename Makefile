# `make demo` and `make test` do all the set-up themselves.
PYTHON ?= python3.11
BIN := .venv/bin
INSTALLED := .venv/.installed
EXAMPLES := $(addprefix tickets/sample/examples/,network.txt billing.txt software.txt)
DEMO := --set output=runs/demo

.PHONY: demo test gpu lint format docs sample-corpus mini bench-prepare results clean

demo: $(INSTALLED)
	@echo "== The shipped mini model answers three tickets"
	$(BIN)/duet predict $(EXAMPLES)
	@echo; echo "== Training a classifier and a generator of your own on the built-in tickets (some minutes)"
	rm -rf runs/demo
	$(BIN)/duet train-cls --config configs/demo.yaml
	$(BIN)/duet train-gen --config configs/demo.yaml
	@echo; echo "== The same tickets, answered by them"
	$(BIN)/duet predict $(EXAMPLES) --model runs/demo
	@echo; echo "== How good that is, on built-in tickets that neither has seen"
	$(BIN)/duet evaluate --model runs/demo --replies 32

test: $(INSTALLED) lint
	$(BIN)/pytest

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# CPU torch, by the constraints file
$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --upgrade pip
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[dev]'
	touch $@

# torch for CUDA: the registry's own build; it replaces a CPU build that `make demo` or `make test` installed
gpu: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --upgrade pip
	$(BIN)/python -m pip install --force-reinstall --no-deps torch
	$(BIN)/python -m pip install --editable '.[dev]'
	touch $(INSTALLED)
	@$(BIN)/python -c "import torch, sys; print('torch', torch.__version__, 'CUDA', torch.version.cuda); \
	  sys.exit(0 if torch.cuda.is_available() else 'no CUDA device found, or a CPU build of torch was installed')"

docs: $(INSTALLED)
	$(BIN)/python scripts/write_cli_docs.py

# The shipped data and model. Same bytes for the corpus; the model takes about an hour on two cores.
sample-corpus: $(INSTALLED)
	$(BIN)/python -m tickets.sample.build

mini: $(INSTALLED)
	$(BIN)/python scripts/make_mini.py

bench-prepare: $(INSTALLED)
	$(BIN)/python bench/prepare.py

results: $(INSTALLED)
	$(BIN)/python bench/results.py

clean:
	rm -rf runs build dist .mypy_cache .ruff_cache .pytest_cache *.egg-info
