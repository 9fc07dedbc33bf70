from __future__ import annotations

import pytest
import torch

from nichenas.core.errors import ConfigError
from nichenas.core.errors import did_you_mean
from nichenas.core.registry import Registry
from nichenas.core.seeds import derive_seed
from nichenas.core.seeds import torch_generator


def test_seeds_depend_on_every_argument() -> None:
    seeds = {derive_seed(s, p, t) for s in range(5) for p in ("a", "b") for t in range(20)}
    assert len(seeds) == 200
    assert derive_seed(7, "weights", 3) == 1990145252492794841
    first = torch.rand(3, generator=torch_generator(1, "x", 2))
    assert torch.equal(first, torch.rand(3, generator=torch_generator(1, "x", 2)))


def test_registry_refuses_duplicates_and_lists_on_a_miss() -> None:
    registry: Registry[int] = Registry("strategy")
    registry.register("random")(1)
    with pytest.raises(ValueError, match="already"):
        registry.register("random")(2)
    with pytest.raises(ConfigError, match=r"unknown strategy 'randon' \(did you mean 'random'\?\); allowed: random"):
        registry["randon"]
    assert did_you_mean("xyz", ["random"]) == ""
