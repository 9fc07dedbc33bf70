"""One architecture trained on several splits of the data at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from nichenas.core.capabilities.inheritance import ShareKey
from nichenas.core.training.loop import Training
from nichenas.domains.gnn.training import SpaceTraining

HIGHEST = "highest score"


class SplitsTraining(Training):
    """Networks of one architecture, one a split, trained in step; every figure is the mean over them.

    Each has an epoch of its own that counts, and stops by itself, as in full trainings: a validation gives the means
    of what is best so far. The names of weights begin with the number of their network.

    Args:
        members: one a split.
    """

    def __init__(self, members: Sequence[SpaceTraining]) -> None:
        super().__init__(validate_every=members[0].validate_every)
        self.members = members

    def advance(self) -> None:
        """Trains an epoch of each that has not stopped."""
        for member in self.members:
            if not member.stops():
                member.advance()
                member.done += 1

    def validate(self) -> Mapping[str, float]:
        """Returns the means of the figures of every member's epoch, and of the highest scores."""
        for member in self.members:
            if member.history.validated != member.done:
                member.look()
        best = [member.history.values for member in self.members]
        figures = {name: sum(values[name] for values in best) / len(best) for name in best[0]}
        return {**figures, HIGHEST: sum(member.progress() for member in self.members) / len(best)}

    @property
    def curve(self) -> list[tuple[int, float]]:
        """The mean over members of the highest score so far, by epoch."""
        return self.history.curves[HIGHEST]

    def progress(self) -> float:
        """Returns the last of these."""
        return self.curve[-1][1]

    def weights(self) -> Mapping[str, Tensor]:
        """Returns those of every member's epoch."""
        return {
            f"{number}.{name}": tensor
            for number, member in enumerate(self.members)
            for name, tensor in member.history.weights.items()
        }

    def stops(self) -> bool:
        """Returns whether all have stopped."""
        return all(member.stops() for member in self.members)

    def stateful(self) -> Mapping[str, Any]:
        """Returns nothing beside the members."""
        return {}

    def state(self) -> dict[str, Any]:
        """Returns the members' too."""
        return {**super().state(), "members": [member.state() for member in self.members]}

    def load(self, state: Mapping[str, Any]) -> None:
        """Continues all members."""
        super().load(state)
        for member, held in zip(self.members, state["members"], strict=True):
            member.load(held)


def of_member(tensors: Mapping[str, Tensor], number: int) -> dict[str, Tensor]:
    """Returns those tensors of several members that are of one, by their names in its network."""
    start = f"{number}."
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def keys_of_members(keys: Mapping[str, ShareKey], count: int) -> dict[str, ShareKey]:
    """Returns the keys of all members' tensors, each shared with the same member of other candidates alone.

    A network must not inherit what was trained on another split, which may have its validation nodes.
    """
    return {
        f"{number}.{name}": dataclasses.replace(key, role=f"{key.role}.{number}")
        for number in range(count)
        for name, key in keys.items()
    }
