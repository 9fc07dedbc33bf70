"""Whether a gradient search did anything, measured when it has ended, in seconds.

Accuracies of a supernet say little by themselves. So the learned mixture is compared with the uniform one over the same
weights, the derived architecture with random ones of the same rule, and what discretisation costs is split into the
choice of edges and the choice of operations. During the search, the gradients of the architecture parameters are tested
against zero (:class:`GradientNoise`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from pydantic import field_validator
from torch import Tensor

from nichenas.core.gradient.discretisation import Discretisation
from nichenas.core.gradient.discretisation import one_hot
from nichenas.core.gradient.relaxations import Mix
from nichenas.core.gradient.relaxations import discrete
from nichenas.core.gradient.steps import copies
from nichenas.core.gradient.supernet import BatchSource
from nichenas.core.gradient.supernet import Kept
from nichenas.core.gradient.supernet import Mixes
from nichenas.core.gradient.supernet import Supernet
from nichenas.core.settings import Settings

LEVEL = 0.05  # of the tests
FEWEST = 4  # batches in an epoch with which gradients are tested
FEWEST_RANDOM = 20  # with fewer, the best of them all would not be distinguished from chance at that level


class EffectSettings(Settings):
    """What is measured when a search has ended.

    Attributes:
        random: random architectures that the derived one is compared with, 20 at least; 0 measures nothing.
        samples: of the validation data at most, in whole batches.
    """

    random: int = Field(60, ge=0)
    samples: int = Field(1000, ge=2)

    @field_validator("random")
    @classmethod
    def _are_enough(cls, value: int) -> int:
        if 0 < value < FEWEST_RANDOM:
            raise ValueError(
                f"fewer than {FEWEST_RANDOM} random architectures tell nothing; 0 leaves the diagnosis out"
            )
        return value


class GradientNoise:
    """Which architecture parameters' gradients are distinguished from noise.

    The batches of an epoch are taken as draws: a two-sided t-test an entry at the level .05, which chance alone passes
    in one case of twenty. The weights move meanwhile, which adds to the spread.
    """

    def __init__(self) -> None:
        self._count = 0
        self._sums: dict[str, tuple[Tensor, Tensor]] = {}

    def record(self, gradients: Mapping[str, Tensor]) -> None:
        """Adds the gradients that the loss of a batch gives the parameters, without terms that no data is in."""
        self._count += 1
        for name, found in gradients.items():
            gradient = found.detach().double()
            total, squares = self._sums.get(name, (torch.zeros_like(gradient), torch.zeros_like(gradient)))
            self._sums[name] = total + gradient, squares + gradient**2

    def epoch(self) -> float | None:
        """Returns the share of entries that are distinguished, and starts over; none after too few batches."""
        count, sums = self._count, list(self._sums.values())
        self._count, self._sums = 0, {}
        if count < FEWEST or not sums:
            return None
        from scipy.stats import t

        totals, squares = (torch.cat([pair[i].flatten() for pair in sums]).cpu().numpy() for i in (0, 1))
        mean = totals / count
        variance = np.maximum(squares / count - mean**2, 0) * count / (count - 1)
        limit = float(t.ppf(1 - LEVEL / 2, count - 1)) * np.sqrt(variance / count)
        moved = (totals != 0) | (squares != 0)  # an operation that never ran has no gradient to test
        return float((np.abs(mean) > limit)[moved].mean()) if moved.any() else None


@torch.no_grad()
def sample_scores(supernet: Supernet, mix: Mix, validation: BatchSource, samples: int) -> NDArray[np.float64]:
    """Returns the score of every sample, ``(samples,)``; normalisations use the batch, as in training."""
    values, found, count = copies(supernet, mix, differentiable=False), [], 0
    for inputs, targets in validation.eval_batches():
        outputs = supernet(inputs, values, mix.active)
        found.append(supernet.sample_scores(outputs, targets).double().cpu().numpy())
        count += len(targets)
        if count >= samples:
            break
    return np.concatenate(found)


def search_effect(
    supernet: Supernet,
    validation: BatchSource,
    mixture: Mixes,
    uniform: Mixes,
    discretise: Discretisation,
    derive: Callable[[Mixes], Kept],
    rng: np.random.Generator,
    settings: EffectSettings,
) -> dict[str, Any]:
    """Returns what the search did to the supernet's score on validation data, as JSON.

    Args:
        mixture: learned, ``(edges, operations)`` by group.
        uniform: of parameters that are all equal.
        discretise: the rule.
        derive: the rule, and limits where there are any; random architectures keep to them too.
        rng: draws the random architectures.

    Returns:
        ``mixture``, ``uniform``: scores. ``difference``: of the two, with its standard error over samples. ``edges``:
        score of the kept edges with the full mixture on each; ``operations``: of all edges with the strongest operation
        alone; ``derived``: of both. ``random``: scores of random architectures, of those that have one. ``beaten``: the
        share of those whose score is below the derived one's; ties count half. ``samples``: how many there were.
    """
    groups = supernet.groups

    def scores(values: Mixes, single: bool = False) -> NDArray[np.float64]:
        return sample_scores(supernet, discrete(values) if single else Mix(values), validation, settings.samples)

    kept = derive(mixture)
    alone = one_hot(kept, groups, mixture)
    on = {name: (table.sum(1, keepdim=True) > 0).to(table) for name, table in alone.items()}
    every = discretise.model_copy(update={"rule": "top-edges", "edges": max(len(group.edges) for group in groups)})
    learned, flat = scores(mixture), scores(uniform)
    paired = learned - flat
    drawn = []
    for _ in range(settings.random):
        tables = {name: torch.from_numpy(rng.random(tuple(table.shape))).to(table) for name, table in mixture.items()}
        drawn.append(float(scores(one_hot(derive(tables), groups, mixture), True).mean()))
    derived = float(scores(alone, True).mean())
    finite = [one for one in drawn if math.isfinite(one)]
    beaten = [1.0 if derived > one else 0.5 if derived == one else 0.0 for one in finite]
    return {
        "mixture": float(learned.mean()),
        "uniform": float(flat.mean()),
        "difference": [float(paired.mean()), float(paired.std(ddof=min(1, len(paired) - 1)) / math.sqrt(len(paired)))],
        "edges": float(scores({name: table * on[name] for name, table in mixture.items()}).mean()),
        "operations": float(scores(one_hot(every.kept(mixture, groups), groups, mixture), True).mean()),
        "derived": derived,
        "random": finite,
        "beaten": float(np.mean(beaten)) if finite else 0.5,
        "samples": len(learned),
    }


def effect_statements(effect: Mapping[str, Any], distinguished: float | None, better: int = 1) -> list[str]:
    """Returns in words what :func:`search_effect` measured, the conclusion last.

    Args:
        distinguished: mean share of gradients that are distinguished from noise; none where it was not measured.
        better: 1 where more is better, -1 where less is.
    """
    mean, error = effect["difference"]
    matters = abs(mean) > 2 * error > 0
    drawn = np.array(effect["random"])
    beaten = effect["beaten"] if better > 0 else 1 - effect["beaten"]
    rare = (1 + (1 - beaten) * len(drawn)) / (len(drawn) + 1) <= LEVEL  # a permutation test
    gain = better * mean
    found = [
        f"The learned mixture scores {effect['mixture']:.4f}, the uniform mixture over the same weights "
        f"{effect['uniform']:.4f}: a difference of {mean:+.4f} ± {error:.4f}, which "
        + ("is more than chance" if matters else "cannot be distinguished from none")
        + f" ({effect['samples']} validation samples).",
        f"The architecture of the last epoch scores {effect['derived']:.4f} in the supernet and is better than "
        f"{beaten:.0%} of {len(drawn)} random ones, derived by the same rule (mean {drawn.mean():.4f}, standard "
        f"deviation {drawn.std(ddof=1) if len(drawn) > 1 else 0.0:.4f}).",
        f"Keeping only the chosen edges, with full mixtures, gives {effect['edges']:.4f}; keeping all edges with one "
        f"operation each, {effect['operations']:.4f}; both, {effect['derived']:.4f}.",
    ]
    if distinguished is not None:
        found.append(
            f"{distinguished:.0%} of the architecture parameters have a gradient that is distinguished from noise in "
            f"the last quarter of the epochs; by chance it would be {LEVEL:.0%}."
        )
    return [*found, _conclusion(matters and gain > 0, rare)]


def _conclusion(mixture: bool, architecture: bool) -> str:
    if mixture and architecture:
        return "So the search did something: its mixture and its architecture are better than chance has it."
    if architecture:
        return "So the derived architecture is better than chance has it, although its mixture is not."
    if mixture:
        return (
            "So the search improved the mixture, but with these weights the derived architecture cannot be "
            "distinguished from a random one."
        )
    return "So with these weights nothing shows that the search did better than chance."


def late_share(shares: list[float | None]) -> float | None:
    """Returns the mean of the last quarter of the epochs' shares, of those that were measured; none without any."""
    late = [share for share in shares[-max(1, len(shares) // 4) :] if share is not None]
    return float(np.mean(late)) if late else None
