"""The fast supernet against the plain one, in float64; kernels against plain torch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nichenas.core.gradient.relaxations import Softmax
from nichenas.core.gradient.steps import architecture_costs
from nichenas.core.gradient.steps import second_order_costs
from nichenas.core.gradient.steps import weight_gradients
from nichenas.domains.binary.convolution import binarize
from nichenas.domains.binary.native import functions
from nichenas.domains.binary.native import kernels
from nichenas.domains.binary.operations import Bats
from nichenas.domains.binary.operations import Bnas
from nichenas.domains.binary.operations import DartsBinary
from nichenas.domains.binary.operations import DartsReal
from nichenas.domains.binary.operations import Family
from nichenas.domains.binary.supernet import CellSupernet

TOLERANCE = 1e-9

# Where both sides of separable convolutions are binary, normalised counts tie with 0 exactly and any rounding flips
# their sign: the plain form differs from itself in another memory format. So there the kernels are real.
CASES: list[tuple[Family, bool, float]] = [
    (DartsReal(affine=False), False, 0.0),
    (Bats(affine=False, groups=4), True, 1.0),
    (Bats(affine=False, groups=2, scale="mean"), True, 1.0),
    (Bats(affine=False, groups=8, scale="none"), True, 0.0),
    (Bats(affine=False, groups=4), False, 0.0),
    (Bats(affine=False, groups=4, estimator="approx_sign"), True, 1.0),
    (DartsBinary(affine=False, estimator="swish_sign"), True, 0.0),
    (DartsBinary(affine=False), True, 0.0),
    (DartsBinary(affine=False), False, 0.0),
    (Bnas(affine=False), True, 1.0),
]


@pytest.mark.parametrize(("family", "inputs", "weights"), CASES, ids=lambda v: getattr(v, "name", str(v)))
def test_fast_supernet_equals_the_plain_one(family: Family, inputs: bool, weights: float) -> None:
    torch.manual_seed(0)
    net = CellSupernet(family, 8, 4, 10).double()
    binarize(net, inputs, weights)
    for parameter in net.parameters():
        if parameter.dim() == 1:  # scales and slopes that differ
            parameter.data += 0.1 * torch.rand_like(parameter)
    batch = torch.randn(6, 3, 16, 16, dtype=torch.double), torch.randint(0, 10, (6,))
    alphas = {g.name: torch.randn(len(g.edges), len(g.operations), dtype=torch.double) for g in net.groups}
    mix = Softmax().mix(alphas, 1.0, torch.Generator())
    found: list[Any] = []
    for plain in (True, False):
        net.plain = plain
        result = weight_gradients(net, batch, mix, costs=True)
        found.append((result, {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}))
    (one, gradients), (other, fast) = found
    torch.testing.assert_close(other.outputs, one.outputs, rtol=0, atol=TOLERANCE)
    assert set(gradients) == set(fast)
    for name, gradient in gradients.items():
        torch.testing.assert_close(fast[name], gradient, rtol=TOLERANCE, atol=TOLERANCE, msg=name)
    for name, cost in one.costs.items():
        torch.testing.assert_close(other.costs[name], cost, rtol=TOLERANCE, atol=TOLERANCE)


def second_order(net: CellSupernet, hessian: Any, count: int = 12) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Returns the costs of second order, and those of first order."""
    generator = torch.Generator().manual_seed(3)
    kind = next(net.parameters()).dtype
    inputs = torch.randn(2 * count, 3, 16, 16, generator=generator, dtype=kind)
    inputs = inputs.contiguous(memory_format=torch.channels_last)
    targets = torch.randint(0, 10, (2 * count,), generator=generator)
    train, held_out = (inputs[:count], targets[:count]), (inputs[count:], targets[count:])
    alphas = {g.name: torch.zeros(len(g.edges), len(g.operations), dtype=kind) for g in net.groups}
    mix = Softmax().mix(alphas, 1.0, torch.Generator())
    optimizer = torch.optim.SGD(net.parameters(), lr=0.025)
    found = second_order_costs(net, train, held_out, mix, optimizer, hessian)
    return found.costs, architecture_costs(net, held_out, mix).costs


@pytest.mark.parametrize(
    ("family", "inputs", "weights"), CASES[:1] + CASES[6:8], ids=lambda v: getattr(v, "name", str(v))
)
def test_fast_and_plain_supernets_have_the_same_exact_second_order(
    family: Family, inputs: bool, weights: float
) -> None:
    """Gradients of gradients, through the estimators of the signs."""
    torch.manual_seed(0)
    net = CellSupernet(family, 8, 3, 10).double()
    binarize(net, inputs, weights)
    assert net.smooth == (not inputs and weights == 0)
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    fast, first = second_order(net, "exact")
    assert all(torch.equal(before[name], p) for name, p in net.named_parameters())
    assert all(float((fast[name] - first[name]).abs().max()) > 1e-4 for name in fast)
    net.plain = True
    plain, _ = second_order(net, "exact")
    for name, one in plain.items():
        torch.testing.assert_close(fast[name], one, rtol=TOLERANCE, atol=TOLERANCE)


def test_kernels_give_way_to_what_can_be_differentiated_twice() -> None:
    """In float32; the kernels refuse a second backward pass (or there are none)."""
    net = CellSupernet(Bats(affine=False, groups=4), 8, 3, 10)
    costs, first = second_order(net, "exact")
    assert all(torch.isfinite(one).all() for one in costs.values())
    assert all(not torch.equal(costs[name], one) for name, one in first.items())


@pytest.mark.parametrize("family", [Bats(affine=False, groups=4), DartsReal(affine=False)], ids=lambda f: f.name)
def test_a_supernet_with_the_stem_of_imagenet_searches_at_an_eighth_of_the_resolution(family: Family) -> None:
    """As the network that is built of its outcome; the first cell reads two resolutions. Both forms are equal."""
    torch.manual_seed(0)
    net = CellSupernet(family, 8, 3, 10, stem="imagenet").double()
    sizes: list[int] = []
    net.cells[0].register_forward_hook(lambda module, inputs, output: sizes.append(output.shape[-1]))
    batch = torch.randn(4, 3, 64, 64, dtype=torch.double), torch.randint(0, 10, (4,))
    alphas = {g.name: torch.randn(len(g.edges), len(g.operations), dtype=torch.double) for g in net.groups}
    mix = Softmax().mix(alphas, 1.0, torch.Generator())
    found = []
    for plain in (True, False):
        net.plain = plain
        found.append(weight_gradients(net, batch, mix, costs=True))
    torch.testing.assert_close(found[1].outputs, found[0].outputs, rtol=0, atol=TOLERANCE)
    for name, cost in found[0].costs.items():
        torch.testing.assert_close(found[1].costs[name], cost, rtol=TOLERANCE, atol=TOLERANCE)
    assert sizes == [8, 8]


# Kernels, in float32


def both(function: Any, *inputs: Tensor | None, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Tensor], list[Tensor]]:
    """Returns output and gradients with the kernels, and without."""
    if kernels() is None:
        pytest.skip("no compiler: there are no kernels")
    results = []
    for native in (True, False):
        leaves = [
            None if x is None else x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
            for x in inputs
        ]
        with monkeypatch.context() as patch:
            if not native:
                patch.setattr(functions, "usable", lambda x: False)
            y = function(*leaves)
            weight = torch.linspace(-1, 1, y.numel()).view(y.shape)
            (y * weight).sum().backward()
        results.append([y.detach(), *(x.grad for x in leaves if x is not None)])
    return results[0], results[1]


def image(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("channels", [1, 3, 16, 33])
def test_scaled_prelu(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x = image(4, channels, 5, 7).round()  # whole numbers, with zeros among them
    parts = [torch.randn(channels) for _ in range(3)]
    for scale, weight in ((parts[0], parts[2]), (None, None), (parts[0], None)):
        one, other = both(functions.scaled_prelu, x, scale, parts[1], weight, monkeypatch=monkeypatch)
        for a, b in zip(one, other, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("channels", [1, 3, 16, 33])
@pytest.mark.parametrize("weighted", [True, False])
def test_normalise(channels: int, weighted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    x = 3 * image(6, channels, 9, 8) + 5
    weight = torch.randn(channels) if weighted else None
    one, other = both(functions.normalise, x, weight, monkeypatch=monkeypatch)
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


GEOMETRIES = [
    (3, 1, 1, 1),
    (5, 1, 2, 1),
    (3, 1, 2, 2),
    (5, 1, 4, 2),
    (3, 2, 1, 1),
    (5, 2, 4, 2),
    (3, 1, 0, 1),
    (5, 3, 1, 1),
]


@pytest.mark.parametrize(("size", "stride", "padding", "dilation"), GEOMETRIES)
@pytest.mark.parametrize("channels", [4, 19])
def test_depthwise_convolution(
    size: int, stride: int, padding: int, dilation: int, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, kernel = image(3, channels, 12, 10), torch.randn(channels, 1, size, size)
    one, other = both(
        lambda a, b: functions.depthwise_conv2d(a, b, stride, padding, dilation), x, kernel, monkeypatch=monkeypatch
    )
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("strict", [True, False])
def test_sign(strict: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    x = image(3, 5, 6, 6)
    x[0, 0, 0, :4] = torch.tensor([0.0, -0.0, 1.0, -1.0])
    one, other = both(lambda a: functions.clipped_sign(a, 1.0, strict), x, monkeypatch=monkeypatch)
    for a, b in zip(one, other, strict=True):
        assert torch.equal(a, b)


def test_expanded_weights_of_normalisations_get_right_gradients() -> None:
    """What the plain torch form must guard against: a weight with stride 0."""
    x = image(4, 6, 5, 5).double()
    number = torch.tensor(0.7, dtype=torch.double, requires_grad=True)
    y = functions.normalise(x, number.expand(6))
    (found,) = torch.autograd.grad((y * x).sum(), [number])
    torch.testing.assert_close(found, (F.batch_norm(x, None, None, training=True) * x).sum())
