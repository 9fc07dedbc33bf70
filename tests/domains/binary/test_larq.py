"""Larq's operations against the vectors computed with Larq itself, and its rules."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor
from torch import nn

from nichenas.domains.binary import larq
from nichenas.domains.binary import summary
from nichenas.domains.binary.larq import quantizers
from nichenas.domains.binary.native.functions import binary_sign

TOLERANCE = 1e-6
ALIASES = (
    "ste_sign", "approx_sign", "swish_sign", "magnitude_aware_sign", "ste_tern", "ste_heaviside", "dorefa_quantizer"
)  # fmt: skip


@pytest.fixture(scope="module")
def vectors() -> dict[str, Any]:
    from tests.conftest import real_data

    root = real_data()
    if root is None or not (root / "larq" / "parity_vectors.json").exists():
        pytest.skip("no vectors of Larq: name their folder in NICHENAS_TEST_DATA")
    return json.loads((root / "larq" / "parity_vectors.json").read_text())


def close(found: Tensor, wanted: Any) -> None:
    np.testing.assert_allclose(found.detach().numpy(), np.asarray(wanted, dtype=np.float32), rtol=0, atol=TOLERANCE)


QUANTIZERS: dict[str, Callable[[], Any]] = {
    "SteSign": larq.SteSign,
    "SteSign(clip=None)": lambda: larq.SteSign(None),
    "SteSign(clip=1.25)": lambda: larq.SteSign(1.25),
    "ApproxSign": larq.ApproxSign,
    "SwishSign": larq.SwishSign,
    "SwishSign(beta=10)": lambda: larq.SwishSign(10),
    "SteHeaviside": larq.SteHeaviside,
    "SteTern": larq.SteTern,
    "SteTern(0.5)": lambda: larq.SteTern(0.5),
    "SteTern(TWN)": lambda: larq.SteTern(ternary_weight_networks=True),
    "DoReFa(1,act)": lambda: larq.DoReFa(1),
    "DoReFa(2,act)": lambda: larq.DoReFa(2),
    "DoReFa(4,act)": lambda: larq.DoReFa(4),
    "DoReFa(1,w)": lambda: larq.DoReFa(1, "weights"),
    "DoReFa(2,w)": lambda: larq.DoReFa(2, "weights"),
    "DoReFa(4,w)": lambda: larq.DoReFa(4, "weights"),
    "NoOp(1)": lambda: larq.NoOp(1),
}


@pytest.mark.parametrize("name", QUANTIZERS)
@pytest.mark.parametrize("layout", ["vector", "channels-last"])
def test_quantizer_equals_larq(vectors: dict[str, Any], name: str, layout: str) -> None:
    part = vectors["quantizers_1d"]
    x = torch.tensor(part["x"])
    if layout == "channels-last":  # the kernels' way
        x = x.view(1, -1, 1, 1).contiguous(memory_format=torch.channels_last)
    x.requires_grad_()
    quantizer = QUANTIZERS[name]()
    y = quantizer(x)
    y.sum().backward()
    close(y.flatten(), part[name]["y"])
    assert x.grad is not None
    close(x.grad.flatten(), part[name]["dy_dx"])
    assert quantizer.precision == part[name]["precision"]


def test_every_vector_of_a_quantizer_is_tested(vectors: dict[str, Any]) -> None:
    assert set(vectors["quantizers_1d"]) - {"x"} == set(QUANTIZERS)


def test_dorefa_of_zeros(vectors: dict[str, Any]) -> None:
    for bits in (1, 2):
        x = torch.zeros(3, requires_grad=True)
        y = larq.DoReFa(bits, "weights")(x)
        y.sum().backward()
        close(y, vectors["dorefa_weights_allzero"][f"k{bits}_y"])
        if bits == 2:
            close(x.grad, vectors["dorefa_weights_allzero"]["k2_g"])  # type: ignore[arg-type]


def test_swish_sign_far_out(vectors: dict[str, Any]) -> None:
    x = torch.tensor([20.0, 100.0], requires_grad=True)
    larq.SwishSign()(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == vectors["swish_large"]["g"]


def test_magnitude_aware_sign(vectors: dict[str, Any]) -> None:
    part = vectors["magnitude_aware_HWIO"]
    w = torch.tensor(part["w"]).permute(3, 2, 0, 1).contiguous().requires_grad_()
    y = larq.MagnitudeAwareSign()(w)
    y.sum().backward()
    close(y.permute(2, 3, 1, 0), part["y"])
    close(w.grad.permute(2, 3, 1, 0), part["g"])  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["hard_tanh", "leaky_tanh"])
def test_activations(vectors: dict[str, Any], name: str) -> None:
    part = vectors["activations"]
    x = torch.tensor(part["x"], requires_grad=True)
    y = getattr(larq, name)(x)
    y.sum().backward()
    close(y, part[name]["y"])
    close(x.grad, part[name]["g"])  # type: ignore[arg-type]


def test_conv2d_same_padding(vectors: dict[str, Any]) -> None:
    assert len(vectors["quantconv2d_same"]) == 9
    for case in vectors["quantconv2d_same"]:
        layer = larq.QuantConv2D(
            2, 3, case["k"], strides=case["stride"], padding="same", dilation_rate=case["dilation"], use_bias=False,
            input_quantizer="ste_sign", kernel_quantizer="ste_sign", kernel_constraint="weight_clip",
            pad_values=case["pad_values"],
        )  # fmt: skip
        layer.kernel.data = torch.tensor(case["kernel_HWIO"]).permute(3, 2, 0, 1).contiguous()
        y = layer(torch.tensor(case["x_NHWC"]).permute(0, 3, 1, 2))
        close(y.permute(0, 2, 3, 1), case["y_NHWC"])


def test_depthwise(vectors: dict[str, Any]) -> None:
    part = vectors["depthwise"]
    layer = larq.QuantDepthwiseConv2D(
        4, 3, depth_multiplier=2, use_bias=False, input_quantizer="ste_sign", depthwise_quantizer="ste_sign",
        depthwise_constraint="weight_clip",
    )  # fmt: skip
    layer.depthwise.data = torch.tensor(part["k_HWIM"]).permute(3, 2, 0, 1).contiguous()
    close(layer(torch.tensor(part["x"]).permute(0, 3, 1, 2)).permute(0, 2, 3, 1), part["y"])


def test_separable(vectors: dict[str, Any]) -> None:
    part = vectors["separable"]
    layer = larq.QuantSeparableConv2D(
        4, 3, 3, use_bias=False, input_quantizer="ste_sign", depthwise_quantizer="ste_sign",
        pointwise_quantizer="ste_sign", depthwise_constraint="weight_clip", pointwise_constraint="weight_clip",
    )  # fmt: skip
    layer.depthwise.data = torch.tensor(part["dw"]).permute(3, 2, 0, 1).contiguous()
    layer.pointwise.data = torch.tensor(part["pw"]).permute(3, 2, 0, 1).contiguous()
    close(layer(torch.tensor(part["x"]).permute(0, 3, 1, 2)).permute(0, 2, 3, 1), part["y"])


def test_dense_with_scaled_signs(vectors: dict[str, Any]) -> None:
    part = vectors["dense_mas"]
    layer = larq.QuantDense(4, 3, input_quantizer="ste_sign", kernel_quantizer=larq.MagnitudeAwareSign())
    layer.kernel.data = torch.tensor(part["k"]).t().contiguous()
    layer.bias.data = torch.tensor(part["b"])
    close(layer(torch.tensor(part["x"])), part["y"])


def test_flip_ratio(vectors: dict[str, Any]) -> None:
    metric = larq.FlipRatio()
    for values, wanted in (([1, 1], 0.0), ([2, 2], 1.0), ([1, 2], 0.75)):
        metric.update_state(torch.tensor(values))
        assert metric.result() == pytest.approx(wanted)
    metric.reset_state()
    results = []
    for values in ([5, 5], [5, 6]):
        metric.update_state(torch.tensor(values))
        results.append(metric.result())
    assert results == [0.0, 0.5]
    truncated = larq.FlipRatio()
    truncated.update_state(torch.tensor([0.2, -0.7]))
    truncated.update_state(torch.tensor([-0.7, 0.2]))
    assert truncated.result() == vectors["flip_ratio_int8_trunc"]


def test_bop(vectors: dict[str, Any]) -> None:
    part = vectors["bop"]
    w = nn.Parameter(torch.tensor(part["w0"], dtype=torch.float32))
    optimizer = larq.Bop([w], threshold=part["threshold"], gamma=part["gamma"])
    for gradient, wanted in zip(part["grads"], part["w"], strict=True):
        w.grad = torch.tensor(gradient, dtype=torch.float32)
        optimizer.step()
        close(w, wanted)
    tie = nn.Parameter(torch.tensor([[1.0, -1.0]]))
    tie.grad = torch.zeros_like(tie)
    larq.Bop([tie], threshold=0.0).step()
    close(tie, part["threshold0_zero_grad"])
    assert larq.Bop([w]).defaults == {"threshold": 1e-8, "gamma": 1e-4}


# Rules that need no vectors


@given(st.lists(st.floats(-3, 3, width=32), min_size=1, max_size=40))
@settings(max_examples=60, deadline=None)
def test_no_sign_is_ever_zero(values: list[float]) -> None:
    x = torch.tensor(values, dtype=torch.float32)
    for alias in ("ste_sign", "approx_sign", "swish_sign"):
        y = quantizers.get(alias)(x)  # type: ignore[misc]
        assert set(y.tolist()) <= {-1.0, 1.0}
        assert y[x == 0].tolist() == [1.0] * int((x == 0).sum())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_sign_of_negative_zero(dtype: torch.dtype) -> None:
    assert binary_sign(torch.tensor([-0.0, 0.0, -1e-3], dtype=dtype)).tolist() == [1.0, 1.0, -1.0]


def test_presets_differ_at_the_bound_only() -> None:
    for preset, wanted in (("larq", [1.0, 1.0, 0.0]), ("bnn", [0.0, 1.0, 0.0])):
        x = torch.tensor([1.0, 0.5, 1.5], requires_grad=True)
        with larq.gradient_preset(preset):  # type: ignore[arg-type]
            larq.SteSign()(x).sum().backward()
        assert x.grad is not None
        assert x.grad.tolist() == wanted


def test_the_sign_keeps_one_byte_a_value_for_its_gradient() -> None:
    saved: list[Tensor] = []
    x = torch.randn(4, 8, 6, 6, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (saved.append(t), t)[1], lambda t: t):
        larq.SteSign()(x)
    assert [(t.dtype, t.numel()) for t in saved] == [(torch.bool, x.numel())]


def test_autocast_keeps_signs_exact() -> None:
    layer = larq.QuantConv2D(4, 8, 3, input_quantizer="ste_sign", kernel_quantizer="ste_sign",
                             kernel_constraint="weight_clip", use_bias=False)  # fmt: skip
    x = torch.randn(2, 4, 6, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = layer(x)
    assert torch.equal(half.float(), layer(x))


LAYERS: dict[str, tuple[Callable[..., larq.Quantizer], tuple[int, ...], Callable[[Any, Tensor], Tensor]]] = {
    "conv1d": (lambda **k: larq.QuantConv1D(4, 6, 3, **k), (2, 4, 9), lambda m, x: nn.functional.conv1d(x, m)),
    "conv2d": (lambda **k: larq.QuantConv2D(4, 6, 3, **k), (2, 4, 7, 7), lambda m, x: nn.functional.conv2d(x, m)),
    "grouped": (
        lambda **k: larq.QuantConv2D(4, 6, 3, groups=2, **k),
        (2, 4, 7, 7),
        lambda m, x: nn.functional.conv2d(x, m, groups=2),
    ),
    "conv3d": (lambda **k: larq.QuantConv3D(2, 3, 2, **k), (2, 2, 5, 5, 5), lambda m, x: nn.functional.conv3d(x, m)),
    "dense": (lambda **k: larq.QuantDense(5, 3, **k), (4, 5), lambda m, x: x @ m.t()),
    "transpose2d": (
        lambda **k: larq.QuantConv2DTranspose(3, 4, 3, strides=2, **k),
        (2, 3, 5, 5),
        lambda m, x: nn.functional.conv_transpose2d(x, m, stride=2),
    ),
    "transpose3d": (
        lambda **k: larq.QuantConv3DTranspose(2, 3, 3, strides=2, **k),
        (1, 2, 3, 3, 3),
        lambda m, x: nn.functional.conv_transpose3d(x, m, stride=2),
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_quantized_layer_equals_float_layer_of_signs(name: str) -> None:
    make, shape, function = LAYERS[name]
    layer: Any = make(
        input_quantizer="ste_sign", kernel_quantizer="ste_sign", kernel_constraint="weight_clip", use_bias=False
    )
    x = torch.randn(*shape)
    assert torch.equal(layer(x), function(binary_sign(layer.kernel), binary_sign(x)))


@pytest.mark.parametrize(("padding", "wanted"), [("same", 10), ("valid", 11)])
def test_transposed_sizes_are_those_of_keras(padding: str, wanted: int) -> None:
    assert larq.QuantConv2DTranspose(3, 4, 3, strides=2, padding=padding)(torch.randn(1, 3, 5, 5)).shape[-1] == wanted


def test_transposed_same_is_the_gradient_of_same() -> None:
    """Keras's transposed convolution is by definition the gradient of the convolution with the same padding."""
    layer = larq.QuantConv2DTranspose(3, 2, 3, strides=2, padding="same", use_bias=False)
    x = torch.randn(1, 3, 5, 5)
    image = torch.zeros(1, 2, 10, 10, requires_grad=True)
    forward = larq.QuantConv2D(2, 3, 3, strides=2, padding="same", use_bias=False)
    forward.kernel.data = layer.kernel.data
    (gradient,) = torch.autograd.grad(forward(image), image, x)
    torch.testing.assert_close(layer(x), gradient)


def test_locally_connected_with_one_kernel_is_a_convolution() -> None:
    layer = larq.QuantLocallyConnected2D(3, (6, 7), 4, 3, use_bias=False, kernel_quantizer="ste_sign",
                                         input_quantizer="ste_sign", kernel_constraint="weight_clip")  # fmt: skip
    kernel = torch.randn(4, 3, 3, 3)
    layer.kernel.data = kernel.reshape(4, 1, 27).expand(4, 20, 27).clone()
    x = torch.randn(2, 3, 6, 7)
    assert torch.equal(layer(x), nn.functional.conv2d(binary_sign(x), binary_sign(kernel)))
    line = larq.QuantLocallyConnected1D(2, 8, 3, 3)
    assert line(torch.randn(1, 2, 8)).shape == (1, 3, 6)
    assert line.bias.shape == (3, 6)


def test_causal_padding_looks_back_only() -> None:
    layer = larq.QuantConv1D(1, 1, 3, padding="causal", dilation_rate=2, use_bias=False)
    x = torch.zeros(1, 1, 8)
    x[0, 0, 5] = 1.0
    assert torch.count_nonzero(layer(x)[0, 0, :5]) == 0
    with pytest.raises(ValueError, match="causal"):
        larq.QuantConv1D(1, 1, 3, padding="causal", pad_values=1.0)
    with pytest.raises(ValueError, match="did you mean 'same'"):
        larq.QuantConv2D(1, 1, 3, padding="sam")


def test_defaults_are_keras(caplog: pytest.LogCaptureFixture) -> None:
    layer = larq.QuantConv2D(3, 5, 3)
    assert layer.bias is not None
    assert (layer.padding, layer.dilation_rate, layer.strides, layer.pad_values) == ("valid", (1, 1), (1, 1), 0.0)
    assert float(layer.kernel.detach().abs().max()) <= (6 / (9 * 3 + 9 * 5)) ** 0.5
    with caplog.at_level(logging.WARNING):
        larq.QuantDense(3, 3, kernel_quantizer="ste_sign")
    assert "without a constraint" in caplog.text
    caplog.clear()
    larq.QuantDense(3, 3, kernel_quantizer=larq.NoOp(1))
    assert not caplog.records


def test_quantizers_by_name_config_and_callable() -> None:
    for alias in ALIASES:
        made = quantizers.get(alias)
        assert isinstance(made, larq.Quantizer)
        again = quantizers.get(quantizers.serialize(made))
        assert isinstance(again, type(made))
        assert again.get_config() == made.get_config()
    assert quantizers.get(torch.tanh) is torch.tanh
    for wrong in (42, "unknown"):
        with pytest.raises(ValueError):  # noqa: PT011  (one class of error, two messages)
            quantizers.get(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="invalid DoReFa"):
        larq.DoReFa(2, "wrong")
    changed = larq.DoReFa(2)
    changed.mode = "wrong"
    with pytest.raises(ValueError, match="invalid DoReFa"):
        changed(torch.zeros(1))
    assert (larq.DoReFaQuantizer, larq.NoOpQuantizer) == (larq.DoReFa, larq.NoOp)


def test_scopes() -> None:
    layer = larq.QuantDense(4, 4, kernel_quantizer="ste_sign", kernel_constraint="weight_clip")
    latent = layer.state_dict()["kernel"].clone()
    with larq.quantized_scope(True):
        assert larq.should_quantize()
        assert torch.equal(layer.state_dict()["kernel"], binary_sign(latent))
        with larq.quantized_scope(False):
            assert torch.equal(layer.weights_of(), latent)
    assert not larq.should_quantize()
    assert torch.equal(layer.state_dict()["kernel"], latent)
    with larq.metrics_scope(["flip_ratio"]):
        watched = larq.QuantDense(4, 4, kernel_quantizer="ste_sign", kernel_constraint="weight_clip")
        assert larq.get_training_metrics() == {"flip_ratio"}
    assert larq.get_training_metrics() == set()
    metric = watched.quantizer_of("kernel").metrics[0]  # type: ignore[union-attr]
    assert metric.name == "flip_ratio/ste_sign"
    watched(torch.randn(1, 4))
    watched.kernel.data.neg_()
    watched(torch.randn(1, 4))
    assert metric.result() == 1.0
    with pytest.raises(ValueError, match="flip_ratio"):
        larq.SteSign(metrics=["flips"])


def test_weight_clip_after_every_step() -> None:
    layer = larq.QuantDense(2, 2, kernel_quantizer="ste_sign", kernel_constraint=larq.WeightClip(0.5))
    optimizer = torch.optim.SGD(layer.parameters(), lr=100.0)
    handle = larq.constrain(layer, optimizer)
    layer(torch.randn(3, 2)).sum().backward()
    optimizer.step()
    assert float(layer.kernel.detach().abs().max()) <= 0.5
    handle.remove()
    with pytest.raises(ValueError, match="not the class"):
        larq.QuantDense(2, 2, kernel_constraint=larq.WeightClip)  # type: ignore[arg-type]


def test_case_optimizer() -> None:
    model = nn.Sequential(larq.QuantDense(3, 3, kernel_quantizer=larq.NoOp(1)), nn.Linear(3, 2))
    model[0].kernel.data = binary_sign(model[0].kernel.data)
    optimizer = larq.CaseOptimizer(
        model.parameters(),
        (larq.Bop.is_binary_variable, lambda p: larq.Bop(p, threshold=0.0, gamma=1.0)),
        default_optimizer=lambda p: torch.optim.Adam(p, lr=0.1),
    )
    before = model[1].weight.detach().clone()
    model(torch.randn(5, 3)).pow(2).sum().backward()
    optimizer.step()
    assert set(model[0].kernel.flatten().tolist()) <= {-1.0, 1.0}
    assert not torch.equal(before, model[1].weight)
    again = larq.CaseOptimizer(
        model.parameters(), (larq.Bop.is_binary_variable, larq.Bop), default_optimizer=torch.optim.Adam
    )
    again.load_state_dict(optimizer.state_dict())
    with pytest.raises(ValueError, match="claims no parameter"):
        larq.CaseOptimizer(model[1].parameters(), (larq.Bop.is_binary_variable, larq.Bop))
    with pytest.raises(ValueError, match="claimed by cases"):
        larq.CaseOptimizer(model.parameters(), (lambda _: True, larq.Bop), (lambda _: True, larq.Bop))
    with pytest.raises(TypeError):
        larq.CaseOptimizer(model.parameters(), larq.Bop)  # type: ignore[arg-type]


def test_hyperparameter_scheduler() -> None:
    optimizer = larq.Bop([nn.Parameter(torch.ones(2))])
    scheduler = larq.HyperparameterScheduler(lambda t: 0.1 / (t + 1), "gamma", optimizer, "step")
    for wanted in (0.1, 0.05):
        scheduler.step()
        scheduler.epoch()
        assert optimizer.param_groups[0]["gamma"] == pytest.approx(wanted)
    with pytest.raises(ValueError, match="has no 'momentum'"):
        larq.HyperparameterScheduler(lambda t: 0.1, "momentum", optimizer)


# Summary


def snapshot_model() -> nn.Sequential:
    common = {"kernel_constraint": "weight_clip"}
    return nn.Sequential(
        larq.QuantConv2D(1, 32, 3, kernel_quantizer="ste_sign", padding="same", **common),  # type: ignore[arg-type]
        nn.MaxPool2d(2),
        larq.QuantDepthwiseConv2D(
            32, 3, strides=3, padding="same", input_quantizer=larq.SteTern(), depthwise_quantizer=larq.SteTern(),
            pad_values=1.0, use_bias=False,
        ),
        nn.BatchNorm2d(32),
        larq.QuantSeparableConv2D(
            32, 32, 3, input_quantizer="ste_sign", depthwise_quantizer="ste_sign", pointwise_quantizer="ste_sign",
            padding="same", depthwise_constraint="weight_clip", pointwise_constraint="weight_clip",
        ),
        nn.Flatten(),
        nn.Linear(3872, 10),
    )  # fmt: skip


def test_summary_of_larqs_snapshot() -> None:
    """The layers of Larq's own snapshot test, whose figures the specification lists."""
    lines: list[str] = []
    found = summary(snapshot_model(), (1, 64, 64), print_fn=lines.append)
    rows = found["layers"]
    conv, depthwise, separable, dense = rows[0], rows[2], rows[4], rows[6]
    assert conv["parameters_by_bits"] == {1: 288, 32: 32}
    assert conv["macs_by_bits"] == {32: 1_179_648}
    assert round(conv["kilobytes"], 2) == 0.16
    assert (depthwise["parameters_by_bits"], depthwise["macs_by_bits"]) == ({2: 288}, {2: 34_848})
    assert round(depthwise["kilobytes"], 2) == 0.07
    assert (separable["parameters_by_bits"], separable["macs_by_bits"]) == ({1: 1312, 32: 32}, {1: 158_752})
    assert round(separable["kilobytes"], 2) == 0.29
    assert (dense["parameters_by_bits"], dense["macs_by_bits"]) == ({32: 38_730}, {32: 38_720})
    assert round(dense["kilobytes"], 2) == 151.29
    assert f"{found['ratio_binarized']:.4f}" == "0.1124"
    assert f"{found['ratio_ternarized']:.4f}" == "0.0247"
    text = lines[0]
    for part in ("152.05 KiB", "38.21 KiB", "159.16 KiB", "40.7 k", "1.41 M"):
        assert part in text
    with pytest.raises(ValueError, match="input_shape"):
        summary(nn.Linear(2, 2))


def test_summary_of_grouped_convolutions() -> None:
    common: dict[str, Any] = {
        "padding": "same", "use_bias": False, "input_quantizer": "ste_sign", "kernel_quantizer": "ste_sign",
        "kernel_constraint": "weight_clip",
    }  # fmt: skip
    first = summary(nn.Sequential(larq.QuantConv2D(24, 24, 3, groups=12, **common)), (24, 8, 8), None)
    assert (first["parameters"], first["macs_by_bits"]) == (432, {1: 27_648})
    second = summary(nn.Sequential(larq.QuantConv2D(24, 24, 5, groups=3, dilation_rate=2, **common)), (24, 8, 8), None)
    assert (second["parameters"], second["macs_by_bits"]) == (4800, {1: 307_200})


def test_summary_of_binarynet() -> None:
    """Figures of real Larq for BinaryNet on CIFAR-10 (128-128-256-256-512-512, dense 1024-1024-10)."""
    quantized: dict[str, Any] = {"kernel_quantizer": "ste_sign", "kernel_constraint": "weight_clip", "use_bias": False}
    layers: list[nn.Module] = []
    previous = 3
    for index, filters in enumerate((128, 128, 256, 256, 512, 512)):
        layers.append(
            larq.QuantConv2D(
                previous, filters, 3, padding="same" if index else "valid",
                input_quantizer="ste_sign" if index else None, **quantized,
            )
        )  # fmt: skip
        layers += [nn.MaxPool2d(2)] if index % 2 else []
        layers.append(nn.BatchNorm2d(filters, affine=False))
        previous = filters
    layers.append(nn.Flatten())
    size = previous * 9  # 30, 15, 7, 3 pixels a side
    for units in (1024, 1024, 10):
        layers += [larq.QuantDense(size, units, input_quantizer="ste_sign", **quantized), nn.BatchNorm1d(units)]
        size = units
    found = summary(nn.Sequential(*layers), (3, 32, 32), None)
    assert found["parameters_by_bits"][32] == 7_700
    assert found["parameters_by_bits"][1] == 10_352_000
    assert found["macs_by_bits"] == {1: 510_961_664, 32: 3_110_400}
    assert f"{found['ratio_binarized']:.4f}" == "0.9939"
    assert f"{found['compression_ratio']:.5f}" == "0.03197"


def test_names_are_exported() -> None:
    import nichenas.domains.binary as binary

    for name in larq.__all__:
        assert getattr(binary, name) is getattr(larq, name)
    assert Path(binary.__file__).name == "__init__.py"
