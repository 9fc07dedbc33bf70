"""Blocks done in one against their parts, and the ways in which a kernel's words can lie."""

from __future__ import annotations

import copy
import pickle
from typing import Any
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch import nn

from nichenas.core.costs.macs import count_costs
from nichenas.domains.binary import pack
from nichenas.domains.binary.convolution import BinaryConv2d
from nichenas.domains.binary.convolution import ChannelShuffle
from nichenas.domains.binary.convolution import binarize
from nichenas.domains.binary.folded import FoldedBlock
from nichenas.domains.binary.folded import FoldedResidual
from nichenas.domains.binary.genotypes import PUBLISHED
from nichenas.domains.binary.limits import limits_of
from nichenas.domains.binary.model import CellNetwork
from nichenas.domains.binary.native import kernels
from nichenas.domains.binary.native.functions import binary_sign
from nichenas.domains.binary.operations import FAMILIES
from nichenas.domains.binary.operations import Residual
from nichenas.domains.binary.packed_kernel import GROUPS
from nichenas.domains.binary.packed_kernel import PATCHES
from nichenas.domains.binary.packed_kernel import TAPS
from nichenas.domains.binary.packed_kernel import PackedKernel
from nichenas.domains.binary.packed_kernel import binary_conv2d

EDGES = (float("inf"), float("-inf"), 3.4e38, -3.4e38, 1e-45, -1e-45, 0.0, -0.0)


def last(*shape: int, seed: int = 0) -> Tensor:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return x.contiguous(memory_format=torch.channels_last)


# Layouts

SHAPES = [(1, 64, 20), (12, 3, 3), (9, 57, 2), (8, 58, 1), (3, 5, 40)]


@pytest.mark.parametrize("layout", [TAPS, PATCHES, GROUPS])
@pytest.mark.parametrize(
    ("groups", "channels", "outputs"), [(1, 64, 20), (12, 3, 3), (9, 57, 2), (8, 58, 1), (3, 5, 40)]
)
@pytest.mark.parametrize(("size", "dilation", "stride"), [(3, 1, 1), (5, 2, 2), (1, 1, 1)])
def test_every_layout_is_exact(
    layout: int, groups: int, channels: int, outputs: int, size: int, dilation: int, stride: int
) -> None:
    if kernels() is None:
        pytest.skip("no compiler: there are no kernels")
    x = last(2, groups * channels, 9, 11)
    weight = torch.randn(groups * outputs, channels, size, size, generator=torch.Generator().manual_seed(1))
    around = dilation * (size - 1) // 2
    wanted = F.conv2d(binary_sign(x), binary_sign(weight), None, stride, around, dilation, groups)
    with mock.patch.object(PackedKernel, "layout", layout):
        assert torch.equal(binary_conv2d(x, PackedKernel(weight, groups), stride, around, dilation), wanted)


def test_small_groups_take_few_words() -> None:
    assert PackedKernel(torch.randn(36, 3, 3, 3), 12).layout == GROUPS
    assert PackedKernel(torch.randn(48, 12, 3, 3), 4).layout == PATCHES
    assert PackedKernel(torch.randn(64, 64, 3, 3)).layout == TAPS
    assert PackedKernel(torch.randn(64, 128, 3, 3)).layout == TAPS
    assert PackedKernel(torch.randn(36, 3, 3, 3), 12).words().shape == (3, 1, 16)


@pytest.mark.parametrize("native", [True, False])
def test_what_is_done_to_outputs(native: bool) -> None:
    """Scale, PReLU, order and addend, in this order; with the kernel and without."""
    x, weight = last(2, 12, 6, 7), torch.randn(16, 3, 3, 3)
    scale, slope, order = torch.randn(16), torch.randn(16), torch.randperm(16)
    more = last(2, 16, 6, 7, seed=2)
    plain = F.conv2d(binary_sign(x), binary_sign(weight), None, 1, 1, 1, 4) * scale.view(-1, 1, 1)
    wanted = F.prelu(plain, slope)[:, order] + more
    with mock.patch("nichenas.domains.binary.packed_kernel.kernels", kernels if native else lambda: None):
        kernel = PackedKernel(weight, 4)
        found = binary_conv2d(x, kernel, 1, 1, scale=scale, slope=slope, order=order, addend=more)
        assert torch.equal(found, wanted)
        assert torch.equal(binary_conv2d(x, kernel, 1, 1, scale=scale), plain)


# Limits


def normalisation(channels: int, seed: int = 0) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for part in (norm.weight, norm.bias, norm.running_mean):
            assert part is not None
            part.copy_(torch.randn(channels, generator=generator))
        assert norm.running_var is not None
        norm.running_var.copy_(torch.rand(channels, generator=generator) * 10 ** torch.linspace(-3, 3, channels))
    return norm


@torch.no_grad()
@pytest.mark.parametrize("seed", range(3))
def test_limits_give_the_signs_of_the_normalisation(seed: int) -> None:
    """Also of the floats right below and above the limit, where rounding decides."""
    norm = normalisation(64, seed)
    limits = limits_of(norm)
    assert bool(limits.flipped.any())
    assert not bool(limits.flipped.all())
    up, down = (torch.full((64,), bound) for bound in (torch.inf, -torch.inf))
    near = [limits.values]
    for _ in range(20):
        near.append(torch.nextafter(near[-1], up))
    near.append(torch.nextafter(limits.values, down))
    for _ in range(20):
        near.append(torch.nextafter(near[-1], down))
    x = torch.cat([torch.stack(near, 1)[None, :, :, None], last(1, 64, 500, 1, seed=seed) * 3], 2)
    for given in (x.contiguous(), x.contiguous(memory_format=torch.channels_last)):
        assert torch.equal(limits.signs(given), binary_sign(norm(given)))


@torch.no_grad()
def test_limits_of_constant_channels() -> None:
    norm = normalisation(4)
    norm.weight[:2] = 0.0
    norm.bias[:2] = torch.tensor([0.5, -0.5])
    signs = limits_of(norm).signs(last(1, 4, 50, 1))
    assert torch.equal(signs[:, 0], torch.ones(1, 50, 1))
    assert torch.equal(signs[:, 1], -torch.ones(1, 50, 1))


@torch.no_grad()
def test_limits_of_extreme_inputs() -> None:
    norm, x = normalisation(8), torch.tensor(EDGES).view(1, 1, -1, 1).expand(1, 8, -1, 1)
    assert torch.equal(limits_of(norm).signs(x), binary_sign(norm(x.contiguous())))


@torch.no_grad()
def test_limits_of_a_normalisation_without_weights() -> None:
    norm = nn.BatchNorm2d(6, affine=False)
    norm(last(8, 6, 5, 5) * 2 + 1)
    x = last(2, 6, 9, 9, seed=1)
    assert torch.equal(limits_of(norm).signs(x), binary_sign(norm.eval()(x)))


# Blocks


def block(channels: int = 12, groups: int = 4, shuffle: bool = True, size: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    conv = BinaryConv2d(channels, channels, size, padding=size // 2, groups=groups, activation=nn.PReLU(channels))
    assert conv.activation is not None
    nn.init.normal_(conv.activation.weight)
    assert conv.scale is not None
    nn.init.normal_(conv.scale)
    parts = [normalisation(channels), conv, *([ChannelShuffle(4)] if shuffle else [])]
    return nn.Sequential(*parts).eval()


@torch.no_grad()
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("residual", [True, False])
def test_a_block_in_one_is_exact(shuffle: bool, residual: bool) -> None:
    made: nn.Module = Residual(block(shuffle=shuffle)) if residual else block(shuffle=shuffle)
    packed = pack(nn.Sequential(made))
    assert isinstance(packed[0], FoldedResidual if residual else FoldedBlock)  # type: ignore[index]
    x = last(2, 12, 8, 8)
    assert torch.equal(packed(x), made(x))
    assert torch.equal(packed(x[:, :, :, :5]), made(x[:, :, :, :5]))  # a view
    assert torch.equal(packed(x.contiguous()), made(x.contiguous()))
    for kind in (torch.float64, torch.bfloat16):  # not done in one
        torch.testing.assert_close(copy.deepcopy(packed).to(kind)(x.to(kind)), copy.deepcopy(made).to(kind)(x.to(kind)))


@torch.no_grad()
def test_names_and_state_are_those_of_the_parts() -> None:
    made = nn.Sequential(Residual(block()))
    folded = pack(made)
    assert set(folded.state_dict()) == {
        *(f"0.block.0.{name}" for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")),
        *(f"0.block.1.{name}" for name in ("kernel.bits", "scale", "activation.weight")),
    }


@torch.no_grad()
def test_changes_of_parts_are_noticed() -> None:
    x = last(1, 12, 6, 6)
    made = block()
    folded: Any = pack(nn.Sequential(made))[0]  # type: ignore[index]
    before = folded(x)
    other = block()
    for part in other.parameters():
        nn.init.normal_(part)
    nn.init.normal_(other[0].running_mean)  # type: ignore[arg-type]
    packed: Any = pack(nn.Sequential(other))[0]  # type: ignore[index]
    folded.load_state_dict(packed.state_dict())
    assert torch.equal(folded(x), packed(x))
    assert not torch.equal(folded(x), before)
    folded[0].bias.add_(0.5)
    other[0].bias.add_(0.5)
    assert torch.equal(folded(x), other(x))
    folded.load_state_dict({name: part.clone() for name, part in packed.state_dict().items()}, assign=True)
    other[0].bias.sub_(0.5)
    assert torch.equal(folded(x), packed(x))
    folded[0] = nn.Identity()  # no normalisation any more
    assert torch.equal(folded(x), folded[2](folded[1](x)))


@torch.no_grad()
def test_who_looks_into_a_block_is_not_passed_by() -> None:
    """Hooks, another forward, training of the normalisation, another epsilon: the parts run one by one then."""
    x = last(2, 12, 6, 6)
    folded: Any = pack(nn.Sequential(block()))[0]  # type: ignore[index]
    folded(x)
    seen: list[str] = []
    for name, module in folded.named_modules():
        if name and name != "1.kernel":  # which is no layer: it is read, not called
            handle = module.register_forward_hook(lambda *parts, name=name: seen.append(name))
            seen.clear()
            folded(x)
            assert seen == [name]
            handle.remove()
    costs = count_costs(pack(nn.Sequential(block())), (12, 6, 6))
    packed = pack(nn.Sequential(block()))
    packed(x)
    assert count_costs(packed, (12, 6, 6)) == costs
    assert costs.binary_macs > 0
    folded[0].eps = 1.0
    assert torch.equal(folded(x), nn.Sequential.forward(folded, x))
    folded[0].forward = lambda y: -y
    assert torch.equal(folded(x), nn.Sequential.forward(folded, x))
    del folded[0].forward
    mean = folded[0].running_mean.clone()
    folded[0].train()
    folded(x)
    assert not torch.equal(folded[0].running_mean, mean)


def test_tensors_of_inference_mode_are_followed() -> None:
    x = last(1, 12, 6, 6)
    with torch.inference_mode():
        folded: Any = pack(nn.Sequential(block()))[0]  # type: ignore[index]
        before = folded(x)
        other = block()
        nn.init.normal_(other[1].weight)  # type: ignore[arg-type]
        nn.init.normal_(other[0].bias)  # type: ignore[arg-type]
        packed: Any = pack(nn.Sequential(other))[0]  # type: ignore[index]
        folded.load_state_dict(packed.state_dict())
        assert torch.equal(folded(x), other(x))
        assert not torch.equal(folded(x), before)


def test_arguments_that_do_not_fit_are_refused() -> None:
    x, kernel = last(1, 8, 6, 6), PackedKernel(torch.randn(8, 8, 3, 3))
    plain = binary_conv2d(x, kernel)
    assert torch.equal(binary_conv2d(x, kernel, scale=torch.tensor([2.0])), 2 * plain)
    assert torch.equal(binary_conv2d(x, kernel, slope=torch.tensor([0.25])), F.prelu(plain, torch.tensor([0.25])))
    assert torch.equal(binary_conv2d(x, kernel, addend=torch.ones(1, 8, 1, 1)), plain + 1)
    wide = torch.arange(16.0)
    assert torch.equal(binary_conv2d(x, kernel, scale=wide[::2]), plain * wide[::2].view(-1, 1, 1))
    for given in ({"scale": torch.ones(3)}, {"slope": torch.ones(9)}, {"addend": torch.ones(1, 7, 4, 4)}):
        with pytest.raises(RuntimeError, match="expand"):
            binary_conv2d(x, kernel, **given)  # type: ignore[arg-type]
    for order in (torch.arange(7), torch.arange(1, 9)):
        with pytest.raises(ValueError, match="order: 8 numbers from 0 to 7"):
            binary_conv2d(x, kernel, order=order)
    with pytest.raises(ValueError, match="limits: 4 for 8 channels"):
        binary_conv2d(x, kernel, limits=limits_of(normalisation(4)))
    with pytest.raises(ValueError, match="smaller than the kernel"):
        binary_conv2d(last(1, 8, 2, 2), kernel, 2)
    if kernels() is not None:
        folded: Any = pack(nn.Sequential(block(size=3)))[0]  # type: ignore[index]
        with pytest.raises(RuntimeError, match="another shape than the result"):
            folded(last(1, 12, 6, 6), last(1, 12, 5, 6))


@torch.no_grad()
def test_copies_have_plans_of_their_own() -> None:
    x = last(1, 12, 6, 6)
    folded: Any = pack(nn.Sequential(block()))[0]  # type: ignore[index]
    before = folded(x)
    for twin in (copy.deepcopy(folded), pickle.loads(pickle.dumps(folded))):
        twin[0].bias.add_(3.0)
        assert not torch.equal(twin(x), before)
        assert torch.equal(folded(x), before)


def test_training_and_gradients_run_the_parts() -> None:
    folded: Any = pack(nn.Sequential(block()))[0]  # type: ignore[index]
    x = last(4, 12, 6, 6)
    mean = folded[0].running_mean.clone()
    folded.train()
    folded(x)
    assert not torch.equal(folded[0].running_mean, mean)
    folded.eval()
    with torch.no_grad():
        assert torch.equal(folded(x), nn.Sequential.forward(folded, x))


@torch.no_grad()
def test_a_shared_block_stays_shared_and_hooks_are_called() -> None:
    shared = block()
    twice: Any = pack(nn.Sequential(shared, shared))
    assert twice[0] is twice[1]
    x = last(1, 12, 6, 6)
    assert torch.equal(twice(x), shared(shared(x)))
    watched = block()
    watched[0].register_forward_hook(lambda *parts: parts[2] * 0 - 1)
    held: Any = pack(nn.Sequential(watched))
    assert not isinstance(held[0], FoldedBlock)
    assert torch.equal(held(x), watched(x))


@torch.no_grad()
@pytest.mark.parametrize("name", ["bats", "darts"])
@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
def test_whole_networks_are_exact(name: str, stem: str) -> None:
    torch.manual_seed(0)
    network = CellNetwork(FAMILIES[name](affine=True, groups=4), PUBLISHED["DARTS_V2"], 40, 3, 10, stem=stem)
    binarize(network, True, 1.0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    size = 64 if stem == "imagenet" else 16
    network.train()(last(8, 3, size, size))
    packed = pack(network.eval())
    assert sum(isinstance(module, FoldedBlock) for module in packed.modules()) > 3
    for threads in (1, 2):
        torch.set_num_threads(threads)
        x = last(3, 3, size, size, seed=threads)
        assert torch.equal(packed(x), network(x))
    with torch.inference_mode():
        assert torch.equal(packed(x), network(x))
