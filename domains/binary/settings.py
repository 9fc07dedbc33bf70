"""The ``domain`` section of a binary configuration."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic import field_validator
from pydantic import model_validator

from nichenas.core.data.images import Augmentation
from nichenas.core.errors import ConfigError
from nichenas.core.errors import did_you_mean
from nichenas.core.gradient.optimizers import OptimizerSettings
from nichenas.core.settings import Settings
from nichenas.domains.binary.convolution import Estimator
from nichenas.domains.binary.convolution import Scale
from nichenas.domains.binary.convolution import ScaleStart
from nichenas.domains.binary.operations import FAMILIES
from nichenas.domains.binary.operations import NONE
from nichenas.domains.binary.training import TrainSettings


class SearchStage(Settings):
    """What is binary in a part of a gradient search; see :class:`.supernet.BinarisationStage`."""

    until: float = Field(1.0, gt=0, le=1)
    activations: bool = True
    weights: bool = False


class SharedSettings(Settings):
    """How the search network is trained in a one-shot search.

    Attributes:
        optimizer: of its weights.
        batch: images in a batch.
        final_lr: share of the learning rate that is left at the end of the search, along a cosine.
        scored_images: validation images at most that architectures are scored on.
    """

    optimizer: OptimizerSettings = OptimizerSettings(kind="adam", lr=3e-3, clip=5.0)
    batch: int = Field(64, ge=2)
    final_lr: float = Field(0.1, ge=0, lt=1)
    scored_images: int = Field(2000, ge=2)


class AugmentationSettings(Settings):
    """What is done to training images; see :class:`nichenas.core.data.images.Augmentation`."""

    crop: int = Field(0, ge=0)
    flip: bool = False
    cutout: int = Field(0, ge=0)

    def make(self) -> Augmentation:
        """Returns it."""
        return Augmentation(self.crop, self.flip, self.cutout)


class BinarySettings(Settings):
    """The ``domain`` section of a configuration.

    Attributes:
        dataset: a name of :data:`nichenas.core.data.image_sources.KNOWN`, a folder of images, or an ``.npz`` file.
        validation: share of the training data.
        upsample: factor by which images are enlarged.
        image_size: pixels a side that images are brought to; none for the size that they have.
        limit: at most so many training images.
        space: ``bats``; ``darts``, binarised directly; ``bnas``; or ``darts-real``, which has nothing binary.
        operations: candidates, a part of the space's; all by default.
        nodes: intermediate nodes of a cell.
        per_cell: whether every cell is searched on its own; else all of a kind are the same. It needs
            ``search_cells`` equal to ``cells``.
        groups: of the grouped convolutions of ``bats``.
        scale: of binary convolutions.
        scale_start: where a learned scale starts, and whether it is adapted when kernels become binary: ``magnitude``,
            or ``one`` as BATS has it; see :class:`~nichenas.domains.binary.convolution.BinaryConv2d`.
        estimator: of the gradient of signs, by Larq's names.
        search_channels: width of the supernet and of candidates that are evaluated alone.
        search_cells: their depth.
        channels: width of the networks that are trained in full.
        cells: their depth.
        stem: ``cifar`` keeps the resolution, ``imagenet`` divides it by 8.
        while_searching: what is binary in the supernet, in parts of the search.
        shared: how shared weights are trained, in a one-shot search.
        augmentation: in the training of weights.
        training: full.
        evaluation: of a candidate alone; by default the full training's settings.
        objectives: measured; the first is accuracy.
        criterion: that candidates are ranked by: ``accuracy``; or one that distinguishes more of them on few images,
            ``loss``, ``calibrated_loss`` or ``calibrated_brier`` (:mod:`nichenas.core.training.calibration`).
    """

    dataset: str = "digits"
    validation: float = Field(0.1, gt=0, lt=1)
    upsample: int = Field(1, ge=1, le=16)
    image_size: int | None = Field(None, ge=4)
    limit: int | None = Field(None, ge=1)
    space: Literal["bats", "darts", "bnas", "darts-real"] = "bats"
    operations: tuple[str, ...] | None = None
    nodes: int = Field(4, ge=1, le=8)
    per_cell: bool = False
    groups: int = Field(12, ge=1)
    scale: Scale = "learned"
    scale_start: ScaleStart = "magnitude"
    estimator: Estimator = "ste_sign"
    search_channels: int = Field(24, ge=2)
    search_cells: int = Field(8, ge=1)
    channels: int = Field(36, ge=2)
    cells: int = Field(20, ge=1)
    stem: Literal["cifar", "imagenet"] = "cifar"
    while_searching: tuple[SearchStage, ...] = (SearchStage(),)
    shared: SharedSettings = SharedSettings()
    augmentation: AugmentationSettings = AugmentationSettings()
    training: TrainSettings = TrainSettings()
    evaluation: TrainSettings | None = None
    objectives: tuple[Literal["accuracy", "macs", "binary_macs", "parameters"], ...] = ("accuracy",)
    criterion: Literal["accuracy", "loss", "calibrated_loss", "calibrated_brier"] = "accuracy"

    @field_validator("objectives")
    @classmethod
    def _accuracy_comes_first(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or value[0] != "accuracy" or len(set(value)) != len(value):
            raise ValueError("must begin with 'accuracy' and name nothing twice")
        return value

    @field_validator("while_searching")
    @classmethod
    def _stages_end_with_the_search(cls, value: tuple[SearchStage, ...]) -> tuple[SearchStage, ...]:
        ends = [stage.until for stage in value]
        if not ends or ends != sorted(set(ends)) or ends[-1] != 1.0:
            raise ValueError("the 'until' of stages must rise and end with 1")
        return value

    @model_validator(mode="after")
    def _can_be_built(self) -> BinarySettings:
        family = FAMILIES[self.space]
        for name in self.operations or ():
            if name not in family.operations:
                hint = did_you_mean(name, family.operations)
                raise ValueError(f"operations: '{name}' is not of '{self.space}'{hint}; it has {family.operations}")
        if self.operations is not None and not set(self.operations) - {NONE}:
            raise ValueError("operations: at least one besides 'none' is needed")
        if self.per_cell and self.search_cells != self.cells:
            raise ValueError(f"per_cell: needs search_cells ({self.search_cells}) equal to cells ({self.cells})")
        for width in (self.search_channels, self.channels):
            try:
                family(groups=self.groups).check(width)
            except ConfigError as error:
                raise ValueError(str(error).removeprefix("domain.")) from None
            if self.stem == "imagenet" and family.stem_activation:
                groups = max(1, width // 20)
                if width % 2 or (width // 2) % groups or width % groups:
                    cure = f"do not divide into the {groups} groups of the imagenet stem; multiples of 40 do"
                    raise ValueError(f"channels: {width} and half of them {cure}")
        return self
