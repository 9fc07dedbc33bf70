"""The ``domain`` section of a GAN configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic import field_validator

from nichenas.core.errors import ConfigError
from nichenas.core.settings import Settings
from nichenas.domains.gan.generator import Tap
from nichenas.domains.gan.genotypes import SkipPosition
from nichenas.domains.gan.genotypes import parse

RANDOM = "random-"  # baselines that are drawn


class AdversarialSettings(Settings):
    """Two networks and how they are trained against each other; defaults are those of AutoGAN's search script.

    Attributes:
        channels: of the generator.
        discriminator_channels: of the discriminator.
        batch: real images, and as many generated ones, in a step of the discriminator.
        generator_batch: images in a step of the generator.
        critic_steps: steps of the discriminator for one of the generator (``n_critic``).
        lr: learning rate of the generator's Adam.
        discriminator_lr: of the discriminator's; by default the same.
        betas: of both.
        samples: generated images that are measured.
        splits: of the Inception Score.
        bn_recalibration: whether running statistics are measured again for the genotype and weights that are scored;
            AutoGAN's code uses those that all genotypes left together.
    """

    channels: int = Field(128, ge=1)
    discriminator_channels: int = Field(64, ge=1)
    batch: int = Field(64, ge=1)
    generator_batch: int = Field(128, ge=1)
    critic_steps: int = Field(5, ge=1)
    lr: float = Field(2e-4, gt=0)
    discriminator_lr: float | None = Field(None, gt=0)
    betas: tuple[float, float] = (0.0, 0.9)
    samples: int = Field(5000, ge=2)
    splits: int = Field(10, ge=1)
    bn_recalibration: bool = True


class TrainSettings(AdversarialSettings):
    """A training of one generator.

    Attributes:
        steps: of the generator.
        ema: decay of the moving average of the generator's weights that is measured and kept.
        validate_every: steps of the generator between measurements on validation data; the best is kept.
        show_every: steps between grids of samples.
        mixed_precision: on CUDA.
    """

    channels: int = Field(256, ge=1)
    discriminator_channels: int = Field(128, ge=1)
    samples: int = Field(50000, ge=2)
    steps: int = Field(50000, ge=1)
    ema: float = Field(0.999, ge=0, lt=1)
    validate_every: int = Field(3130, ge=1)
    show_every: int = Field(3130, ge=1)
    mixed_precision: bool = False

    def scaled(self, factor: float) -> TrainSettings:
        """Returns settings for a share of the steps."""
        return self.model_copy(update={"steps": max(1, round(self.steps * factor))})


class GanSettings(Settings):
    """The ``domain`` section of a configuration.

    Attributes:
        dataset: a name of :data:`nichenas.core.data.image_sources.KNOWN`, a folder of images, or an ``.npz`` file.
        unlabelled: whether images without labels are trained on too, where the data set has some (STL-10); not with a
            classifier. A folder whose images lie in no sub-folders has none but these.
        validation: share of the training data.
        image_size: pixels a side that images are brought to; none for the size that they have.
        limit: at most so many training images.
        bottom_width: pixels a side before the first cell.
        cells: of the generator; each doubles the resolution.
        latent: numbers an image is made from.
        skip_tap: what a cell hands on to later ones: its features before or after skips are added.
        skip_position: where it stands among the tokens of a cell.
        extractor: ``inception``, the original; or ``classifier``, trained on the data set, with names of its own.
        inception_weights: file of its weights; by default where torch keeps downloads.
        reward: what a one-shot search scores: ``IS``, as AutoGAN does, or ``FID``.
        shared: training of the shared weights.
        training: full.
        evaluation: of a candidate alone; by default a twentieth of the full training's steps.
        baselines: trained like what was found: ``default`` (every token 0), ``sngan`` (SN-GAN's generator in this
            space), ``random-N`` (N random genotypes), published names, or tokens.
    """

    dataset: str = "digits"
    unlabelled: bool = False
    validation: float = Field(0.1, gt=0, lt=1)
    image_size: int | None = Field(None, ge=4)
    limit: int | None = Field(None, ge=1)
    bottom_width: int = Field(4, ge=2)
    cells: int = Field(3, ge=1, le=5)
    latent: int = Field(128, ge=1)
    skip_tap: Tap = "before"
    skip_position: SkipPosition = "last"
    extractor: Literal["inception", "classifier"] = "inception"
    inception_weights: Path | None = None
    reward: Literal["IS", "FID"] = "IS"
    shared: AdversarialSettings = AdversarialSettings()
    training: TrainSettings = TrainSettings()
    evaluation: TrainSettings | None = None
    baselines: tuple[str, ...] = ("default", "sngan")

    @field_validator("baselines")
    @classmethod
    def _baselines_are_genotypes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name in ("default", "sngan"):
                continue
            if name.startswith(RANDOM) and name.removeprefix(RANDOM).isdigit() and int(name.removeprefix(RANDOM)) > 0:
                continue
            try:
                parse(name)
            except ConfigError as error:
                why = str(error).removeprefix("genotype: ")
                raise ValueError(f"'{name}' is neither default, sngan, random-N nor a genotype ({why})") from None
        return value

    @property
    def size(self) -> int:
        """Pixels a side of a generated image."""
        return self.bottom_width * 2**self.cells
