"""The binary convolution of the searched networks: where its scale starts, and what a switch does to it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from nichenas.domains.binary import larq
from nichenas.domains.binary.convolution import BinaryConv2d
from nichenas.domains.binary.convolution import binarize
from nichenas.domains.binary.genotypes import PUBLISHED
from nichenas.domains.binary.model import CellNetwork
from nichenas.domains.binary.operations import Bats
from nichenas.domains.binary.supernet import BinarisationStage
from nichenas.domains.binary.supernet import CellSupernet


def convolution(**changes: Any) -> BinaryConv2d:
    torch.manual_seed(0)
    made = BinaryConv2d(8, 6, 3, padding=1, groups=2, **changes).double()
    made.binarize(True, 0.0)
    made.weight.data *= torch.linspace(0.1, 3, 6, dtype=torch.float64).view(-1, 1, 1, 1)
    made.binarize(True, 1.0)
    return made


def sizes(conv: BinaryConv2d) -> torch.Tensor:
    """Returns the mean absolute value of the scaled kernel, ``(out,)``."""
    scale = conv.scales()
    return conv.kernel().abs().mean((1, 2, 3)) * (1 if scale is None else scale)


def test_a_scale_starts_at_the_magnitude_of_the_kernel() -> None:
    torch.manual_seed(0)
    conv = BinaryConv2d(8, 6, 3)
    assert conv.scale is not None
    torch.testing.assert_close(conv.scale.detach(), conv.weight.detach().abs().mean((1, 2, 3)))
    literal = BinaryConv2d(8, 6, 3, scale_start="one")
    assert literal.scale is not None
    assert (literal.scale == 1).all()
    binarize(literal, True, 0.0)
    binarize(literal, True, 1.0)
    assert (literal.scale == 1).all()


@pytest.mark.parametrize("scale", ["learned", "mean"])
def test_no_switch_changes_how_large_a_kernel_is(scale: str) -> None:
    conv = convolution(scale=scale)
    conv.binarize(True, 0.0)
    before = sizes(conv)
    for weights in (1.0, 0.0, 0.25, 0.5, 0.9, 1.0, 0.3, 0.0):
        conv.binarize(True, weights)
        torch.testing.assert_close(sizes(conv), before)
    x = torch.randn(4, 8, 7, 7, dtype=torch.float64)
    real = conv(x)
    conv.binarize(True, 1.0)
    correlation = float(nn.functional.cosine_similarity(conv(x).flatten(), real.flatten(), 0))
    assert correlation > 0.7
    assert float(conv(x).std() / real.std()) == pytest.approx(1, abs=0.2)


def test_a_scale_that_was_trained_is_kept() -> None:
    """Switches are relative: what was learned before stays, and the same switch twice changes nothing."""
    conv = convolution()
    conv.binarize(True, 0.0)
    assert conv.scale is not None
    conv.scale.data *= 3
    conv.binarize(True, 1.0)
    first = conv.scale.detach().clone()
    torch.testing.assert_close(first / conv.weight.detach().abs().mean((1, 2, 3)), torch.full_like(first, 3.0))
    conv.binarize(False, 1.0)
    assert torch.equal(conv.scale, first)


def test_stored_scales_belong_to_the_kernel_that_they_were_trained_with() -> None:
    """Whether weights are loaded before or after a switch makes no difference."""
    trained = convolution()
    assert trained.scale is not None
    trained.scale.data *= 5
    for before in (True, False):
        other = convolution()
        if before:
            other.binarize(True, 0.0)
        other.load_state_dict(trained.state_dict())
        other.binarize(True, 1.0)
        assert other.scale is not None
        assert torch.equal(other.scale, trained.scale)
        assert torch.equal(copy.deepcopy(other).state_dict()["scaled_for"], torch.ones((), dtype=torch.float64))
    old = {name: tensor for name, tensor in trained.state_dict().items() if name != "scaled_for"}
    other = convolution()
    other.load_state_dict(old)  # of a version that had no such buffer, at the end of a training
    other.binarize(True, 1.0)
    assert other.scale is not None
    assert torch.equal(other.scale, trained.scale)


def test_a_kernel_of_zeros_is_no_division_by_zero() -> None:
    conv = convolution()
    conv.weight.data[0] = 0
    for weights in (0.0, 1.0, 0.0):
        conv.binarize(True, weights)
        assert conv.scale is not None
        assert conv.scale.isfinite().all()


def test_a_network_survives_the_switch_to_binary_kernels() -> None:
    """Its outputs stay as large as they were; with scales that start at 1 they do not."""
    x = torch.randn(16, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    ratios = {}
    for start in ("magnitude", "one"):
        torch.manual_seed(0)
        network = CellNetwork(Bats(groups=4, scale_start=start), PUBLISHED["DARTS_V2"], 8, 4, 10)  # type: ignore[arg-type]
        found = []
        for weights in (0.0, 1.0):
            binarize(network, True, weights)
            convs = [m for m in network.modules() if isinstance(m, BinaryConv2d) and m.groups > 1]
            stds: list[float] = []
            hooks = [m.register_forward_hook(lambda _, __, y, stds=stds: stds.append(float(y.std()))) for m in convs]
            network(x)
            for hook in hooks:
                hook.remove()
            found.append(torch.tensor(stds))
        ratios[start] = float((found[1] / found[0]).median())
    assert ratios["magnitude"] == pytest.approx(1, abs=0.25)
    assert ratios["one"] > 4


def test_a_supernet_changes_its_scales_with_its_stages() -> None:
    stages = [BinarisationStage(0.5, True, False), BinarisationStage(1.0, True, True)]
    torch.manual_seed(0)
    net = CellSupernet(Bats(affine=False, groups=4), 8, 3, 10, stages=stages)
    convs = [module for module in net.modules() if isinstance(module, BinaryConv2d)]
    net.begin_epoch(0.0)
    for conv in convs:
        assert conv.scale is not None
        torch.testing.assert_close(conv.scale.detach(), torch.ones_like(conv.scale))
    state = copy.deepcopy(net.state_dict())
    net.begin_epoch(0.5)
    for conv in convs:
        assert conv.scale is not None
        torch.testing.assert_close(conv.scale.detach(), conv.weight.detach().abs().mean((1, 2, 3)))
    expected = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    again = CellSupernet(Bats(affine=False, groups=4), 8, 3, 10, stages=stages)
    again.load_state_dict(state)  # continued in the epoch of the switch
    again.begin_epoch(0.5)
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


@pytest.mark.parametrize("estimator", ["ste_sign", "approx_sign", "swish_sign"])
def test_the_estimator_is_larqs(estimator: str) -> None:
    """Input and kernel get the gradient of the quantizer of that name."""
    conv = BinaryConv2d(4, 3, 3, scale="none", estimator=estimator)  # type: ignore[arg-type]
    layer = larq.QuantConv2D(4, 3, 3, bias=False, input_quantizer=estimator, kernel_quantizer=estimator)
    layer.load_state_dict({"kernel": conv.weight})
    x = torch.randn(2, 4, 6, 6)
    found = []
    for module, kernel in ((conv, conv.weight), (layer, layer.weight)):
        given = x.clone().requires_grad_()
        y = module(given)
        found.append((y, *torch.autograd.grad(y.square().sum(), (given, kernel))))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)
