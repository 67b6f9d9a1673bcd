# Two commands for a newcomer: `make quickstart` and `make test`. EXTRA=gpu installs the CUDA build of vLLM.
EXTRA ?= cpu
PYTHON ?= python3.11
VENV ?= .venv
RUN := $(VENV)/bin
READY := $(VENV)/.ready-$(EXTRA)
# The versions that the tests ran with; the CUDA build of vLLM pins its own.
LOCK := $(if $(filter cpu,$(EXTRA)),-c cluster/lock.txt)
# Where it is set, every process of a Ray cluster compiles torch, Ray and vLLM anew: seconds each.
unexport PYTHONDONTWRITEBYTECODE

# Two test processes; tests that share something expensive stay together, in the order of tests/conftest.py. With a
# thread each: threads of two processes that wait for one another on two cores take three times as long.
PYTEST := OMP_NUM_THREADS=1 $(RUN)/pytest -n 2 --dist loadgroup --no-loadscope-reorder

.PHONY: quickstart test test-fast soak lint docs environment lock
quickstart: $(READY)
	$(RUN)/dermray quickstart

test: $(READY)
	$(PYTEST)

test-fast: $(READY)
	$(PYTEST) -m "not slow"

# Long faults, one after the other: what they measure must not wait for one another.
soak: $(READY)
	OMP_NUM_THREADS=1 $(RUN)/pytest -m soak --durations=0

# mypy in one process: it waits 3 s for workers of its own, and a busy machine needs longer to start them.
lint: $(READY)
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy

# Fails where a link leads nowhere or a page is not in the menu.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(RUN)/python -m mkdocs build --strict
	@echo "docs: build/site/index.html; $(RUN)/python -m http.server -d build/site lets you search in it too"

environment: $(READY)

# After a change of pyproject.toml and `make environment LOCK=`: the versions that are installed now.
lock:
	$(RUN)/python cluster/lock.py > cluster/lock.new && mv cluster/lock.new cluster/lock.txt

$(READY): pyproject.toml cluster/lock.txt cluster/repair_torchvision.py
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) not found: install Python 3.11 or 3.12 and pass PYTHON=..."; exit 1; }
	@echo "environment: installing into $(VENV) (about 4 GB, a few minutes)"
	$(PYTHON) -m venv $(VENV)
	$(RUN)/pip install --quiet --disable-pip-version-check --upgrade pip  # Python 3.11's own takes twice as long below
	@# setuptools warns of folders that bear the package's name; there are none, and pip's own warnings stay
	PYTHONWARNINGS='ignore:Editable installation' $(RUN)/pip install --no-compile --quiet --disable-pip-version-check $(LOCK) -e '.[$(EXTRA),dev]'
	$(RUN)/python cluster/repair_torchvision.py
	@echo "environment: Python looks for garbage every 10,000 new objects here, not every 700: imports take a fifth less"
	@echo 'import gc; gc.set_threshold(10_000)' > "$$($(RUN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/dermray_gc.pth"
	@touch $@
