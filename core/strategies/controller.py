"""The LSTM controller: a policy over the choices of a space, made one after another.

Follows GraphNAS's controller, which AGNN's encoders share: one LSTM cell, one embedding table over all options
of all choices, one linear decoder a group of choices, all weights from U(-0.1, 0.1), logits squashed as
``c tanh(logit / T)`` with T = 5 and c = 2.5.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch import nn

from core.space import Architecture
from core.space import Choice
from core.space import Option
from core.space import SearchSpace


@dataclass
class Decisions:
    """What a controller decided.

    Attributes:
        values: the decided choices.
        log_probability: of all decisions together, a scalar.
        entropy: of every decision's distribution, summed, in nats, a scalar.
    """

    values: dict[str, Option]
    log_probability: Tensor
    entropy: Tensor


class LSTMController(nn.Module):
    """A policy over choices.

    Args:
        space: whose choices are decided and read.
        decided: the choices that it decides; a choice shares its decoder with those of the same group that have
            the same options.
        generator: draws the initial weights.
        width: of the LSTM and the embedding.
        temperature: T of the squashing.
        tanh: c of the squashing.
    """

    def __init__(
        self,
        space: SearchSpace,
        decided: Sequence[Choice],
        generator: torch.Generator,
        width: int = 100,
        temperature: float = 5.0,
        tanh: float = 2.5,
    ) -> None:
        super().__init__()
        self.space = space
        self.temperature = temperature
        self.tanh = tanh
        self._rows: dict[str, int] = {}
        start = 0
        for choice in space.choices:
            self._rows[choice.name] = start
            start += len(choice.options)
        with torch.random.fork_rng(devices=[]):  # modules draw initial weights, replaced below, from the global state
            self._build(decided, start, width)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.startswith("decoders") and name.endswith("bias"):
                    parameter.zero_()
                else:
                    parameter.uniform_(-0.1, 0.1, generator=generator)

    def _build(self, decided: Sequence[Choice], tokens: int, width: int) -> None:
        self.embedding = nn.Embedding(tokens, width)
        self.cell = nn.LSTMCell(width, width)
        self._decoder_of: dict[str, str] = {}
        decoders: dict[str, nn.Module] = {}
        known: dict[tuple[str, tuple[Option, ...]], str] = {}
        for choice in decided:
            name = known.setdefault((choice.group, choice.options), f"decoder{len(known)}")
            decoders[name] = decoders.get(name) or nn.Linear(width, len(choice.options))
            self._decoder_of[choice.name] = name
        self.decoders = nn.ModuleDict(decoders)

    def decide(
        self,
        read: Mapping[str, Option],
        choices: Sequence[Choice],
        generator: torch.Generator | None = None,
        taken: Mapping[str, Option] | None = None,
    ) -> Decisions:
        """Decides choices one after another, each seeing those before it.

        Args:
            read: values that are fed to the LSTM first, in the order of the space; the prefix.
            choices: to be decided, in order; those that are inactive given the values so far are passed over.
            generator: draws the decisions; needed unless they are given.
            taken: decisions made before, whose probability under the present policy is wanted.
        """
        values: dict[str, Option] = {}
        state: tuple[Tensor, Tensor] | None = None
        token = torch.zeros(1, self.cell.input_size)
        for choice in self.space.choices:
            if choice.name in read:
                state = self.cell(token, state)
                token = self._embed(choice, read[choice.name])
        log_probability, entropy = torch.zeros(()), torch.zeros(())
        for choice in choices:
            if not self.space.is_active(choice, {**read, **values}):
                continue
            state = self.cell(token, state)
            assert state is not None
            logits = self.decoders[self._decoder_of[choice.name]](state[0])[0]
            logs = (self.tanh * torch.tanh(logits / self.temperature)).log_softmax(-1)
            if taken is not None:
                index = choice.index(taken[choice.name])
            else:
                index = int(torch.multinomial(logs.detach().exp(), 1, generator=generator))
            values[choice.name] = choice.options[index]
            log_probability = log_probability + logs[index]
            entropy = entropy - (logs.exp() * logs).sum()
            token = self._embed(choice, choice.options[index])
        return Decisions(values, log_probability, entropy)

    def _embed(self, choice: Choice, option: Option) -> Tensor:
        return self.embedding(torch.tensor([self._rows[choice.name] + choice.index(option)]))


def without(architecture: Architecture, choices: Sequence[Choice]) -> dict[str, Option]:
    """Returns the values of an architecture but those of some choices."""
    names = {choice.name for choice in choices}
    return {name: value for name, value in architecture.items() if name not in names}
