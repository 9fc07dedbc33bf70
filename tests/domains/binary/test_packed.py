"""Convolutions on bits against the float simulation."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor

from nichenas.domains.binary import PackedKernel
from nichenas.domains.binary import binary_conv2d
from nichenas.domains.binary import binary_linear
from nichenas.domains.binary import pack
from nichenas.domains.binary import packed
from nichenas.domains.binary.convolution import binarize
from nichenas.domains.binary.genotypes import PUBLISHED
from nichenas.domains.binary.model import CellNetwork
from nichenas.domains.binary.native import kernels
from nichenas.domains.binary.native.functions import binary_sign
from nichenas.domains.binary.operations import Bats


def simulated(x: Tensor, w: Tensor, s: int, p: tuple[int, int], d: int, groups: int, value: int) -> Tensor:
    signs = F.pad(binary_sign(x), (p[1], p[1], p[0], p[0]), value=float(value))
    return F.conv2d(signs, binary_sign(w), None, s, 0, d, groups)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Tensor, Tensor, int, tuple[int, int], int, int, int]:
    groups = draw(st.sampled_from((1, 1, 2, 3, 4)))
    inputs = groups * draw(st.sampled_from((1, 2, 3, 5, 16, 31, 64, 65, 130)))
    outputs = groups * draw(st.integers(1, 20))
    high, wide = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    stride, dilation = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    padding = (draw(st.integers(0, 4)), draw(st.integers(0, 4)))
    height = draw(st.integers(max(1, dilation * (high - 1) + 1 - 2 * padding[0]), 14))
    width = draw(st.integers(max(1, dilation * (wide - 1) + 1 - 2 * padding[1]), 14))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    x = torch.randn(draw(st.integers(1, 3)), inputs, height, width, generator=generator)
    x[torch.rand(x.shape, generator=generator) < 0.1] = 0.0  # zeros count as +1
    w = torch.randn(outputs, inputs // groups, high, wide, generator=generator)
    return x, w, stride, padding, dilation, groups, draw(st.sampled_from((0, 0, 1, -1)))


@given(cases())
@settings(max_examples=1000, deadline=None)
def test_packed_convolution_is_exact(case: tuple[Tensor, Tensor, int, tuple[int, int], int, int, int]) -> None:
    x, w, stride, padding, dilation, groups, value = case
    wanted = simulated(x, w, stride, padding, dilation, groups, value)
    assert torch.equal(binary_conv2d(x, w, stride, padding, dilation, groups, value), wanted)


@given(cases())
@settings(max_examples=100, deadline=None)
def test_fallback_is_exact(case: tuple[Tensor, Tensor, int, tuple[int, int], int, int, int]) -> None:
    x, w, stride, padding, dilation, groups, value = case
    wanted = simulated(x, w, stride, padding, dilation, groups, value)
    with mock.patch.object(packed, "kernels", return_value=None):
        assert torch.equal(binary_conv2d(x, w, stride, padding, dilation, groups, value), wanted)


@pytest.mark.parametrize("shape", [(7,), (5, 100), (2, 3, 129)])
def test_packed_linear_is_exact(shape: tuple[int, ...]) -> None:
    x, w = torch.randn(*shape), torch.randn(11, shape[-1])
    assert torch.equal(binary_linear(x, w), F.linear(binary_sign(x), binary_sign(w)))


def test_weights_take_a_bit() -> None:
    w = torch.randn(64, 128, 3, 3)
    kernel = PackedKernel(w)
    assert kernel.nbytes * 32 == w.numel() * 4
    assert torch.equal(kernel.unpacked(), binary_sign(w))


def test_wrong_inputs_are_refused() -> None:
    kernel = PackedKernel(torch.randn(4, 3, 3, 3))
    with pytest.raises(ValueError, match="takes \\(batch, 3, height, width\\)"):
        binary_conv2d(torch.randn(1, 5, 8, 8), kernel)
    with pytest.raises(ValueError, match="allowed: -1, 0, 1"):
        binary_conv2d(torch.randn(1, 3, 8, 8), kernel, pad_value=2)


@pytest.mark.parametrize("scale", ["learned", "mean"])
def test_packed_network_equals_the_simulation(scale: str) -> None:
    torch.manual_seed(0)
    network = CellNetwork(Bats(groups=4, scale=scale), PUBLISHED["DARTS_V2"], 8, 4, 10)  # type: ignore[arg-type]
    x = torch.randn(4, 3, 16, 16)
    network(x)  # statistics of the normalisations
    network.eval()
    with torch.no_grad():
        torch.testing.assert_close(pack(network)(x), network(x), rtol=1e-4, atol=1e-4)
    binarize(network, True, 0.0)
    assert not any(isinstance(m, packed.PackedConv2d) for m in pack(network).modules())


def test_kernels_are_built_here() -> None:
    """Not a promise, but if they are not, the tests above have tested the fallback alone."""
    if kernels() is None:
        pytest.skip("no compiler: the plain torch forms are tested")
    assert kernels().packed_conv2d is not None
