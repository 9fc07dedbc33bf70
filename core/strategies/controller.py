"""The LSTM controller: a policy over the choices of a space, made one after another.

Follows GraphNAS's controller, which AGNN's encoders share: one LSTM cell, one embedding table over all options
of all choices, one linear decoder a group of choices, all weights from U(-0.1, 0.1), logits squashed as
``c tanh(logit / T)`` with T = 5 and c = 2.5. AutoGAN's (Gong et al. 2019) is the same without the squashing; it
continues from the state in which another controller left a prefix.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch import nn

from nichenas.core.space import Architecture
from nichenas.core.space import Choice
from nichenas.core.space import Option
from nichenas.core.space import SearchSpace

State = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class PrefixState:
    """What a controller has read before it decides.

    Attributes:
        values: the choices that were read.
        state: of the LSTM, twice ``(1, width)``; none for zeros.
        token: what it reads next, ``(1, width)``.
    """

    values: Mapping[str, Option]
    state: State | None
    token: Tensor


@dataclass
class SampledDecisions:
    """What a controller decided.

    Attributes:
        values: the decided choices.
        log_probability: of all decisions together, a scalar.
        entropies: of every decision's distribution, in nats, scalars by choice.
        state: of the LSTM when it made the last decision, twice ``(1, width)``.
        token: the last decision's embedding, which it has not read yet, ``(1, width)``.
    """

    values: dict[str, Option]
    log_probability: Tensor
    entropies: dict[str, Tensor]
    state: State | None
    token: Tensor

    @property
    def entropy(self) -> Tensor:
        """Of all decisions together, a scalar."""
        return torch.stack([torch.zeros(()), *self.entropies.values()]).sum()


class LSTMController(nn.Module):
    """A policy over choices.

    Args:
        space: whose choices are decided and read.
        decided: the choices that it decides; a choice shares its decoder with those of the same group that have
            the same options.
        generator: draws the initial weights.
        width: of the LSTM and the embedding.
        temperature: T of the squashing.
        tanh: c of the squashing; none leaves logits as they are.
        read: the choices that it can read or decide; by default all of the space.
    """

    def __init__(
        self,
        space: SearchSpace,
        decided: Sequence[Choice],
        generator: torch.Generator,
        width: int = 100,
        temperature: float = 5.0,
        tanh: float | None = 2.5,
        read: Sequence[Choice] | None = None,
    ) -> None:
        super().__init__()
        self.space = space
        self.temperature = temperature
        self.tanh = tanh
        self._rows: dict[str, int] = {}
        start = 0
        for choice in space.choices if read is None else read:
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

    def read(self, values: Mapping[str, Option], state: State | None = None) -> PrefixState:
        """Returns what the LSTM knows after a prefix, in the order of the space.

        Args:
            values: the prefix.
            state: of the LSTM to begin with; by default zeros.
        """
        token = torch.zeros(1, self.cell.input_size)
        for choice in self.space.choices:
            if choice.name in values and choice.name in self._rows:
                state = self.cell(token, state)
                token = self._embed(choice, values[choice.name])
        return PrefixState(values, state, token)

    def decide(
        self,
        reading: PrefixState,
        choices: Sequence[Choice],
        generator: torch.Generator | None = None,
        taken: Mapping[str, Option] | None = None,
    ) -> SampledDecisions:
        """Decides choices one after another, each seeing those before it.

        Args:
            reading: what was read before.
            choices: to be decided, in order; those that are inactive given the values so far are passed over.
            generator: draws the decisions; needed unless they are given.
            taken: decisions made before, whose probability under the present policy is wanted.
        """
        values: dict[str, Option] = {}
        state, token = reading.state, reading.token
        log_probability, entropies = torch.zeros(()), {}
        for choice in choices:
            if not self.space.is_active(choice, {**reading.values, **values}):
                continue
            state = self.cell(token, state)
            assert state is not None
            logs = self._log_probabilities(choice, state[0])[0]
            if taken is not None:
                index = choice.index(taken[choice.name])
            else:
                index = int(torch.multinomial(logs.detach().exp(), 1, generator=generator))
            values[choice.name] = choice.options[index]
            log_probability = log_probability + logs[index]
            entropies[choice.name] = -(logs.exp() * logs).sum()
            token = self._embed(choice, choice.options[index])
        return SampledDecisions(values, log_probability, entropies=entropies, state=state, token=token)

    @torch.no_grad()
    def sample(
        self,
        count: int,
        choices: Sequence[Choice],
        generator: torch.Generator,
        read: Sequence[Mapping[str, Option]] | None = None,
        state: State | None = None,
    ) -> list[dict[str, Option]]:
        """Decides many times at once; every draw has the distribution of :meth:`decide`.

        Args:
            choices: to be decided, in order.
            read: values that are known before, one mapping a draw; they decide what is active, and are not fed to
                the LSTM.
            state: to begin with, twice ``(count, width)``; by default zeros.

        Returns:
            The decided values, one mapping a draw.
        """
        known = [dict(values) for values in read] if read is not None else [{} for _ in range(count)]
        made: list[dict[str, Option]] = [{} for _ in range(count)]
        token = torch.zeros(count, self.cell.input_size)
        state = state or (torch.zeros(count, self.cell.hidden_size), torch.zeros(count, self.cell.hidden_size))
        for choice in choices:
            active = [i for i in range(count) if self.space.is_active(choice, known[i])]
            if not active:
                continue
            rows = torch.tensor(active)
            new = self.cell(token[rows], (state[0][rows], state[1][rows]))
            drawn = torch.multinomial(self._log_probabilities(choice, new[0]).exp(), 1, generator=generator)[:, 0]
            state = (state[0].index_copy(0, rows, new[0]), state[1].index_copy(0, rows, new[1]))
            token = token.index_copy(0, rows, self.embedding(self._rows[choice.name] + drawn))
            for i, index in zip(active, drawn.tolist(), strict=True):
                known[i][choice.name] = made[i][choice.name] = choice.options[index]
        return made

    def _log_probabilities(self, choice: Choice, hidden: Tensor) -> Tensor:
        """Returns ``(n, options)`` for hidden states ``(n, width)``."""
        logits = self.decoders[self._decoder_of[choice.name]](hidden)
        if self.tanh is not None:
            logits = self.tanh * torch.tanh(logits / self.temperature)
        return logits.log_softmax(-1)

    def _embed(self, choice: Choice, option: Option) -> Tensor:
        return self.embedding(torch.tensor([self._rows[choice.name] + choice.index(option)]))


def without(architecture: Architecture, choices: Sequence[Choice]) -> dict[str, Option]:
    """Returns the values of an architecture but those of some choices."""
    names = {choice.name for choice in choices}
    return {name: value for name, value in architecture.items() if name not in names}
