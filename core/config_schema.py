"""The sections of a configuration that every search method has; ``search`` is the method's own."""

from __future__ import annotations

from typing import Any
from typing import Literal

from pydantic import Field

from nichenas.core.proxies.factors import LevelShares
from nichenas.core.settings import Settings


class ProxiesSection(Settings):
    """The ``proxies`` section: proxy settings, and the study of whether they keep the ranking.

    Attributes:
        levels: what the levels in names of settings stand for, by factor; by default the factors' own.
        architectures: how many random ones the study trains.
        settings: that it compares with the full one; by default one for every factor at a quarter of the cost, and
            their combinations.
        repeat_full: whether the full training is repeated with other randomness: no proxy can be expected to
            agree with it better than it agrees with itself.
        zero_cost: scores of untrained networks that are compared too; by default all there are.
        min_correlation: rank correlation from which a proxy is good enough.
    """

    levels: dict[str, LevelShares] = Field(default_factory=dict)
    architectures: int = Field(30, ge=4)
    settings: tuple[str, ...] | None = None
    repeat_full: bool = True
    zero_cost: tuple[str, ...] | None = None
    min_correlation: float = Field(0.8, gt=0, le=1)


class RetrainSection(Settings):
    """The ``retrain`` section.

    Attributes:
        top: how many of the best architectures are trained in full.
        seeds: with how many seeds each; 0 for no retraining, and then no test figures.
        finalists: how many of the best are trained with ``screening`` seeds first; the ``top`` of these by their mean
            validation value get all seeds. None for no screening.
        screening: seeds of every finalist, the first of those that the others get.
        baselines: whether the domain's baselines are trained with the same seeds.
        tune_baselines: trials of a random search in which every baseline's training is tuned, and retrained like the
            architectures; 0 for baselines as they come only.
        seconds: limit of one full training; none for no limit.
    """

    top: int = Field(3, ge=1)
    seeds: int = Field(10, ge=0)
    finalists: int | None = Field(None, ge=1)
    screening: int = Field(3, ge=1)
    baselines: bool = True
    tune_baselines: int = Field(0, ge=0)
    seconds: float | None = Field(None, gt=0)

    @property
    def candidates(self) -> int:
        """How many architectures are trained in full at least once."""
        return max(self.top, self.finalists or 0)


class LimitsSection(Settings):
    """Limits of one candidate; those cut off are counted.

    Attributes:
        seconds: of training.
        memory_mb: that it is estimated to need.
    """

    seconds: float | None = Field(None, gt=0)
    memory_mb: float | None = Field(None, gt=0)


class RunSection(Settings):
    """The ``run`` section.

    Attributes:
        executor: ``serial`` in this process, ``processes`` in others, ``ray`` in actors of a Ray cluster, or a dotted
            path.
        workers: number of processes or actors.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        order: of completion; ``asap`` uses workers better, but the answer depends on timing.
        tensorboard: whether event files are written.
    """

    executor: str = "serial"
    workers: int = Field(1, ge=1, le=1024)
    device: str = "auto"
    order: Literal["strict", "asap"] = "strict"
    limits: LimitsSection = LimitsSection()
    tensorboard: bool = True


class RunConfig(Settings):
    """A whole configuration.

    Attributes:
        domain: ``kind``, and the domain's own section.
        search: the method's own section.
    """

    name: str = Field("run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    seed: int = Field(0, ge=0, lt=2**63)
    domain: dict[str, Any]
    search: dict[str, Any] = Field(default_factory=dict)
    retrain: RetrainSection = RetrainSection()
    run: RunSection = RunSection()
    proxies: ProxiesSection = ProxiesSection()
