"""Gradient search: a relaxation and a step; architecture parameters and weights of a supernet are trained together."""

from __future__ import annotations

from typing import Any
from typing import ClassVar
from typing import Literal

from pydantic import Field

from nichenas.core.capabilities.base import Capability
from nichenas.core.domain import Domain
from nichenas.core.gradient.options import GradientOptions
from nichenas.core.gradient.supernet import DifferentiableSupernet
from nichenas.core.methods.base import METHODS
from nichenas.core.methods.base import Method
from nichenas.core.methods.base import MethodSettings
from nichenas.core.methods.gradient_figures import gradient_sections
from nichenas.core.methods.gradient_loop import GradientLoop
from nichenas.core.methods.sections import Section
from nichenas.core.objectives import Objective
from nichenas.core.session.budget import Budget
from nichenas.core.session.journal import Journal
from nichenas.core.session.record import RunRecord
from nichenas.core.session.session import Session
from nichenas.core.session.state import SearchState


class GradientSettings(MethodSettings):
    """The ``search`` section of a gradient search; its own settings stand in ``search.options.gradient``.

    Attributes:
        strategy: ``gradient``, another way to name the method.
        epochs: of the supernet; the budget.
        seconds: budget; none for no limit. No epoch is begun after it.
        sharing: ``none``; a supernet shares all weights anyway.
    """

    method: Literal["gradient"] = "gradient"
    strategy: Literal["gradient"] = "gradient"
    epochs: int = Field(ge=1)
    seconds: float | None = Field(None, gt=0)
    sharing: Literal["none"] = "none"


@METHODS.register("gradient")
class GradientSearch(Method):
    """A relaxation and a step of a supernet's training."""

    Options = GradientSettings
    PartOptions = GradientOptions
    summary = "differentiable search of a supernet (DARTS, SNAS, DSNAS, Single-DARTS, BATS, BNAS)"
    unit = "epoch"
    needs: ClassVar[tuple[type[Capability], ...]] = (DifferentiableSupernet,)
    options: GradientSettings

    def budget(self) -> Budget:
        """Returns the limits on epochs and seconds."""
        return Budget(self.options.epochs, self.options.seconds)

    def objectives(self, domain: Domain) -> tuple[Objective, ...]:
        """Returns the primary objective, as the supernet has it."""
        return (domain.objectives[0].of_supernet(),)

    def run(self, session: Session) -> SearchState:
        """Runs the loop."""
        own = GradientOptions.model_validate(self.options.options.get("gradient", {}))
        return GradientLoop(session, own, self.budget()).run()

    def facts(self, domain: Domain, journal: Journal) -> dict[str, Any]:
        """Returns why the search ended (its epochs, its seconds, or a rule of its early stop), and what it did."""
        effect = journal.meta("effect")
        return {"stopped": journal.meta("stopped"), **({} if effect is None else {"effect": effect})}

    def sections(self, record: RunRecord, baseline: RunRecord | None = None) -> list[Section]:
        """Returns the curve of the epochs, the mixture and the wiring."""
        return [*super().sections(record, baseline), *gradient_sections(record)]
