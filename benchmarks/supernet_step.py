"""One step of the DARTS supernet (C = 16, 8 cells, 32 x 32): this project's against the one the paper describes.

The other side computes every operation on every edge and sums, in torch's usual memory format, without kernels of
our own. Both have the same weights and the same batch; first they are compared in float64, outputs, costs and
gradients, then timed in float32: forward and backward of the loss, by weights and by architecture parameters.

    python benchmarks/supernet_step.py [--batch N] [--repeats N] [--threads N] [--output FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from nichenas.core.execution.allocator import keep_freed_memory
from nichenas.core.execution.provenance import device_name
from nichenas.core.gradient.relaxations import Mix
from nichenas.core.gradient.relaxations import Softmax
from nichenas.core.gradient.steps import Batch
from nichenas.core.gradient.steps import copies
from nichenas.core.gradient.steps import weight_gradients
from nichenas.domains.binary.native import functions
from nichenas.domains.binary.native import kernels
from nichenas.domains.binary.operations import FAMILIES
from nichenas.domains.binary.supernet import CellSupernet

CHANNELS, CELLS, CLASSES, SIZE = 16, 8, 10, 32


def _never(_: torch.Tensor) -> bool:
    return False


@contextmanager
def plain_form(net: CellSupernet, plain: bool) -> Iterator[None]:
    """Makes the supernet compute as the paper writes it, without kernels; or the fast way."""
    net.plain = plain
    with mock.patch.object(functions, "usable", _never) if plain else mock.MagicMock():
        yield


def make(space: str, batch: int, dtype: torch.dtype) -> tuple[CellSupernet, Batch, Mix]:
    """Returns a supernet, a batch and a mixture."""
    torch.manual_seed(0)
    net = CellSupernet(FAMILIES[space](affine=False, groups=4), CHANNELS, CELLS, CLASSES).to(dtype)
    data = torch.randn(batch, 3, SIZE, SIZE, dtype=dtype), torch.randint(0, CLASSES, (batch,))
    alphas = {g.name: 1e-3 * torch.randn(len(g.edges), len(g.operations), dtype=dtype) for g in net.groups}
    return net, data, Softmax().mix(alphas, 1.0, torch.Generator())


def largest_difference(space: str) -> dict[str, float]:
    """Returns the largest difference of the two forms in float64: outputs, costs, gradients of weights."""
    net, data, mix = make(space, 4, torch.float64)
    found: list[Any] = []
    for plain in (True, False):
        with plain_form(net, plain):
            result = weight_gradients(net, data, mix, costs=True)
        found.append((result, [p.grad.clone() for p in net.parameters() if p.grad is not None]))
    (one, gradients), (other, fast) = found
    return {
        "outputs": float((one.outputs - other.outputs).abs().max()),
        "costs": max(float((one.costs[name] - other.costs[name]).abs().max()) for name in one.costs),
        "gradients": max(float((a - b).abs().max()) for a, b in zip(gradients, fast, strict=True)),
    }


def timed(space: str, batch: int, repeats: int) -> dict[str, float]:
    """Returns the median seconds of a step of both forms, measured in turn."""
    net, data, mix = make(space, batch, torch.float32)
    times: dict[bool, list[float]] = {True: [], False: []}
    for repeat in range(repeats + 1):
        for plain in (True, False):
            with plain_form(net, plain):
                began = time.perf_counter()
                weight_gradients(net, data, mix, costs=True)
                if repeat:  # the first warms up
                    times[plain].append(time.perf_counter() - began)
    plain_s, fast_s = statistics.median(times[True]), statistics.median(times[False])
    return {"plain_s": plain_s, "fast_s": fast_s, "ratio": plain_s / fast_s}


def kept_megabytes(space: str, batch: int) -> dict[str, float]:
    """Returns what is kept for the backward pass: plain, fast, and fast with cells computed again."""
    result = {}
    for name, plain, activation_checkpointing in (
        ("plain", True, False),
        ("fast", False, False),
        ("activation_checkpointing", False, True),
    ):
        net, (images, labels), mix = make(space, batch, torch.float32)
        net.activation_checkpointing = activation_checkpointing
        storages: dict[int, int] = {}

        def keep(tensor: torch.Tensor, storages: dict[int, int] = storages) -> torch.Tensor:
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
            return tensor

        def count_output(_: Any, __: Any, output: torch.Tensor, storages: dict[int, int] = storages) -> None:
            # What a checkpoint holds on to are the outputs of cells.
            storages[output.untyped_storage().data_ptr()] = output.untyped_storage().nbytes()

        for cell in net.cells:
            cell.register_forward_hook(count_output)
        with plain_form(net, plain), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            outputs = net(images, copies(net, mix, differentiable=True))
            loss = net.sample_losses(outputs, labels).mean()
        del outputs, loss, net  # two graphs at once may be more than the machine has
        result[name] = sum(storages.values()) / 2**20
    return result


def sign_bytes(values: int = 1 << 20) -> dict[str, float]:
    """Returns the bytes a value that the sign keeps for its backward pass, and those of a mask of floats."""
    storages: list[int] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storages.append(tensor.nbytes)
        return tensor

    x = torch.randn(1, values // 1024, 32, 32).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        functions.clipped_sign(x, 1.0, False)
    return {"sign": sum(storages) / values, "float mask": 4.0}


def main() -> None:
    """Prints the ratios and writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--spaces", nargs="+", default=["darts-real", "bats"], choices=sorted(FAMILIES))
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(arguments.threads)
    result: dict[str, Any] = {
        "device": device_name(torch.device("cpu")),
        "threads": arguments.threads,
        "batch": arguments.batch,
        "kernels": kernels() is not None,
    }
    for space in arguments.spaces:
        row: dict[str, Any] = {"difference_float64": largest_difference(space)}
        row.update(timed(space, arguments.batch, arguments.repeats))
        row["kept_mb"] = kept_megabytes(space, arguments.batch)
        result[space] = row
        differences = ", ".join(f"{name} {value:.1e}" for name, value in row["difference_float64"].items())
        print(f"{space}: plain {row['plain_s']:.2f} s, fast {row['fast_s']:.2f} s, {row['ratio']:.2f}x ({differences})")
        kept = ", ".join(f"{name} {value:.0f} MB" for name, value in row["kept_mb"].items())
        print(f"{space}: kept for the backward pass: {kept}")
    result["sign_bytes_a_value"] = sign_bytes()
    print("sign keeps {sign:g} byte a value, a mask of floats {float mask:g}".format(**result["sign_bytes_a_value"]))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
