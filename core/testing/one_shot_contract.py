"""What a domain with shared weights must do; see :class:`~nichenas.core.sharing.one_shot.SharedWeights`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from nichenas.core.context import Context
from nichenas.core.gate import checked_measurement
from nichenas.core.sharing.one_shot import SharedTraining
from nichenas.core.sharing.one_shot import SharedWeights
from nichenas.core.space import Architecture
from nichenas.core.testing.domain_fixtures import CapabilityContract
from nichenas.core.trial import Measurement


def tensors(state: Any, name: str = "") -> dict[str, Tensor]:
    """Returns all tensors in nested mappings and sequences, by their path."""
    if isinstance(state, Tensor):
        return {name: state}
    parts: list[tuple[Any, Any]] = []
    if isinstance(state, Mapping):
        parts = list(state.items())
    elif isinstance(state, (list, tuple)):
        parts = list(enumerate(state))
    return {path: tensor for key, value in parts for path, tensor in tensors(value, f"{name}/{key}").items()}


class OneShotContract(CapabilityContract):
    """The contract.

    Attributes:
        steps: of the shared training in a test.
    """

    capability = SharedWeights
    steps: ClassVar[int] = 6

    def architectures(self, domain: SharedWeights, stage: int, count: int = 6) -> list[Architecture]:
        """Returns random architectures of a stage."""
        rng = np.random.default_rng(stage)
        space = domain.space.first(domain.stages[stage])
        return [space.sample(rng) for _ in range(count)]

    def train(self, domain: SharedWeights, shared: SharedTraining, stage: int, part: int = 0) -> list[dict[str, float]]:
        """Trains some steps and returns the losses."""
        shared.begin_training(Context(0, part))
        chosen = self.architectures(domain, stage, self.steps)
        return [dict(shared.step([one], i / self.steps)) for i, one in enumerate(chosen)]

    def test_stages_end_with_the_whole_space(self, domain: SharedWeights) -> None:
        """The stages make more and more choices, at last all."""
        assert list(domain.stages) == sorted(set(domain.stages))
        assert domain.stages[-1] == len(domain.space.choices)

    def test_losses_have_their_names(self, domain: SharedWeights) -> None:
        """Steps return the named losses, the gated one among them sooner or later, never more often than another."""
        shared = domain.shared_training(Context(0))
        assert shared.steps_per_epoch >= 1
        assert len(set(shared.losses)) == len(shared.losses)
        assert shared.gated_loss in shared.losses
        losses = self.train(domain, shared, 0)
        assert {name for loss in losses for name in loss} == set(shared.losses)
        counts = {name: sum(name in loss for loss in losses) for name in shared.losses}
        assert counts[shared.gated_loss] == min(counts.values())

    def test_scores_have_the_objectives_and_change_nothing(self, domain: SharedWeights) -> None:
        """Scoring twice with one context gives the same, and leaves weights and optimizers as they were."""
        shared = domain.shared_training(Context(0))
        self.train(domain, shared, 0)
        before = {name: tensor.clone() for name, tensor in tensors(shared.state()).items()}
        for architecture in self.architectures(domain, 0, 3):
            first = dict(shared.score(architecture, Context(0, 1)))
            assert dict(shared.score(architecture, Context(0, 1))) == first
            checked_measurement(Measurement(first), domain.shared_objectives)
        after = tensors(shared.state())
        assert all(torch.equal(before[name], after[name]) for name in before)

    def test_growing_changes_no_weight(self, domain: SharedWeights) -> None:
        """Weights that were there before a stage begins stay bit by bit as they are."""
        shared = domain.shared_training(Context(0))
        for stage in range(1, len(domain.stages)):
            self.train(domain, shared, stage - 1, stage)
            before = {name: tensor.clone() for name, tensor in tensors(shared.state()).items()}
            shared.begin_stage(stage)
            after = tensors(shared.state())
            assert all(torch.equal(before[name], after[name]) for name in before)

    def test_continues_from_its_state(self, domain: SharedWeights, tmp_path: Path) -> None:
        """Written, read and loaded into fresh shared weights, training continues to the same, in every stage."""
        shared = domain.shared_training(Context(0))
        for stage in range(len(domain.stages)):
            if stage > 0:
                shared.begin_stage(stage)
            self.train(domain, shared, stage, 10 * stage)
            torch.save(shared.state(), tmp_path / "state.pt")
            other = domain.shared_training(Context(0))
            for earlier in range(1, stage + 1):
                other.begin_stage(earlier)
            other.load(torch.load(tmp_path / "state.pt", weights_only=True))
            for architecture in self.architectures(domain, stage, 2):  # before any further step
                one = dict(shared.score(architecture, Context(0, 2)))
                assert one == dict(other.score(architecture, Context(0, 2)))
            part = 10 * stage + 1
            assert self.train(domain, shared, stage, part) == self.train(domain, other, stage, part)
            for architecture in self.architectures(domain, stage, 2):
                one = dict(shared.score(architecture, Context(0, 2)))
                assert one == dict(other.score(architecture, Context(0, 2)))

    def test_the_context_decides(self, domain: SharedWeights) -> None:
        """The same contexts give the same losses, whatever the global generator is."""
        one, other = (domain.shared_training(Context(0)) for _ in range(2))
        first = self.train(domain, one, 0)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            before = torch.get_rng_state()
            assert self.train(domain, other, 0) == first
            assert torch.equal(before, torch.get_rng_state())

    def test_reinitialised_weights_are_others_of_the_same_stage(self, domain: SharedWeights) -> None:
        """Weights are drawn again from the context, and what follows is the same as if nothing had been trained."""
        last = len(domain.stages) - 1
        one, other = (domain.shared_training(Context(0)) for _ in range(2))
        for shared in (one, other):
            for stage in range(1, last + 1):
                shared.begin_stage(stage)
        before = {name: tensor.clone() for name, tensor in tensors(one.state()).items()}
        self.train(domain, one, last)
        for shared in (one, other):
            shared.reinitialise(Context(0, 1))
        after = tensors(one.state())
        assert any(not torch.equal(tensor, after[name]) for name, tensor in before.items() if name in after)
        first, same = (self.train(domain, shared, last, 1)[0] for shared in (one, other))
        assert all(first[name] == same[name] for name in first.keys() & same.keys())
