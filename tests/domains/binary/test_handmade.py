"""The network made by hand: its costs by formula, its width for a cost, its training and packing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nichenas.core.context import Context
from nichenas.core.context import Environment
from nichenas.core.context import open_test_data
from nichenas.core.costs.macs import count_costs
from nichenas.domains.binary.convolution import BinaryConv2d
from nichenas.domains.binary.convolution import binarize
from nichenas.domains.binary.domain import BinaryDomain
from nichenas.domains.binary.handmade import REACT
from nichenas.domains.binary.handmade import ReActNetwork
from nichenas.domains.binary.handmade import binary_macs
from nichenas.domains.binary.handmade import width_for
from nichenas.domains.binary.operations import Bats
from nichenas.domains.binary.packed import pack
from nichenas.domains.binary.packed_layers import PackedConv2d
from nichenas.domains.binary.settings import BinarySettings

STAGES = [{"epochs": 1, "activations": True, "weights": False}, {"epochs": 1, "activations": True, "weights": True}]


def domain(tmp_path: Path, **settings: Any) -> BinaryDomain:
    given = {
        "upsample": 2,
        "groups": 4,
        "channels": 12,
        "cells": 4,
        "search_channels": 12,
        "search_cells": 4,
        "limit": 200,
        "training": {"stages": STAGES, "real_twin": False},
        **settings,
    }
    made = BinaryDomain(BinarySettings.model_validate(given), Environment(tmp_path, tmp_path))
    made.prepare()
    return made


@pytest.mark.parametrize("size", [16, 28, 32])
@pytest.mark.parametrize("width", [4, 12, 20])
def test_multiply_adds_by_formula(width: int, size: int) -> None:
    network = ReActNetwork(Bats(), width, 10)
    costs = count_costs(network, (3, size, size))
    assert costs.binary_macs == binary_macs(width, size)
    assert costs.macs == 27 * width * size**2 + 10 * 4 * width  # stem and classifier


@pytest.mark.parametrize("macs", [1.0, 3e5, 5.4e6, 1e8])
def test_the_width_is_the_nearest(macs: float) -> None:
    width = width_for(macs, 16)
    away = [abs(binary_macs(w, 16) - macs) for w in (width - 1, width, width + 1) if w >= 4]
    assert min(away) == abs(binary_macs(width, 16) - macs)


@pytest.mark.parametrize(
    ("settings", "baselines"),
    [
        ({}, (REACT, "DARTS_V2")),
        ({"space": "bnas", "groups": 1}, (REACT,)),
        ({"space": "darts-real"}, ("DARTS_V2",)),
        ({"nodes": 3}, (REACT,)),
    ],
)
def test_which_spaces_have_it(settings: dict[str, Any], baselines: tuple[str, ...], tmp_path: Path) -> None:
    assert domain(tmp_path, **settings).baselines == baselines


@pytest.mark.parametrize("settings", [{}, {"space": "darts"}, {"space": "bnas", "groups": 1}, {"channels": 24}])
def test_it_costs_what_cells_of_the_space_cost(settings: dict[str, Any], tmp_path: Path) -> None:
    made = domain(tmp_path, **settings)
    network = made.made_by_hand(Context(0))
    binarize(network, True, 1.0)
    rng = np.random.default_rng(5)
    cells = [made.architecture_costs(made.space.sample(rng))["binary_macs"] for _ in range(15)]
    assert made.costs(network).binary_macs == pytest.approx(np.median(cells), rel=0.15)


def test_gradients_of_signs_are_those_of_the_authors_code() -> None:
    """Polynomial for inputs, straight-through for kernels, whatever the searched networks have."""
    part = ReActNetwork(Bats(estimator="swish_sign"), 4, 10).blocks[0].spatial
    conv = part[1]
    assert isinstance(conv, BinaryConv2d)
    x = torch.tensor([-1.5, -0.25, 0.5], requires_grad=True)
    conv.sign(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == pytest.approx([0.0, 2 - 0.5, 2 - 1.0])
    with torch.no_grad():
        conv.weight.fill_(0.25)
        conv.weight[0] = 1.5
    conv.kernel().sum().backward()
    assert conv.weight.grad is not None
    assert conv.weight.grad[0].unique().tolist() == [0.0]
    assert conv.weight.grad[1:].unique().tolist() == [1.0]


def test_the_first_sign_sees_both_signs() -> None:
    torch.manual_seed(0)
    network = ReActNetwork(Bats(), 12, 10)
    seen = network.stem(last(16, 3, 16, 16))
    shares = (seen > 0).float().mean((0, 2, 3))
    assert bool(((shares > 0.05) & (shares < 0.95)).all())


def test_it_trains(tmp_path: Path) -> None:
    made = domain(tmp_path)
    with open_test_data():
        first, other = (made.train_baseline(REACT, Context(0)) for _ in range(2))
    assert first.test == other.test
    longer = [{**stage, "epochs": 5} for stage in STAGES]
    learner = domain(tmp_path, limit=500, training={"stages": longer, "batch": 32, "real_twin": False})
    with open_test_data():
        assert learner.train_baseline(REACT, Context(0)).test["accuracy"] > 0.4  # of ten classes
    twin = domain(tmp_path, training={"stages": STAGES, "real_twin": True})
    with open_test_data():
        assert "gap[real twin]" in twin.train_baseline(REACT, Context(0)).test


def test_a_network_without_binary_kernels_is_as_wide(tmp_path: Path) -> None:
    stages = [{"epochs": 1, "activations": True, "weights": False}]
    short = domain(tmp_path, training={"stages": stages, "real_twin": False})
    widths = [made.made_by_hand(Context(0)).classifier.in_features for made in (domain(tmp_path), short)]
    assert widths[0] == widths[1] > 16


def last(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(*shape, generator=generator).contiguous(memory_format=torch.channels_last)


def test_it_is_packed() -> None:
    torch.manual_seed(0)
    network = ReActNetwork(Bats(), 12, 10)
    binarize(network, True, 1.0)
    network.train()(last(16, 3, 16, 16))
    network.eval()
    packed = pack(network)
    assert not any(isinstance(module, BinaryConv2d) for module in packed.modules())
    assert sum(isinstance(module, PackedConv2d) for module in packed.modules()) == 9 + 9 + 2
    x = last(4, 3, 16, 16)
    torch.testing.assert_close(packed(x), network(x))
