"""Reduced settings and trainings in parts, on real images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nichenas.core.context import Context
from nichenas.core.context import Environment
from nichenas.core.data.images import subsample
from nichenas.core.data.root import cache_folder
from nichenas.core.fidelity import Fidelity
from nichenas.core.trial import Measurement
from nichenas.core.trial import Proposal
from nichenas.domains.binary.domain import BinaryDomain
from nichenas.domains.binary.settings import BinarySettings
from nichenas.domains.binary.training import Stage
from nichenas.domains.binary.training import StagedTraining
from nichenas.domains.binary.training import TrainSettings
from tests.domains.trials import measured

ALL_HALF = Fidelity(epochs=0.5, samples=0.5, channels=0.5, resolution=0.5)


def domain(**settings: Any) -> BinaryDomain:
    given: dict[str, Any] = {
        "dataset": "digits",
        "limit": 200,
        "upsample": 2,
        "groups": 4,
        "nodes": 2,
        "search_channels": 12,
        "search_cells": 3,
        "channels": 12,
        "cells": 3,
        "training": {"batch": 32, "stages": [{"epochs": 2, "weights": False}, {"epochs": 2, "weight_decay": 0.0}]},
        **settings,
    }
    made = BinaryDomain(BinarySettings.model_validate(given), Environment(Path("none"), cache_folder()))
    made.prepare()
    return made


def test_sizes_are_those_that_networks_can_have() -> None:
    of = domain()
    assert of.resolve_fidelity(Fidelity()) == {"epochs": 4, "samples": 180, "channels": 12, "resolution": 16}
    half = of.resolve_fidelity(ALL_HALF)
    assert half == {"epochs": 2, "samples": 90, "channels": 8, "resolution": 8}
    assert of.resolve_fidelity(Fidelity(channels=0.25, resolution=0.25)) | {} == {
        "epochs": 4, "samples": 180, "channels": 4, "resolution": 4
    }  # fmt: skip
    assert domain(space="darts-real").resolve_fidelity(Fidelity(channels=0.25))["channels"] == 4


def test_every_factor_is_really_reduced() -> None:
    of = domain()
    architecture = of.space.sample(np.random.default_rng(0))
    full = of.evaluate(Proposal(architecture), Context(0)).values
    narrow = of.evaluate(Proposal(architecture, Fidelity(channels=0.5)), Context(0))
    assert narrow.values["parameters"] < 0.6 * full["parameters"]
    small = of.evaluate(Proposal(architecture, Fidelity(resolution=0.5)), Context(0))
    assert small.values["parameters"] == full["parameters"]
    both = small.values["macs"] + small.values["binary_macs"]
    assert both == pytest.approx((full["macs"] + full["binary_macs"]) / 4, rel=0.01)
    short = of.evaluate(Proposal(architecture, Fidelity(epochs=0.5)), Context(0))
    assert (short.epochs, short.curve[-1][0]) == (2, 2)


def test_the_part_of_the_images_is_stratified_and_always_the_same() -> None:
    of = domain()
    one, other = (subsample(of.task.train, 0.25, 8, Context(0, trial).numpy("fidelity samples", 0)) for trial in (1, 2))
    assert torch.equal(one.pixels, other.pixels)
    assert one.pixels.shape[-2:] == (8, 8)
    counts = torch.bincount(one.labels, minlength=10) / torch.bincount(of.task.train.labels, minlength=10)
    assert len(one) == 45
    assert counts.min() > 0.15
    assert counts.max() < 0.35


@pytest.mark.parametrize("cuts", [(0.25, 1.0), (0.5, 1.0), (0.75, 1.0), (0.25, 0.5, 0.75, 1.0)])
def test_parts_across_stages_are_the_training_in_one_go(cuts: tuple[float, ...], tmp_path: Path) -> None:
    # Batches of augmented images, drop path and Adam's moments have to continue too.
    of = domain(
        augmentation={"crop": 1},
        training={
            "batch": 32,
            "drop_path": 0.2,
            "stages": [{"epochs": 2, "weights": False}, {"epochs": 2, "weight_decay": 0.0, "gradual": 0.5}],
        },
    )
    architecture = of.space.sample(np.random.default_rng(1))

    def run(proposal: Proposal) -> Measurement:
        return measured(of, tmp_path, 3, proposal)[0]

    whole = run(Proposal(architecture, horizon=1.0))
    before, epochs = 0.0, 0
    for cut in cuts:
        part = Proposal(architecture, Fidelity(epochs=cut), 3 if before else None, horizon=1.0, start=before)
        found = run(part)
        assert found.epochs == round(4 * (cut - before))
        before, epochs = cut, epochs + found.epochs
    assert epochs == 4
    assert dict(found.values) == dict(whole.values)
    assert found.curve == whole.curve


def test_the_learning_rate_goes_on_without_a_jump() -> None:
    settings = TrainSettings(stages=(Stage(epochs=60),))
    training = StagedTraining.__new__(StagedTraining)
    training.settings = settings
    rate = [0.1 * training._rate(epoch, 60) for epoch in (0, 20, 40, 60)]
    assert rate == pytest.approx([0.1, 0.075, 0.025, 0.0])


@pytest.mark.parametrize("epochs", [(10, 10), (3, 3), (1, 5), (7, 2, 1)])
def test_scaled_stages_add_up(epochs: tuple[int, ...]) -> None:
    settings = TrainSettings(stages=tuple(Stage(epochs=e, lr=0.1 * (i + 1)) for i, e in enumerate(epochs)))
    for wanted in range(1, sum(epochs) + 1):
        scaled = settings.scaled(wanted)
        assert scaled.epochs == wanted
        assert min(stage.epochs for stage in scaled.stages) >= 1
        assert scaled.stages[-1].model_copy(update={"epochs": epochs[-1]}) == settings.stages[-1]  # ends as before
        stages = [scaled.stage_at(epoch) for epoch in range(wanted)]
        assert stages == [(stage, epoch) for stage in scaled.stages for epoch in range(stage.epochs)]
    assert settings.scaled(sum(epochs)) == settings


def test_a_training_that_is_behind_stops() -> None:
    of = domain()
    proposal = Proposal(of.space.sample(np.random.default_rng(0)))
    stopped = of.evaluate(proposal, Context(0, stop_below=((2, 1.1),)))  # an accuracy that nothing can reach
    assert (stopped.stopped, stopped.epochs, stopped.curve[-1][0]) == (True, 2, 2)
    whole = of.evaluate(proposal, Context(0, stop_below=((2, 0.0),)))
    assert (whole.stopped, whole.epochs) == (False, 4)
    assert whole.curve[:2] == stopped.curve
