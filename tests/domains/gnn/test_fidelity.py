"""Reduced settings and trainings in parts of graph networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nichenas.core.context import Context
from nichenas.core.context import Environment
from nichenas.core.data.root import cache_folder
from nichenas.core.fidelity import Fidelity
from nichenas.core.trial import Measurement
from nichenas.core.trial import Proposal
from nichenas.domains.gnn.domain import GNNDomain
from nichenas.domains.gnn.settings import GNNSettings
from tests.domains.trials import measured


def domain(**settings: Any) -> GNNDomain:
    given = {"dataset": "digits-knn", "epochs": 12, "patience": None, **settings}
    made = GNNDomain(GNNSettings.model_validate(given), Environment(Path("none"), cache_folder()))
    made.prepare()
    return made


def small(of: GNNDomain) -> Any:
    space = of.space
    rng = np.random.default_rng(0)
    while True:
        found = space.sample(rng)
        if of.memory(found) < 20 * 2**20:
            return found


def test_every_factor_is_really_reduced() -> None:
    of = domain()
    architecture = small(of)
    full = of.evaluate(Proposal(architecture), Context(0))
    narrow = of.evaluate(Proposal(architecture, Fidelity(channels=0.5)), Context(0))
    assert narrow.values["parameters"] < full.values["parameters"]
    assert of.evaluate(Proposal(architecture, Fidelity(epochs=0.5)), Context(0)).epochs == 6
    fewer = of.evaluate(Proposal(architecture, Fidelity(samples=0.5)), Context(0))
    assert dict(fewer.values) != dict(full.values)


def test_the_part_of_the_nodes_is_stratified_and_always_the_same() -> None:
    of = domain()
    architecture = small(of)
    (whole,), (part,) = of.pieces(architecture, "train"), of.pieces(architecture, "train", 0.25)
    assert len(part.labels) == round(0.25 * len(whole.labels)) == of.resolve_fidelity(Fidelity(samples=0.25))["samples"]
    share = torch.bincount(part.labels) / torch.bincount(whole.labels)
    assert share.min() > 0.15
    assert share.max() < 0.35
    again = domain().pieces(architecture, "train", 0.25)[0]
    assert torch.equal(part.field.targets, again.field.targets)
    assert of.pieces(architecture, "train", 0.25)[0] is part


@pytest.mark.parametrize("patience", [None, 2])
def test_parts_are_the_training_in_one_go(patience: int | None, tmp_path: Path) -> None:
    of = domain(patience=patience, learning_rate=0.05)
    architecture = small(of)

    def run(proposal: Proposal) -> Measurement:
        return measured(of, tmp_path, 3, proposal)[0]

    whole = run(Proposal(architecture, horizon=1.0))
    epochs, before = [], 0.0
    for cut in (1 / 3, 2 / 3, 1.0):
        last = Proposal(architecture, Fidelity(epochs=cut), 3 if before else None, horizon=1.0, start=before)
        found = run(last)
        assert found.epochs is not None
        epochs.append(found.epochs)
        before = cut
    assert dict(found.values) == dict(whole.values)
    assert found.curve == whole.curve
    assert sum(epochs) == whole.epochs
    if patience is None:
        assert epochs == [4, 4, 4]


def test_a_training_that_has_stopped_trains_no_further(tmp_path: Path) -> None:
    of = domain(epochs=300, patience=2, learning_rate=0.5)
    architecture = small(of)
    (begun,) = measured(of, tmp_path, 3, Proposal(architecture, Fidelity(epochs=0.5), horizon=1.0))
    assert begun.epochs is not None
    assert begun.epochs < 150
    (ended,) = measured(of, tmp_path, 4, Proposal(architecture, parent=3, horizon=1.0, start=0.5))
    assert ended.epochs == 0
    assert dict(ended.values) == dict(begun.values)


def test_groups_with_checkpoints_come_out_as_alone(tmp_path: Path) -> None:
    of = domain()
    architecture = small(of)
    proposal = Proposal(architecture, Fidelity(epochs=0.5), horizon=1.0)
    both = measured(of, tmp_path, 7, proposal, proposal)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["trial-7.pt", "trial-8.pt"]
    for number, one in zip((7, 8), both, strict=True):
        (alone,) = measured(of, tmp_path, number, proposal)
        assert dict(alone.values) == dict(one.values)
