"""What shared weights must do for the one-shot driver; subclass :class:`OneShotContract` in a pytest module.

Example:
    class TestMyShared(OneShotContract):
        target = "my_package:MyDomain"
        settings = {"dataset": "tiny"}
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from nichenas.core.context import Context
from nichenas.core.context import Environment
from nichenas.core.data.root import cache_folder
from nichenas.core.data.root import data_root
from nichenas.core.domain_lookup import DomainRecipe
from nichenas.core.domain_lookup import load_target
from nichenas.core.sharing.one_shot import SharedTraining
from nichenas.core.sharing.one_shot import SharedWeights
from nichenas.core.space import Architecture


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


class OneShotContract:
    """The contract.

    Attributes:
        target: ``module:Class`` of the domain.
        settings: of a configuration whose steps take little time.
        data: the data root, where the settings need one.
        steps: of the shared training in a test.
    """

    target: ClassVar[str]
    settings: ClassVar[dict[str, Any]] = {}
    data: ClassVar[Path | None] = None
    steps: ClassVar[int] = 6

    @pytest.fixture(scope="class")
    def one_shot(self) -> SharedWeights:
        """The domain, prepared."""
        cls = load_target(self.target)
        root = self.data or data_root(None)
        settings = cls.Settings.model_validate(self.settings)
        domain = DomainRecipe(self.target, settings, Environment(root, cache_folder()))()
        assert isinstance(domain, SharedWeights)
        return domain

    def architectures(self, domain: SharedWeights, stage: int, count: int = 6) -> list[Architecture]:
        """Returns random architectures of a stage."""
        rng = np.random.default_rng(stage)
        space = domain.space.first(domain.stages[stage])
        return [space.sample(rng) for _ in range(count)]

    def train(self, domain: SharedWeights, shared: SharedTraining, stage: int, part: int = 0) -> list[dict[str, float]]:
        """Trains some steps and returns the losses."""
        shared.begin_training(Context(0, part))
        chosen = self.architectures(domain, stage, self.steps)
        return [dict(shared.step(architecture)) for architecture in chosen]

    def test_stages_end_with_the_whole_space(self, one_shot: SharedWeights) -> None:
        """The stages make more and more choices, at last all."""
        assert list(one_shot.stages) == sorted(set(one_shot.stages))
        assert one_shot.stages[-1] == len(one_shot.space.choices)

    def test_losses_have_their_names(self, one_shot: SharedWeights) -> None:
        """A step returns known losses, the gated_loss among them sooner or later, never more often than another."""
        shared = one_shot.shared_training(Context(0))
        assert shared.steps_per_epoch >= 1
        losses = self.train(one_shot, shared, 0)
        assert {name for loss in losses for name in loss} == set(shared.losses)
        counts = {name: sum(name in loss for loss in losses) for name in shared.losses}
        assert counts[shared.gated_loss] == min(counts.values())

    def test_scores_have_the_objectives_and_change_nothing(self, one_shot: SharedWeights) -> None:
        """Scoring twice with one context gives the same, and leaves weights and optimizers as they were."""
        shared = one_shot.shared_training(Context(0))
        self.train(one_shot, shared, 0)
        before = {name: tensor.clone() for name, tensor in tensors(shared.state()).items()}
        for architecture in self.architectures(one_shot, 0, 3):
            first = dict(shared.score(architecture, Context(0, 1)))
            assert dict(shared.score(architecture, Context(0, 1))) == first
            assert {objective.name for objective in one_shot.shared_objectives} <= set(first)
        after = tensors(shared.state())
        assert all(torch.equal(before[name], after[name]) for name in before)

    def test_growing_changes_no_weight(self, one_shot: SharedWeights) -> None:
        """Weights that were there before a stage begins stay bit by bit as they are."""
        shared = one_shot.shared_training(Context(0))
        for stage in range(1, len(one_shot.stages)):
            self.train(one_shot, shared, stage - 1, stage)
            before = {name: tensor.clone() for name, tensor in tensors(shared.state()).items()}
            shared.begin_stage(stage)
            after = tensors(shared.state())
            assert all(torch.equal(before[name], after[name]) for name in before)

    def test_goes_on_from_its_state(self, one_shot: SharedWeights, tmp_path: Path) -> None:
        """Written, read and loaded into fresh shared weights, training goes on to the same, in every stage."""
        shared = one_shot.shared_training(Context(0))
        for stage in range(len(one_shot.stages)):
            if stage > 0:
                shared.begin_stage(stage)
            self.train(one_shot, shared, stage, 10 * stage)
            torch.save(shared.state(), tmp_path / "state.pt")
            other = one_shot.shared_training(Context(0))
            for earlier in range(1, stage + 1):
                other.begin_stage(earlier)
            other.load(torch.load(tmp_path / "state.pt", weights_only=True))
            part = 10 * stage + 1
            assert self.train(one_shot, shared, stage, part) == self.train(one_shot, other, stage, part)
            for architecture in self.architectures(one_shot, stage, 2):
                one = dict(shared.score(architecture, Context(0, 2)))
                assert one == dict(other.score(architecture, Context(0, 2)))

    def test_the_context_decides(self, one_shot: SharedWeights) -> None:
        """The same contexts give the same losses; making weights anew draws others."""
        one, other = (one_shot.shared_training(Context(0)) for _ in range(2))
        first = self.train(one_shot, one, 0)
        assert first == self.train(one_shot, other, 0)
        one.reinitialise(Context(0, 1))
        again = tensors(one.state())
        assert any(
            not torch.equal(tensor, again[name]) for name, tensor in tensors(other.state()).items() if name in again
        )
