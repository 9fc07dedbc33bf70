from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from nichenas.core.sharing.one_shot import OneShotOptions
from nichenas.core.sharing.samplers import SAMPLERS
from nichenas.core.space import Choice
from nichenas.core.space import SearchSpace

SPACE = SearchSpace(
    [
        Choice("a", (0, 1, 2)),
        Choice("b", ("x", "y")),
        Choice("c", tuple(range(5)), when={"b": ("x",)}),
    ]
)


@pytest.mark.parametrize("name", list(SAMPLERS))
class TestSamplers:
    def test_draws_are_of_the_space_and_the_generator_decides_them(self, name: str) -> None:
        one, same, other = (SAMPLERS[name](SPACE, 40, np.random.default_rng(seed)) for seed in (0, 0, 1))
        assert one == same
        assert one != other
        assert all(SPACE.holds(architecture) for architecture in one)
        assert len(one) == 40

    def test_prefixes_are_left_as_they_are(self, name: str) -> None:
        prefixes = [SPACE.first(1).architecture({"a": value}) for value in (0, 2)]
        drawn = SAMPLERS[name](SPACE.extending(prefixes), 30, np.random.default_rng(0))
        assert {architecture["a"] for architecture in drawn} == {0, 2}

    def test_every_option_is_drawn_about_as_often(self, name: str) -> None:
        drawn = SAMPLERS[name](SPACE, 3000, np.random.default_rng(0))
        for option in range(5):
            assert sum(one.get("c") == option for one in drawn) == pytest.approx(300, abs=60)


def test_fair_draws_take_every_option_before_one_again() -> None:
    drawn = SAMPLERS["fair"](SPACE, 30, np.random.default_rng(0))
    for count in range(1, 31):
        for choice in SPACE.choices:
            times = Counter(one[choice.name] for one in drawn[:count] if choice.name in one)
            seen = [times[option] for option in choice.options]
            assert max(seen) - min(seen) <= 1


def test_an_unknown_sampler_is_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown sampler 'unifrom' .did you mean 'uniform'"):
        OneShotOptions(shared_steps=1, sampler="unifrom")
