"""Full trainings of graph networks with the test accuracy of every epoch, for benchmarks that judge rules.

A rule says which epoch of a training counts, by validation figures alone unless it is there to be judged. Since the
choice of the epoch changes nothing in the training before it, all rules are read off the same curves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from nichenas.core.context import Context
from nichenas.core.context import Environment
from nichenas.core.context import open_test_data
from nichenas.core.data.root import cache_folder
from nichenas.core.data.root import data_root
from nichenas.core.space import Architecture
from nichenas.core.training.calibration import calibrated_loss
from nichenas.core.training.loop import Part
from nichenas.core.training.loop import train
from nichenas.domains.gnn import GNNDomain
from nichenas.domains.gnn.settings import GNNSettings
from nichenas.domains.gnn.training import CALIBRATED
from nichenas.domains.gnn.training import Piece
from nichenas.domains.gnn.training import SpaceTraining
from nichenas.domains.gnn.training import evaluate
from nichenas.domains.gnn.training import score_and_loss

Curve = NDArray[np.float64]


@dataclass(frozen=True)
class Curves:
    """Figures of a training by epoch, each ``(epochs,)``.

    Attributes:
        scores: on validation nodes.
        losses: on validation nodes.
        calibrated: losses on validation nodes, once a temperature is fitted to each epoch's outputs.
        test: scores on test nodes.
    """

    scores: Curve
    losses: Curve
    calibrated: Curve
    test: Curve

    @property
    def lowest_loss(self) -> int:
        """The epoch of the lowest validation loss, as ``select: loss`` does; of equals that of the better score."""
        return int(np.lexsort((-self.scores, self.losses))[0])

    @property
    def highest_score(self) -> int:
        """The epoch of the highest validation score, as ``select: score`` does; of equals that of the lower loss."""
        return int(np.lexsort((self.losses, -self.scores))[0])

    @property
    def lowest_calibrated_loss(self) -> int:
        """The epoch of the lowest of these, as ``select: calibrated_loss`` does."""
        return int(np.lexsort((-self.scores, self.calibrated))[0])

    @property
    def improvements(self) -> NDArray[np.int64]:
        """The epochs whose validation loss is below that of all epochs before."""
        before = np.concatenate([[np.inf], np.minimum.accumulate(self.losses)[:-1]])
        return np.flatnonzero(self.losses < before)


class _Tested(SpaceTraining):
    """A training that also looks at test nodes; nothing is decided by them."""

    def __init__(self, of: SpaceTraining, tested: Sequence[Piece]) -> None:
        parts = (of.network, of.noise, of.train, of.validation, of.settings)
        super().__init__(*parts, metric=of.metric, consistency=of.consistency)
        self.tested = tested

    def validate(self) -> dict[str, float]:
        """Returns the calibrated loss and the score on test nodes too."""
        held = self.outputs()
        score, loss = score_and_loss(held, self.metric)
        test = evaluate(self.network, self.tested, self.metric)[0]
        return {"score": score, "loss": loss, CALIBRATED: calibrated_loss(held), "test": test}

    def stops(self) -> bool:
        """Returns whether none of the figures that epochs may be chosen by has improved for long."""
        if not super().stops():
            return False
        calibrated = self.history.curves[CALIBRATED]
        return self.history.validated - min(calibrated, key=itemgetter(1))[0] >= (self.settings.patience or 0)


class TestedDomain(GNNDomain):
    """The domain, with the test figures of every epoch."""

    def curves(self, architecture: Architecture, seed: int) -> Curves:
        """Returns those of a full training, whose data, weights and dropout are a retraining's.

        Of several splits, each seed has its own, in turn.
        """
        context = Context(seed, repeat=seed)
        split = self.split(context)
        with open_test_data():
            tested = [self.family.piece(part, architecture) for part in self.task.splits[split].test.read()]
        training = _Tested(self._training(architecture, context, split=split), tested)
        found = train(training, context, Part.whole(self.settings.epochs)).curves
        return Curves(
            *(np.array([value for _, value in found[name]]) for name in ("score", "loss", CALIBRATED, "test"))
        )


def tested_domain(dataset: str, root: str | None, epochs: int, patience: int) -> TestedDomain:
    """Returns the domain with the wide space.

    Args:
        root: of the data; none for the usual one.
    """
    settings = {"dataset": dataset, "space": "wide", "select": "loss", "epochs": epochs, "patience": patience}
    return TestedDomain(GNNSettings.model_validate(settings), Environment(data_root(root), cache_folder()))
