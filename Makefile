# Every target alone does everything on a fresh machine: the virtual environment, the install, the run.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Tests wait for servers half of the time: three workers for two cores.
WORKERS ?= 3

FOLDER ?= mlflow-app
PORT ?= 8000

.PHONY: demo app test test-all lint format bench bench-growth docs screenshots clean build publish

demo: $(READY)
	$(BIN)/python -m demo $(if $(KEEP),--keep)

# MLflow on SQLite with snapshots to a folder, until Ctrl-C: FOLDER=... PORT=... ARGS="--open".
app: $(READY)
	$(BIN)/python -m mlflow_migration app run-local --folder "$(FOLDER)" --port $(PORT) $(ARGS)

test: $(READY)
	$(BIN)/python -m pytest -n $(WORKERS) -m "not slow and not versions" $(ARGS)

test-all: $(READY)
	$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m docs --check

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Measures, then draws docs/explanation/performance.md from what was measured.
bench: $(READY)
	$(BIN)/python -m benchmarks $(ARGS)
	$(BIN)/python -m docs

# Ten times as much must take ten times as long: half an hour. ARGS="--growth-runs 100,1000 --growth-traces 500,5000".
bench-growth: $(READY)
	$(BIN)/python -m benchmarks --only growth $(ARGS)
	$(BIN)/python -m docs

docs: $(READY)
	$(BIN)/python -m docs
	$(BIN)/python -m docs --check

# The pictures of docs/how-to, as a browser test sees them; needs Chromium.
screenshots: $(READY)
	SCREENSHOTS=docs/how-to $(BIN)/python -m pytest -n 0 tests/apps/test_browser.py

# A source archive and a wheel in dist/, their metadata checked.
build: $(READY)
	$(BIN)/python -m release build

# To the package index, or with TEST=1 to the test index. Credentials: those twine is configured with.
publish: $(READY)
	$(BIN)/python -m release publish $(if $(TEST),--test)

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(READY): pyproject.toml setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@
