"""Checkpoints: whatever a search must have to continue, written atomically, read without executing anything."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from nichenas.core.errors import RunFolderError
from nichenas.core.files import atomic_write


def write_checkpoint(file: Path, state: Mapping[str, Any]) -> None:
    """Writes tensors, numbers, strings and containers of them (write, fsync, rename)."""
    atomic_write(file, lambda stream: torch.save(dict(state), stream))


def read_checkpoint(file: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Reads what :func:`write_checkpoint` wrote.

    Raises:
        RunFolderError: when the file is damaged.
    """
    try:
        state = torch.load(file, map_location=device, weights_only=True)
    except Exception as error:
        raise RunFolderError(f"{file}: not a file of weights that can be read ({type(error).__name__})") from None
    if not isinstance(state, dict):
        raise RunFolderError(f"{file}: not a checkpoint")
    return state
