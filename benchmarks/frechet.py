"""The Fréchet distance at the width of Inception's features: this project's against pytorch-fid's, in one run.

Both get the same means and covariances, of two samples of correlated normals; the values are compared first.

    python benchmarks/frechet.py [--dimensions N] [--samples N] [--repeats N] [--threads N] [--output FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_fid.fid_score import calculate_frechet_distance

from nichenas.core.execution.provenance import device_name
from nichenas.domains.gan.metrics import frechet_distance


def make(dimensions: int, samples: int) -> list[Any]:
    """Returns mean and covariance of two samples."""
    rng = np.random.default_rng(0)
    result: list[Any] = []
    for _ in range(2):
        mix = rng.standard_normal((dimensions, dimensions)) / dimensions**0.5
        features = rng.standard_normal((samples, dimensions)) @ mix
        result += [features.mean(0), np.cov(features, rowvar=False)]
    return result


def main() -> None:
    """Prints the ratio and writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dimensions", type=int, default=2048)
    parser.add_argument("--samples", type=int, help="of each side; by default twice the dimensions")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    samples = arguments.samples or 2 * arguments.dimensions
    given = make(arguments.dimensions, samples)
    tensors = [torch.from_numpy(array) for array in given]
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(arguments.repeats):
        began = time.perf_counter()
        value = frechet_distance(*tensors)
        ours.append(time.perf_counter() - began)
        began = time.perf_counter()
        expected = float(calculate_frechet_distance(*given))
        theirs.append(time.perf_counter() - began)
    result = {
        "device": device_name(torch.device("cpu")),
        "threads": arguments.threads,
        "dimensions": arguments.dimensions,
        "samples": samples,
        "ours_s": statistics.median(ours),
        "pytorch_fid_s": statistics.median(theirs),
        "ratio": statistics.median(theirs) / statistics.median(ours),
        "value": value,
        "relative_difference": abs(value - expected) / abs(expected),
    }
    print(
        f"{arguments.dimensions} dimensions: ours {result['ours_s']:.2f} s, "
        f"pytorch-fid {result['pytorch_fid_s']:.2f} s, {result['ratio']:.1f}x; "
        f"relative difference {result['relative_difference']:.1e}"
    )
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
