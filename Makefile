# make run      everything: environment, install, database, API + worker; Ctrl-C stops it
# make help     the other targets

SHELL := /bin/sh
.DEFAULT_GOAL := help

VENV ?= .venv
BIN := $(VENV)/bin
# faiss-cpu and faiss-gpu are the same module: exactly one of them is installed.
EXTRA ?= $(shell nvidia-smi >/dev/null 2>&1 && echo gpu || echo cpu)
OTHER := $(if $(filter gpu,$(EXTRA)),cpu,gpu)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
INSTALLED := $(VENV)/.installed-$(EXTRA)
MILVUS_INSTALLED := .venv-milvus/.installed
DEV_INSTALLED := $(VENV)/.installed-$(EXTRA)-dev
ARGS ?=
# Many tests wait for servers that they start, so one process more than there are cores; each has
# one thread for torch, or they would spend their time waiting for each other's.
JOBS ?= $(shell expr $$(nproc) + 1)

.PHONY: help run install dev milvus test lint format faults bench checkpoint clean

help: ## Show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST) | expand -t 20

run: $(INSTALLED) ## Start Reelseek: API, worker and page (Ctrl-C stops it)
	@exec $(BIN)/reelseek serve $(ARGS)

install: $(INSTALLED) ## Make .venv and install what running needs

dev: $(DEV_INSTALLED) ## Install what tests and linters need as well

test: $(DEV_INSTALLED) $(MILVUS_INSTALLED) ## Run all tests (ARGS="-k name" for some, JOBS=1 for one at a time)
ifeq ($(strip $(ARGS)),)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder -m "not alone"
	$(BIN)/python -m pytest -m alone
else
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)
endif

milvus: $(MILVUS_INSTALLED) ## Install milvus-lite, which tests of Milvus start (not for production)

$(MILVUS_INSTALLED): | $(BIN)/python
	@echo "Installing milvus-lite into .venv-milvus; it brings a FAISS of its own ..."
	@$(BIN)/python -m venv .venv-milvus
	@.venv-milvus/bin/python -m pip install --quiet --disable-pip-version-check milvus-lite==3.2.2 pymilvus==3.0.2
	@touch $@

lint: $(DEV_INSTALLED) ## Check style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(DEV_INSTALLED) ## Mend style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

faults: $(DEV_INSTALLED) $(MILVUS_INSTALLED) ## Break everything, many times: docs/reliability.md (some hours)
	REELSEEK_FAULT_KILLS=$${REELSEEK_FAULT_KILLS:-50} \
	REELSEEK_FAULT_INGEST_KILLS=$${REELSEEK_FAULT_INGEST_KILLS:-1000} \
	REELSEEK_FAULT_IMPORT_KILLS=$${REELSEEK_FAULT_IMPORT_KILLS:-20} \
	REELSEEK_FAULT_STORE_REQUESTS=$${REELSEEK_FAULT_STORE_REQUESTS:-3000} \
	REELSEEK_FAULT_REQUESTS=$${REELSEEK_FAULT_REQUESTS:-100000} \
	REELSEEK_FAULT_OUTAGES=$${REELSEEK_FAULT_OUTAGES:-all} \
	REELSEEK_FAULT_LOAD_S=$${REELSEEK_FAULT_LOAD_S:-600} \
	REELSEEK_FAULT_MEDIA=$${REELSEEK_FAULT_MEDIA:-10000} \
	$(BIN)/python -m pytest -s tests/faults $(ARGS)

bench: $(DEV_INSTALLED) ## Print the figures of docs/performance.md
	@set -e; for script in bench/[a-z]*.py; do echo "== $$script"; $(BIN)/python "$$script" $(ARGS); done

checkpoint: $(DEV_INSTALLED) ## Train the bundled checkpoint again (about 85 minutes on two cores)
	$(BIN)/python -m model.world.checkpoint --out model/bundled $(ARGS)

clean: ## Remove .venv and caches; data/ stays
	rm -rf $(VENV) .venv-milvus .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build dist

# python3, unless it is older than 3.11 and a newer one stands beside it.
$(BIN)/python:
	@for python in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11; do \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    $$python -m venv $(VENV) && exit 0; \
	    rm -rf $(VENV); \
	    echo "Could not make $(VENV): install venv for $$python (on Debian: apt-get install python3-venv)." >&2; \
	    exit 1; \
	  fi; \
	done; \
	echo "Reelseek needs Python 3.11 or newer, and found none: install it, or name one: make PYTHON=/path/to/python3.11" >&2; \
	exit 1

$(INSTALLED): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing Reelseek into $(VENV) with the extra '$(EXTRA)' (a few minutes the first time) ..."
	@$(BIN)/python -m pip uninstall --quiet --yes faiss-$(OTHER) 2>/dev/null || true
	@$(PIP) -e '.[$(EXTRA)]'
	@rm -f $(VENV)/.installed-*
	@touch $@

$(DEV_INSTALLED): pyproject.toml constraints.txt | $(INSTALLED)
	@echo "Installing what tests and linters need ..."
	@$(PIP) -e '.[$(EXTRA),dev]'
	@touch $@
