"""Which architectures shared weights are trained with, where the strategy does not say itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nichenas.core.registry import Registry
from nichenas.core.space import Architecture
from nichenas.core.space import Choice
from nichenas.core.space import Option
from nichenas.core.space import SearchSpace

Sampler = Callable[[SearchSpace, int, np.random.Generator], list[Architecture]]  # a space, how many, the draws' source

SAMPLERS: Registry[Sampler] = Registry("sampler", "nichenas.samplers")


@SAMPLERS.register("uniform")
def uniform(space: SearchSpace, count: int, rng: np.random.Generator) -> list[Architecture]:
    """Returns independent draws (single-path one-shot, Guo et al. 2020)."""
    return [space.sample(rng) for _ in range(count)]


@SAMPLERS.register("fair")
def fair(space: SearchSpace, count: int, rng: np.random.Generator) -> list[Architecture]:
    """Returns draws in which no option is behind: a choice takes all of its options once before it takes one again.

    Each choice goes through a random order of its options, then through another one (FairNAS, Chu et al. 2021,
    algorithm 1, in spaces whose choices have different numbers of options, some of them conditional). It takes one step
    for every round of options, so ``paths`` is their number there.
    """
    waiting: dict[str, list[Option]] = {}

    def next_option(choice: Choice) -> Option:
        if not waiting.get(choice.name):
            waiting[choice.name] = [choice.options[int(i)] for i in rng.permutation(len(choice.options))]
        return waiting[choice.name].pop()

    drawn = []
    for _ in range(count):
        prefix = space.prefixes[int(rng.integers(len(space.prefixes)))] if space.prefixes else {}
        drawn.append(space.complete(prefix, next_option))
    return drawn
