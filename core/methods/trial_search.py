"""Trial search: a strategy, with or without a scheduler over it, proposes; each proposal is built and trained alone."""

from __future__ import annotations

from typing import Any
from typing import Literal

from pydantic import Field

from nichenas.core.capabilities.criterion import criterion_of
from nichenas.core.capabilities.fidelity import ReducedFidelity
from nichenas.core.capabilities.fidelity import sizes
from nichenas.core.capabilities.inheritance import WeightInheritance
from nichenas.core.capabilities.known import known_of
from nichenas.core.capabilities.precomputed import PrecomputedResults
from nichenas.core.domain import Domain
from nichenas.core.errors import ConfigError
from nichenas.core.errors import unknown_name_message
from nichenas.core.fidelity import FULL
from nichenas.core.fidelity import Fidelity
from nichenas.core.methods.base import METHODS
from nichenas.core.methods.base import Method
from nichenas.core.methods.base import MethodSettings
from nichenas.core.methods.sections import Section
from nichenas.core.methods.sections import search_section
from nichenas.core.methods.trial_figures import scheduler_section
from nichenas.core.methods.trial_loop import TrialLoop
from nichenas.core.objectives import Objective
from nichenas.core.proxies.factors import ProxySetting
from nichenas.core.proxies.factors import check_fidelity
from nichenas.core.proxies.factors import fidelity_of
from nichenas.core.proxies.factors import full_epochs
from nichenas.core.registry import as_target
from nichenas.core.schedulers import SCHEDULERS
from nichenas.core.schedulers.confirmation import Confirmation
from nichenas.core.schedulers.early_stops import EarlyStops
from nichenas.core.schedulers.early_stops import StopSettings
from nichenas.core.schedulers.searcher import Searcher
from nichenas.core.session.budget import Budget
from nichenas.core.session.journal import Journal
from nichenas.core.session.record import RunRecord
from nichenas.core.session.session import Session
from nichenas.core.session.state import SearchState
from nichenas.core.settings import Settings
from nichenas.core.sharing.homogeneous import HomogeneousStore
from nichenas.core.space import SearchSpace
from nichenas.core.space import SpaceError
from nichenas.core.strategies import STRATEGIES
from nichenas.core.strategies import Strategy
from nichenas.core.strategies.starts import with_starts

SINGLE = "full"  # the scheduler that measures every proposal once


class StartSettings(Settings):
    """What is measured before a strategy's own proposals.

    Attributes:
        known: whether the architectures that people use come first, where the domain names any: the search then cannot
            end below them on validation data.
        random: how many random architectures follow them; none for as many as the strategy lacks to the starts that
            suit it.
    """

    known: bool = True
    random: int | None = Field(None, ge=0)


class TrialSettings(MethodSettings):
    """The ``search`` section of a trial search.

    Attributes:
        strategy: a name of ``nichenas list``, or a dotted path.
        trials: budget; none for no limit.
        total_epochs: budget: epochs that all trials train together; none for no limit.
        seconds: budget; none for no limit. No trial is begun after it. Where trials are looked up in a table that
            knows how long they took, these seconds count.
        schedule: the scheduler of fidelities; ``full`` measures every proposal once, at the same setting.
        proxy: proxy setting that counts as a complete measurement, such as ``c2r0s0e10``; by default the full one.
        sharing: ``none``, or one of the domain's rules for inheriting trained weights.
        restrict: options that some choices are restricted to, such as ``{propagation: [gcn, gat]}``.
        start: what is measured first.
        confirm: how often a would-be incumbent is measured again at most; it then counts with the mean. These trials
            are charged to the budget like any other.
        early_stop: when a hopeless training stops before its end; none for never.
        batch: proposals asked for and evaluated together.
        weights: of the objectives in the score; by default the primary objective alone counts, or the domain's
            criterion.
    """

    method: Literal["trial"] = "trial"
    strategy: str = "conservative"
    trials: int | None = Field(100, ge=1)
    total_epochs: int | None = Field(None, ge=1)
    seconds: float | None = Field(None, gt=0)
    schedule: str = SINGLE
    proxy: str | None = None
    sharing: str = "none"
    restrict: dict[str, tuple[str | int | float | bool | None, ...]] = Field(default_factory=dict)
    start: StartSettings = StartSettings()
    confirm: int = Field(0, ge=0)
    early_stop: StopSettings | None = None
    batch: int = Field(1, ge=1)
    weights: dict[str, float] | None = None


@METHODS.register("trial")
class TrialSearch(Method):
    """A strategy, with or without a scheduler, whose proposals are trained one by one."""

    Options = TrialSettings
    summary = "each proposal is built and trained alone; strategies and schedulers as below"
    measures_candidates = True
    options: TrialSettings

    def check(self, kind: str, domain: type[Domain]) -> None:
        """Refuses unknown parts, a missing budget, and what the domain's class cannot do."""
        search = self.options
        strategy_class(search.strategy)
        try:
            scheduler = SCHEDULERS[search.schedule]
        except ConfigError as error:
            raise ConfigError(error.message, "search.schedule") from None
        if search.trials is None and search.seconds is None and search.total_epochs is None:
            raise ConfigError(
                "a budget is missing; give search.trials, search.total_epochs or search.seconds", "search"
            )
        if search.early_stop is not None and issubclass(domain, PrecomputedResults):
            raise ConfigError(f"the domain '{kind}' trains nothing that could stop; allowed: null", "search.early_stop")
        if scheduler.resumes_trials:
            if not (issubclass(domain, ReducedFidelity) and domain.resumable):
                raise ConfigError(
                    f"the domain '{kind}' cannot continue a trial's training; allowed: {SINGLE}", "search.schedule"
                )
            if search.early_stop is not None:
                raise ConfigError(
                    f"the scheduler '{search.schedule}' decides how long a training goes on; allowed: null "
                    "(search.early_stop=null)",
                    "search.early_stop",
                )
            if search.sharing != "none":
                raise ConfigError(
                    f"trials of the scheduler '{search.schedule}' continue from their own weights; allowed: none",
                    "search.sharing",
                )
        if search.proxy is not None:
            try:
                ProxySetting.parse(search.proxy)
            except ConfigError as error:
                raise ConfigError(error.message, "search.proxy") from None
        rules = domain.sharing_rules if issubclass(domain, WeightInheritance) else ()
        allowed = ["none", *rules]
        if search.sharing == "supernet":
            raise ConfigError("shared weights are the method 'one-shot'; leave search.method out", "search.sharing")
        if search.sharing not in allowed:
            message = unknown_name_message("rule", search.sharing, allowed)
            raise ConfigError(f"{message} (for the domain '{kind}')", "search.sharing")

    def prepare(self, domain: Domain) -> None:
        """Refuses objectives and settings that the domain does not have."""
        search, names = self.options, [objective.name for objective in domain.objectives]
        for name in search.weights or {}:
            if name not in names:
                raise ConfigError(unknown_name_message("objective", name, names), f"search.weights.{name}")
        self.searcher(domain)
        if search.total_epochs is not None and "epochs" not in sizes(domain, FULL):
            raise ConfigError("the domain does not count epochs", "search.total_epochs")

    def budget(self) -> Budget:
        """Returns the limits on trials, seconds and epochs."""
        return Budget(self.options.trials, self.options.seconds, self.options.total_epochs)

    def criterion(self, domain: Domain) -> Objective | None:
        """Returns the domain's, unless the search has weights of its own."""
        return None if self.options.weights else criterion_of(domain)

    def searcher(self, domain: Domain) -> Searcher:
        """Returns the fresh strategy with all that the search puts over it.

        Raises:
            ConfigError: when the domain does not have the proxy setting, or its trainings cannot be divided.
        """
        search, seed = self.options, self.seed
        cls = strategy_class(search.strategy)
        options = cls.Options.model_validate(search.options.get(search.strategy, {}))
        space = self.searched_space(domain)
        criterion = self.criterion(domain)
        objectives = domain.objectives if criterion is None else (criterion, *domain.objectives[1:])
        strategy = cls(space, objectives, seed, options, weights=search.weights)
        known = {name: one for name, one in known_of(domain).items() if search.start.known and space.holds(one)}
        random = max(0, cls.random_starts - len(known)) if search.start.random is None else search.start.random
        strategy = with_starts(strategy, known, random)
        complete, searcher = self._scheduled(strategy, domain)
        if search.confirm:
            searcher = Confirmation(searcher, complete, search.confirm)
        if search.early_stop is not None:
            try:
                epochs = sizes(domain, complete)["epochs"]
            except KeyError:
                raise ConfigError("the domain does not count epochs", "search.early_stop") from None
            searcher = EarlyStops(searcher, domain.objectives[0], epochs, search.early_stop)
        return searcher

    def searched_space(self, domain: Domain) -> SearchSpace:
        """Returns the part of the domain's space that is searched."""
        try:
            return domain.space.restricted(self.options.restrict) if self.options.restrict else domain.space
        except SpaceError as error:
            raise ConfigError(str(error), "search.restrict") from None

    def _scheduled(self, strategy: Strategy, domain: Domain) -> tuple[Fidelity, Searcher]:
        """Returns the fidelity of a complete measurement, and the strategy with its scheduler over it."""
        search = self.options
        complete = FULL
        if search.schedule == SINGLE and search.proxy is None:
            return complete, strategy
        try:
            epochs = full_epochs(domain)
            if search.proxy is not None:
                complete = fidelity_of(search.proxy, self.levels, domain)
                epochs = sizes(domain, complete)["epochs"]
            over = SCHEDULERS[search.schedule]
            own = over.Options.model_validate(search.options.get(search.schedule, {}))
            scheduler = over(strategy, complete, epochs, self.seed, options=own)
            for end in scheduler.milestones:
                check_fidelity(scheduler.fidelity(end), domain, search.schedule)
                if sizes(domain, scheduler.fidelity(end))["epochs"] != end:
                    raise ConfigError(f"the domain cannot end a training after {end} of {epochs} epochs")
        except ConfigError as error:
            raise ConfigError(str(error), "search") from None
        return complete, scheduler

    def run(self, session: Session) -> SearchState:
        """Runs the loop."""
        search, domain, store = self.options, session.domain, None
        if search.sharing != "none":
            assert isinstance(domain, WeightInheritance)
            lag = session.executor.capacity * search.batch
            store = HomogeneousStore(domain.sharing_rules[search.sharing], session.checkpoints, lag=lag)
        loop = TrialLoop(
            session,
            self.searcher(domain),
            self.budget(),
            batch=search.batch,
            store=store,
            resumable=SCHEDULERS[search.schedule].resumes_trials,
        )
        session.diagnostics = loop.searcher.diagnostics
        return loop.run()

    def facts(self, domain: Domain, journal: Journal) -> dict[str, Any]:
        """Returns the best value of the whole space, where it is known."""
        best = domain.best_known() if isinstance(domain, PrecomputedResults) else None
        return {} if best is None else {"best_known": best}

    def sections(self, record: RunRecord, baseline: RunRecord | None = None) -> list[Section]:
        """Returns the curve of the search, or what its scheduler did."""
        scheduled = scheduler_section(record)
        return [search_section(record, self.unit, baseline) if scheduled is None else scheduled]


def strategy_class(name: str) -> type[Strategy]:
    """Returns the strategy of a name.

    Raises:
        ConfigError: when there is none.
    """
    try:
        return STRATEGIES[name]
    except ConfigError as error:
        message = error.message
        if name == "gradient":
            message = "'gradient' is a method; leave search.method out, or name it there"
        elif not as_target(name):
            message = unknown_name_message("strategy", name, [*STRATEGIES, "gradient"])
        raise ConfigError(message, "search.strategy") from None
