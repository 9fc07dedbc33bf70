"""Running a search end to end: prepare, search, retrain, write the result and the report."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nichenas.core.commands.workplace import Workplace
from nichenas.core.commands.workplace import check_resume
from nichenas.core.commands.workplace import make_executor
from nichenas.core.commands.workplace import make_searcher
from nichenas.core.commands.workplace import prepare
from nichenas.core.config import Resolved
from nichenas.core.context import Limits
from nichenas.core.domain import Domain
from nichenas.core.domain import Trial
from nichenas.core.errors import NichenasError
from nichenas.core.gradient.options import GradientOptions
from nichenas.core.gradient.supernet import GradientDomain
from nichenas.core.objectives import Objective
from nichenas.core.proxies import SCHEDULES
from nichenas.core.report.run_page import write_run_page
from nichenas.core.search.curves import Curves
from nichenas.core.search.driver import Budget
from nichenas.core.search.driver import SearchState
from nichenas.core.search.driver import TrialDriver
from nichenas.core.search.environment import device_name
from nichenas.core.search.environment import environment
from nichenas.core.search.executors import Executor
from nichenas.core.search.gradient_driver import GradientDriver
from nichenas.core.search.journal import Journal
from nichenas.core.search.one_shot_driver import OneShotDriver
from nichenas.core.search.progress import Progress
from nichenas.core.search.retraining import Summary
from nichenas.core.search.retraining import choose
from nichenas.core.search.retraining import retrain_all
from nichenas.core.search.run_folder import RunFolder
from nichenas.core.search.run_folder import write_json
from nichenas.core.search.run_folder import write_yaml
from nichenas.core.sharing.homogeneous import HomogeneousStore
from nichenas.core.sharing.one_shot import OneShotDomain
from nichenas.core.space import Architecture
from nichenas.core.strategies import STRATEGIES

KEPT = 10  # best architectures in the result, the report and the drawings


class SearchFailed(NichenasError):
    """Not a single candidate could be measured."""


def run_search(
    resolved: Resolved, out: Path | None = None, resume: bool = False, data: str | None = None, quiet: bool = False
) -> dict[str, Any]:
    """Runs or resumes a search and returns what ``result.json`` holds.

    Args:
        out: the run folder; ``runs/<name>`` by default.
        data: the data root, if named.
        quiet: show no progress.

    Raises:
        UserError: for anything the user can mend; nothing is written then.
        Interrupted: on Ctrl-C; the run can be resumed.
        SearchFailed: when no candidate could be measured.
    """
    config = resolved.config
    folder = out or Path("runs") / config.name
    if resume:
        check_resume(folder, resolved)
    workplace = prepare(resolved, data)
    domain = workplace.domain
    with contextlib.ExitStack() as stack:
        run = stack.enter_context(RunFolder(folder, resume))
        journal = stack.enter_context(Journal(run.journal))
        if not resume:
            journal.set_meta("objectives", [dataclasses.asdict(o) for o in _measured(resolved, domain)])
            journal.set_meta("retraining_objective", dataclasses.asdict(domain.objectives[0]))
            journal.flush()
        write_yaml(folder / "config.yaml", resolved.to_dict())
        write_json(folder / "environment.json", environment(config.seed, workplace.device))
        executor = stack.enter_context(make_executor(resolved, workplace))
        state = _search(resolved, workplace, executor, journal, run, quiet)
        if state.best is None:
            reason = state.failures.most_common(1)[0][0] if state.failures else "no trial was made"
            raise SearchFailed(f"none of {state.told} candidates could be measured; the most frequent reason: {reason}")
        top = [trial.proposal.architecture for trial in state.top(KEPT)]
        write_json(folder / "drawings.json", _drawings(domain, top))
        summaries = _retrain(resolved, workplace, state, executor, journal, run, quiet)
        result = _result(resolved, workplace, state, summaries, journal)
        _write_best(run, domain, result)
        write_json(folder / "result.json", result)
    write_run_page(folder)
    return result


def _measured(resolved: Resolved, domain: Domain) -> tuple[Objective, ...]:
    """Returns what the search measures."""
    driver = resolved.config.search.driver
    if driver == "gradient":
        return (domain.objectives[0].of_supernet(),)
    if driver == "one-shot":
        assert isinstance(domain, OneShotDomain)
        return tuple(objective.of_supernet() for objective in domain.shared_objectives)
    return domain.objectives


def _search(
    resolved: Resolved, workplace: Workplace, executor: Executor, journal: Journal, run: RunFolder, quiet: bool
) -> SearchState:
    config = resolved.config
    search, domain, seed, device = config.search, workplace.domain, config.seed, workplace.device
    keep = max(KEPT, config.retrain.top)
    budget = Budget(search.trials, search.seconds, search.total_epochs)
    listeners: list[Any] = []  # filled below: curves ask the driver for its figures
    driver: TrialDriver | GradientDriver | OneShotDriver
    if search.driver == "gradient":
        assert isinstance(domain, GradientDomain)
        assert isinstance(resolved.strategy_options, GradientOptions)
        budget = Budget(search.epochs, search.seconds)
        driver = GradientDriver(
            domain, resolved.strategy_options, journal, budget, seed, device, run.checkpoints, listeners, keep
        )
    elif search.driver == "one-shot":
        assert isinstance(domain, OneShotDomain)
        assert search.one_shot is not None
        budget = Budget(search.one_shot.trials)
        driver = OneShotDriver(
            domain,
            STRATEGIES[search.strategy],
            resolved.strategy_options,
            search.one_shot,
            journal,
            seed,
            device,
            run.checkpoints,
            listeners,
            keep,
        )
    else:
        store = None
        if search.sharing != "none":
            rule = domain.sharing_rules[search.sharing]
            store = HomogeneousStore(rule, run.checkpoints, lag=executor.capacity * search.batch)
        driver = TrialDriver(
            domain,
            make_searcher(resolved, domain),
            executor,
            journal,
            budget,
            seed,
            search.batch,
            config.run.order,
            Limits(config.run.limits.seconds, config.run.limits.memory_mb),
            store,
            listeners,
            keep,
            run.checkpoints if SCHEDULES[search.schedule].continues else None,
        )
    with contextlib.ExitStack() as stack:
        if config.run.tensorboard:
            curves = Curves(run.path / "tensorboard", driver.diagnostics)
            stack.callback(curves.close)
            listeners.append(curves)
        if not quiet:
            metric = _measured(resolved, domain)[0]
            listeners.append(
                stack.enter_context(Progress(metric, budget, unit=_unit(resolved), simulated=domain.simulated))
            )
        return driver.run()


def _unit(resolved: Resolved) -> str:
    """Returns what the journal has a row for."""
    return "epoch" if resolved.config.search.driver == "gradient" else "trial"


def _retrain(
    resolved: Resolved,
    workplace: Workplace,
    state: SearchState,
    executor: Executor,
    journal: Journal,
    run: RunFolder,
    quiet: bool,
) -> dict[str, Summary]:
    config = resolved.config.retrain
    domain = workplace.domain
    if config.seeds == 0:
        return {}
    subjects: list[Architecture | str] = [trial.proposal.architecture for trial in state.top(config.top)]
    if config.baselines:
        subjects += domain.baselines
    with _maybe(Progress(domain.objectives[0], Budget()), not quiet) as progress:
        return retrain_all(
            subjects,
            config.seeds,
            resolved.config.seed,
            domain.objectives[0],
            executor,
            journal,
            run.checkpoints,
            Limits(config.seconds),
            progress,
            run.artifacts,
        )


@contextlib.contextmanager
def _maybe(progress: Progress, shown: bool) -> Iterator[Progress | None]:
    if shown:
        with progress:
            yield progress
    else:
        yield None


def _result(
    resolved: Resolved, workplace: Workplace, state: SearchState, summaries: dict[str, Summary], journal: Journal
) -> dict[str, Any]:
    config, domain = resolved.config, workplace.domain
    # Why a gradient search ended: its epochs, its seconds, or a rule of its early stop.
    stopped = {"stopped": journal.meta("stopped")} if config.search.driver == "gradient" else {}
    optimum = domain.optimum() if config.search.driver == "trial" else None
    known = {} if optimum is None else {"optimum": optimum}
    by_key: dict[str, Trial] = {trial.proposal.architecture.key: trial for trial in state.top(config.retrain.top)}
    candidates = [trial.proposal.architecture for trial in by_key.values()]
    chosen = choose(candidates, summaries, domain.objectives[0])
    measured = by_key[chosen.key].measurement
    assert measured is not None
    summary = summaries.get(chosen.key)
    return {
        "name": config.name,
        "metric": domain.objectives[0].name,
        "searched": _measured(resolved, domain)[0].name,
        "unit": _unit(resolved),
        "architecture": dict(chosen),
        "key": chosen.key,
        "trial": by_key[chosen.key].number,
        "validation": dict(measured.values),
        "test": summary.statistics("test") if summary else {},
        "retrained": [
            {"architecture": dict(a), "trial": by_key[a.key].number, **summaries[a.key].to_dict()}
            for a in candidates
            if a.key in summaries
        ],
        "baselines": [summaries[name].to_dict() for name in domain.baselines if name in summaries],
        "trials": state.told,
        "failed": state.failed,
        "failures": dict(state.failures),
        "seconds": round(state.seconds, 3),
        **({"epochs": state.epochs} if state.epochs else {}),
        **({"simulated_seconds": state.training_seconds} if domain.simulated else {}),
        "order": config.run.order,
        **stopped,
        **known,
        "device": device_name(workplace.device),
        "config_hash": resolved.hash,
    }


def _drawings(domain: Domain, architectures: list[Architecture]) -> dict[str, Any]:
    return {architecture.key: dataclasses.asdict(domain.draw(architecture)) for architecture in architectures}


def _write_best(run: RunFolder, domain: Domain, result: dict[str, Any]) -> None:
    """Writes the chosen architecture, and the weights of its best seed where it was retrained."""
    architecture = domain.space.architecture(result["architecture"])
    write_json(run.best / "architecture.json", {"architecture": dict(architecture), "key": architecture.key})
    weights = run.checkpoints / f"retrained-{architecture.key}.pt"
    if weights.exists():
        temporary = run.best / ".weights.pt"
        shutil.copyfile(weights, temporary)
        temporary.replace(run.best / "weights.pt")
