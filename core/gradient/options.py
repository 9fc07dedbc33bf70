"""The settings of a gradient search."""

from __future__ import annotations

from typing import Any
from typing import Literal

from pydantic import Field
from pydantic import field_validator
from pydantic import model_validator

from nichenas.core.errors import ConfigError
from nichenas.core.gradient.annealing import Annealing
from nichenas.core.gradient.discretisation import Discretisation
from nichenas.core.gradient.effect import EffectSettings
from nichenas.core.gradient.optimizers import OptimizerSettings
from nichenas.core.gradient.regularisers import Regulariser
from nichenas.core.gradient.relaxations import RELAXATIONS
from nichenas.core.gradient.resources import ResourceSettings
from nichenas.core.gradient.steps import PERTURBATION
from nichenas.core.settings import Settings


class EarlyStop(Settings):
    """When a search ends before its budget is spent.

    Attributes:
        stable: epochs over which the derived architecture has not changed; none never stops for this.
        skips: most skip connections in the derived cell of any group; with more the search has collapsed, it stops,
            and the last architecture before that is taken (as DARTS+, Liang et al. 2019, does).
        after: epochs before which nothing is stopped.
    """

    stable: int | None = Field(None, ge=1)
    skips: int | None = Field(None, ge=0)
    after: int = Field(0, ge=0)


class SelectionSettings(Settings):
    """A search of the space with the trained supernet, in which one architecture runs at a time.

    What an operation adds to a mixture says little about what it does in an architecture, but what the supernet can do
    without the others does (Wang et al. 2021, "Rethinking architecture selection in differentiable NAS", which takes
    them away one by one).

    Attributes:
        strategy: that proposes architectures; its options stand in ``search.options`` as in a trial search.
        scored: architectures that are measured in the supernet, on validation data. The strategy is told the score, or
            the loss where the domain ranks by a criterion of its own.
        confirm: how many of the best are trained alone and measured, as a trial search does with its candidates;
            the best of these is the outcome. 0 for none: the supernet has the last word.
    """

    strategy: str = "evolution"
    scored: int = Field(300, ge=1)
    confirm: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _sizes_agree(self) -> SelectionSettings:
        if self.confirm > self.scored:
            raise ValueError(f"confirm: {self.confirm} of {self.scored} scored architectures cannot be measured")
        return self


class GradientOptions(Settings):
    """``search.options.gradient``; defaults are those of DARTS (first order) unless they say otherwise.

    Attributes:
        relaxation: how parameters become a mixture.
        temperature: of the relaxation.
        step: ``first-order`` and ``second-order`` train architecture parameters on held-out data, ``single-level``
            on the batch of the weights (Single-DARTS, Hou et al. 2021); ``none`` trains weights alone, so that the
            mixture stays uniform, and needs ``select``.
        hessian: how a second-order step multiplies by the second derivative: by ``finite-difference``, as DARTS does,
            or ``exact``, for supernets with signs the only way.
        perturbation: distance that the weights move for the finite difference (DARTS: 0.01).
        order: of a single-level step: both at the same point, or the parameters after the weights' step.
        batch: samples in a batch.
        held_out: share of the training data for the architecture parameters of a bi-level search.
        warm_up: epochs in which only weights are trained.
        weights: optimizer of the weights.
        final_lr: the learning rate falls to this, along a cosine.
        architecture: optimizer of the architecture parameters.
        init_mean: of the parameters at the beginning.
        init_std: likewise.
        regularisers: added to the loss of the parameters.
        resources: costs that the search minds: in the loss, or as limits of what is derived.
        discretise: how the architecture is derived.
        select: how the architecture is searched with the trained supernet; none for that of the mixture.
        choose: without ``select``, the architecture of the last epoch, or of that with the best supernet.
        early_stop: reasons to stop sooner.
        activation_checkpointing: compute activations again in the backward pass; slower, much less memory.
        wiring: record costs of edges.
        effect: what is measured when the search has ended, to see whether the training of the parameters did anything.
        checkpoint_every: epochs between checkpoints.
    """

    relaxation: str = "softmax"
    temperature: Annealing = Annealing()
    step: Literal["first-order", "second-order", "single-level", "none"] = "first-order"
    hessian: Literal["finite-difference", "exact"] = "finite-difference"
    perturbation: float = Field(PERTURBATION, gt=0)
    order: Literal["simultaneous", "weights-first"] = "simultaneous"
    batch: int = Field(64, ge=1)
    held_out: float = Field(0.5, gt=0, lt=1)
    warm_up: int = Field(0, ge=0)
    weights: OptimizerSettings = OptimizerSettings(kind="sgd", lr=0.025, momentum=0.9, weight_decay=3e-4, clip=5.0)
    final_lr: float = Field(1e-3, ge=0)
    architecture: OptimizerSettings = OptimizerSettings(kind="adam", lr=3e-4, betas=(0.5, 0.999), weight_decay=1e-3)
    init_mean: float = 0.0
    init_std: float = Field(1e-3, ge=0)
    regularisers: tuple[Regulariser, ...] = ()
    resources: tuple[ResourceSettings, ...] = ()
    discretise: Discretisation = Discretisation()
    select: SelectionSettings | None = None
    choose: Literal["last", "best"] = "last"
    early_stop: EarlyStop = EarlyStop()
    activation_checkpointing: bool = False
    wiring: bool = True
    effect: EffectSettings = EffectSettings()
    checkpoint_every: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _derives_something(self) -> GradientOptions:
        if self.step != "none":
            return self
        if self.select is None:
            raise ValueError("step: none leaves a uniform mixture, of which nothing can be derived; give select")
        acting = {
            "relaxation": self.relaxation in ("gumbel", "single-path"),
            "early_stop": self.early_stop.stable is not None or self.early_stop.skips is not None,
            "regularisers": bool(self.regularisers),
            "resources": any(one.weight > 0 for one in self.resources),
        }
        for key in (key for key, used in acting.items() if used):
            raise ValueError(f"{key}: acts on architecture parameters, which step: none leaves as they are")
        return self

    @property
    def selected(self) -> int:
        """How many trials follow the epochs."""
        return 0 if self.select is None else self.select.scored + self.select.confirm

    @field_validator("relaxation")
    @classmethod
    def _is_known(cls, value: str) -> str:
        try:
            RELAXATIONS[value]
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return value

    @model_validator(mode="before")
    @classmethod
    def _keeps_defaults_of_parts(cls, values: Any) -> Any:
        """A part that is given in part keeps the other defaults of this class, not those of the part's own."""
        if not isinstance(values, dict):
            return values
        merged = dict(values)
        for name in ("weights", "architecture"):
            given = merged.get(name)
            if isinstance(given, dict):
                base = cls.model_fields[name].default.model_dump()
                same_kind = given.get("kind", base["kind"]) == base["kind"]
                merged[name] = {**base, **given} if same_kind else {"clip": base["clip"], **given}
        return merged
