"""One-shot search: weights that all architectures share are trained, and a strategy is asked and told in turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar
from typing import Literal

from nichenas.core.capabilities.base import Capability
from nichenas.core.capabilities.criterion import criterion_of
from nichenas.core.domain import Domain
from nichenas.core.errors import ConfigError
from nichenas.core.methods.base import METHODS
from nichenas.core.methods.base import Method
from nichenas.core.methods.base import MethodSettings
from nichenas.core.methods.one_shot_figures import one_shot_sections
from nichenas.core.methods.one_shot_loop import OneShotLoop
from nichenas.core.methods.sections import Section
from nichenas.core.methods.trial_search import strategy_class
from nichenas.core.objectives import Objective
from nichenas.core.session.budget import Budget
from nichenas.core.session.record import RunRecord
from nichenas.core.session.session import Session
from nichenas.core.session.state import SearchState
from nichenas.core.sharing.one_shot import OneShotOptions
from nichenas.core.sharing.one_shot import SharedWeights
from nichenas.core.space import SearchSpace
from nichenas.core.strategies import OneShotStrategy


class OneShotSettings(MethodSettings):
    """The ``search`` section of a one-shot search.

    Attributes:
        strategy: a name of ``nichenas list``, or a dotted path.
        sharing: ``supernet``, another way to name the method.
        one_shot: its settings; they say when it ends.
    """

    method: Literal["one-shot"] = "one-shot"
    strategy: str = "conservative"
    sharing: Literal["supernet"] = "supernet"
    one_shot: OneShotOptions


@METHODS.register("one-shot")
class OneShotSearch(Method):
    """A strategy on weights that all architectures share."""

    Options = OneShotSettings
    summary = "shared weights trained and architectures scored in turn, by any strategy (ENAS, AutoGAN)"
    needs: ClassVar[tuple[type[Capability], ...]] = (SharedWeights,)
    options: OneShotSettings

    def check(self, kind: str, domain: type[Domain]) -> None:
        """Refuses a strategy that cannot be used with shared weights."""
        if not issubclass(strategy_class(self.options.strategy), OneShotStrategy):
            raise ConfigError(
                f"'{self.options.strategy}' cannot be used with shared weights; it is no OneShotStrategy",
                "search.strategy",
            )

    def prepare(self, domain: Domain) -> None:
        """Refuses another number of stages than the domain has."""
        assert isinstance(domain, SharedWeights)
        wanted, stages = len(self.options.one_shot.iterations), len(domain.stages)
        if wanted != stages:
            raise ConfigError(f"{wanted} stages; the space is searched in {stages}", "search.one_shot.iterations")

    @property
    def trains_candidates(self) -> bool:
        """Whether the last beam is trained alone."""
        return self.options.one_shot.confirm > 0

    def budget(self) -> Budget:
        """Returns the number of architectures that are scored."""
        return Budget(self.options.one_shot.trials)

    def objectives(self, domain: Domain) -> tuple[Objective, ...]:
        """Returns what is measured with shared weights, the reward first."""
        assert isinstance(domain, SharedWeights)
        return tuple(objective.of_supernet() for objective in domain.shared_objectives)

    def criterion(self, domain: Domain) -> Objective | None:
        """Returns the domain's, by which the last beam is confirmed, if it is."""
        return criterion_of(domain) if self.options.one_shot.confirm else None

    def run(self, session: Session) -> SearchState:
        """Runs the loop."""
        cls = strategy_class(self.options.strategy)
        options = cls.Options.model_validate(self.options.options.get(self.options.strategy, {}))

        def make(space: SearchSpace, objectives: Sequence[Objective], seed: int) -> OneShotStrategy:
            strategy = cls(space, objectives, seed, options)
            assert isinstance(strategy, OneShotStrategy)
            return strategy

        return OneShotLoop(session, self.options.one_shot, make).run()

    def sections(self, record: RunRecord, baseline: RunRecord | None = None) -> list[Section]:
        """Returns scores, losses and entropies over the iterations, and the beams."""
        return one_shot_sections(record) or super().sections(record, baseline)
