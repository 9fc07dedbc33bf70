"""Any Optuna sampler as a strategy (the ``optuna`` extra)."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from nichenas.core.errors import ConfigError
from nichenas.core.errors import unknown_name_message
from nichenas.core.seeds import derive_seed
from nichenas.core.settings import Settings
from nichenas.core.space import Option
from nichenas.core.strategies.base import STRATEGIES
from nichenas.core.strategies.one_shot import OneShotStrategy
from nichenas.core.trial import Proposal
from nichenas.core.trial import Trial


class OptunaOptions(Settings):
    """Options of the Optuna strategy.

    Attributes:
        sampler: name of a class of ``optuna.samplers``, with or without its ending ``Sampler``.
        arguments: further arguments of that class; its seed comes from the run.
    """

    sampler: str = "TPE"
    arguments: dict[str, Any] = Field(default_factory=dict)


@STRATEGIES.register("optuna")
class OptunaSampler(OneShotStrategy):
    """Asks and tells an Optuna study that lives in memory."""

    Options = OptunaOptions
    summary = "any sampler of Optuna: TPE, NSGAII, GP ... (extra 'optuna')"
    options: OptunaOptions

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        try:
            import optuna
        except ImportError:
            raise ConfigError(
                "search.strategy: 'optuna' needs the package optuna; install it with: pip install 'nichenas[optuna]'"
            ) from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        names = {
            n.removesuffix("Sampler"): n
            for n in optuna.samplers.__all__
            if n.endswith("Sampler") and not n.startswith("Base")
        }
        wanted = self.options.sampler.removesuffix("Sampler")
        if wanted not in names:
            raise ConfigError(f"search.options.optuna.sampler: {unknown_name_message('sampler', wanted, names)}")
        cls = getattr(optuna.samplers, names[wanted])
        seed = derive_seed(self.seed, "strategy optuna") % 2**32
        try:
            sampler = cls(**{"seed": seed, **self.options.arguments})
        except (TypeError, ValueError) as error:
            raise ConfigError(f"search.options.optuna.arguments: {names[wanted]}: {error}") from None
        # A weighted score is one objective; without weights Optuna sees every objective by itself.
        directions = [objective.direction for objective in self.objectives]
        if self.weights:
            directions = ["maximize"]
        self._study = optuna.create_study(directions=directions, sampler=sampler)
        self._failed, self._create_trial = optuna.trial.TrialState.FAIL, optuna.trial.create_trial
        self._categorical = optuna.distributions.CategoricalDistribution
        self._trials: list[optuna.trial.Trial] = []

    def ask(self, n: int = 1) -> list[Proposal]:
        """Returns what the sampler suggests."""
        proposals = []
        for _ in range(n):
            trial = self._study.ask()
            values: dict[str, Option] = {}
            if self.space.prefixes:
                count = len(self.space.prefixes)
                values.update(self.space.prefixes[trial.suggest_categorical("prefix", list(range(count)))])
            for choice in self.space.free:
                if self.space.is_active(choice, values):
                    # Positions rather than options, so that options of any type are kept apart.
                    position = trial.suggest_categorical(choice.name, list(range(len(choice.options))))
                    values[choice.name] = choice.options[position]
            self._trials.append(trial)
            proposals.append(Proposal(self.space.architecture(values), tag={"asked": len(self._trials) - 1}))
        return proposals

    def tell(self, trial: Trial) -> None:
        """Tells the study."""
        ours = self._trials[trial.proposal.tag["asked"]]
        if trial.measurement is None:
            self._study.tell(ours, state=self._failed)
        elif self.weights:
            self._study.tell(ours, self.score(trial))
        else:
            self._study.tell(ours, [trial.value(objective) for objective in self.objectives])

    def observe(self, trial: Trial) -> None:
        """Adds a trial to the study as if the sampler had suggested it."""
        architecture = trial.proposal.architecture
        distributions: dict[str, Any] = {}
        params: dict[str, int] = {}
        for choice in self.space.free:
            if choice.name in architecture:
                distributions[choice.name] = self._categorical(list(range(len(choice.options))))
                params[choice.name] = choice.index(architecture[choice.name])
        outcome: dict[str, Any] = {"state": self._failed}
        if trial.measurement is not None:
            values = [trial.value(objective) for objective in self.objectives]
            outcome = {"values": [self.score(trial)] if self.weights else values}
        self._study.add_trial(self._create_trial(params=params, distributions=distributions, **outcome))
