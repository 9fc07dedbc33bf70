"""Training of a found network: in stages (binary activations first, then weights) or in one."""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from pydantic import model_validator
from torch import Tensor

from nichenas.core.context import Context
from nichenas.core.data.images import Batches
from nichenas.core.gradient.optimizers import OptimizerSettings
from nichenas.core.gradient.optimizers import set_learning_rate
from nichenas.core.settings import Settings
from nichenas.core.training.loop import Training
from nichenas.domains.binary.convolution import binarize
from nichenas.domains.binary.convolution import clip_latent
from nichenas.domains.binary.model import Classifier

Figure = Callable[[Sequence[tuple[Tensor, Tensor]]], float]


class Stage(Settings):
    """A part of a training.

    Attributes:
        epochs: of it.
        activations: whether inputs of convolutions are binary.
        weights: whether kernels are.
        lr: learning rate at its beginning; none for the optimizer's own.
        weight_decay: likewise. Latent kernels of binary ones should have none.
        gradual: share of the stage over which kernels go from real to binary; 0 makes them binary at once.
    """

    epochs: int = Field(ge=1)
    activations: bool = True
    weights: bool = True
    lr: float | None = Field(None, gt=0)
    weight_decay: float | None = Field(None, ge=0)
    gradual: float = Field(0.0, ge=0, le=1)


class TrainSettings(Settings):
    """How networks are trained.

    Attributes:
        stages: in turn, each from the weights of the one before.
        optimizer: of every stage.
        batch: images in a batch.
        warm_up: epochs of every stage in which the learning rate rises.
        final_lr: share of a stage's learning rate that is left at its end, along a cosine.
        clip_weights: whether latent kernels are kept in [-1, 1] while they are binary (Larq's WeightClip).
        drop_path: probability at the end; it rises from 0.
        auxiliary: weight of the auxiliary classifier's loss; 0 for none. It needs images of 32 pixels.
        label_smoothing: share of the target that all classes get.
        teacher: weight of the distance to a real-valued teacher's logits; 0 for none. The teacher is the real twin.
        real_twin: whether a full training also trains the same architecture real-valued, to report the gap.
        mixed_precision: compute in half precision, on CUDA only.
        checkpoint_every: epochs between checkpoints of a full training.
    """

    stages: tuple[Stage, ...] = (
        Stage(epochs=20, activations=True, weights=False),
        Stage(epochs=20, activations=True, weights=True, weight_decay=0.0),
    )
    optimizer: OptimizerSettings = OptimizerSettings(kind="adam", lr=1e-3, clip=5.0)
    batch: int = Field(64, ge=2)
    warm_up: int = Field(0, ge=0)
    final_lr: float = Field(0.0, ge=0, lt=1)
    clip_weights: bool = True
    drop_path: float = Field(0.0, ge=0, lt=1)
    auxiliary: float = Field(0.0, ge=0)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    teacher: float = Field(0.0, ge=0)
    real_twin: bool = True
    mixed_precision: bool = False
    checkpoint_every: int = Field(5, ge=1)

    @model_validator(mode="after")
    def _has_stages(self) -> TrainSettings:
        if not self.stages:
            raise ValueError("stages: at least one is needed")
        return self

    @property
    def epochs(self) -> int:
        """Of all stages."""
        return sum(stage.epochs for stage in self.stages)

    def scaled(self, epochs: int) -> TrainSettings:
        """Returns the same with other epochs in all, divided among the stages as before.

        Early stages that come to no epoch are left out; the last, which makes the network what it is to be, never is.
        """
        stages, before, given = [], 0, 0
        for stage in self.stages:
            before += stage.epochs
            share = epochs * before // self.epochs - given
            given += share
            if share:
                stages.append(stage.model_copy(update={"epochs": share}))
        return self.model_copy(update={"stages": tuple(stages)})

    def stage_at(self, epoch: int) -> tuple[Stage, int]:
        """Returns the stage of an epoch, counted from 0, and which one of the stage it is."""
        for stage in self.stages:
            if epoch < stage.epochs:
                return stage, epoch
            epoch -= stage.epochs
        raise IndexError(f"the training has {self.epochs} epochs")

    def real(self) -> TrainSettings:
        """Returns the settings of the real twin: as many epochs, in one stage, nothing binary, no teacher."""
        first = self.stages[0]
        stage = first.model_copy(update={"epochs": self.epochs, "activations": False, "weights": False, "gradual": 0.0})
        return self.model_copy(update={"stages": (stage,), "teacher": 0.0})


class StagedTraining(Training):
    """A training through all stages; its last epoch counts.

    Args:
        purpose: distinguishes the randomness and the checkpoints of this training from others of the same context.
        teacher: whose logits are imitated; trained already.
    """

    def __init__(
        self,
        network: Classifier,
        settings: TrainSettings,
        *,
        batches: Batches,
        validation: Batches,
        context: Context,
        purpose: str = "training",
        teacher: Classifier | None = None,
    ) -> None:
        super().__init__(name=purpose.replace(" ", "-"), checkpoint_every=settings.checkpoint_every)
        network.to(context.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network, self.settings, self.batches, self.validation = network, settings, batches, validation
        self.context, self.purpose = context, purpose
        self.teacher = None if teacher is None else teacher.eval()
        self.optimizer = settings.optimizer.make(network.parameters(), settings.stages[0].weight_decay)
        self.half = settings.mixed_precision and context.device.type == "cuda"
        self.scaler = torch.amp.GradScaler("cuda", enabled=self.half)  # type: ignore[attr-defined]

    def progress(self) -> float:
        """Returns the best accuracy so far."""
        return max(value for _, value in self.history.curves["accuracy"])

    def stateful(self) -> dict[str, Any]:
        """Returns what is trained; the rest follows from the epochs."""
        return {"network": self.network, "optimizer": self.optimizer, "scaler": self.scaler}

    def advance(self) -> None:
        """Trains one epoch."""
        settings, network = self.settings, self.network
        stage, epoch = settings.stage_at(self.done)
        if epoch == 0:
            self.optimizer = settings.optimizer.make(network.parameters(), stage.weight_decay)
        progress = epoch / stage.epochs
        binary = 0.0 if not stage.weights else min(1.0, progress / stage.gradual) if stage.gradual else 1.0
        binarize(network, stage.activations, binary)
        base = stage.lr or settings.optimizer.lr
        network.drop = settings.drop_path * self.done / settings.epochs
        device = self.context.device
        network.generator = self.context.torch(f"{self.purpose} drop path {self.done}", device=device)
        rng = self.context.numpy(f"{self.purpose} batches {self.done}")
        network.train()
        steps = len(self.batches)
        for step, (images, labels) in enumerate(self.batches.train_batches(rng)):
            set_learning_rate(self.optimizer, base * self._rate(epoch + step / steps, stage.epochs))
            self._step(images.contiguous(memory_format=torch.channels_last), labels)
        if epoch + 1 == stage.epochs:
            # With a gradual schedule the last epoch may have been short of fully binary.
            binarize(network, stage.activations, float(stage.weights))

    def validate(self) -> dict[str, float]:
        """Returns accuracy and loss."""
        return evaluate(self.network, self.validation)

    def _rate(self, at: float, epochs: int) -> float:
        settings = self.settings
        if at < settings.warm_up:
            return (at + 1e-3) / settings.warm_up
        share = (at - settings.warm_up) / max(1e-9, epochs - settings.warm_up)
        return settings.final_lr + (1 - settings.final_lr) * (1 + math.cos(math.pi * min(1.0, share))) / 2

    def _step(self, images: Tensor, labels: Tensor) -> None:
        settings, network = self.settings, self.network
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cuda", dtype=torch.float16, enabled=self.half):
            logits, second = network.both(images)
            loss = F.cross_entropy(logits.float(), labels, label_smoothing=settings.label_smoothing)
            if second is not None and settings.auxiliary:
                loss = loss + settings.auxiliary * F.cross_entropy(
                    second.float(), labels, label_smoothing=settings.label_smoothing
                )
            if self.teacher is not None and settings.teacher:
                with torch.no_grad():
                    wanted = F.softmax(self.teacher(images).float(), 1)
                loss = loss + settings.teacher * F.kl_div(
                    F.log_softmax(logits.float(), 1), wanted, reduction="batchmean"
                )
        self.scaler.scale(loss).backward()
        if settings.optimizer.clip is not None:
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(network.parameters(), settings.optimizer.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if settings.clip_weights:
            clip_latent(network)


@torch.no_grad()
def evaluate(
    network: Callable[[Tensor], Tensor], batches: Batches, further: Mapping[str, Figure] | None = None
) -> dict[str, float]:
    """Returns accuracy and mean cross-entropy of a network, put into evaluation mode, on all images.

    Args:
        further: other figures of logits and labels, by name.
    """
    if isinstance(network, torch.nn.Module):
        network.eval()
    right, loss, parts = 0, 0.0, []
    for images, labels in batches.eval_batches():
        logits = network(images.contiguous(memory_format=torch.channels_last)).float()
        right += int((logits.argmax(1) == labels).sum())
        loss += float(F.cross_entropy(logits, labels, reduction="sum"))
        parts.append((logits, labels))
    count = sum(len(labels) for _, labels in parts)
    return {
        "accuracy": right / count,
        "loss": loss / count,
        **{name: figure(parts) for name, figure in (further or {}).items()},
    }
