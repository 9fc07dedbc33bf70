"""NAS-Bench-Macro (Su et al. 2021): all 6,561 chains of eight layers with one of three blocks each, on CIFAR-10."""

from __future__ import annotations

from nichenas.core.space import Architecture
from nichenas.core.space import Choice
from nichenas.core.space import SearchSpace

BLOCKS = ("identity", "mb3_k3", "mb6_k5")  # digits 0, 1, 2: skip, and inverted residuals of ratio and kernel size


def chain_space() -> SearchSpace:
    """Returns the space: a block a layer."""
    return SearchSpace([Choice(f"layer{layer}", BLOCKS) for layer in range(8)])


def string_of(architecture: Architecture) -> str:
    """Returns the benchmark's name of a chain, eight digits."""
    return "".join(str(BLOCKS.index(str(value))) for value in architecture.values())
