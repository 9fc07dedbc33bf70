"""Larq's model summary: bits, memory and multiply-adds of every layer, and totals.

Rules are Larq's (``larq.models.summary``): a batch normalisation counts two numbers a channel, since it fuses with
its neighbour; a multiply-add has the precision of its wider side; layers of other kinds print ``?`` and count
nothing but their weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import Any

import torch
from torch import Tensor
from torch import nn

from nichenas.domains.binary.convolution import BinaryConv2d
from nichenas.domains.binary.larq.base import QuantizedLayer
from nichenas.domains.binary.larq.layers import QuantConv1D
from nichenas.domains.binary.larq.layers import QuantConv2D
from nichenas.domains.binary.larq.layers import QuantDense
from nichenas.domains.binary.larq.layers import QuantDepthwiseConv2D
from nichenas.domains.binary.larq.layers import QuantSeparableConv1D
from nichenas.domains.binary.larq.layers import QuantSeparableConv2D
from nichenas.domains.binary.larq.quantizers import precision_of
from nichenas.domains.binary.packed_layers import PACKED
from nichenas.domains.binary.packed_layers import macs_of

_COUNTED = (
    QuantConv1D, QuantConv2D, QuantDense, QuantDepthwiseConv2D, QuantSeparableConv1D, QuantSeparableConv2D,
    nn.Conv1d, nn.Conv2d, nn.Linear,
)  # fmt: skip
_FREE = (nn.Flatten, nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass
class LayerProfile:
    """One row.

    Attributes:
        input_precision: bits of the quantized input, none where it is not quantized.
        output_shape: the batch as -1.
        weights: number by bits.
        macs: number by bits; none where the kind of layer is not counted.
        trainable: of all numbers.
    """

    name: str
    input_precision: int | None
    output_shape: tuple[int, ...]
    weights: Counter[int] = field(default_factory=Counter)
    macs: Counter[int] | None = None
    trainable: int = 0

    @property
    def parameters(self) -> int:
        """All numbers."""
        return sum(self.weights.values())

    @property
    def memory(self) -> int:
        """Bits."""
        return sum(bits * count for bits, count in self.weights.items())


def _profile(name: str, module: nn.Module, output: Tensor) -> LayerProfile:
    shape = (-1, *output.shape[1:])
    if isinstance(module, _NORMS):
        row = LayerProfile(name, None, shape, macs=Counter())
        row.weights[32] = 2 * module.num_features
        return row
    row = LayerProfile(name, None, shape)
    if isinstance(module, PACKED):
        row.input_precision = 1
        row.weights[1] = macs_of(module.kernel)  # a place has a multiply-add a weight
        row.weights[32] = sum(tensor.numel() for part, tensor in module.state_dict().items() if part != "kernel.bits")
        row.macs = Counter({1: module.count_macs(output, output)[1]})
        return row
    kernels: list[tuple[Tensor, int]] = []
    if isinstance(module, QuantizedLayer):
        if module.input_quantizer is not None:
            row.input_precision = precision_of(module.input_quantizer)
        kernels = [(module.get_parameter(n), precision_of(module.quantizer_of(n))) for n in module.kernel_names]
    elif isinstance(module, BinaryConv2d):
        row.input_precision = 1 if module.binary_input else None
        kernels = [(module.weight, 1 if module.binary_weights == 1 else 32)]
    elif isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Linear)):
        kernels = [(module.weight, 32)]
    known = {id(kernel) for kernel, _ in kernels}
    for kernel, bits in kernels:
        row.weights[bits] += kernel.numel()
    for parameter in module.parameters():
        if id(parameter) not in known:
            row.weights[32] += parameter.numel()
    row.trainable = sum(p.numel() for p in module.parameters() if p.requires_grad)
    if isinstance(module, _COUNTED):
        pixels = output[0, 0].numel() if output.dim() > 2 else 1
        row.macs = Counter()
        for kernel, bits in kernels:
            row.macs[max(row.input_precision or 32, bits)] += kernel.numel() * pixels
    elif isinstance(module, _FREE):
        row.macs = Counter()
    return row


@dataclass
class ModelProfile:
    """The rows of a model and what they add up to."""

    layers: list[LayerProfile]

    def to_dict(self) -> dict[str, Any]:
        """Returns the totals and the rows as JSON; memory in bytes."""
        weights, macs = self._sum("weights"), self._sum("macs")
        total, count = sum(weights.values()), sum(macs.values())
        bits = sum(b * n for b, n in weights.items())
        small = sum(min(b, 8) * n for b, n in weights.items())
        trainable = sum(row.trainable for row in self.layers)
        return {
            "parameters": total,
            "trainable": trainable,
            "non_trainable": total - trainable,
            "parameters_by_bits": dict(sorted(weights.items())),
            "bytes": bits / 8,
            "bytes_8bit_weights": small / 8,
            "bytes_float32": total * 4,
            "compression_ratio": bits / (32 * total) if total else 0.0,
            "macs": count,
            "macs_by_bits": dict(sorted(macs.items())),
            "ratio_binarized": macs[1] / count if count else 0.0,
            "ratio_ternarized": macs[2] / count if count else 0.0,
            "layers": [
                {
                    "name": row.name,
                    "input_precision": row.input_precision,
                    "output_shape": list(row.output_shape),
                    "parameters_by_bits": dict(sorted(row.weights.items())),
                    "kilobytes": row.memory / 8 / 1024,
                    "macs_by_bits": None if row.macs is None else dict(sorted(row.macs.items())),
                }
                for row in self.layers
            ],
        }

    def _sum(self, what: str) -> Counter[int]:
        total: Counter[int] = Counter()
        for row in self.layers:
            total.update(getattr(row, what) or {})
        return total

    def to_text(self, include_macs: bool = True) -> str:
        """Returns the table.

        Args:
            include_macs: whether multiply-adds stand in it.
        """
        totals = self.to_dict()
        weight_bits = sorted(totals["parameters_by_bits"])
        mac_bits = sorted(totals["macs_by_bits"]) if include_macs else []
        head = ["Layer", "Input prec.", "Outputs", *(f"# {b}-bit" for b in weight_bits), "Memory (kB)"]
        head += [f"{b}-bit MACs" for b in mac_bits]
        rows = [head]
        for row in self.layers:
            cells = [row.name, str(row.input_precision or "-"), str(row.output_shape)]
            cells += [_short(row.weights.get(b, 0)) for b in weight_bits]
            cells.append(_two(row.memory / 8 / 1024))
            cells += ["?" if row.macs is None else _short(row.macs.get(b, 0)) for b in mac_bits]
            rows.append(cells)
        cells = ["Total", "", "", *(_short(totals["parameters_by_bits"][b]) for b in weight_bits)]
        rows.append([*cells, _two(totals["bytes"] / 1024), *(_short(totals["macs_by_bits"][b]) for b in mac_bits)])
        widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
        lines = [
            "  ".join(
                cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        ]
        rule = "-" * len(lines[0])
        table = [lines[0], rule, *lines[1:-1], rule, lines[-1], ""]
        facts: list[tuple[str, str]] = [
            ("Total params", _short(totals["parameters"])),
            ("Trainable params", _short(totals["trainable"])),
            ("Non-trainable params", _short(totals["non_trainable"])),
            ("Model size", _memory(totals["bytes"])),
            ("Model size (8-bit FP weights)", _memory(totals["bytes_8bit_weights"])),
            ("Float-32 equivalent", _memory(totals["bytes_float32"])),
            ("Compression ratio of memory", _short(totals["compression_ratio"])),
        ]
        if include_macs:
            facts += [("Number of MACs", _short(totals["macs"]))]
            facts += [("Ratio of MACs that are binarized", f"{totals['ratio_binarized']:.4f}")]
            if totals["ratio_ternarized"] > 0:
                facts += [("Ratio of MACs that are ternarized", f"{totals['ratio_ternarized']:.4f}")]
        wide = max(len(name) for name, _ in facts)
        return "\n".join([*table, *(f"{name.ljust(wide)}  {value}" for name, value in facts)])


@torch.no_grad()
def profile(model: nn.Module, input_shape: Sequence[int] | None) -> ModelProfile:
    """Runs a model once on zeros and returns its rows.

    Args:
        input_shape: of one sample, without the batch, such as ``(3, 32, 32)``.

    Raises:
        ValueError: without a shape: a torch model does not know its input's.
    """
    if input_shape is None:
        raise ValueError("summary needs input_shape, the shape of one sample without the batch, such as (3, 32, 32)")
    rows: list[LayerProfile] = []
    layers = [(name, module) for name, module in model.named_modules() if _is_layer(module)]
    layers = [(name or type(module).__name__, module) for name, module in layers]
    inner = {id(m) for _, layer in layers for m in layer.modules() if m is not layer}

    def hook(name: str) -> Callable[..., None]:
        def add(module: nn.Module, _: Any, output: Tensor) -> None:
            rows.append(_profile(name, module, output))

        return add

    handles = [module.register_forward_hook(hook(name)) for name, module in layers if id(module) not in inner]
    was_training, first = model.training, next(model.parameters(), torch.zeros(()))
    try:
        model.eval()
        model(torch.zeros(1, *input_shape, device=first.device, dtype=first.dtype))
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    return ModelProfile(rows)


def _is_layer(module: nn.Module) -> bool:
    return isinstance(module, (QuantizedLayer, BinaryConv2d, *PACKED)) or not list(module.children())


def summary(
    model: nn.Module,
    input_shape: Sequence[int] | None = None,
    print_fn: Callable[[str], None] | None = print,
    include_macs: bool = True,
) -> dict[str, Any]:
    """Prints the table of a model and returns it as a dict.

    Args:
        input_shape: of one sample, without the batch.
        print_fn: what prints; none prints nothing.

    Raises:
        ValueError: without a shape.
    """
    found = profile(model, input_shape)
    if print_fn is not None:
        print_fn(found.to_text(include_macs))
    return found.to_dict()


def _short(value: float) -> str:
    """Returns a number with three significant digits and k, M, B or T."""
    if value < 1000:
        return f"{value:.3g}"
    for unit in ("k", "M", "B", "T"):
        value /= 1000
        if value < 999.5 or unit == "T":
            return f"{value:.3g} {unit}"
    raise AssertionError


def _two(value: float) -> str:
    return f"{value:.2f}"


def _memory(size: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size < 1024 or unit == "MiB":
            return f"{size:.2f} {unit}"
        size /= 1024
    raise AssertionError
