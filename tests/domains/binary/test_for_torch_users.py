"""Larq's layers as a user of torch finds them: compiled, copied, scheduled, transformed, under torch's names."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch import nn

from nichenas.core.costs.macs import count_costs
from nichenas.domains.binary import larq
from nichenas.domains.binary.convolution import BinaryConv2d
from nichenas.domains.binary.larq import quantizers
from nichenas.domains.binary.native.functions import usable

QUANTIZERS = [
    larq.SteSign(),
    larq.SteSign(clip_value=None),  # type: ignore[arg-type]
    larq.ApproxSign(),
    larq.SwishSign(),
    larq.MagnitudeAwareSign(),
    larq.SteTern(),
    larq.SteHeaviside(),
    larq.DoReFa(2),
]
BINARY: dict[str, Any] = {
    "input_quantizer": "ste_sign",
    "kernel_quantizer": "ste_sign",
    "kernel_constraint": "weight_clip",
}


class Net(nn.Module):
    """A network of a searched convolution and Larq's layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first = BinaryConv2d(4, 8, 3, padding=1, activation=nn.PReLU(8))
        self.second = larq.QuantConv2D(8, 8, 3, stride=2, padding=1, bias=False, **BINARY)
        self.norm = nn.BatchNorm2d(8)
        self.last = larq.QuantDense(8, 3, input_quantizer="dorefa_quantizer", kernel_quantizer="ste_sign")

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norm(self.second(self.first(x))).mean((2, 3)))  # type: ignore[no-any-return]


def net() -> Net:
    torch.manual_seed(0)
    return Net()


def images() -> Tensor:
    return torch.randn(6, 4, 9, 9, generator=torch.Generator().manual_seed(1))


def gradients(model: Callable[[Tensor], Tensor], of: nn.Module) -> dict[str, Tensor]:
    of.zero_grad()
    x = images().requires_grad_()
    model(x).square().sum().backward()
    found = {name: parameter.grad for name, parameter in of.named_parameters()}
    assert all(gradient is not None for gradient in found.values())
    assert x.grad is not None
    return {**{name: g.clone() for name, g in found.items() if g is not None}, "x": x.grad.clone()}


def test_a_compiled_network_has_the_same_gradients() -> None:
    model = net()
    expected = gradients(model, model)
    found = gradients(torch.compile(model, backend="aot_eager", fullgraph=True), model)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, msg=name)


def test_compiled_quantizers_have_the_same_gradients() -> None:
    def outputs(x: Tensor) -> list[Tensor]:
        return [quantizer(x) for quantizer in QUANTIZERS]

    compiled = torch.compile(outputs, backend="aot_eager", fullgraph=True)
    found = []
    for function in (outputs, compiled):
        x = torch.linspace(-2, 2, 41).view(1, 41).requires_grad_()
        results = function(x)
        found.append([(y.detach(), torch.autograd.grad(y.sum(), x, retain_graph=True)[0]) for y in results])
    for (eager, gradient), (y, other), quantizer in zip(*found, QUANTIZERS, strict=True):
        torch.testing.assert_close(y, eager, msg=str(quantizer))
        torch.testing.assert_close(other, gradient, msg=str(quantizer))


def test_transforms_of_functions() -> None:
    model = net().eval()
    parameters = dict(model.named_parameters())

    def loss(given: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.func.functional_call(model, given, (x,)).square().sum()  # type: ignore[no-any-return]

    expected = gradients(model, model)
    found = torch.func.grad(loss)(parameters, images())
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], msg=name)
    per_image = torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, images().unsqueeze(1))
    for name, gradient in per_image.items():
        torch.testing.assert_close(gradient.sum(0), expected[name], rtol=1e-3, atol=1e-4, msg=name)


def test_copies_keep_what_optimizers_read() -> None:
    model = nn.Sequential(larq.QuantConv2D(3, 4, 3, **BINARY), nn.Flatten())
    assigned = nn.Sequential(larq.QuantConv2D(3, 4, 3, **BINARY), nn.Flatten())
    assigned.load_state_dict(copy.deepcopy(model.state_dict()), assign=True)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), assigned, model.double()):
        kernel = other[0].get_parameter("kernel")
        assert larq.Bop.is_binary_variable(kernel)
        assert not larq.Bop.is_binary_variable(other[0].get_parameter("bias"))
        assert torch.equal(kernel, model[0].get_parameter("kernel").to(kernel.dtype))


def case_optimizer(model: nn.Module) -> larq.CaseOptimizer:
    return larq.CaseOptimizer(
        model.parameters(),
        (larq.Bop.is_binary_variable, lambda p: larq.Bop(p, threshold=0.0, gamma=0.5)),
        default_optimizer=lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    )


def test_schedulers_and_constraints_take_several_optimizers_as_one() -> None:
    model = net()
    optimizer = case_optimizer(model)
    assert isinstance(optimizer, torch.optim.Optimizer)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2, gamma=0.5)
    larq.constrain(model, optimizer)
    rates = []
    for _ in range(5):
        loss = optimizer.step(lambda: (optimizer.zero_grad(), model(images()).square().sum())[1])
        assert loss.requires_grad
        rates.append(optimizer.optimizers[1].param_groups[0]["lr"])
        scheduler.step()
    assert rates == [0.1, 0.1, 0.05, 0.05, 0.025]
    again = case_optimizer(model)
    again.load_state_dict(optimizer.state_dict())
    assert again.param_groups[1] is again.optimizers[1].param_groups[0]
    assert again.param_groups[1]["lr"] == optimizer.param_groups[1]["lr"] == 0.025
    assert again.param_groups[0]["lr"] == 0  # Bop's, which nothing reads
    with pytest.raises(ValueError, match="given to the cases"):
        again.add_param_group({"params": [nn.Parameter(torch.ones(1))]})


def test_names_of_torch() -> None:
    torch.manual_seed(0)
    one = larq.QuantConv2D(in_channels=4, out_channels=6, kernel_size=3, stride=2, dilation=1, bias=False)
    torch.manual_seed(0)
    other = larq.QuantConv2D(4, 6, 3, strides=2, dilation_rate=1, use_bias=False)
    x = images()
    torch.testing.assert_close(one(x), other(x))
    assert one.weight is one.get_parameter("kernel")
    plain = nn.Conv2d(4, 6, 3, stride=2, padding=(1, 2), bias=False)
    same = larq.QuantConv2D(4, 6, 3, stride=2, padding=(1, 2), bias=False)
    same.load_state_dict({"kernel": plain.weight})
    torch.testing.assert_close(same(x), plain(x))
    ones = larq.QuantConv2D(4, 6, 3, padding=1, pad_values=1.0, bias=False)
    expected = nn.functional.conv2d(nn.functional.pad(x, (1, 1, 1, 1), value=1.0), ones.weight)
    torch.testing.assert_close(ones(x), expected)
    dense = larq.QuantDense(5, out_features=2, bias=False)
    assert dense.weight.shape == (2, 5)
    assert dense.bias is None
    assert "kernel=(6, 4, 3, 3), bias=False, strides=(2, 2), padding='valid'" in repr(one)
    with pytest.raises(TypeError, match="QuantConv2D: 'stride' and 'strides' are the same argument"):
        larq.QuantConv2D(4, 6, 3, stride=2, strides=2)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unexpected keyword argument 'strid'"):
        larq.QuantConv2D(4, 6, 3, strid=2)  # type: ignore[call-arg]


@pytest.mark.parametrize("padding", [-1, 1.5, (1, 2, 3), (True, 1), "sam"])
def test_wrong_paddings(padding: Any) -> None:
    allowed = r"padding .*allowed: valid, same, numbers|3 numbers for 2 axes|1\.5; allowed: a whole number"
    with pytest.raises(ValueError, match=allowed):
        larq.QuantConv2D(4, 6, 3, padding=padding)
    with pytest.raises(ValueError, match=r"padding 1; allowed: valid, same$"):
        larq.QuantConv2DTranspose(4, 6, 3, padding=1)  # type: ignore[arg-type]


def test_multiply_adds_of_larqs_layers() -> None:
    cases: list[tuple[nn.Module, tuple[int, ...], tuple[int, int]]] = [
        (larq.QuantConv2D(4, 6, 3, padding="same", **BINARY), (4, 8, 8), (0, 6 * 4 * 9 * 64)),
        (larq.QuantConv2D(4, 6, 3, kernel_quantizer="ste_sign"), (4, 8, 8), (6 * 4 * 9 * 36, 0)),
        (larq.QuantDense(5, 7, **BINARY), (5,), (0, 35)),
        (larq.QuantDense(5, 7), (3, 5), (3 * 35, 0)),
        (larq.QuantConv2DTranspose(4, 6, 3, strides=2, padding="same"), (4, 8, 8), (4 * 6 * 9 * 64, 0)),
        (larq.QuantLocallyConnected2D(4, 8, 6, 3), (4, 8, 8), (36 * 4 * 9 * 6, 0)),
        (
            larq.QuantSeparableConv2D(
                4,
                6,
                3,
                input_quantizer="ste_sign",
                depthwise_quantizer="ste_sign",
                pointwise_quantizer="ste_sign",
                padding="same",
            ),
            (4, 8, 8),
            (4 * 6 * 64, 4 * 9 * 64),
        ),
    ]
    for layer, shape, expected in cases:
        costs = count_costs(layer, shape)
        assert (costs.macs, costs.binary_macs) == expected, layer
    assert quantizers.precision_of(None) == 32


def test_larqs_layers_come_without_the_search() -> None:
    script = (
        "import sys; from nichenas.domains.binary import QuantConv2D; "
        "print([name for name in ('pydantic', 'scipy', 'yaml', 'nichenas.core.domain') if name in sys.modules]); "
        "from nichenas.domains.binary import DOMAIN, BinaryDomain; print(DOMAIN is BinaryDomain)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "True"]


def test_scalers_of_gradients_reach_every_case() -> None:
    """Also Bop's, which has no learning rate: what it sees is unscaled, and infinite gradients skip its step."""
    model = net()
    optimizer = case_optimizer(model)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale(model(images()).square().sum()).backward()
    expected = {
        name: parameter.grad / 1024 for name, parameter in model.named_parameters() if parameter.grad is not None
    }
    scaler.unscale_(optimizer)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], msg=name)
    before = copy.deepcopy(model.state_dict())
    kernel = model.second.weight
    assert kernel.grad is not None
    optimizer = case_optimizer(model)
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(torch.ones(()))
    kernel.grad.fill_(torch.inf)
    scaler.step(optimizer)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_cases_are_copied_and_stored() -> None:
    model = net()
    for optimizer in (copy.deepcopy(case_optimizer(model)), pickle.loads(pickle.dumps(case_optimizer(model)))):
        optimizer.zero_grad()
        assert [type(one).__name__ for one in optimizer.optimizers] == ["Bop", "SGD"]
        assert optimizer.param_groups[1] is optimizer.optimizers[1].param_groups[0]
        with pytest.raises(ValueError, match="given to the cases"):
            optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))]})


def test_one_slope_for_all_channels() -> None:
    conv = BinaryConv2d(64, 512, 3, padding=1, activation=nn.PReLU())
    assert conv.activation is not None
    found = []
    for form in (torch.contiguous_format, torch.channels_last):
        x = torch.randn(2, 64, 6, 6, generator=torch.Generator().manual_seed(0)).contiguous(memory_format=form)
        y = conv(x)
        found.append((y, *torch.autograd.grad(y.sum(), (conv.activation.weight, conv.weight))))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3)


def test_gradients_of_gradients_are_right_or_refused() -> None:
    conv = BinaryConv2d(8, 8, 3, padding=1, activation=nn.PReLU(8))
    x = torch.randn(2, 8, 6, 6, requires_grad=True)
    (gradient,) = torch.autograd.grad(conv(x).square().sum(), x, create_graph=True)
    gradient.square().sum().backward()
    assert conv.weight.grad is not None
    last = x.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    if not usable(last):
        pytest.skip("no compiler: plain torch differentiates all")
    (gradient,) = torch.autograd.grad(conv(last).square().sum(), last, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        gradient.square().sum().backward()


@pytest.mark.parametrize(("stride", "padding"), [((1, 2), 1), (1, (0, 1)), (2, "valid"), (1, "same")])
def test_depthwise_windows_that_are_not_square(stride: Any, padding: Any) -> None:
    conv = BinaryConv2d(4, 4, 3, stride=stride, padding=padding, groups=4, scale="none")
    x = torch.randn(2, 4, 8, 8)
    signs = [torch.where(part >= 0, 1.0, -1.0) for part in (x, conv.weight)]
    torch.testing.assert_close(conv(x), nn.functional.conv2d(signs[0], signs[1], None, stride, padding, groups=4))


def test_an_image_without_a_batch_is_refused() -> None:
    with pytest.raises(ValueError, match=r"input \(4, 8, 8\); wanted: \(batch, channels, 2 axes\)"):
        larq.QuantConv2D(4, 8, 3, padding=1)(torch.randn(4, 8, 8))
