"""Randomness: every draw comes from a generator derived from (run seed, purpose, trial)."""

from __future__ import annotations

import hashlib

import numpy as np
import torch


def derive_seed(seed: int, purpose: str, trial: int = 0) -> int:
    """Returns a 63-bit seed that depends on all three arguments and on nothing else.

    A hash rather than arithmetic, so that neighbouring seeds and trials give unrelated streams.
    """
    digest = hashlib.sha256(f"{seed}/{purpose}/{trial}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def numpy_generator(seed: int, purpose: str, trial: int = 0) -> np.random.Generator:
    """Returns the numpy generator of one purpose and trial."""
    return np.random.default_rng(derive_seed(seed, purpose, trial))


def torch_generator(seed: int, purpose: str, trial: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """Returns the torch generator of one purpose and trial, on ``device``."""
    return torch.Generator(device=device).manual_seed(derive_seed(seed, purpose, trial))
