"""AGNN's constrained store of trained weights (Zhou et al. 2019, section on parameter sharing).

A tensor is inherited only by a layer of the same index and role, with the same shape and the same attributes
(attention and activation in AGNN); weights of normalisation and skip connections, which hold the
statistics of one network, never are. Which attributes must agree is a rule of the domain, so GraphNAS's laxer
key, which ignores the activation, is the same store with another rule.

The weights that the best trial so far left under a key stay; a later trial replaces them only by measuring at
least as well. Every trial that changes the store writes one file before its journal row, and a file is removed
once none of its tensors is in the store any more: the store of any journal position can so be rebuilt.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from nichenas.core.capabilities.inheritance import ShareKey
from nichenas.core.checkpoint import read_checkpoint
from nichenas.core.checkpoint import write_checkpoint
from nichenas.core.errors import RunFolderError

NEVER_SHARED = ("batch_norm", "bn", "norms", "skip")

Key = tuple[int, str, tuple[int, ...], tuple[str, ...]]


def shareable(role: str) -> bool:
    """Returns whether tensors of a role may be shared at all."""
    return role.split(".")[0] not in NEVER_SHARED


class HomogeneousStore:
    """Trained tensors by what must agree for inheriting them.

    Args:
        attributes: names of the attributes of a layer that must agree.
        folder: where changes are kept; none keeps the store in memory only.
        lag: how many later updates a file outlives its last tensor: proposals that are pending when a run is killed
            were made from the store as it was that many updates ago.
    """

    def __init__(self, attributes: tuple[str, ...], folder: Path | None = None, lag: int = 1) -> None:
        self.attributes = attributes
        self.folder = folder
        self.lag = lag
        self._updates = 0
        self._tensors: dict[Key, Tensor] = {}
        self._owner: dict[Key, int] = {}
        self._scores: dict[int, float] = {}
        self._outdated: deque[tuple[int, int]] = deque()  # (update that made it so, trial)

    def __len__(self) -> int:
        return len(self._tensors)

    def key(self, of: ShareKey) -> Key | None:
        """Returns what a tensor is filed under; none where it is never shared."""
        if not shareable(of.role):
            return None
        return of.layer, of.role, of.shape, tuple(of.attributes[name] for name in self.attributes)

    def inherit(self, keys: Mapping[str, ShareKey]) -> dict[str, Tensor]:
        """Returns copies of the stored tensors that a network may start from, by their names in it."""
        found = {}
        for name, of in keys.items():
            key = self.key(of)
            if key is not None and key in self._tensors:
                found[name] = self._tensors[key].clone()
        return found

    def update(self, trial: int, score: float, keys: Mapping[str, ShareKey], weights: Mapping[str, Tensor]) -> None:
        """Records the weights that a trial ended with; call it in the order of completion.

        Args:
            score: of the trial, larger is better.
            keys: of the trial's tensors, by name.
            weights: by name; names without a key are ignored.
        """
        changed: dict[str, Tensor] = {}
        before = set(self._owner.values())
        for name, of in keys.items():
            key = self.key(of)
            if key is None or name not in weights:
                continue
            owner = self._owner.get(key)
            if owner is None or score >= self._scores[owner]:
                self._tensors[key] = weights[name].detach().cpu().clone()
                self._owner[key] = trial
                changed[name] = self._tensors[key]
        self._scores[trial] = score
        if changed and self.folder is not None:
            write_tensors(self._file(trial), changed)
        self._updates += 1
        self._outdated.extend((self._updates, gone) for gone in sorted(before - set(self._owner.values())))

    def clean(self) -> None:
        """Removes the files that nothing needs any more; call it once all told trials are on the disk."""
        while self._outdated and self._outdated[0][0] <= self._updates - self.lag:
            _, trial = self._outdated.popleft()
            if self.folder is not None:
                self._file(trial).unlink(missing_ok=True)

    def restore(self, trial: int, score: float, keys: Mapping[str, ShareKey]) -> None:
        """Records a trial of the journal again, from its file; the counterpart of :meth:`update`."""
        file = self._file(trial)
        weights = read_tensors(file) if file.is_file() else {}
        before = set(self._owner.values())
        for name, tensor in weights.items():
            key = self.key(keys[name])
            if key is not None:
                self._tensors[key] = tensor
                self._owner[key] = trial
        self._scores[trial] = score
        self._updates += 1
        self._outdated.extend((self._updates, gone) for gone in sorted(before - set(self._owner.values())))

    def _file(self, trial: int) -> Path:
        assert self.folder is not None
        return self.folder / f"shared-{trial:06d}.pt"


def write_tensors(file: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes tensors atomically."""
    write_checkpoint(file, {name: tensor.detach().cpu() for name, tensor in tensors.items()})


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Reads what :func:`write_tensors` wrote; nothing in the file is executed.

    Raises:
        RunFolderError: when the file is damaged.
    """
    tensors = read_checkpoint(file)
    if not all(isinstance(t, Tensor) for t in tensors.values()):
        raise RunFolderError(f"{file}: holds something else than tensors by name")
    return tensors
