"""Shared fixtures: real data where it is there, a cache of the tests' own, runs on the toy domain."""

from __future__ import annotations

import os
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from nichenas.core.config import ResolvedConfig
from nichenas.core.config import resolve

pytest.register_assert_rewrite("nichenas.core.testing")
ROOT = Path(__file__).resolve().parent.parent
TOY = "nichenas.core.testing.toy:ToyDomain"


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["NICHENAS_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    os.environ.pop("NICHENAS_DATA", None)
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    # A test that leaves torch with more threads would change the rounding of the next.
    yield
    torch.set_num_threads(1)


def real_data() -> Path | None:
    """Returns the folder of real data sets beside the checkout, or the one that NICHENAS_TEST_DATA names."""
    for candidate in (os.environ.get("NICHENAS_TEST_DATA"), ROOT.parent / "shared" / "data"):
        if candidate and Path(candidate).is_dir():
            return Path(candidate)
    return None


@pytest.fixture
def data() -> Path:
    """The folder of real data sets; skips where there is none."""
    found = real_data()
    if found is None:
        pytest.skip("no real data: name its folder in NICHENAS_TEST_DATA")
    return found


def toy_config(**sections: Any) -> dict[str, Any]:
    """Returns a configuration of the toy domain; sections are merged into it."""
    raw: dict[str, Any] = {
        "name": "toy",
        "seed": 0,
        "domain": {"kind": TOY},
        "search": {"strategy": "random", "trials": 20},
        "retrain": {"top": 2, "seeds": 2},
        "run": {"tensorboard": False},
    }
    for name, values in sections.items():
        raw[name] = {**raw.get(name, {}), **values} if isinstance(values, dict) else values
    return raw


@pytest.fixture
def toy() -> Callable[..., ResolvedConfig]:
    """Makes resolved configurations of the toy domain."""

    def make(**sections: Any) -> ResolvedConfig:
        return resolve(toy_config(**sections), "toy.yaml")

    return make
