"""Costs of operations against those of whole networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nichenas.core.commands.search import run_search
from nichenas.core.config import load_config
from nichenas.core.context import Context
from nichenas.core.context import Environment
from nichenas.core.gradient.discretisation import Discretisation
from nichenas.core.gradient.discretisation import one_hot
from nichenas.core.session.journal import Journal
from nichenas.domains.binary.domain import BinaryDomain
from nichenas.domains.binary.settings import BinarySettings
from tests.domains.binary.test_domain import QUIET
from tests.domains.binary.test_domain import SMALL
from tests.domains.binary.test_domain import small_config

CASES: list[dict[str, Any]] = [
    {},
    {"space": "darts", "groups": 4, "nodes": 4, "scale": "mean"},
    {"space": "bnas", "nodes": 4},
    {"space": "darts-real", "channels": 12, "cells": 5},
    {"per_cell": True},
    {"cells": 1, "search_cells": 1},
    {"cells": 4, "search_cells": 1},
    {"stem": "imagenet", "upsample": 4, "channels": 40, "search_channels": 40},
]


@pytest.mark.parametrize("settings", CASES, ids=str)
def test_tables_add_up_to_the_costs_of_whole_networks(settings: dict[str, Any], tmp_path: Path) -> None:
    """Of networks that are built, of random architectures of every space, stem and size."""
    given = BinarySettings.model_validate({**SMALL, **settings})
    domain = BinaryDomain(given, Environment(tmp_path, tmp_path))
    domain.prepare()
    tables, groups = domain.resources(), domain.supernet(Context(0)).groups
    rng, rule = np.random.default_rng(1), Discretisation(keep_none=given.space == "bnas")
    seen = set()
    for _ in range(3):
        like = {g.name: torch.from_numpy(rng.random((len(g.edges), len(g.operations)))) for g in groups}
        kept = rule.kept(like, groups)
        single = one_hot(kept, groups, like)
        network = domain.network(domain.genotype(domain.derived(kept)), Context(0), full=True)
        costs = domain.costs(network)
        for kind, table in tables.items():
            assert float(table.expected(single)) == getattr(costs, kind), kind
        seen.add(costs)
    assert len(seen) > 1


def test_the_derived_network_keeps_to_the_limit(tmp_path: Path) -> None:
    """What is journaled is what the network costs that is trained in full."""
    free = limited(tmp_path / "free")
    most = 0.6 * free["binary_macs"]
    bound = limited(tmp_path / "bound", resources=[{"kind": "binary_macs", "most": most}])
    assert bound["binary_macs"] <= most
    assert bound["journaled"] == bound["binary_macs"]


def limited(folder: Path, **options: Any) -> dict[str, float]:
    folder.mkdir()
    config = small_config(folder, **options)
    result = run_search(load_config(str(config)), folder / "run", QUIET)
    with Journal(folder / "run" / "journal.sqlite", read_only=True) as journal:
        *_, last = journal.trials()
    assert last.measurement is not None
    validation = result.retrained[0].validation
    journaled = last.measurement.values.get("binary_macs", float("nan"))
    return {"binary_macs": validation["binary_macs"]["mean"], "journaled": journaled}
