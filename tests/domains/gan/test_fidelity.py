"""Reduced settings of GANs: what is made smaller, and what figures are against."""

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
from nichenas.domains.gan.domain import GanDomain
from nichenas.domains.gan.settings import GanSettings
from nichenas.domains.gan.space import genotype_of
from tests.domains.trials import measured

ALL_HALF = Fidelity(epochs=0.5, samples=0.5, channels=0.5, resolution=0.5)


@pytest.fixture(scope="module")
def of() -> GanDomain:
    training: dict[str, Any] = {
        "channels": 8, "discriminator_channels": 8, "batch": 16, "generator_batch": 16, "critic_steps": 1, "steps": 6,
        "validate_every": 2, "samples": 60, "splits": 1,
    }  # fmt: skip
    settings = GanSettings.model_validate(
        {
            "dataset": "digits", "limit": 300, "validation": 0.2, "bottom_width": 4, "cells": 2, "latent": 16,
            "extractor": "classifier", "training": training, "evaluation": training,
        }
    )  # fmt: skip
    made = GanDomain(settings, Environment(Path("none"), cache_folder()))
    made.prepare()
    return made


def test_sizes(of: GanDomain) -> None:
    assert of.resolve_fidelity(Fidelity()) == {"epochs": 6, "samples": 240, "channels": 8, "resolution": 16}
    assert of.resolve_fidelity(ALL_HALF) == {"epochs": 3, "samples": 120, "channels": 4, "resolution": 8}
    assert of.resolve_fidelity(Fidelity(resolution=0.25))["resolution"] == 8  # two pixels are left to normalise over
    assert of.relative_cost(ALL_HALF) == 0.5**2 * 0.5**2 * 0.5  # steps on a part of the images are as many


def test_reduced_networks_and_images_are_measured_against_reduced_ones(of: GanDomain) -> None:
    architecture = of.space.sample(np.random.default_rng(0))
    half = of.evaluate(Proposal(architecture, ALL_HALF), Context(0))
    assert (half.epochs, half.curve[-1][0]) == (3, 3)
    assert np.isfinite(list(half.values.values())).all()
    real = of._real(1, "validation", bottom=2)
    assert real.count == of._real(1, "validation").count
    assert not torch.equal(real.mean, of._real(1, "validation").mean)
    generator = of.generator(genotype_of(architecture), 4, bottom=2)
    assert generator.eval()(torch.zeros(2, 16)).shape == (2, 1, 8, 8)


def test_parts_are_the_training_in_one_go(of: GanDomain, tmp_path: Path) -> None:
    architecture = of.space.sample(np.random.default_rng(1))

    def run(proposal: Proposal) -> Measurement:
        return measured(of, tmp_path, 3, proposal)[0]

    whole = run(Proposal(architecture, horizon=1.0))
    begun = run(Proposal(architecture, Fidelity(epochs=2 / 3), horizon=1.0))  # four steps, where it is validated anyway
    ended = run(Proposal(architecture, parent=3, horizon=1.0, start=2 / 3))
    assert (begun.epochs, ended.epochs) == (4, 2)
    assert dict(ended.values) == dict(whole.values)
    assert ended.curve == whole.curve


def test_a_training_that_is_behind_stops(of: GanDomain) -> None:
    """FID is minimised: thresholds are of its negative."""
    proposal = Proposal(of.space.sample(np.random.default_rng(0)))
    stopped = of.evaluate(proposal, Context(0, stop_below=((2, 0.0),)))  # an FID that nothing can reach
    assert (stopped.stopped, stopped.epochs, stopped.curve[-1][0]) == (True, 2, 2)
    whole = of.evaluate(proposal, Context(0, stop_below=((2, -1e9),)))
    assert (whole.stopped, whole.epochs) == (False, 6)
