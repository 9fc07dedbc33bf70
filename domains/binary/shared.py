"""Training of the search network for a one-shot search: a step runs single architectures, not a mixture of operations.

What an operation learns is then what it needs without the others: a mixture's operations share the work, and alone they
are far from what they were in it (Guo et al. 2020, section 3).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from nichenas.core.context import Context
from nichenas.core.data.images import Batches
from nichenas.core.gradient.discretisation import one_hot
from nichenas.core.gradient.optimizers import set_learning_rate
from nichenas.core.gradient.relaxations import discrete
from nichenas.core.gradient.steps import clip_gradients
from nichenas.core.gradient.steps import copies
from nichenas.core.sharing.one_shot import SharedTraining
from nichenas.core.space import Architecture
from nichenas.domains.binary.settings import SharedSettings
from nichenas.domains.binary.space import kept_of
from nichenas.domains.binary.supernet import CellSupernet
from nichenas.domains.binary.training import Figure
from nichenas.domains.binary.training import evaluate


class SharedCells(SharedTraining):
    """Weights of all operations on all edges.

    Args:
        make: returns a fresh search network for a context.
        batches: of training images.
        validation: of images that architectures are scored on, in random order: normalisations use the batch.
        figures: computed with accuracy and loss.
        costs: of an architecture; none where they are no objective.
    """

    losses = ("loss",)
    gated_loss = "loss"

    def __init__(
        self,
        make: Callable[[Context], CellSupernet],
        batches: Batches,
        validation: Batches,
        settings: SharedSettings,
        figures: Mapping[str, Figure],
        costs: Callable[[Architecture], Mapping[str, float]] | None,
        context: Context,
    ) -> None:
        self._make, self._batches, self._validation = make, batches, validation
        self._settings, self._figures, self._costs = settings, figures, costs
        self._start(context)

    def _start(self, context: Context) -> None:
        self.supernet = self._make(context)
        self.optimizer = self._settings.optimizer.make(self.supernet.parameters())
        self._progress = 0.0  # at the last step; it says what is binary

    @property
    def steps_per_epoch(self) -> int:
        """Batches of training images."""
        return max(1, len(self._batches))

    def begin_stage(self, stage: int) -> None:
        """Does nothing; there is one stage."""

    def begin_training(self, context: Context) -> None:
        """Orders and augments images for the steps that follow."""
        self._images = self._epochs(context)
        self.supernet.train()

    def _epochs(self, context: Context) -> Iterator[tuple[Tensor, Tensor]]:
        rng = context.numpy("shared batches")
        while True:
            yield from self._batches.train_batches(rng)

    def step(self, architectures: Sequence[Architecture], progress: float) -> Mapping[str, float]:
        """Takes a step of the optimizer; the learning rate falls along a cosine."""
        settings, supernet = self._settings, self.supernet
        self._progress = progress
        supernet.begin_epoch(progress)
        falling = settings.final_lr + (1 - settings.final_lr) * (1 + math.cos(math.pi * progress)) / 2
        set_learning_rate(self.optimizer, settings.optimizer.lr * falling)
        images, labels = next(self._images)
        self.optimizer.zero_grad(set_to_none=True)  # weights that no architecture uses are not stepped
        total = 0.0
        for architecture in architectures:
            loss = F.cross_entropy(self._logits(architecture, images), labels) / len(architectures)
            loss.backward()
            total += float(loss.detach())
        clip_gradients(list(supernet.parameters()), settings.optimizer.clip)
        self.optimizer.step()
        supernet.after_step()
        return {"loss": total}

    def _logits(self, architecture: Architecture, images: Tensor) -> Tensor:
        groups = self.supernet.groups
        empty = {group.name: images.new_zeros(len(group.edges), len(group.operations)) for group in groups}
        mix = discrete(one_hot(kept_of(architecture, groups), groups, empty))
        return self.supernet(images, copies(self.supernet, mix, differentiable=False), mix.active)  # type: ignore[no-any-return]

    def score(self, architecture: Architecture, context: Context) -> Mapping[str, float]:
        """Returns accuracy, loss, further figures of validation images, and costs."""
        self.supernet.eval()
        self.supernet.begin_epoch(self._progress)  # weights that were just loaded do not know what is binary
        figures = evaluate(lambda images: self._logits(architecture, images), self._validation, self._figures)
        return figures if self._costs is None else {**figures, **self._costs(architecture)}

    def reinitialise(self, context: Context) -> None:
        """Draws all weights again."""
        self._start(context)
        self.supernet.train()

    def state(self) -> dict[str, Any]:
        """Returns weights, optimizer, and how far the search is."""
        return {
            "supernet": self.supernet.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "progress": self._progress,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restores what :meth:`state` returned."""
        self.supernet.load_state_dict(state["supernet"])
        self.optimizer.load_state_dict(state["optimizer"])
        self._progress = float(state["progress"])
