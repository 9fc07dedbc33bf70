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

test: lint
	$(BIN)/python -m pytest -n 2

bench: venv
	$(BIN)/python benchmarks/gnn_evaluation.py
	$(BIN)/python benchmarks/supernet_step.py
	$(BIN)/python benchmarks/binary_inference.py

clean:
	rm -rf $(VENV) .links build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
