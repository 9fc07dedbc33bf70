from __future__ import annotations

import json
from importlib.metadata import EntryPoint

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
    registry: Registry[type] = Registry("strategy", "nichenas.tests", Exception)
    registry.register("random")(ValueError)
    with pytest.raises(ValueError, match="already"):
        registry.register("random")(KeyError)
    with pytest.raises(ConfigError, match=r"unknown strategy 'randon' \(did you mean 'random'\?\); allowed: random"):
        registry["randon"]
    assert did_you_mean("xyz", ["random"]) == ""


def test_registry_takes_dotted_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    registry: Registry[type] = Registry("strategy", "nichenas.tests", Exception)
    assert registry["json:JSONDecodeError"] is registry["json.JSONDecodeError"] is json.JSONDecodeError
    for path, message in (
        ("json:loads", "'json:loads' is not a subclass of Exception, so not a strategy"),
        ("json:nothing", "the strategy 'json:nothing' cannot be imported"),
        ("no.such.Thing", "the strategy 'no.such:Thing' cannot be imported"),
    ):
        with pytest.raises(ConfigError, match=message):
            registry[path]
    for path in ("../../etc", ".x", "a b:c", "x:", ":x", "x:y:z", "../json:loads"):
        with pytest.raises(ConfigError, match="unknown strategy"):
            registry[path]
    functions: Registry[object] = Registry("score", "nichenas.tests")
    assert functions["json:loads"] is json.loads
    with pytest.raises(ConfigError, match="'json:__name__' is not a function"):
        functions["json:__name__"]


def test_registry_finds_what_other_packages_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def installed(group: str) -> list[EntryPoint]:
        return [EntryPoint("mine", "json:JSONDecodeError", group)] if group == "nichenas.tests" else []

    monkeypatch.setattr("importlib.metadata.entry_points", installed)
    registry: Registry[type] = Registry("strategy", "nichenas.tests", Exception)
    assert "mine" in registry
    assert list(registry) == ["mine"]
    assert registry["mine"] is json.JSONDecodeError
