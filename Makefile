# Two commands for a newcomer: `make quickstart` and `make test`. EXTRA=gpu installs the CUDA build of vLLM.
EXTRA ?= cpu
PYTHON ?= python3.11
VENV ?= .venv
RUN := $(VENV)/bin
READY := $(VENV)/.ready-$(EXTRA)

.PHONY: quickstart test test-fast lint environment
quickstart: $(READY)
	$(RUN)/dermray quickstart

test: $(READY)
	$(RUN)/pytest

test-fast: $(READY)
	$(RUN)/pytest -m "not slow"

lint: $(READY)
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy

environment: $(READY)

$(READY): pyproject.toml cluster/repair_torchvision.py
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) not found: install Python 3.11 or 3.12 and pass PYTHON=..."; exit 1; }
	@echo "environment: installing into $(VENV) (about 4 GB, a few minutes)"
	$(PYTHON) -m venv $(VENV)
	$(RUN)/pip install --no-compile --quiet --disable-pip-version-check -e '.[$(EXTRA),dev]'
	$(RUN)/python cluster/repair_torchvision.py
	@# On all cores, which pip does not; modules of other Python versions fail to compile and nobody imports them.
	@$(RUN)/python -m compileall -qq -j 0 $(VENV)/lib || true
	@touch $@
