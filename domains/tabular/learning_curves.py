"""A made landscape of learning curves on which early ranks mislead, for trying schedules; nothing was trained.

The value after e epochs is ``final - (final - chance) * exp(-e / tau) + noise``. Good architectures tend to learn
slowly: that is what a schedule must not fall for.
"""

from __future__ import annotations

import itertools

import numpy as np

from nichenas.core.space import Architecture
from nichenas.core.space import Choice
from nichenas.core.space import SearchSpace
from nichenas.domains.tabular.table import Table

CHOICES, OPTIONS = 6, 4
EPOCHS = 60
CHANCE = 0.1
NOISE = 0.005
SECONDS = (10.0, 60.0)  # of an epoch, for the least and the most costly architecture


def curve_space() -> SearchSpace:
    """Returns the space: six choices of four options, 4,096 architectures."""
    return SearchSpace([Choice(f"choice{i}", tuple(range(OPTIONS))) for i in range(CHOICES)])


def string_of(architecture: Architecture) -> str:
    """Returns the table's name of an architecture, six digits."""
    return "".join(str(value) for value in architecture.values())


def make_curves() -> Table:
    """Returns the table; it is the same always.

    Final values are sums of effects of options and of pairs of neighbouring choices, from 0.6 to 0.95. The
    logarithm of tau, between 4 and 30 epochs, grows with the final value and with effects of its own in equal parts.
    """
    rng = np.random.default_rng(0)
    digits = np.array(list(itertools.product(range(OPTIONS), repeat=CHOICES)))
    single, speed = rng.normal(size=(CHOICES, OPTIONS)), rng.normal(size=(CHOICES, OPTIONS))
    pairs = rng.normal(size=(CHOICES - 1, OPTIONS, OPTIONS))
    price = rng.random((CHOICES, OPTIONS))
    quality = sum(single[i, digits[:, i]] for i in range(CHOICES))
    quality = quality + sum(pairs[i, digits[:, i], digits[:, i + 1]] for i in range(CHOICES - 1))
    quality, own, cost = (
        _unit(column)
        for column in (
            quality,
            sum(speed[i, digits[:, i]] for i in range(CHOICES)),
            sum(price[i, digits[:, i]] for i in range(CHOICES)),
        )
    )
    final = 0.6 + 0.35 * quality
    tau = 4 * (30 / 4) ** ((quality + own) / 2)
    epochs = np.arange(1, EPOCHS + 1)
    curves = final[:, None] - (final - CHANCE)[:, None] * np.exp(-epochs / tau[:, None])
    curves = curves + rng.normal(0, NOISE, curves.shape)
    return Table(
        {"".join(map(str, row)): index for index, row in enumerate(digits)},
        {"value": curves[:, -1]},
        {"value": final},
        {},
        curves=curves,
        seconds=EPOCHS * (SECONDS[0] + (SECONDS[1] - SECONDS[0]) * cost),
    )


def _unit(values: object) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    array = np.asarray(values, dtype=np.float64)
    return (array - array.min()) / np.ptp(array)
