# Every target makes what it needs, and nothing twice.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint bench venv clean

venv: $(VENV)/.installed .links/nichenas/core

# The packages as they are imported, for tools that do not follow an editable install.
.links/nichenas/core:
	mkdir -p .links/nichenas
	for part in core domains configs; do ln -sfn ../../$$part .links/nichenas/$$part; done
	for part in __init__.py py.typed; do ln -sf ../../nichenas/$$part .links/nichenas/$$part; done

$(VENV)/.installed: pyproject.toml setup.py
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

demo: venv
	$(BIN)/nichenas demo --out runs/demo

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	cd .links && $(CURDIR)/$(BIN)/lint-imports ../pyproject.toml

# Two workers with a thread each: with more of both than processors, they wait for each other.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

# Those that print ratios; recorded_runs.py compares runs with a record instead.
BENCHMARKS := gnn_evaluation aggregations sparse_products supernet_step binary_inference gan_step frechet driver

bench: venv
	set -e; for name in $(BENCHMARKS); do $(BIN)/python benchmarks/$$name.py; done

clean:
	rm -rf $(VENV) .links build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
