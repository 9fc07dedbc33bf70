"""The trainings of the benchmarks that judge rules are those of the domain."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from nichenas.core.context import Context
from nichenas.core.context import open_test_data

FILE = Path(__file__).parents[1] / "benchmarks" / "graph_curves.py"


@pytest.mark.parametrize("name", ["GCN", "GRAND"])
def test_curves_end_at_the_figures_of_a_full_training(name: str) -> None:
    spec = importlib.util.spec_from_file_location("graph_curves", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    domain = module.tested_domain("digits-knn", None, epochs=8, patience=8)
    architecture = domain.known[name]
    curves = domain.curves(architecture, 3)
    with open_test_data():
        full = domain.retrain(architecture, Context(3))
    assert full.test["accuracy"] == curves.test[curves.lowest_loss]
    assert full.validation["accuracy"] == curves.scores[curves.lowest_loss]
    assert full.validation["loss"] == min(curves.losses)
