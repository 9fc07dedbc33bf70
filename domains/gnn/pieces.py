"""Receptive fields with their features, which stay in memory for further candidates of the same layout."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Hashable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from nichenas.domains.gnn.training import Piece

KEPT_BYTES = 256 * 2**20


class KeptPieces:
    """Pieces by what decides them; the least recently used ones are given up for others.

    Args:
        budget: bytes that all of them may take; those of the last candidate are kept in any case.
        in_use: how many a candidate has, for training and for validation.
    """

    def __init__(self, budget: int = KEPT_BYTES, in_use: int = 2) -> None:
        self.budget, self.in_use = budget, in_use
        self._held: dict[Hashable, list[Piece]] = {}

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: Hashable, make: Callable[[], list[Piece]]) -> list[Piece]:
        """Returns the pieces of a key, made where they are not held."""
        new = key not in self._held
        # Taken out and put in again, so that those that have not been used for longest come first.
        found = self._held[key] = make() if new else self._held.pop(key)
        while new and len(self._held) > self.in_use and held_bytes(self._held) > self.budget:
            del self._held[next(iter(self._held))]
        return found


def held_bytes(held: Any) -> int:
    """Returns what the tensors in an object take, at any depth; memory that several of them share counts once."""
    storages = {
        part.untyped_storage().data_ptr(): part.untyped_storage().nbytes()
        for tensor in _tensors(held, set())
        for part in _parts(tensor)
    }
    return sum(storages.values())


def _tensors(held: Any, seen: set[int]) -> Iterator[Tensor]:
    if id(held) in seen:
        return
    seen.add(id(held))
    if isinstance(held, Tensor):
        yield held
        return
    if isinstance(held, Mapping):
        inner = list(held.values())
    elif isinstance(held, (list, tuple)):
        inner = list(held)
    else:
        inner = list(vars(held).values()) if hasattr(held, "__dict__") else []
    for part in inner:
        yield from _tensors(part, seen)


def _parts(tensor: Tensor) -> tuple[Tensor, ...]:
    if tensor.layout is torch.sparse_csr:
        return tensor.crow_indices(), tensor.col_indices(), tensor.values()
    return (tensor,)
