"""Gradient search: a relaxation and a step; architecture parameters and weights of a supernet are trained together."""

from __future__ import annotations

from typing import Any
from typing import ClassVar
from typing import Literal

from pydantic import Field

from nichenas.core.capabilities.base import Capability
from nichenas.core.capabilities.criterion import criterion_of
from nichenas.core.domain import Domain
from nichenas.core.errors import ConfigError
from nichenas.core.errors import unknown_name_message
from nichenas.core.gradient.options import GradientOptions
from nichenas.core.gradient.supernet import DifferentiableSupernet
from nichenas.core.methods.base import METHODS
from nichenas.core.methods.base import Method
from nichenas.core.methods.base import MethodSettings
from nichenas.core.methods.gradient_figures import gradient_sections
from nichenas.core.methods.gradient_figures import selection_section
from nichenas.core.methods.gradient_loop import LOSS
from nichenas.core.methods.gradient_loop import GradientLoop
from nichenas.core.methods.sections import Section
from nichenas.core.methods.supernet_selection import STAGE
from nichenas.core.methods.trial_search import strategy_class
from nichenas.core.objectives import Objective
from nichenas.core.proxies.factors import Levels
from nichenas.core.session.budget import Budget
from nichenas.core.session.journal import Journal
from nichenas.core.session.record import RunRecord
from nichenas.core.session.session import Session
from nichenas.core.session.state import SearchState
from nichenas.core.strategies import STRATEGIES
from nichenas.core.strategies import Strategy


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
    unit: str = "epoch"
    needs: ClassVar[tuple[type[Capability], ...]] = (DifferentiableSupernet,)
    options: GradientSettings

    def __init__(self, options: Any, seed: int = 0, levels: Levels | None = None) -> None:
        super().__init__(options, seed, levels)
        given = {} if options is None else options.options.get("gradient", {})
        self.own = GradientOptions.model_validate(given)
        if self.own.select is not None:
            self.unit = "measurement"  # those of architectures follow those of epochs

    def check(self, kind: str, domain: type[Domain]) -> None:
        """Refuses an unknown strategy of the selection."""
        if self.own.select is not None:
            name = self.own.select.strategy
            try:
                strategy_class(name)
            except ConfigError:
                message = unknown_name_message("strategy", name, STRATEGIES)
                raise ConfigError(message, "search.options.gradient.select.strategy") from None

    @property
    def trains_candidates(self) -> bool:
        """Whether the best of the supernet are trained alone."""
        return self.own.select is not None and self.own.select.confirm > 0

    def budget(self) -> Budget:
        """Returns the limits on epochs, with what follows them, and seconds."""
        return Budget(self.options.epochs + self.own.selected, self.options.seconds)

    def objectives(self, domain: Domain) -> tuple[Objective, ...]:
        """Returns the primary objective, as the supernet has it."""
        return (domain.objectives[0].of_supernet(),)

    def criterion(self, domain: Domain) -> Objective | None:
        """Returns the domain's, where the architecture is searched with the supernet."""
        return None if self.own.select is None else criterion_of(domain)

    def run(self, session: Session) -> SearchState:
        """Runs the loop."""
        strategy = None if self.own.select is None else self._strategy(self.own.select.strategy, session)
        return GradientLoop(session, self.own, self.options.epochs, self.options.seconds, strategy).run()

    def _strategy(self, name: str, session: Session) -> Strategy:
        cls = strategy_class(name)
        options = cls.Options.model_validate(self.options.options.get(name, {}))
        # Where the primary objective is too coarse to rank by, so it is in the supernet.
        objectives = self.objectives(session.domain) if criterion_of(session.domain) is None else [LOSS]
        return cls(session.domain.space, objectives, session.seed, options)

    def facts(self, domain: Domain, journal: Journal) -> dict[str, Any]:
        """Returns why the search ended (its epochs, its seconds, or a rule of its early stop), and what it did."""
        effect = journal.meta("effect")
        return {"stopped": journal.meta("stopped"), **({} if effect is None else {"effect": effect})}

    def sections(self, record: RunRecord, baseline: RunRecord | None = None) -> list[Section]:
        """Returns the curve of the epochs, the mixture and the wiring."""
        selected = [trial for trial in record.trials if trial.stage == STAGE]
        search = selection_section(record, selected) if selected else super().sections(record, baseline)
        return [*search, *gradient_sections(record)]
