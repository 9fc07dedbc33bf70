"""All that the core asks of a domain, and the words that both use.

A domain declares a space and objectives and measures architectures on *validation* data; it alone knows what
the networks are. Test data is wrapped in :class:`nichenas.core.context.TestData`, which opens only inside a retraining.
"""

from __future__ import annotations

import dataclasses
import time
from abc import ABC
from abc import abstractmethod
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import ClassVar

import torch
from nichenas.core.context import Context
from nichenas.core.context import Environment
from nichenas.core.errors import CandidateFailure
from nichenas.core.errors import TestDataError
from nichenas.core.objectives import Objective
from nichenas.core.space import Architecture
from nichenas.core.space import SearchSpace
from pydantic import BaseModel
from pydantic import ConfigDict
from torch import Tensor
from torch import nn


class Settings(BaseModel):
    """Base of every part's own section of a configuration: unknown keys are errors, values are checked."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


@dataclass(frozen=True)
class Fidelity:
    """How much of the full setting a measurement used; 1 is full (EcoNAS's e, s, c, r)."""

    epochs: float = 1.0
    samples: float = 1.0
    channels: float = 1.0
    resolution: float = 1.0

    def reduced(self) -> frozenset[str]:
        """Returns the names of the factors below 1."""
        return frozenset(name for name in _FACTORS if getattr(self, name) < 1)

    @property
    def cost(self) -> float:
        """Arithmetic of a training as a share of the full setting's: widths and sides count squared (EcoNAS)."""
        return self.channels**2 * self.resolution**2 * self.samples * self.epochs


_FACTORS = tuple(factor.name for factor in dataclasses.fields(Fidelity))
FULL = Fidelity()


@dataclass(frozen=True)
class Proposal:
    """What a strategy wants measured.

    Attributes:
        continues: number of the trial whose weights go on training.
        tag: the strategy's own remark, as JSON; kept in the journal.
        horizon: share of the full epochs that the learning rate's schedule is laid out for; by default the
            fidelity's. A training in several parts has the same horizon in all of them.
        begins: share of the full epochs that the continued trial had; 0 where none is continued.
    """

    architecture: Architecture
    fidelity: Fidelity = FULL
    continues: int | None = None
    tag: Mapping[str, Any] = field(default_factory=dict)
    horizon: float | None = None
    begins: float = 0.0


@dataclass(frozen=True)
class Measurement:
    """What came out of training one architecture, on validation data.

    Attributes:
        values: one an objective, by name; further names are kept and reported.
        curve: the primary objective over training, as (epoch, value).
        peak_memory: bytes the candidate was estimated or measured to need; 0 where not known.
        diagnostics: anything else worth keeping, as JSON.
        weights: trained tensors by name, only where they are shared; never written to the journal.
        epochs: trained for this measurement, without those of a trial that it continues; none where the domain does
            not count them, and then those of its fidelity are charged to a budget.
    """

    values: Mapping[str, float]
    curve: tuple[tuple[int, float], ...] = ()
    seconds: float = 0.0
    peak_memory: int = 0
    diagnostics: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, Tensor] = field(default_factory=dict, repr=False, compare=False)
    epochs: int | None = None


@dataclass(frozen=True)
class Trial:
    """A proposal with its measurement, or with the reason why there is none.

    Attributes:
        seconds: that its measurement took.
        epochs: that it is charged; 0 where the domain does not count them.
    """

    number: int
    proposal: Proposal
    measurement: Measurement | None = None
    failure: str | None = None
    detail: str = ""
    seconds: float = 0.0
    epochs: int = 0

    @property
    def failed(self) -> bool:
        """Whether there is no measurement."""
        return self.measurement is None

    def value(self, objective: Objective) -> float:
        """Returns the value of an objective; the trial must not have failed."""
        assert self.measurement is not None
        return self.measurement.values[objective.name]


@dataclass(frozen=True)
class Retrained:
    """One full training of an architecture or a baseline with one seed.

    Attributes:
        validation: metrics on validation data at the chosen epoch.
        test: the same metrics on test data, at the same epoch.
        weights: the trained tensors at that epoch.
    """

    validation: Mapping[str, float]
    test: Mapping[str, float]
    seconds: float = 0.0
    weights: Mapping[str, Tensor] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class Drawing:
    """An architecture as a graph, for the report.

    Attributes:
        nodes: identifier to label; a label may have several lines.
        edges: (from, to, label) by identifier; the graph must have no circle.
    """

    nodes: Mapping[str, str]
    edges: Sequence[tuple[str, str, str]]


@dataclass(frozen=True)
class Deployment:
    """A trained network to be used elsewhere.

    Attributes:
        network: in evaluation mode, on the CPU.
        example: an input, the batch as its first axis.
    """

    network: nn.Module
    example: Tensor


@dataclass(frozen=True)
class Probe:
    """An untrained network with what it takes to look at its gradients.

    Attributes:
        network: with fresh weights, in training mode.
        inputs: one batch, samples along the first axis.
        forward: of a batch like ``inputs``, to outputs.
        loss: of outputs, a scalar.
        macs: multiply-adds of one sample, of single bits too; none where they are not counted.
    """

    network: nn.Module
    inputs: Tensor
    forward: Callable[[Tensor], Tensor]
    loss: Callable[[Tensor], Tensor]
    macs: float | None = None


@dataclass(frozen=True)
class UntrainedScore:
    """A score of an untrained network.

    Attributes:
        value: more is meant to be better; none where it is not defined or not finite.
        seconds: that computing it took, of a network that is there already.
    """

    value: float | None
    seconds: float


@dataclass(frozen=True)
class ShareKey:
    """What decides whether a trained tensor may be inherited.

    Attributes:
        layer: index of the layer.
        role: what the tensor is within it; a rule may exclude roles.
        shape: of the tensor.
        attributes: of its layer, by name; a rule says which of them must agree.
    """

    layer: int
    role: str
    shape: tuple[int, ...]
    attributes: Mapping[str, str]


class Domain(ABC):
    """One kind of network, its data and its training.

    A domain is made from its own settings and an :class:`Environment`; :meth:`prepare` then loads the data.
    Instances are used by one thread at a time. Whatever is drawn comes from the context's generators, so
    the same context gives the same measurement.

    Attributes:
        Settings: schema of the ``domain`` section of a configuration, without ``kind``.
        reductions: the factors of :class:`Fidelity` that :meth:`evaluate` honours.
        continues: whether :meth:`evaluate` can go on from the trial that a proposal continues.
        simulated: whether seconds of measurements are not those that pass but those that, as a table says, training
            took; a budget of seconds then counts these.
        sharing_rules: rule name to the attributes of :class:`ShareKey` that must agree; empty where the domain
            shares no weights.
        baselines: names that :meth:`train_baseline` takes.
    """

    Settings: ClassVar[type[Settings]] = Settings
    reductions: ClassVar[frozenset[str]] = frozenset()
    continues: ClassVar[bool] = False
    simulated: bool = False
    sharing_rules: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    baselines: ClassVar[tuple[str, ...]] = ()

    def __init__(self, settings: Any, environment: Environment) -> None:
        self.settings = settings
        self.environment = environment

    @classmethod
    def datasets(cls) -> Mapping[str, str]:
        """Returns the data sets that are known by name, each with a line about it."""
        return {}

    def prepare(self) -> None:  # noqa: B027  (a domain without data need not do anything)
        """Loads the data; called once, before anything is written.

        Raises:
            DataError: when it is missing or damaged.
        """

    @property
    @abstractmethod
    def space(self) -> SearchSpace:
        """The space that is searched."""

    @property
    @abstractmethod
    def objectives(self) -> tuple[Objective, ...]:
        """What is measured; the first is the primary objective."""

    @abstractmethod
    def evaluate(self, proposal: Proposal, context: Context) -> Measurement:
        """Trains an architecture and measures it on validation data.

        Raises:
            CandidateFailure: when this candidate cannot be measured.
        """

    def evaluate_many(
        self, proposals: Sequence[Proposal], contexts: Sequence[Context]
    ) -> list[Measurement | CandidateFailure]:
        """Measures several architectures; a domain overrides it where it can train them together faster.

        The measurements must equal those of :meth:`evaluate` up to rounding. Failures are returned in the
        candidate's place, so that one failure costs no other candidate its measurement.
        """
        results: list[Measurement | CandidateFailure] = []
        for proposal, context in zip(proposals, contexts, strict=True):
            context.started = time.perf_counter()
            try:
                results.append(self.evaluate(proposal, context))
            except Exception as error:
                results.append(as_failure(error))
        return results

    @abstractmethod
    def retrain(self, architecture: Architecture, context: Context) -> Retrained:
        """Trains an architecture at the full setting and measures it on validation and test data."""

    @abstractmethod
    def draw(self, architecture: Architecture) -> Drawing:
        """Returns a picture of an architecture."""

    def setting(self, fidelity: Fidelity) -> Mapping[str, int]:
        """Returns what a fidelity comes to in whole units, by factor; sizes that cannot be had are rounded.

        ``epochs`` are those of a training (or whatever it counts, such as steps), ``samples`` training samples,
        ``channels`` the width and ``resolution`` the pixels a side. Factors that the domain does not honour need not
        be there; a domain that says nothing cannot be searched at reduced fidelity or on a budget of epochs.
        """
        return {}

    def cost(self, fidelity: Fidelity) -> float:
        """Returns a training's arithmetic as a share of the full setting's, from the sizes that there really are.

        A width or resolution that had to be rounded, or is bounded from below, costs what it is, not what was asked
        for. The formula is :attr:`Fidelity.cost`; a domain whose trainings do not follow it overrides this.
        """
        full, given = self.setting(FULL), self.setting(fidelity)
        return Fidelity(**{factor: given[factor] / full[factor] for factor in full}).cost

    @classmethod
    def at_full_setting(cls, settings: Any) -> Any:
        """Returns settings with which :meth:`evaluate` trains as a full training does; a study compares with it."""
        return settings

    def probe(self, architecture: Architecture, context: Context) -> Probe | None:
        """Returns an untrained network with a batch, for scores without training; none where there is no network."""
        return None

    def known_scores(self, architecture: Architecture) -> Mapping[str, UntrainedScore]:
        """Returns scores of the untrained network that are known already, as in a table, by name."""
        return {}

    def optimum(self) -> float | None:
        """Returns the best value of the primary objective in the whole space, where it is known, as in a table."""
        return None

    def train_baseline(self, name: str, context: Context) -> Retrained:
        """Trains one of :attr:`baselines` as :meth:`retrain` trains an architecture."""
        raise KeyError(name)

    def deploy(self, architecture: Architecture, weights: Mapping[str, Tensor]) -> Deployment | None:
        """Returns the network of an architecture with trained weights; none where the domain exports no networks."""
        return None

    def share_keys(self, architecture: Architecture) -> Mapping[str, ShareKey]:
        """Returns the key of every tensor of an architecture's network, by its name."""
        return {}


def as_failure(error: Exception) -> CandidateFailure:
    """Returns the failure that an exception of an evaluation stands for.

    Raises:
        TestDataError: that one ends the run, since no figure of it could be trusted.
    """
    if isinstance(error, TestDataError):
        raise error
    if isinstance(error, CandidateFailure):
        return error
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return CandidateFailure("out of memory", str(error).splitlines()[0] if str(error) else "")
    if isinstance(error, RuntimeError) and "can't allocate memory" in str(error):  # torch's CPU allocator
        return CandidateFailure("out of memory", str(error).splitlines()[0])
    if isinstance(error, FloatingPointError):
        return CandidateFailure("diverged", str(error))
    return CandidateFailure("error", f"{type(error).__name__}: {error}")
