"""Figures of generated images against real ones, whose statistics are made once and kept in the cache."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nichenas.core.data.array_files import cached_arrays
from nichenas.core.data.images import Images
from nichenas.core.files import write_cache
from nichenas.domains.gan.extractors import EXTRACT
from nichenas.domains.gan.extractors import Extractor
from nichenas.domains.gan.extractors import image_hash
from nichenas.domains.gan.metrics import frechet_distance
from nichenas.domains.gan.metrics import gather
from nichenas.domains.gan.metrics import kernel_distance

KEPT = 2000  # features for KID, on each side


@dataclass(frozen=True)
class RealStatistics:
    """What is known of real images.

    Attributes:
        mean: of their features, ``(d,)`` float64.
        covariance: ``(d, d)``.
        features: some of them, for KID.
        count: how many images they are.
        score: their own Inception Score: what a perfect generator of these images would have.
    """

    mean: Tensor
    covariance: Tensor
    features: Tensor
    count: int
    score: float


def real_statistics(images: Images, extractor: Extractor, splits: int, cache: Path | None) -> RealStatistics:
    """Returns the statistics of real images, from the cache if they are there.

    The file is an ``.npz`` with pytorch-fid's keys ``mu`` and ``sigma`` and a few more.

    Args:
        splits: of their Inception Score; fewer where there are fewer than 50 images a split.
        cache: folder of derived files; none keeps nothing.
    """
    splits = max(1, min(splits, len(images) // 50))
    key = f"1 {extractor.fingerprint} {image_hash(images)} {splits}"
    file = None if cache is None else cache / "gan" / f"statistics-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
    if file is not None:
        held = cached_arrays(file) or {}
        if held.keys() >= {"mu", "sigma", "features", "count", "score"}:
            tensors = {name: torch.from_numpy(held[name]) for name in ("mu", "sigma", "features")}
            return RealStatistics(
                tensors["mu"],
                tensors["sigma"],
                features=tensors["features"],
                count=int(held["count"]),
                score=float(held["score"]),
            )
    batches = (extractor(part) for part in images.pixels.split(EXTRACT))
    figures = gather(batches, len(images), extractor.width, extractor.classes, splits, KEPT)
    found = RealStatistics(
        figures.moments.mean,
        figures.moments.covariance,
        features=figures.features,
        count=len(images),
        score=figures.score.result()[0],
    )
    if file is not None:
        arrays = {
            "mu": found.mean.numpy(),
            "sigma": found.covariance.numpy(),
            "features": found.features.numpy(),
            "count": np.array(found.count),
            "score": np.array(found.score),
            "extractor": np.array(f"{extractor.name or 'inception'} {extractor.fingerprint}"),
        }
        write_cache(file, lambda stream: np.savez(stream, allow_pickle=False, **arrays))
    return found


def measure(
    batches: Iterator[Tensor],
    samples: int,
    extractor: Extractor,
    real: RealStatistics,
    splits: int,
    kernel: bool = False,
    suffix: str = "",
) -> dict[str, float]:
    """Returns IS, FID and, if wanted, KID of generated images by the names that belong to the extractor.

    Args:
        batches: uint8 images, ``(n, channels, h, w)``.
        samples: how many there are in all.
        suffix: further word in the names, such as the split of the real images.

    Raises:
        CandidateFailure: when features are not finite.
    """
    parts = (extractor(batch) for batch in batches)
    figures = gather(parts, samples, extractor.width, extractor.classes, splits, KEPT if kernel else 0)
    moments = figures.moments
    distance = frechet_distance(moments.mean, moments.covariance, real.mean, real.covariance)
    values = {
        named(extractor, "FID", suffix): distance,
        named(extractor, "IS"): figures.score.result()[0],
    }
    if kernel:
        values[named(extractor, "KID", suffix)] = kernel_distance(figures.features, real.features)
    return values


def named(extractor: Extractor, metric: str, suffix: str = "") -> str:
    """Returns a figure's name with extractor and, where it is distinguished, the real images."""
    words = [word for word in (extractor.name, suffix) if word]
    return f"{metric}[{', '.join(words)}]" if words else metric
