"""Inception Score, Fréchet distance and KID of any features, in memory that does not grow with the samples.

The names of figures belong to the features they are made from (:mod:`nichenas.domains.gan.extractors`): nothing here
may be compared across extractors, numbers of samples or reference data.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from nichenas.core.errors import CandidateFailure


class Moments:
    """Mean and covariance of features that come batch by batch, in float64.

    Batches are merged by the update of Chan, Golub and LeVeque (1979), which loses no digits to a large mean.
    """

    def __init__(self, width: int, device: torch.device | str = "cpu") -> None:
        self.count = 0
        self.mean = torch.zeros(width, dtype=torch.float64, device=device)
        self._scatter = torch.zeros(width, width, dtype=torch.float64, device=device)

    def update(self, features: Tensor) -> None:
        """Records a batch, ``(n, width)``."""
        batch = features.to(self.mean)
        n = len(batch)
        mean = batch.mean(0)
        centred = batch - mean
        delta = mean - self.mean
        total = self.count + n
        self._scatter += centred.T @ centred + torch.outer(delta, delta) * (self.count * n / total)
        self.mean = self.mean + delta * (n / total)
        self.count = total

    @property
    def covariance(self) -> Tensor:
        """The sample covariance (N - 1), ``(width, width)``."""
        return self._scatter / max(1, self.count - 1)


def frechet_distance(mean1: Tensor, covariance1: Tensor, mean2: Tensor, covariance2: Tensor) -> float:
    """Returns ``|m1 - m2|^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2))`` (Heusel et al. 2017, equation 6).

    The trace of the root is the sum of the roots of the eigenvalues of S1 S2. These are those of ``F^T S2 F`` with
    ``S1 = F F^T``, which is symmetric: no complex parts, and a covariance that is singular only has a thinner factor.

    Args:
        mean1: ``(d,)``.
        covariance1: ``(d, d)``, symmetric and positive semi-definite up to rounding.
    """
    one, two = covariance1.double(), covariance2.double()
    factor = _factor(one)
    values = torch.linalg.eigvalsh(factor.T @ two @ factor)
    trace = values.clamp(min=0).sqrt().sum()
    shift = (mean1.double() - mean2.double()).square().sum()
    return float(shift + one.trace() + two.trace() - 2 * trace)


def _factor(covariance: Tensor) -> Tensor:
    """Returns F with ``F F^T`` equal to a covariance, ``(d, rank)``."""
    lower, info = torch.linalg.cholesky_ex(covariance)
    diagonal = lower.diagonal().abs()
    # Pivots near rounding mean that the matrix is singular: what is left of them would count as variance.
    if int(info) == 0 and float(diagonal.min()) > 1e-6 * float(diagonal.max()):
        return lower
    values, vectors = torch.linalg.eigh(covariance)
    kept = values > values.max() * len(values) * torch.finfo(values.dtype).eps
    return vectors[:, kept] * values[kept].sqrt()


class InceptionScore:
    """``exp(mean KL(p(y|x) || p(y)))`` over several splits (Salimans et al. 2016), batch by batch.

    Samples are dealt to the splits in a random order: images that come sorted would otherwise give splits of a class
    each, and a score of about 1.

    Args:
        samples: how many there will be.
        splits: of equal size; the rest of the samples belongs to none.
        classes: of the classifier.
        seed: of the dealing.
    """

    def __init__(self, samples: int, splits: int, classes: int, seed: int = 0) -> None:
        size = samples // splits
        if size == 0:
            raise ValueError(f"{samples} samples cannot be cut into {splits} splits")
        order = np.random.default_rng(seed).permutation(samples)
        self._split = torch.from_numpy(np.where(order < size * splits, order // size, splits))
        self._sums = torch.zeros(splits + 1, classes, dtype=torch.float64)
        self._negentropy = torch.zeros(splits + 1, dtype=torch.float64)
        self._size, self._seen = size, 0

    def update(self, logits: Tensor) -> None:
        """Records a batch, ``(n, classes)``."""
        logs = logits.double().log_softmax(1).cpu()
        probabilities = logs.exp()
        split = self._split[self._seen : self._seen + len(logs)]
        self._seen += len(logs)
        self._sums.index_add_(0, split, probabilities)
        # A probability of 0 has the logarithm minus infinity, and counts nothing.
        self._negentropy.index_add_(0, split, torch.where(probabilities > 0, probabilities * logs, 0.0).sum(1))

    def result(self) -> tuple[float, float]:
        """Returns mean and standard deviation over the splits."""
        if self._seen != len(self._split):
            raise ValueError(f"{self._seen} of {len(self._split)} samples came")
        marginal = self._sums[:-1] / self._size
        entropy = torch.where(marginal > 0, marginal * marginal.log(), 0.0).sum(1)
        scores = (self._negentropy[:-1] / self._size - entropy).exp()
        return float(scores.mean()), float(scores.std(correction=0))


def inception_score(logits: Tensor, splits: int = 10, seed: int = 0) -> tuple[float, float]:
    """Returns mean and standard deviation of the Inception Score over splits of shuffled samples, ``(n, classes)``."""
    meter = InceptionScore(len(logits), splits, logits.shape[1], seed)
    meter.update(logits)
    return meter.result()


def kernel_distance(one: Tensor, two: Tensor, subsets: int = 100, size: int = 1000, seed: int = 0) -> float:
    """Returns KID: the unbiased squared MMD with the kernel ``(x.y / d + 1)^3`` (Binkowski et al. 2018).

    Unlike FID it is unbiased in the number of samples; it may be slightly negative.

    Args:
        one: features, ``(n, d)``.
        two: features, ``(m, d)``.
        subsets: the mean is taken over so many random pairs of subsets; one where a subset is everything.
        size: of a subset, or fewer where there are no more.
    """
    size = min(size, len(one), len(two))
    if size < 2:
        raise ValueError("KID needs at least two samples of each")
    whole = size == len(one) == len(two)
    rng = np.random.default_rng(seed)
    total = 0.0
    count = 1 if whole else subsets
    for _ in range(count):
        x = one[torch.from_numpy(rng.permutation(len(one))[:size])].double()
        y = two[torch.from_numpy(rng.permutation(len(two))[:size])].double()
        total += _squared_mmd(x, y)
    return total / count


def _squared_mmd(x: Tensor, y: Tensor) -> float:
    n, width = x.shape
    xx, yy, xy = ((a @ b.T / width + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    within = (xx.sum() - xx.trace() + yy.sum() - yy.trace()) / (n * (n - 1))
    return float(within - 2 * xy.mean())


class Figures:
    """Gathers all figures of a set of images in one pass.

    Args:
        samples: how many images there will be.
        width: of the features.
        classes: of the logits.
        splits: of the Inception Score.
        keep: how many features are kept for KID; 0 for no KID.
    """

    def __init__(self, samples: int, width: int, classes: int, splits: int, keep: int = 0) -> None:
        self.moments = Moments(width)
        self.score = InceptionScore(samples, splits, classes)
        self._kept: list[Tensor] = []
        self._room = keep

    def update(self, features: Tensor, logits: Tensor) -> None:
        """Records a batch, ``(n, width)`` and ``(n, classes)``.

        Raises:
            CandidateFailure: when a feature is not finite.
        """
        if not bool(torch.isfinite(features).all()):
            raise CandidateFailure("diverged", "the features of generated images are not finite")
        self.moments.update(features.cpu())
        self.score.update(logits)
        if self._room > 0:
            self._kept.append(features[: self._room].cpu())
            self._room -= len(self._kept[-1])

    @property
    def features(self) -> Tensor:
        """The features that were kept, ``(at most keep, width)``."""
        return torch.cat(self._kept) if self._kept else torch.zeros(0, len(self.moments.mean))


def gather(
    batches: Iterable[tuple[Tensor, Tensor]], samples: int, width: int, classes: int, splits: int, keep: int = 0
) -> Figures:
    """Returns the figures of batches of (features, logits)."""
    figures = Figures(samples, width, classes=classes, splits=splits, keep=keep)
    for features, logits in batches:
        figures.update(features, logits)
    return figures


def in_batches(total: int, batch: int) -> Iterator[int]:
    """Yields the sizes of batches that make up a total."""
    for start in range(0, total, batch):
        yield min(batch, total - start)


__all__ = [
    "Figures",
    "InceptionScore",
    "Moments",
    "frechet_distance",
    "gather",
    "in_batches",
    "inception_score",
    "kernel_distance",
]
