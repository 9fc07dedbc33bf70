"""Training of a network on labelled nodes."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any
from typing import ClassVar
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch import nn
from torch.nn import functional

from nichenas.core.settings import Settings
from nichenas.core.training.calibration import calibrated_loss
from nichenas.core.training.loop import Training
from nichenas.domains.gnn.consistency import Consistency
from nichenas.domains.gnn.consistency import disagreement
from nichenas.domains.gnn.features import Features
from nichenas.domains.gnn.graph import ReceptiveField
from nichenas.domains.gnn.network import NodeNetwork
from nichenas.domains.gnn.network import Noise

VALUE = itemgetter(1)  # of a point of a curve
CALIBRATED = "calibrated_loss"


class TrainSettings(Settings):
    """How a network is trained; the defaults are AGNN's for citation graphs, epochs as in GraphNAS.

    Attributes:
        epochs: at most.
        learning_rate: of Adam.
        weight_decay: L2 penalty on all weights.
        dropout: of layer inputs and attention coefficients.
        patience: epochs without a better validation score or loss (the calibrated one where epochs are chosen by it)
            before training stops; none for never.
        validate_every: epochs between looks at validation data.
        select: by which the epoch that counts is chosen: the highest validation score, the lowest validation loss,
            which is less often a stroke of luck on few nodes, or the lowest one once its temperature is fitted
            (:func:`~nichenas.core.training.calibration.calibrated_loss`), which networks that grow too confident do not
            end early.
    """

    epochs: int = Field(300, ge=1)
    learning_rate: float = Field(0.005, gt=0)
    weight_decay: float = Field(5e-4, ge=0)
    dropout: float = Field(0.6, ge=0, le=0.99)
    patience: int | None = Field(40, ge=1)
    validate_every: int = Field(1, ge=1)
    select: Literal["score", "loss", "calibrated_loss"] = "score"


@dataclass(frozen=True)
class Piece:
    """A graph with some of its nodes labelled, ready for networks of a certain depth.

    Attributes:
        field: what the network needs to compute the labelled nodes' outputs.
        features: of the field's inputs.
        labels: of the field's targets: classes ``(n,)`` int64, or 0/1 labels ``(n, labels)`` float.
    """

    field: ReceptiveField
    features: Features
    labels: Tensor


def node_loss(outputs: Tensor, labels: Tensor) -> Tensor:
    """Returns the mean cross-entropy; the mean binary cross-entropy for several labels a node."""
    if labels.dtype == torch.int64:
        return functional.cross_entropy(outputs, labels)
    return functional.binary_cross_entropy_with_logits(outputs, labels)


def counts(outputs: Tensor, labels: Tensor) -> Tensor:
    """Returns what scores are made of and can be summed over graphs, ``(2,)``.

    Accuracy is first / second: correct nodes and nodes. Micro-F1 is so too: twice the true positives, and
    these plus all errors.
    """
    if labels.dtype == torch.int64:
        return torch.stack([(outputs.argmax(1) == labels).sum(), torch.tensor(len(labels), device=labels.device)])
    predicted, true = outputs > 0, labels > 0.5
    hits = 2 * (predicted & true).sum()
    return torch.stack([hits, hits + (predicted ^ true).sum()])


def roc_auc(graphs: Sequence[tuple[Tensor, Tensor]]) -> float:
    """Returns the area under the ROC curve of two classes, over all graphs together."""
    from sklearn.metrics import roc_auc_score

    scores = torch.cat([outputs[:, 1] - outputs[:, 0] for outputs, _ in graphs]).cpu().numpy()
    return float(roc_auc_score(torch.cat([labels for _, labels in graphs]).cpu().numpy(), scores))


def evaluate(network: NodeNetwork, pieces: Sequence[Piece], metric: str = "accuracy") -> tuple[float, float]:
    """Returns (score, mean loss) of a network in evaluation mode."""
    return score_and_loss(outputs_of(network, pieces), metric)


@torch.no_grad()
def outputs_of(network: NodeNetwork, pieces: Sequence[Piece]) -> list[tuple[Tensor, Tensor]]:
    """Returns the outputs of a network in evaluation mode, and the labels, of every piece."""
    network.eval()
    found = [(network(piece.field, piece.features), piece.labels) for piece in pieces]
    network.train()
    return found


def score_and_loss(graphs: Sequence[tuple[Tensor, Tensor]], metric: str = "accuracy") -> tuple[float, float]:
    """Returns (score, mean loss) over the (outputs, labels) of some graphs.

    Args:
        metric: ``roc_auc``; any other is what labels say, accuracy or micro-F1.
    """
    total, loss, nodes = torch.zeros(2, dtype=torch.float64), 0.0, 0
    for outputs, labels in graphs:
        total += counts(outputs, labels).cpu()
        loss += float(node_loss(outputs, labels)) * len(labels)
        nodes += len(labels)
    if metric == "roc_auc":
        return (roc_auc(graphs) if math.isfinite(loss) else 0.0), loss / nodes
    return float(total[0] / total[1]) if total[1] else 0.0, loss / nodes


class NodeTraining(Training):
    """The training of one network on labelled nodes; the epoch counts that validation data choose.

    Args:
        network: on the device of the data.
        train: one optimiser step each, every epoch, in order.
        validation: what epochs are chosen by.
        metric: of the score.
        keep_best: whether the weights of the best epoch are kept.
    """

    fused: ClassVar[bool | None] = True

    def __init__(
        self,
        network: nn.Module,
        train: Sequence[Any],
        validation: Sequence[Any],
        settings: TrainSettings,
        *,
        metric: str = "accuracy",
        keep_best: bool = False,
    ) -> None:
        super().__init__(validate_every=settings.validate_every)
        self.network, self.train, self.validation, self.metric = network, train, validation, metric
        self.settings, self.keep_best = settings, keep_best
        self.optimiser = torch.optim.Adam(self.parameter_groups(), settings.learning_rate, fused=self.fused)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Returns the groups of parameters that the optimiser treats differently."""
        return [{"params": list(self.network.parameters()), "weight_decay": self.settings.weight_decay}]

    def better(self, figures: Mapping[str, float], best: Mapping[str, float]) -> bool:
        """Compares what the settings say; the other decides between equal ones."""
        loss = self._loss_name
        if self.settings.select == "score":
            return (figures["score"], -figures[loss]) > (best["score"], -best[loss])
        return (-figures[loss], figures["score"]) > (-best[loss], best["score"])

    @property
    def _loss_name(self) -> str:
        return CALIBRATED if self.settings.select == CALIBRATED else "loss"

    def progress(self) -> float:
        """Returns the best score so far, which need not be that of the epoch that counts."""
        return max(self.curve, key=VALUE)[1]

    def weights(self) -> Mapping[str, Tensor]:
        """Returns a copy of the weights, if they were asked for."""
        return {name: tensor.clone() for name, tensor in self.network.state_dict().items()} if self.keep_best else {}

    @property
    def curve(self) -> list[tuple[int, float]]:
        """The score by epoch."""
        return self.history.curves["score"]

    def stops(self) -> bool:
        """Returns whether neither score nor loss have improved for as many epochs as patience allows."""
        patience, curves = self.settings.patience, self.history.curves
        if patience is None or not curves:
            return False
        by_score, by_loss = max(curves["score"], key=VALUE), min(curves[self._loss_name], key=VALUE)  # first of equals
        return self.history.validated - max(by_score[0], by_loss[0]) >= patience

    @abstractmethod
    def outputs(self) -> list[tuple[Tensor, Tensor]]:
        """Returns the outputs of the network in evaluation mode, and the labels, of every validation graph."""

    def validate(self) -> dict[str, float]:
        """Returns score and loss, and the calibrated loss where epochs are chosen by it."""
        held = self.outputs()
        score, loss = score_and_loss(held, self.metric)
        figures = {"score": score, "loss": loss}
        if self.settings.select == CALIBRATED:
            figures[CALIBRATED] = calibrated_loss(held) if math.isfinite(loss) else loss
        return figures

    def stateful(self) -> dict[str, Any]:
        """Returns the network and its optimiser."""
        return {"network": self.network, "optimiser": self.optimiser}


class SpaceTraining(NodeTraining):
    """The training of a network of one of the spaces.

    Args:
        noise: that it draws.
        consistency: of the predictions of all nodes, where it is wanted.
    """

    network: NodeNetwork

    def __init__(
        self, network: NodeNetwork, noise: Noise, *args: Any, consistency: Consistency | None = None, **kwargs: Any
    ) -> None:
        super().__init__(network, *args, **kwargs)
        self.noise, self.consistency = noise, consistency
        if consistency is not None:
            self.noise.augmentations = consistency.augmentations
        self.loss = torch.zeros(())  # of the last step

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Returns those of the network."""
        return self.network.parameter_groups(self.settings.weight_decay)

    def advance(self) -> None:
        """Trains an epoch."""
        for piece in self.train:
            loss = self._loss(piece)
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            self.optimiser.step()
        self.loss = loss.detach()

    def _loss(self, piece: Piece) -> Tensor:
        if self.consistency is None:
            return node_loss(self.network(piece.field, piece.features, self.noise), piece.labels)
        outputs = self.network(piece.field.everywhere(), piece.features, self.noise)
        labelled = outputs.index_select(0, piece.field.targets).flatten(0, 1)
        loss = node_loss(labelled, piece.labels.repeat_interleave(outputs.shape[1], 0))
        multilabel = piece.labels.dtype != torch.int64
        different = disagreement(outputs, self.consistency.temperature, multilabel=multilabel)
        return loss + self.consistency.weight * different

    def outputs(self) -> list[tuple[Tensor, Tensor]]:
        """Returns those of the network as it is."""
        return outputs_of(self.network, self.validation)

    def validate(self) -> dict[str, float]:
        """Returns the figures; a training loss that is not finite makes the loss so."""
        figures = super().validate()
        return figures if self.loss.isfinite() else {**figures, "loss": math.nan}

    def stateful(self) -> dict[str, Any]:
        """Returns the generators too."""
        return {**super().stateful(), "feature noise": self.noise.features, "inner noise": self.noise.inner}
