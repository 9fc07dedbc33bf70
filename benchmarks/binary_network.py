"""Whole binary networks on bits against their float twins, in torch and in onnxruntime.

The twin has the same layers with real inputs and kernels, channels last, in evaluation mode. Packing of what the binary
convolutions read is part of the packed network's time, and so are all of its layers that are not binary. The packed
network's outputs are compared with those of the same binary network computed in floats.

    python benchmarks/binary_network.py [--repeats N] [--threads N ...] [--batches N ...] [--networks NAME ...]
        [--output FILE]
"""

from __future__ import annotations

import argparse
import copy
import functools
import io
import itertools
import json
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch import nn

from nichenas.core.execution.provenance import device_name
from nichenas.domains.binary.convolution import binarize
from nichenas.domains.binary.genotypes import PUBLISHED
from nichenas.domains.binary.larq.layers import QuantConv2D
from nichenas.domains.binary.model import CellNetwork
from nichenas.domains.binary.operations import Bats
from nichenas.domains.binary.packed import pack

SIGNS = {"input_quantizer": "ste_sign", "kernel_quantizer": "ste_sign", "kernel_constraint": "weight_clip"}


class BiRealBlock(nn.Module):
    """A shortcut around every binary convolution (Liu et al. 2018); with ``binary=False`` around a real one."""

    def __init__(self, inputs: int, outputs: int, binary: bool) -> None:
        super().__init__()
        stride = outputs // inputs
        make: Any = QuantConv2D if binary else nn.Conv2d
        signs = {**SIGNS, "pad_values": 1.0} if binary else {}
        self.conv = make(inputs, outputs, 3, stride=stride, padding=1, bias=False, **signs)
        self.norm = nn.BatchNorm2d(outputs)
        down = [nn.AvgPool2d(2), nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
        self.short = nn.Sequential(*down) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Returns the sum of both ways."""
        return self.short(x) + self.norm(self.conv(x))  # type: ignore[no-any-return]


def bi_real_net(binary: bool) -> nn.Module:
    """Returns Bi-Real Net of 18 layers, for ImageNet."""
    widths = [64, 64, 128, 256, 512]
    blocks = [
        BiRealBlock(before if not place else width, width, binary)
        for before, width in itertools.pairwise(widths)
        for place in range(4)
    ]
    stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.MaxPool2d(3, 2, 1)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000))


def cells(channels: int, depth: int, groups: int) -> Callable[[bool], nn.Module]:
    """Returns what makes a network of BATS's operations on DARTS_V2's wiring, for CIFAR-10."""

    def make(binary: bool) -> nn.Module:
        network = CellNetwork(Bats(groups=groups), PUBLISHED["DARTS_V2"], channels, depth, 10)
        binarize(network, binary, float(binary))
        return network

    return make


NETWORKS: dict[str, tuple[Callable[[bool], nn.Module], int]] = {
    "BATS C36 L20 g12": (cells(36, 20, 12), 32),
    "BATS C48 L8 g4": (cells(48, 8, 4), 32),
    "BATS C64 L8 g1": (cells(64, 8, 1), 32),
    "Bi-Real Net 18": (bi_real_net, 224),
}


def trained(network: nn.Module, size: int) -> nn.Module:
    """Returns the network with normalisations as training leaves them, in evaluation mode."""
    torch.manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.3)
            nn.init.normal_(module.bias, 0.0, 0.3)
            module.momentum = None
    network.train()
    with torch.no_grad():
        network(torch.randn(8, 3, size, size))
    return network.eval()


def session(network: nn.Module, x: Tensor, threads: int) -> Callable[[], Any]:
    """Returns a call of the network in onnxruntime."""
    import onnxruntime

    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (x.contiguous(),), buffer, dynamo=False)  # type: ignore[arg-type]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    loaded = onnxruntime.InferenceSession(buffer.getvalue(), options, providers=["CPUExecutionProvider"])
    feed = {loaded.get_inputs()[0].name: x.contiguous().numpy()}
    return lambda: loaded.run(None, feed)


def timed(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Returns the median seconds of every call, measured in turn."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(repeats + 2):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            if repeat >= 2:
                times[name].append(time.perf_counter() - began)
    return {name: statistics.median(found) for name, found in times.items()}


def state_bytes(network: nn.Module) -> int:
    """Returns the bytes of parameters and buffers."""
    return sum(part.numel() * part.element_size() for part in network.state_dict().values())


def main() -> int:
    """Prints a table and writes JSON; returns 1 where outputs differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    try:
        import onnxruntime  # noqa: F401
    except ImportError:
        parser.error("onnxruntime is not installed; pip install 'nichenas[onnx]'")
    rows = []
    print(
        f"{'network':<20}{'batch':>6}{'threads':>8}{'packed':>10}{'torch':>10}{'onnx':>10}  ratios        kB    exact"
    )
    for name in arguments.networks:
        make, size = NETWORKS[name]
        torch.manual_seed(0)
        binary, real = trained(make(True), size), trained(make(False), size)
        last = copy.deepcopy(real).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        packed = pack(binary)
        for threads in arguments.threads:
            torch.set_num_threads(threads)
            for batch in arguments.batches:
                x = torch.randn(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
                with torch.inference_mode():
                    exact = bool(torch.equal(packed(x), binary(x)))
                    calls: dict[str, Callable[[], Any]] = {
                        "packed": functools.partial(packed, x),
                        "torch": functools.partial(last, x),
                        "onnx": session(real, x, threads),
                    }
                    found = timed(calls, arguments.repeats)
                row = {
                    "network": name, "batch": batch, "threads": threads, **found, "exact": exact,
                    "packed_bytes": state_bytes(packed), "float_bytes": state_bytes(real),
                }  # fmt: skip
                rows.append(row)
                ms = {one: 1000 * seconds for one, seconds in found.items()}
                ratios = f"{ms['torch'] / ms['packed']:5.2f} {ms['onnx'] / ms['packed']:5.2f}"
                print(
                    f"{name:<20}{batch:>6}{threads:>8}{ms['packed']:>8.2f}ms{ms['torch']:>8.2f}ms{ms['onnx']:>8.2f}ms"
                    f"  {ratios}  {row['packed_bytes'] / 1000:>7.0f}  {'yes' if exact else 'NO'}",
                    flush=True,
                )
    wrong = not all(row["exact"] for row in rows)
    if arguments.output is not None:
        held = {"device": device_name(torch.device("cpu")), "rows": rows}
        arguments.output.write_text(json.dumps(held, indent=1), encoding="utf-8")
    return int(wrong)


if __name__ == "__main__":
    raise SystemExit(main())
