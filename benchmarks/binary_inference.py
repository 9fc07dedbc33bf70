"""Packed binary convolutions against torch's float convolutions, one thread, shapes of ResNet-18.

Both sides are given float activations in channels-last order; packing them is part of the packed side's time.

    python benchmarks/binary_inference.py [--repeats N] [--output FILE]
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from nichenas.core.execution.provenance import device_name
from nichenas.domains.binary.native import kernels
from nichenas.domains.binary.native.functions import binary_sign
from nichenas.domains.binary.packed_kernel import PackedKernel
from nichenas.domains.binary.packed_kernel import binary_conv2d

# channels in, channels out, pixels a side, kernel, stride: the convolutions of ResNet-18 but its first.
SHAPES = (
    (64, 64, 56, 3, 1),
    (64, 128, 56, 3, 2),
    (64, 128, 56, 1, 2),
    (128, 128, 28, 3, 1),
    (128, 256, 28, 3, 2),
    (128, 256, 28, 1, 2),
    (256, 256, 14, 3, 1),
    (256, 512, 14, 3, 2),
    (256, 512, 14, 1, 2),
    (512, 512, 7, 3, 1),
)


def median_time(work: Callable[[], Tensor], repeats: int) -> float:
    """Returns the median seconds of a call."""
    for _ in range(3):
        work()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def main() -> None:
    """Prints a table and writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    ratios: list[float] = []
    with torch.inference_mode():
        for inputs, outputs, size, kernel, stride in SHAPES:
            generator = torch.Generator().manual_seed(0)
            x = torch.randn(1, inputs, size, size, generator=generator).contiguous(memory_format=torch.channels_last)
            weight = torch.randn(outputs, inputs, kernel, kernel, generator=generator)
            padding = kernel // 2
            packed = PackedKernel(weight)
            signs = binary_sign(weight).contiguous(memory_format=torch.channels_last)
            exact = torch.equal(
                binary_conv2d(x, packed, stride, padding), F.conv2d(binary_sign(x), signs, None, stride, padding)
            )
            real_weight = weight.contiguous(memory_format=torch.channels_last)
            real = median_time(functools.partial(F.conv2d, x, real_weight, None, stride, padding), arguments.repeats)
            bits = median_time(functools.partial(binary_conv2d, x, packed, stride, padding), arguments.repeats)
            times = f"float {real * 1e3:7.3f} ms  packed {bits * 1e3:7.3f} ms  {real / bits:5.1f}x  exact {exact}"
            print(f"{inputs:4d} -> {outputs:4d}, {kernel}x{kernel}, stride {stride}, {size:2d} pixels: {times}")
            ratios.append(real / bits)
            rows.append(
                {
                    "shape": f"{inputs}->{outputs} {kernel}x{kernel}/{stride} at {size}",
                    "float_ms": real * 1e3,
                    "packed_ms": bits * 1e3,
                    "ratio": real / bits,
                    "exact": exact,
                }
            )
    result = {
        "device": device_name(torch.device("cpu")),
        "kernels": kernels() is not None,
        "median_ratio": statistics.median(ratios),
        "rows": rows,
    }
    print(f"median {statistics.median(ratios):.2f}x, from {min(ratios):.2f} to {max(ratios):.2f}")
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
