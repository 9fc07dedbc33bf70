"""Generator and discriminator trained against each other; the steps that shared and full training have in common."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch import nn

from nichenas.core.data.images import Images
from nichenas.core.data.images import to_float
from nichenas.core.errors import CandidateFailure
from nichenas.core.seeds import numpy_generator
from nichenas.domains.gan.discriminator import Discriminator
from nichenas.domains.gan.discriminator import hinge_discriminator
from nichenas.domains.gan.discriminator import hinge_generator
from nichenas.domains.gan.generator import Generator
from nichenas.domains.gan.genotypes import Genotype
from nichenas.domains.gan.metrics import in_batches
from nichenas.domains.gan.settings import AdversarialSettings

RECALIBRATION = 4  # batches that running statistics are measured on


class RealBatches:
    """Real images in [-1, 1], epoch after epoch in random order without end.

    Args:
        images: of one size; moved to the device whole.
        seed: of the order, with ``purpose``.
    """

    def __init__(self, images: Images, batch: int, device: torch.device, seed: int, purpose: str) -> None:
        self.pixels = images.pixels.to(device)
        self.batch = min(batch, len(images))
        self._seed, self._purpose = seed, purpose
        self.epoch, self.position = -1, len(images)
        self._order = np.empty(0, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.pixels) // self.batch

    def next(self) -> Tensor:
        """Returns the next batch, ``(batch, channels, h, w)``; what is left at the end of an epoch is left out."""
        if self.position + self.batch > len(self.pixels):
            self.go_to(self.epoch + 1, 0)
        chosen = torch.from_numpy(self._order[self.position : self.position + self.batch])
        self.position += self.batch
        pixels = self.pixels[chosen.to(self.pixels.device)]
        half = (0.5,) * pixels.shape[1]
        return to_float(pixels, half, half)

    def state_dict(self) -> dict[str, int]:
        """Returns the place in the order."""
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continues from what :meth:`state_dict` returned."""
        self.go_to(state["epoch"], state["position"])

    def go_to(self, epoch: int, position: int) -> None:
        """Goes on from a place that a checkpoint holds."""
        self.epoch, self.position = epoch, position
        if epoch >= 0:
            self._order = numpy_generator(self._seed, self._purpose, epoch).permutation(len(self.pixels))


class Adversaries:
    """Both networks with their optimizers.

    Args:
        generator: shared or of one genotype.
        stage: how many cells run, less one; it decides the path through the discriminator.
        half: whether both run in half precision, which needs CUDA.
    """

    def __init__(
        self,
        generator: Generator,
        discriminator: Discriminator,
        settings: AdversarialSettings,
        device: torch.device,
        stage: int = 0,
        half: bool = False,
    ) -> None:
        form: Any = {"memory_format": torch.channels_last}
        self.generator, self.discriminator = generator.to(device, **form), discriminator.to(device, **form)
        self.settings, self.device, self.stage = settings, device, stage
        self.generator_optimizer = torch.optim.Adam(generator.parameters(), settings.lr, settings.betas, foreach=True)
        lr = settings.discriminator_lr or settings.lr
        self.discriminator_optimizer = torch.optim.Adam(discriminator.parameters(), lr, settings.betas, foreach=True)
        self.half = half and device.type == "cuda"
        # Two scalers: losses of the two networks overflow at different times.
        self._scalers = [torch.amp.GradScaler("cuda", enabled=self.half) for _ in range(2)]  # type: ignore[attr-defined]

    def train(self) -> None:
        """Puts both networks into training mode."""
        self.generator.train()
        self.discriminator.train()

    def discriminator_step(self, real: Tensor, z: Tensor, genotypes: Sequence[Genotype | None] = (None,)) -> Tensor:
        """Trains the discriminator on real and as many generated images and returns its loss, a scalar.

        Real and generated images go through the discriminator as one batch: it has no normalisation over batches, so
        scores are the same, and spectral norms are estimated once a step.

        Args:
            real: ``(n, channels, h, w)`` in [-1, 1].
            z: ``(n, latent)``.
            genotypes: of a shared generator; each makes a part of the images.
        """
        self.discriminator.requires_grad_(True)
        with self._autocast():
            with torch.no_grad():
                fake = self._generated(z, genotypes)
            images = torch.cat([real, fake.to(real.dtype)]).contiguous(memory_format=torch.channels_last)
            scores = self.discriminator(images, self.stage).float()
        loss = hinge_discriminator(scores[: len(real)], scores[len(real) :])
        self._update(loss, self.discriminator_optimizer, self._scalers[0])
        return loss.detach()

    def generator_step(self, z: Tensor, genotypes: Sequence[Genotype | None] = (None,)) -> Tensor:
        """Trains the generator and returns its loss, a scalar.

        Args:
            z: ``(n, latent)``.
            genotypes: of a shared generator; each makes a part of the images.
        """
        self.discriminator.requires_grad_(False)  # its gradients are not needed here
        with self._autocast():
            scores = self.discriminator(self._generated(z, genotypes), self.stage).float()
        loss = hinge_generator(scores)
        self._update(loss, self.generator_optimizer, self._scalers[1])
        return loss.detach()

    def _generated(self, z: Tensor, genotypes: Sequence[Genotype | None]) -> Tensor:
        # Fewer images than genotypes leave the last ones out.
        parts = zip(z.tensor_split(len(genotypes)), genotypes, strict=True)
        return torch.cat([self.generator(part, genotype) for part, genotype in parts if len(part)])

    def _autocast(self) -> Any:
        return torch.autocast("cuda", dtype=torch.float16) if self.half else contextlib.nullcontext()

    def _update(self, loss: Tensor, optimizer: torch.optim.Optimizer, scaler: Any) -> None:
        optimizer.zero_grad(set_to_none=True)  # weights that no genotype uses are not stepped
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """Returns everything that training continues from."""
        return {
            "generator": self.generator.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "generator_optimizer": self.generator_optimizer.state_dict(),
            "discriminator_optimizer": self.discriminator_optimizer.state_dict(),
            "scalers": [scaler.state_dict() for scaler in self._scalers],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from what :meth:`state_dict` returned."""
        self.generator.load_state_dict(state["generator"])
        self.discriminator.load_state_dict(state["discriminator"])
        self.generator_optimizer.load_state_dict(state["generator_optimizer"])
        self.discriminator_optimizer.load_state_dict(state["discriminator_optimizer"])
        for scaler, held in zip(self._scalers, state["scalers"], strict=True):
            scaler.load_state_dict(held)


def noise(count: int, latent: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """Returns ``(count, latent)`` standard normal numbers, drawn on the generator's device."""
    return torch.randn(count, latent, generator=generator, device=generator.device).to(device)


@contextlib.contextmanager
def measured_normalisation(
    generator: Generator, genotype: Genotype | None, draws: torch.Generator, batch: int, device: torch.device
) -> Iterator[None]:
    """Lets normalisations use statistics of this genotype and these weights inside the ``with`` block.

    The running statistics of shared weights mix all genotypes, those of a moving average of weights belong to the
    weights that it is made from. Here they are the mean over a few batches; the old ones are put back afterwards.
    """
    norms = [module for module in generator.modules() if isinstance(module, nn.BatchNorm2d)]
    kept = [({name: tensor.clone() for name, tensor in norm.named_buffers()}, norm.momentum) for norm in norms]
    was_training = generator.training
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
        generator.train()
        with torch.no_grad():
            for _ in range(RECALIBRATION):
                generator(noise(batch, generator.latent, draws, device), genotype)
        yield
    finally:
        generator.train(was_training)
        for norm, (buffers, momentum) in zip(norms, kept, strict=True):
            norm.momentum = momentum
            for name, tensor in buffers.items():
                norm.get_buffer(name).copy_(tensor)


@torch.no_grad()
def generated(
    generator: Generator,
    samples: int,
    batch: int,
    draws: torch.Generator,
    device: torch.device,
    genotype: Genotype | None = None,
) -> Iterator[Tensor]:
    """Yields uint8 images in batches, the generator in evaluation mode.

    Raises:
        CandidateFailure: when an image is not finite.
    """
    generator.eval()
    for count in in_batches(samples, batch):
        images = generator(noise(count, generator.latent, draws, device), genotype)
        if not bool(torch.isfinite(images).all()):
            raise CandidateFailure("diverged", "generated images are not finite")
        yield as_pixels(images)


def as_pixels(images: Tensor) -> Tensor:
    """Returns uint8 images of those in [-1, 1]; what is not finite becomes 0."""
    return ((images.float().nan_to_num(-1) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
