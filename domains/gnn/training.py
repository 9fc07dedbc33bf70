"""Training of one or several networks on the same graphs, in step.

Networks that are trained together share the product of the sparse features and their first-layer weights laid
side by side; everything else is per network. Each stops on its own. One network is a group of one, so there is
a single training loop.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor
from torch import nn
from torch.nn import functional

from nichenas.core.checkpoint import read_checkpoint
from nichenas.core.checkpoint import write_checkpoint
from nichenas.core.errors import CandidateFailure
from nichenas.core.settings import Settings
from nichenas.domains.gnn.features import Features
from nichenas.domains.gnn.graph import ReceptiveField
from nichenas.domains.gnn.model import AGNN
from nichenas.domains.gnn.model import Noise


class TrainSettings(Settings):
    """How a network is trained; the defaults are AGNN's for citation graphs, epochs as in GraphNAS.

    Attributes:
        epochs: at most.
        learning_rate: of Adam.
        weight_decay: L2 penalty on all weights.
        dropout: of layer inputs and attention coefficients.
        patience: epochs without a better validation score or loss before training stops; none for never.
        validate_every: epochs between looks at validation data.
    """

    epochs: int = Field(300, ge=1)
    learning_rate: float = Field(0.005, gt=0)
    weight_decay: float = Field(5e-4, ge=0)
    dropout: float = Field(0.6, ge=0, le=0.99)
    patience: int | None = Field(40, ge=1)
    validate_every: int = Field(1, ge=1)


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


@dataclass
class Outcome:
    """What became of one network.

    Attributes:
        score: validation accuracy, or micro-F1 for several labels a node, at the best epoch.
        loss: validation loss at that epoch; it decides between equal scores.
        curve: (epoch, score) at every look at validation data.
        epochs: that it was trained for, all in all.
        before: how many of them in the trials that it goes on from.
        stopped: whether it was for want of progress.
        state: weights at the best epoch, if they were asked for.
        failure: why the network is out; the rest is then meaningless.
    """

    score: float = -1.0
    loss: float = float("inf")
    epoch: int = 0
    lowest_loss: float = float("inf")
    improved: int = 0
    curve: list[tuple[int, float]] = field(default_factory=list)
    epochs: int = 0
    before: int = 0
    stopped: bool = False
    state: dict[str, Tensor] = field(default_factory=dict)
    failure: CandidateFailure | None = None

    def look(
        self, epoch: int, score: float, loss: float, network: nn.Module, keep_best: bool, patience: int | None
    ) -> bool:
        """Takes in one look at validation data; returns whether training goes on."""
        if not math.isfinite(loss):
            self.failure = CandidateFailure("diverged", f"the loss is not finite at epoch {epoch}")
            return False
        self.curve.append((epoch, score))
        if score > self.score or loss < self.lowest_loss:
            self.improved = epoch
        self.lowest_loss = min(self.lowest_loss, loss)
        if (score, -loss) > (self.score, -self.loss):
            self.score, self.loss, self.epoch = score, loss, epoch
            if keep_best:
                self.state = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
        return patience is None or epoch - self.improved < patience


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


def evaluate(network: AGNN, pieces: Sequence[Piece]) -> tuple[float, float]:
    """Returns (score, mean loss) of a network in evaluation mode."""
    network.eval()
    with torch.no_grad():
        result = score_and_loss((network(piece.field, piece.features), piece.labels) for piece in pieces)
    network.train()
    return result


def score_and_loss(graphs: Iterable[tuple[Tensor, Tensor]]) -> tuple[float, float]:
    """Returns (score, mean loss) over the (outputs, labels) of some graphs."""
    total, loss, nodes = torch.zeros(2, dtype=torch.float64), 0.0, 0
    for outputs, labels in graphs:
        total += counts(outputs, labels).cpu()
        loss += float(node_loss(outputs, labels)) * len(labels)
        nodes += len(labels)
    return float(total[0] / total[1]) if total[1] else 0.0, loss / nodes


def train_group(
    networks: Sequence[AGNN],
    noises: Sequence[Noise],
    train: Sequence[Piece],
    validation: Sequence[Piece],
    settings: TrainSettings,
    check: Callable[[], None],
    keep_best: bool = False,
    checkpoint_in: Path | None = None,
    checkpoint_out: Path | None = None,
) -> list[Outcome]:
    """Trains networks together and returns what became of each.

    A single network may go on from a checkpoint and leave one; a training in parts is the training in one go.

    Args:
        networks: on the device of the data.
        noises: one a network; the feature masks come from the first one's generator.
        train: one optimiser step each, every epoch, in order.
        validation: what epochs are chosen by.
        check: called once an epoch; may raise :class:`CandidateFailure` for all that are still training.
        keep_best: whether outcomes carry the weights of the best epoch.
        checkpoint_in: checkpoint of a single network.
        checkpoint_out: where to leave one.
    """
    assert len(networks) == 1 or (checkpoint_in is None and checkpoint_out is None)
    outcomes = [Outcome() for _ in networks]
    active = list(range(len(networks)))
    optimiser = torch.optim.Adam(
        [parameter for network in networks for parameter in network.parameters()],
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    if checkpoint_in is not None:
        device = next(networks[0].parameters()).device
        outcomes = [_restore(read_checkpoint(checkpoint_in, device), networks[0], optimiser, noises[0])]
        active = [0] if not outcomes[0].stopped else []
    for epoch in range(outcomes[0].epochs + 1, settings.epochs + 1):
        if not active:
            break
        try:
            check()
        except CandidateFailure as failure:
            for index in active:
                outcomes[index].failure = failure
            break
        for piece in train:
            losses = _step([networks[i] for i in active], [noises[i] for i in active], piece, optimiser)
        for index in active:
            outcomes[index].epochs = epoch
        if epoch % settings.validate_every and epoch != settings.epochs:
            continue
        for index, train_loss in zip(list(active), losses, strict=True):
            score, loss = evaluate(networks[index], validation)
            loss += 0.0 * float(train_loss.detach())  # a training loss that is not finite makes this one so
            if not outcomes[index].look(epoch, score, loss, networks[index], keep_best, settings.patience):
                outcomes[index].stopped = True
                active.remove(index)
    if checkpoint_out is not None and outcomes[0].failure is None:
        write_checkpoint(checkpoint_out, _held(outcomes[0], networks[0], optimiser, noises[0]))
    return outcomes


def _held(outcome: Outcome, network: AGNN, optimiser: torch.optim.Adam, noise: Noise) -> dict[str, Any]:
    known = {name: getattr(outcome, name) for name in outcome.__dataclass_fields__ if name != "failure"}
    return {
        "outcome": known,
        "network": network.state_dict(),
        "optimiser": optimiser.state_dict(),
        "draws": [noise.features.get_state(), noise.inner.get_state()],
    }


def _restore(held: Mapping[str, Any], network: AGNN, optimiser: torch.optim.Adam, noise: Noise) -> Outcome:
    network.load_state_dict(held["network"])
    optimiser.load_state_dict(held["optimiser"])
    for generator, state in zip((noise.features, noise.inner), held["draws"], strict=True):
        generator.set_state(state.cpu())
    outcome = Outcome(**held["outcome"])
    outcome.before = outcome.epochs
    outcome.curve = [(int(epoch), float(score)) for epoch, score in outcome.curve]
    return outcome


def _step(networks: list[AGNN], noises: list[Noise], piece: Piece, optimiser: torch.optim.Adam) -> list[Tensor]:
    if len(networks) == 1:  # splitting and joining would copy the widest tensors there are
        losses = [node_loss(networks[0](piece.field, piece.features, noises[0]), piece.labels)]
    else:
        weights = [weight for network in networks for weight in network.first_weights]
        projected = piece.features.project(torch.cat(weights, 1), noises[0].p, noises[0].features)
        widths = [sum(weight.shape[1] for weight in network.first_weights) for network in networks]
        losses = [
            node_loss(network.forward_projected(piece.field, part, noise), piece.labels)
            for network, noise, part in zip(networks, noises, projected.split(widths, 1), strict=True)
        ]
    optimiser.zero_grad(set_to_none=True)
    torch.stack(losses).sum().backward()
    optimiser.step()
    return losses
