"""Convolutions on bits against the float simulation."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor
from torch import nn

from nichenas.core.cli import main
from nichenas.core.commands.best_network import best_network
from nichenas.core.costs.macs import count_costs
from nichenas.core.errors import DataError
from nichenas.domains.binary import BinaryDomain
from nichenas.domains.binary import PackedKernel
from nichenas.domains.binary import binary_conv2d
from nichenas.domains.binary import binary_linear
from nichenas.domains.binary import larq
from nichenas.domains.binary import load_packed
from nichenas.domains.binary import pack
from nichenas.domains.binary import packed_kernel
from nichenas.domains.binary import summary
from nichenas.domains.binary.convolution import BinaryConv2d
from nichenas.domains.binary.convolution import binarize
from nichenas.domains.binary.genotypes import PUBLISHED
from nichenas.domains.binary.model import CellNetwork
from nichenas.domains.binary.native import kernels
from nichenas.domains.binary.native.functions import binary_sign
from nichenas.domains.binary.operations import Bats
from nichenas.domains.binary.packed_file import checksum
from nichenas.domains.binary.packed_file import packed_contents
from nichenas.domains.binary.packed_layers import PackedQuantDense


def simulated(x: Tensor, w: Tensor, s: int, p: tuple[int, int], d: int, groups: int, value: int) -> Tensor:
    signs = F.pad(binary_sign(x), (p[1], p[1], p[0], p[0]), value=float(value))
    return F.conv2d(signs, binary_sign(w), None, s, 0, d, groups)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Tensor, Tensor, int, tuple[int, int], int, int, int]:
    groups = draw(st.sampled_from((1, 1, 2, 3, 4, 9)))
    inputs = groups * draw(st.sampled_from((1, 2, 3, 5, 16, 31, 57, 58, 64, 65, 130)))
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
    with mock.patch.object(packed_kernel, "kernels", return_value=None):
        assert torch.equal(binary_conv2d(x, w, stride, padding, dilation, groups, value), wanted)


@pytest.mark.parametrize("shape", [(7,), (5, 100), (2, 3, 129)])
def test_packed_linear_is_exact(shape: tuple[int, ...]) -> None:
    x, w = torch.randn(*shape), torch.randn(11, shape[-1])
    assert torch.equal(binary_linear(x, w), F.linear(binary_sign(x), binary_sign(w)))


def test_weights_take_a_bit() -> None:
    w = torch.randn(64, 128, 3, 3)
    kernel = PackedKernel(w)
    assert kernel.nbytes * 32 == w.numel() * 4
    assert PackedKernel(torch.randn(5, 3, 3, 3)).nbytes == 17  # 135 signs, in whole bytes alone
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
    with pytest.raises(ValueError, match="nothing can be packed: no layer has a binary input and a binary kernel"):
        pack(network)


def test_kernels_are_built_here() -> None:
    """Not a promise, but if they are not, the tests above have tested the fallback alone."""
    if kernels() is None:
        pytest.skip("no compiler: the plain torch forms are tested")
    assert kernels().packed_conv2d is not None


SIGNS = {"input_quantizer": "ste_sign", "kernel_quantizer": "approx_sign", "kernel_constraint": "weight_clip"}


@pytest.mark.parametrize("padding", ["valid", "same", 2, (1, 0)])
@pytest.mark.parametrize(("strides", "dilation"), [(1, 1), (2, 1), (3, 1), (1, 2), ((2, 1), 1)])
@pytest.mark.parametrize("pad_values", [0.0, 1.0, -1.0])
def test_larqs_convolutions_on_bits(padding: Any, strides: Any, dilation: int, pad_values: float) -> None:
    torch.manual_seed(0)
    for size, kernel in ((9, 3), (8, 2), (7, (3, 2))):
        layer = larq.QuantConv2D(
            4, 6, kernel, strides, padding, dilation, groups=2, pad_values=pad_values, activation=torch.relu, **SIGNS
        )
        assert layer.bias is not None
        layer.bias.data.normal_()
        x = torch.randn(3, 4, size, size)
        torch.testing.assert_close(pack(layer)(x), layer(x).detach())


def larq_network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(
        larq.QuantConv2D(3, 8, 3, padding="same", kernel_quantizer="ste_sign"),  # a real input
        nn.BatchNorm2d(8),
        larq.QuantConv2D(8, 8, 3, padding="same", pad_values=1.0, bias=False, **SIGNS),
        nn.Flatten(),
        larq.QuantDense(8 * 36, 5, **SIGNS),
    ).eval()


def test_what_can_be_packed_is_and_the_rest_is_left() -> None:
    model, x = larq_network(), torch.randn(4, 3, 6, 6)
    made = pack(model)
    assert [type(layer).__name__ for layer in made] == [  # type: ignore[attr-defined]
        "QuantConv2D",
        "BatchNorm2d",
        "PackedQuantConv2D",
        "Flatten",
        "PackedQuantDense",
    ]
    torch.testing.assert_close(made(x), model(x).detach())
    assert isinstance(model[2], larq.QuantConv2D)  # type: ignore[index]
    for scaled in (larq.MagnitudeAwareSign(), "ste_tern"):
        with pytest.raises(ValueError, match="nothing can be packed"):
            pack(larq.QuantDense(8, 4, input_quantizer="ste_sign", kernel_quantizer=scaled))
    with pytest.raises(ValueError, match="nothing can be packed"):
        pack(larq.QuantConv2D(4, 4, 3, padding=1, pad_values=0.5, **SIGNS))
    before, after = (summary(net, (3, 6, 6), print_fn=None) for net in (model, made))
    for name in ("parameters_by_bits", "macs_by_bits"):
        assert after[name] == before[name]
    costs = [count_costs(net, (3, 6, 6)) for net in (model, made)]
    assert (costs[0].macs, costs[0].binary_macs) == (costs[1].macs, costs[1].binary_macs)


def test_packed_weights_are_stored_and_loaded_as_any(tmp_path: Path) -> None:
    model, x = larq_network(), torch.randn(4, 3, 6, 6)
    made, expected = pack(model), model(x).detach()
    torch.save(made.state_dict(), tmp_path / "packed.pt")
    torch.manual_seed(7)
    fresh = larq_network()
    for parameter in fresh.parameters():
        parameter.data.normal_()
    other = pack(fresh)
    other(x)  # what is made of the bits is made again after loading
    assert not torch.allclose(other(x), expected)
    other.load_state_dict(torch.load(tmp_path / "packed.pt", weights_only=True))
    torch.testing.assert_close(other(x), expected)
    torch.testing.assert_close(copy.deepcopy(other)(x), expected)
    with pytest.raises(RuntimeError, match=r"size mismatch for 4\.kernel\.bits"):
        pack(larq_network()).load_state_dict({**made.state_dict(), "4.kernel.bits": torch.zeros(3, dtype=torch.uint8)})


def test_an_exported_file_runs_without_the_code_that_trained_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, file = tmp_path / "run", tmp_path / "out" / "network.pt"
    stages = "[{epochs: 1, weights: false}, {epochs: 1, weight_decay: 0.0}]"
    small = ["domain.limit=200", "domain.search_channels=8", "domain.channels=8", "domain.nodes=2", "domain.cells=3"]
    short = ["search.strategy=random", "search.trials=1", f"domain.training.stages={stages}", "domain.search_cells=3"]
    short += [f"domain.evaluation.stages={stages}", "retrain.baselines=false", "domain.training.real_twin=false"]
    assert main(["search", "binary/digits", *small, *short, "--out", str(run), "--quiet"]) == 0
    assert main(["export", str(run), "--packed", str(file), "--onnx", str(file)]) == 2
    assert main(["export", str(run), "--packed", str(file)]) == 0
    capsys.readouterr()
    found = load_packed(file)
    domain, architecture, weights = best_network(run)
    assert isinstance(domain, BinaryDomain)
    test = domain.task.train.pixels[:20].float() / 255
    expected = domain.export(architecture, weights).network
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (domain.task.mean, domain.task.std))
    with torch.no_grad():
        torch.testing.assert_close(found(test), expected((test - mean) / std), rtol=1e-4, atol=1e-4)
    assert found.classes == [str(number) for number in range(10)]
    assert file.stat().st_size < (run / "best" / "weights.pt").stat().st_size
    torch.save(test, tmp_path / "images.pt")
    script = (
        "import sys, torch; from nichenas.domains.binary import load_packed; "
        f"y = load_packed({str(file)!r})(torch.load({str(tmp_path / 'images.pt')!r})); "
        f"torch.save(y, {str(tmp_path / 'outputs.pt')!r}); "
        "print([m for m in sys.modules if m.endswith(('binary.training', 'binary.domain', 'core.domain', 'pydantic'))])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    torch.testing.assert_close(torch.load(tmp_path / "outputs.pt"), found(test))


def test_files_that_are_no_packed_networks(tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("no")
    torch.save({"format": "another"}, tmp_path / "other.pt")
    torch.save({"format": "nichenas packed network", "version": 9}, tmp_path / "newer.pt")
    torch.save({"format": "nichenas packed network", "version": 1, "task": {}}, tmp_path / "damaged.pt")
    for name, reason in (("other", "it is no packed network"), ("newer", "its version is 9, not 1"), ("text", "")):
        with pytest.raises(DataError, match=f"{name}.pt: cannot be read as a packed network.*{reason}"):
            load_packed(tmp_path / f"{name}.pt")
    for name in ("damaged", "missing"):
        with pytest.raises(DataError, match=f"{name}.pt: cannot be read as a packed network"):
            load_packed(tmp_path / f"{name}.pt")


class Thrice(larq.QuantDense):
    """Computes something else than its class."""

    def forward(self, x: Tensor) -> Tensor:
        return 3 * super().forward(x)


class Halves(larq.SteSign):
    """Has other values than signs."""

    def quantize(self, x: Tensor) -> Tensor:
        return super().quantize(x) / 2


def test_what_computes_something_else_is_left() -> None:
    hooked = larq.QuantDense(8, 4, **SIGNS)
    hooked.register_forward_hook(lambda _, __, y: 2 * y)
    for layer in (
        Thrice(8, 4, **SIGNS),
        hooked,
        larq.QuantDense(8, 4, input_quantizer=Halves(), kernel_quantizer="ste_sign"),
        BinaryConv2d(4, 4, 2, padding="same"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ValueError, match="nothing can be packed"):
            pack(layer)
    same = BinaryConv2d(4, 4, 3, padding="same", dilation=2)  # type: ignore[arg-type]
    x = torch.randn(2, 4, 7, 7)
    torch.testing.assert_close(pack(same)(x), same(x).detach(), rtol=1e-4, atol=1e-4)


def test_a_layer_in_several_places_is_packed_once() -> None:
    layer = larq.QuantDense(8, 8, **SIGNS)
    made = pack(nn.ModuleDict({"one": layer, "more": nn.Sequential(layer, nn.ReLU(), layer)}))
    found = [module for _, module in made.named_modules() if isinstance(module, PackedQuantDense)]
    assert len(found) == 1
    assert made["one"] is made["more"][0] is made["more"][2]  # type: ignore[index]


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float64])
def test_packed_networks_in_other_types(kind: torch.dtype) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        BinaryConv2d(8, 8, 3, padding=1, activation=nn.PReLU(8)),
        nn.BatchNorm2d(8),
        larq.QuantConv2D(8, 8, 3, padding=1, **SIGNS),
        nn.Flatten(),
        larq.QuantDense(8 * 36, 5, **SIGNS),
    ).eval()
    x = torch.randn(2, 8, 6, 6, dtype=kind)
    y = pack(model).to(kind)(x)
    assert y.dtype == kind
    torch.testing.assert_close(y, model.to(kind)(x).detach(), rtol=0.02, atol=0.02)


def test_kernels_follow_their_bits() -> None:
    """Also where these are changed in place, as averages of weights and broadcasts do."""
    one, other = (PackedKernel(torch.randn(4, 3, 3, 3)) for _ in range(2))
    x = torch.randn(1, 3, 6, 6)
    before = binary_conv2d(x, one)
    one.bits.copy_(other.bits)
    assert not torch.equal(binary_conv2d(x, one), before)
    assert torch.equal(binary_conv2d(x, one), binary_conv2d(x, other))


def test_packed_networks_are_compiled_and_exported() -> None:
    model, x = pack(larq_network()), torch.randn(4, 3, 6, 6)
    expected = model(x)
    torch.testing.assert_close(torch.compile(model, backend="aot_eager", fullgraph=True)(x), expected)
    torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), expected)
    assert count_costs(pack(nn.Sequential(larq.QuantDense(8, 4, **SIGNS))), (8,)).binary_macs == 32


def test_damaged_packed_files(tmp_path: Path) -> None:
    network = CellNetwork(Bats(groups=4), PUBLISHED["DARTS_V2"], 8, 4, 10)
    built = {"family": "bats", "groups": 4, "scale": "learned", "channels": 8, "cells": 4, "stem": "cifar"}
    task: dict[str, Any] = {"classes": list("abcdefghij"), "image": [3, 8, 8], "mean": [0.5] * 3, "std": [0.2] * 3}
    switches = {"activations": True, "weights": True}
    contents = packed_contents(network, PUBLISHED["DARTS_V2"], {**built, **switches}, task)
    torch.save(contents, tmp_path / "good.pt")
    loaded = load_packed(tmp_path / "good.pt")
    for images in (torch.zeros(2, 1, 8, 8), torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.zeros(3, 8, 8)):
        with pytest.raises(ValueError, match=r"images are .*wanted: \(batch, 3, height, width\) of real numbers"):
            loaded(images)
    state = {**contents["state"], "classifier.bias": torch.full((10,), torch.nan)}
    (name, *_) = (name for name, part in contents["state"].items() if part.dtype == torch.uint8)
    bits = contents["state"][name].clone()
    bits[0] ^= 1
    flipped = {**contents["state"], name: bits}
    older = {key: value for key, value in contents.items() if key != "checksum"}
    torch.save(older, tmp_path / "older.pt")
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(load_packed(tmp_path / "older.pt")(images), loaded(images))
    for changes, reason in (
        ({"task": {**task, "mean": [0.5]}}, "normalisation"),
        ({"task": {**task, "std": [0.2, 0.0, 0.2]}}, "normalisation"),
        ({"task": {**task, "classes": "abcdefghij"}}, "classes"),
        ({"task": {**task, "image": [3]}}, ""),
        ({"state": state, "checksum": checksum(state)}, "not finite"),
        ({"state": flipped}, "its weights are damaged"),
    ):
        torch.save({**contents, **changes}, tmp_path / "bad.pt")
        with pytest.raises(DataError, match=f"cannot be read as a packed network .*{reason}"):
            load_packed(tmp_path / "bad.pt")
