"""The training of a supernet: its weights and its architecture parameters, epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from nichenas.core.errors import ConfigError
from nichenas.core.errors import SearchDiverged
from nichenas.core.gradient.effect import GradientNoise
from nichenas.core.gradient.optimizers import set_learning_rate
from nichenas.core.gradient.options import GradientOptions
from nichenas.core.gradient.relaxations import RELAXATIONS
from nichenas.core.gradient.relaxations import Mix
from nichenas.core.gradient.resources import Resources
from nichenas.core.gradient.steps import Batch
from nichenas.core.gradient.steps import SupernetPass
from nichenas.core.gradient.steps import architecture_costs
from nichenas.core.gradient.steps import clip_gradients
from nichenas.core.gradient.steps import second_order_costs
from nichenas.core.gradient.steps import summed
from nichenas.core.gradient.steps import weight_gradients
from nichenas.core.gradient.supernet import Mixes
from nichenas.core.gradient.supernet import SearchData
from nichenas.core.gradient.supernet import Supernet
from nichenas.core.gradient.supernet import gradients_of
from nichenas.core.gradient.wiring import WiringRecorder
from nichenas.core.seeds import numpy_generator
from nichenas.core.seeds import torch_generator

LOWER = "lower search.options.gradient.weights.lr or raise the temperature"


@dataclass(frozen=True)
class EpochResult:
    """What an epoch was trained with, and to what loss."""

    temperature: float
    lr: float
    loss: float


class SupernetTraining:
    """Trains weights and architecture parameters together; every draw comes from (seed, purpose, epoch).

    Args:
        supernet: fresh.
        resources: costs that the architecture parameters mind.
        seed: of the run.
        epochs: of the whole search.

    Attributes:
        parameters: of the architecture, ``(edges, operations)`` by group.
        recorder: of the costs of edges.
        noise: of the gradients of the parameters.

    Raises:
        ConfigError: when a second-order step would take finite differences of a network that is binary at some time.
    """

    def __init__(
        self,
        supernet: Supernet,
        data: SearchData,
        options: GradientOptions,
        resources: Resources,
        seed: int,
        epochs: int,
        device: torch.device,
    ) -> None:
        if options.step == "second-order" and options.hessian == "finite-difference" and not supernet.smooth:
            raise ConfigError(
                "search.options.gradient.hessian: finite-difference steps over the jumps of a binary network, which "
                "makes the second-order term noise; allowed here: exact"
            )
        self.supernet, self.data, self.options, self.resources = supernet, data, options, resources
        self.seed, self.epochs, self.device = seed, epochs, device
        self.relaxation = RELAXATIONS[options.relaxation]()
        self.parameters = self._initial_parameters()
        self.weight_optimizer = options.weights.make([p for p in supernet.parameters() if p.requires_grad])
        # Architecture parameters are tables, so they are decayed; that is DARTS's rule.
        self.architecture_optimizer = options.architecture.make(self.parameters.values())
        self.recorder = WiringRecorder(supernet.groups, logits=supernet.task == "classification")
        self.noise = GradientNoise()

    def _initial_parameters(self) -> dict[str, nn.Parameter]:
        result = {}
        dtype = next(self.supernet.parameters()).dtype
        for group in self.supernet.groups:
            generator = torch_generator(self.seed, f"architecture parameters {group.name}", 0, "cpu")
            noise = torch.randn(len(group.edges), len(group.operations), generator=generator, dtype=torch.float64)
            values = self.options.init_mean + self.options.init_std * noise
            result[group.name] = nn.Parameter(values.to(self.device, dtype))
        return result

    def state(self) -> dict[str, Any]:
        """Returns what a checkpoint keeps."""
        return {
            "supernet": self.supernet.state_dict(),
            "parameters": {name: values.detach() for name, values in self.parameters.items()},
            "weight_optimizer": self.weight_optimizer.state_dict(),
            "architecture_optimizer": self.architecture_optimizer.state_dict(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Goes back to a checkpoint."""
        self.supernet.load_state_dict(state["supernet"])
        for name, values in state["parameters"].items():
            self.parameters[name].data.copy_(values)
        self.weight_optimizer.load_state_dict(state["weight_optimizer"])
        self.architecture_optimizer.load_state_dict(state["architecture_optimizer"])

    def temperature(self, epoch: int) -> float:
        """Returns the temperature of the relaxation in an epoch."""
        return self.options.temperature.at(epoch / max(1, self.epochs - 1))

    def mixture(self, epoch: int) -> Mixes:
        """Returns how much every operation counts, by the present parameters and an epoch's temperature."""
        return self.relaxation.expected(self.parameters, self.temperature(epoch))

    def uniform(self, epoch: int) -> Mixes:
        """Returns the mixture of parameters that are all equal."""
        equal = {name: torch.full_like(one, self.options.init_mean) for name, one in self.parameters.items()}
        return self.relaxation.expected(equal, self.temperature(epoch))

    def train(self, epoch: int) -> EpochResult:
        """Trains one epoch.

        Raises:
            SearchDiverged: when the loss is not finite.
        """
        options, temperature = self.options, self.temperature(epoch)
        progress = epoch / self.epochs
        lr = options.final_lr + (options.weights.lr - options.final_lr) * (1 + math.cos(math.pi * progress)) / 2
        set_learning_rate(self.weight_optimizer, lr)
        self.supernet.train()
        self.supernet.begin_epoch(progress)
        draws = torch_generator(self.seed, "relaxation", epoch, "cpu")
        held_out = self._held_out(epoch)
        learning = epoch >= options.warm_up and options.step != "none"
        total, count = torch.zeros((), dtype=torch.float64, device=self.device), 0
        for batch in self.data.weights.train_batches(numpy_generator(self.seed, "weight batches", epoch)):
            if options.step == "single-level":
                result = self._single_level(batch, epoch, draws, learning)
            else:
                if learning:
                    self._bi_level(batch, next(held_out), epoch, draws)
                mix = self.relaxation.mix(self.parameters, temperature, draws)
                result = weight_gradients(self.supernet, batch, mix)
                self._step_weights()
                if options.wiring:
                    self.recorder.record("train", result, batch[1], mix.values)
            total += result.losses.double().sum()
            count += len(result.losses)
        loss = float(total) / max(1, count)
        if not math.isfinite(loss):
            raise SearchDiverged(f"the supernet's loss is {loss} in epoch {epoch}; {LOWER}")
        return EpochResult(temperature, lr, loss)

    def _held_out(self, epoch: int) -> Any:
        """Yields batches for the parameters, beginning again when they run out."""
        source, turn = self.data.architecture, 0
        while source is not None:
            yield from source.train_batches(numpy_generator(self.seed, f"architecture batches {turn}", epoch))
            turn += 1

    def _bi_level(self, train: Batch, held_out: Batch, epoch: int, draws: torch.Generator) -> None:
        mix = self.relaxation.mix(self.parameters, self.temperature(epoch), draws)
        if self.options.step == "second-order":
            how = self.options.hessian, self.options.perturbation
            result = second_order_costs(self.supernet, train, held_out, mix, self.weight_optimizer, *how)
        else:
            result = architecture_costs(self.supernet, held_out, mix)
        if self.options.wiring:
            self.recorder.record("held-out", result, held_out[1], mix.values)
        self._step_parameters(mix, result, epoch)

    def _single_level(self, batch: Batch, epoch: int, draws: torch.Generator, learning: bool) -> SupernetPass:
        mix = self.relaxation.mix(self.parameters, self.temperature(epoch), draws)
        together = self.options.order == "simultaneous"
        result = weight_gradients(self.supernet, batch, mix, costs=learning and together)
        if learning and together:
            self._step_parameters(mix, result, epoch)
        self._step_weights()
        if learning and not together:
            result = architecture_costs(self.supernet, batch, mix)
            self._step_parameters(mix, result, epoch)
        if self.options.wiring:
            self.recorder.record("train", result, batch[1], mix.values)
        return result

    def _step_weights(self) -> None:
        clip_gradients(list(self.supernet.parameters()), self.options.weights.clip)
        self.weight_optimizer.step()
        self.supernet.after_step()

    def _step_parameters(self, mix: Mix, result: SupernetPass, epoch: int) -> None:
        self.architecture_optimizer.zero_grad(set_to_none=True)
        loss = mix.surrogate(summed(result.costs))
        self.noise.record(
            dict(zip(self.parameters, gradients_of(loss, list(self.parameters.values()), True), strict=True))
        )
        if self.options.regularisers or self.options.resources:
            expected = self.mixture(epoch)
            for regulariser in self.options.regularisers:
                loss = loss + regulariser.term(expected, epoch)
            cost = self.resources.term(expected, self.uniform(epoch))
            loss = loss if cost is None else loss + cost
        loss.backward()
        clip_gradients(list(self.parameters.values()), self.options.architecture.clip)
        self.architecture_optimizer.step()
