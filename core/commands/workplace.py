"""What a command works with: a prepared domain, its executor, and what the driver asks."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

import torch
from nichenas.core.config import Resolved
from nichenas.core.config import differences
from nichenas.core.config import resolve
from nichenas.core.context import Environment
from nichenas.core.data.root import cache_folder
from nichenas.core.data.root import data_root
from nichenas.core.domain import FULL
from nichenas.core.domain import Domain
from nichenas.core.domain_lookup import DomainRecipe
from nichenas.core.errors import ConfigError
from nichenas.core.errors import RunFolderError
from nichenas.core.errors import unknown
from nichenas.core.proxies import SCHEDULES
from nichenas.core.proxies.factors import fidelity_of
from nichenas.core.proxies.factors import full_epochs
from nichenas.core.proxies.schedule import Schedule
from nichenas.core.search.environment import choose_device
from nichenas.core.search.executors import Executor
from nichenas.core.search.executors import ProcessExecutor
from nichenas.core.search.executors import SerialExecutor
from nichenas.core.search.run_folder import read_yaml
from nichenas.core.sharing.one_shot import OneShotDomain
from nichenas.core.strategies import STRATEGIES
from nichenas.core.strategies.base import Strategy


@dataclass
class Workplace:
    """A prepared domain and what it runs on.

    Attributes:
        recipe: makes the same domain in a worker.
    """

    domain: Domain
    recipe: DomainRecipe
    device: torch.device


def prepare(resolved: Resolved, data: str | None = None) -> Workplace:
    """Loads the data and checks what can only be checked then; writes nothing but derived files in the cache.

    Args:
        data: the data root, if named.

    Raises:
        UserError: for missing data, an absent device, or objectives that the domain does not have.
    """
    config = resolved.config
    device = choose_device(config.run.device)
    where = Environment(data_root(data), cache_folder(), device, config.seed)
    recipe = DomainRecipe(resolved.target, resolved.settings, where)
    domain = recipe()
    names = [objective.name for objective in domain.objectives]
    for name in config.search.weights or {}:
        if name not in names:
            raise ConfigError(f"{resolved.source}: search.weights.{name}: {unknown('objective', name, names)}")
    if config.search.schedule != "full" or config.search.proxy is not None:
        make_searcher(resolved, domain)  # what only the domain can refuse is refused before anything is written
    if config.search.total_epochs is not None and "epochs" not in domain.setting(FULL):
        raise ConfigError(f"{resolved.source}: search.total_epochs: the domain does not count epochs")
    if isinstance(domain, OneShotDomain) and config.search.driver == "one-shot":
        assert config.search.one_shot is not None
        if len(config.search.one_shot.iterations) != len(domain.stages):
            raise ConfigError(
                f"{resolved.source}: search.one_shot.iterations: {len(config.search.one_shot.iterations)} stages; "
                f"the space is searched in {len(domain.stages)}"
            )
    return Workplace(domain, recipe, device)


def make_executor(resolved: Resolved, workplace: Workplace) -> Executor:
    """Returns the executor that a configuration asks for."""
    run = resolved.config.run
    if run.executor == "processes":
        return ProcessExecutor(run.workers, workplace.recipe, workplace.device)
    if run.executor == "ray":
        from nichenas.core.search.ray_executor import RayExecutor

        return RayExecutor(run.workers, workplace.recipe, workplace.device)
    return SerialExecutor(workplace.domain, workplace.device)


def make_searcher(resolved: Resolved, domain: Domain) -> Strategy | Schedule:
    """Returns the fresh strategy of a configuration, with its schedule over it where it has one.

    Raises:
        ConfigError: when the domain does not have the reduced setting, or its trainings cannot be divided.
    """
    search, seed = resolved.config.search, resolved.config.seed
    strategy = STRATEGIES[search.strategy](
        domain.space, domain.objectives, seed, resolved.strategy_options, search.weights
    )
    if search.schedule == "full" and search.proxy is None:
        return strategy
    try:
        epochs, complete = full_epochs(domain), FULL
        if search.proxy is not None:
            complete = fidelity_of(search.proxy, resolved.config.proxies.levels, domain)
            epochs = domain.setting(complete)["epochs"]
        schedule = SCHEDULES[search.schedule](strategy, complete, epochs, seed, resolved.schedule_options)
        for end in schedule.ends:
            if domain.setting(schedule.fidelity(end))["epochs"] != end:
                raise ConfigError(f"the domain cannot end a training after {end} of {epochs} epochs")
    except ConfigError as error:
        raise ConfigError(f"{resolved.source}: search: {error}") from None
    return schedule


def check_resume(folder: Path, resolved: Resolved) -> None:
    """Raises :class:`RunFolderError` if the run in the folder was made with another configuration."""
    file = folder / "config.yaml"
    if not file.exists():
        return  # the run folder itself says that there is nothing to resume
    held = read_yaml(file)
    with contextlib.suppress(ConfigError):  # what an older version did not know stands at its default
        held = resolve(held, str(file)).to_dict()
    changed = differences(held, resolved.to_dict())
    if changed:
        more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
        raise RunFolderError(
            f"cannot resume '{folder}': {changed[0]}{more}; resume with the same configuration, "
            "or start a new run with --out"
        )
