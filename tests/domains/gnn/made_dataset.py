"""A PyG data set of somebody else's, with two splits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch_geometric.data import Data
from torch_geometric.data import InMemoryDataset

CHANGES: dict[str, torch.Tensor | None] = {}  # attributes that tests replace


class Made(InMemoryDataset):
    def __init__(self, root: str, size: int = 40, **kwargs: Any) -> None:
        self.size = size
        super().__init__(root, **kwargs)
        self.load(self.processed_paths[0])

    @property
    def raw_file_names(self) -> list[str]:
        return []

    @property
    def processed_file_names(self) -> str:
        return "data.pt"

    def process(self) -> None:
        generator = torch.Generator().manual_seed(0)
        train = torch.zeros(self.size, 2, dtype=torch.bool)
        train[:10, 0] = train[:12, 1] = True
        val = torch.zeros(self.size, 2, dtype=torch.bool)
        val[20:30] = True
        data = Data(
            x=torch.rand(self.size, 4, generator=generator),
            y=torch.arange(self.size) % 2,
            edge_index=torch.randint(0, self.size, (2, 3 * self.size), generator=generator),
            train_mask=train,
            val_mask=val,
            test_mask=~(train | val),
        )
        for key, value in CHANGES.items():
            data[key] = value
        self.save([data], self.processed_paths[0])


class Sized(Made):
    """Its size is in a raw file."""

    @property
    def raw_file_names(self) -> list[str]:
        return ["size.txt"]

    def process(self) -> None:
        self.size = int(Path(self.raw_paths[0]).read_text())
        super().process()
