"""Exporting the found network of a run to ONNX, checked with onnxruntime."""

from __future__ import annotations

import importlib
import io
import logging
import warnings
from contextlib import redirect_stderr
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch

from nichenas.core.capabilities.exporting import ExportedNetwork
from nichenas.core.capabilities.exporting import Exporting
from nichenas.core.checkpoint import write_checkpoint
from nichenas.core.commands.best_network import best_network
from nichenas.core.errors import ConfigError

TOLERANCE = 1e-3  # largest difference to torch's outputs, relative to their size


def export_onnx(run: Path, file: Path | None = None, data: str | None = None) -> tuple[Path, float]:
    """Writes the chosen, trained network of a finished run as ONNX, with a free batch size.

    Args:
        file: by default ``<run>/best/network.onnx``.
        data: the data root, if named; the shape of inputs comes from the data.

    Returns:
        The file, and the largest difference between onnxruntime's and torch's outputs on random inputs.

    Raises:
        UserError: when the run was not retrained, its domain exports no networks, or a package is missing.
    """
    onnxruntime = _package("onnxruntime")
    _package("onnxscript")
    domain, architecture, weights = best_network(run, data)
    if not isinstance(domain, Exporting):
        raise ConfigError(f"'{run}': its domain has no {Exporting.offers}")
    exported = domain.export(architecture, weights)
    target = file or run / "best" / "network.onnx"
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.part")
    try:
        _write(exported, temporary)
        difference = _difference(onnxruntime, exported, temporary)
        if difference > TOLERANCE:
            raise RuntimeError(f"{target}: onnxruntime's outputs differ by {difference:g}")
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return target, difference


def export_packed(run: Path, file: Path, data: str | None = None) -> tuple[Path, int]:
    """Writes the chosen, trained network of a finished run in its domain's packed form.

    Returns:
        The file and its size in bytes.

    Raises:
        UserError: when the run was not retrained, or its domain has no packed form of the network.
    """
    domain, architecture, weights = best_network(run, data)
    contents = domain.packed(architecture, weights) if isinstance(domain, Exporting) else None
    if contents is None:
        raise ConfigError(f"'{run}': its domain has no packed form of this network")
    file.parent.mkdir(parents=True, exist_ok=True)
    write_checkpoint(file, contents)
    return file, file.stat().st_size


def _write(exported: ExportedNetwork, file: Path) -> None:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    batch = torch.export.Dim("batch", min=1)
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            exported.network,
            (exported.example,),
            str(file),
            input_names=["input"],
            output_names=["output"],
            dynamic_shapes=({0: batch},),
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def _difference(onnxruntime: Any, exported: ExportedNetwork, file: Path) -> float:
    """Returns the largest difference of outputs, relative to the largest output, on batches of 1 and of 5."""
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    worst = 0.0
    for count in (1, 5):
        generator = torch.Generator().manual_seed(count)
        x = torch.randn(count, *exported.example.shape[1:], generator=generator)
        with torch.no_grad():
            wanted = exported.network(x)
        (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        worst = max(worst, float((torch.from_numpy(found) - wanted).abs().max() / wanted.abs().max()))
    return worst


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ConfigError(f"export needs the package {name}; install it with: pip install nichenas[onnx]") from None
