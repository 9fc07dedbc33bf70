"""Running a search end to end: search, retrain, write the result and the report."""

from __future__ import annotations

import dataclasses
import logging
import math
import shutil
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from functools import cached_property
from pathlib import Path

from nichenas.core.capabilities.baselines import Baselines
from nichenas.core.capabilities.baselines import baselines_of
from nichenas.core.capabilities.known import known_of
from nichenas.core.capabilities.notes import notes_of
from nichenas.core.capabilities.precomputed import simulates_time
from nichenas.core.commands.sessions import KEPT
from nichenas.core.commands.sessions import RunOptions
from nichenas.core.commands.sessions import listening
from nichenas.core.commands.sessions import open_session
from nichenas.core.config import ResolvedConfig
from nichenas.core.context import Limits
from nichenas.core.domain import Domain
from nichenas.core.errors import ConfigError
from nichenas.core.errors import NichenasError
from nichenas.core.execution.provenance import device_name
from nichenas.core.files import write_json
from nichenas.core.gate import plain
from nichenas.core.methods import Method
from nichenas.core.objectives import Objective
from nichenas.core.report.run_page import write_run_page
from nichenas.core.report.terminal import print_notes
from nichenas.core.session.progress import Progress
from nichenas.core.session.progress import retraining_progress
from nichenas.core.session.results import RetrainedResult
from nichenas.core.session.results import RunResult
from nichenas.core.session.retraining import Subject
from nichenas.core.session.retraining import Summary
from nichenas.core.session.retraining import kept_weights
from nichenas.core.session.retraining import ranked
from nichenas.core.session.retraining import retrain_all
from nichenas.core.session.session import Session
from nichenas.core.space import Architecture
from nichenas.core.space import Option
from nichenas.core.trial import Trial

log = logging.getLogger(__name__)


class SearchFailed(NichenasError):
    """Not a single candidate could be measured."""


def run_search(resolved: ResolvedConfig, folder: Path, options: RunOptions | None = None) -> RunResult:
    """Runs or resumes a search and returns its result.

    Args:
        folder: of the run.

    Raises:
        UserError: for anything that the user can fix; nothing is written then.
        Interrupted: on Ctrl-C; the run can be resumed.
        SearchFailed: when no candidate could be measured.
    """
    options = options or RunOptions()
    with open_session(resolved, folder, options, check=lambda domain: _check_tuning(resolved, domain)) as session:
        search = _Search(resolved, session, options.quiet, options.task)
        search.run()
        _write_drawings(session, folder)
        search.retrain()
        decisive = search.decisive
        result = _with_better_baselines(search.result(), decisive)
        write_best(session, result)
        choices = search.tuned_choices
        if not choices:  # a run that has its result is finished
            result.write(folder)
    if choices:
        tuned = tuple(_tuned(resolved, folder, name, allowed, options) for name, allowed in choices.items())
        result = dataclasses.replace(result, baselines=(*result.baselines, *tuned))
        result = _with_better_baselines(result, decisive)
        result.write(folder)
    write_run_page(folder)
    return result


def _with_better_baselines(result: RunResult, decisive: Objective) -> RunResult:
    """Returns the result with the names of the baselines that are better than the chosen one on validation data."""

    def mean(row: RetrainedResult) -> float:
        found = row.validation.get(decisive.name)
        return -math.inf if found is None else decisive.sign * found["mean"]

    least = next((mean(row) for row in result.retrained if row.label == result.key), math.inf)
    better = sorted((row for row in result.baselines if mean(row) > least), key=mean, reverse=True)
    return dataclasses.replace(result, better_baselines=tuple(row.label for row in better))


def _check_tuning(resolved: ResolvedConfig, domain: Domain) -> None:
    config = resolved.config.retrain
    if config.tune_baselines and config.baselines and not _tunable(domain):
        raise ConfigError(
            f"{resolved.source}: retrain.tune_baselines: no baseline can be tuned in this search space; allowed: 0"
        )


def _tunable(domain: Domain) -> dict[str, Mapping[str, Sequence[Option]]]:
    """Returns the parts of the space in which baselines can be tuned, by name."""
    if not isinstance(domain, Baselines):
        return {}
    found = {name: domain.baseline_choices(name) for name in domain.baselines}
    return {name: allowed for name, allowed in found.items() if allowed}


def _tuned(
    resolved: ResolvedConfig, folder: Path, name: str, allowed: Mapping[str, Sequence[Option]], options: RunOptions
) -> RetrainedResult:
    """Returns a baseline whose training was tuned by a random search of its own, in a folder of its own.

    The search is measured, confirmed and judged as the main one is.
    """
    given, trials = resolved.raw.values.get("search") or {}, resolved.config.retrain.tune_baselines
    kept = {key: given[key] for key in ("confirm", "early_stop", "proxy", "batch", "weights") if key in given}
    own = {"strategy": "random", "trials": trials, "restrict": {k: list(v) for k, v in allowed.items()}}
    raw = resolved.raw.changed(retrain={"baselines": False, "tune_baselines": 0})
    raw = raw.replaced(name=f"{resolved.config.name}-{name}", search={**kept, **own})
    label = f"{name}, tuned"
    try:
        nested = dataclasses.replace(options, resume=None, task=f"tuning {name}")
        found = run_search(raw.resolve(), folder / "baselines" / name, nested)
    except SearchFailed as error:  # the main search has its result all the same
        return RetrainedResult(label, {}, {}, (str(error),))
    row = next(row for row in found.retrained if row.label == found.key)
    return dataclasses.replace(row, label=label, trial=None, known="")


@dataclass
class _Search:
    """A search and what follows it, in an open session.

    Attributes:
        summaries: of the final trainings, by label; empty until then.
        survivors: the architectures among which the outcome is chosen, best first as the search has it.
    """

    resolved: ResolvedConfig
    session: Session
    quiet: bool
    task: str = "search"
    summaries: dict[str, Summary] = field(default_factory=dict)
    survivors: list[Architecture] = field(default_factory=list)

    @cached_property
    def method(self) -> Method:
        return self.resolved.method

    def run(self) -> None:
        domain, method, progress = self.session.domain, self.method, None
        if not self.quiet:
            if self.task == RunOptions.task:  # a nested search has the same data
                print_notes(notes_of(domain))
            progress = Progress(
                method.objectives(domain)[0],
                method.budget(),
                unit=method.unit,
                task=self.task,
                simulated_time=simulates_time(domain),
                criterion=method.criterion(domain) or (domain.objectives[0] if method.trains_candidates else None),
            )
        with listening(self.session, progress, self.resolved.config.run.tensorboard):
            state = method.run(self.session)
        if state.best is None:
            if not state.completed:
                raise SearchFailed("nothing was proposed, so nothing could be measured")
            (reason, _), *_ = state.failures.most_common(1)
            detail = f" ({state.details[reason]})" if state.details[reason] else ""
            raise SearchFailed(
                f"none of {state.completed} candidates could be measured; the most frequent reason: {reason}{detail}"
            )

    def retrain(self) -> None:
        config, domain = self.resolved.config.retrain, self.session.domain
        subjects = self.survivors = self.candidates
        if config.seeds == 0:
            return
        screened = config.finalists is not None and len(subjects) > config.top and config.screening < config.seeds
        with retraining_progress(domain.objectives[0], self.quiet, self._names) as listener:

            def trained(subjects: Sequence[Subject], seeds: int) -> dict[str, Summary]:
                limits = Limits(config.seconds)
                return retrain_all(
                    self.session, subjects, seeds, decisive=self.decisive, limits=limits, listener=listener
                )

            if screened:
                self.summaries = trained(subjects, config.screening)
                self.survivors = ranked(subjects, self.summaries, self.decisive)[: config.top]
            others = baselines_of(domain) if config.baselines else ()
            self.summaries.update(trained([*self.survivors, *others], config.seeds))

    @property
    def _names(self) -> dict[str, str]:
        """What architectures are called while they are trained, by key."""
        best, unit = self.session.state.top(self.resolved.config.retrain.candidates), self.method.unit
        return {trial.proposal.architecture.key: f"{unit} {trial.number}" for trial in best}

    @property
    def tuned_choices(self) -> dict[str, Mapping[str, Sequence[Option]]]:
        """The parts of the space in which baselines are tuned, by name; empty where none are."""
        config, domain = self.resolved.config.retrain, self.session.domain
        if not (config.tune_baselines and config.baselines and config.seeds):
            return {}
        return _tunable(domain)

    @property
    def candidates(self) -> list[Architecture]:
        """The architectures that are trained in full."""
        return [
            trial.proposal.architecture for trial in self.session.state.top(self.resolved.config.retrain.candidates)
        ]

    @property
    def decisive(self) -> Objective:
        """What the final choice goes by."""
        domain = self.session.domain
        return self.method.criterion(domain) or domain.objectives[0]

    def _searched(self, values: Mapping[str, float]) -> str:
        """Returns the primary objective as the search measured it last: alone, where it did in the end."""
        primary, metric = self.method.objectives(self.session.domain)[0], self.session.domain.objectives[0].name
        return metric if primary.source == "supernet" and metric in values else primary.name

    def result(self) -> RunResult:
        config, domain, state = self.resolved.config, self.session.domain, self.session.state
        metric, summaries = domain.objectives[0], self.summaries
        best = state.top(config.retrain.candidates)
        by_key: dict[str, Trial] = {trial.proposal.architecture.key: trial for trial in best}
        chosen, *_ = ranked(self.survivors, summaries, self.decisive)
        # The chosen one's rivals first: those that fell out early have fewer seeds.
        candidates = list(dict.fromkeys([*self.survivors, *self.candidates]))
        measured = by_key[chosen.key].measurement
        assert measured is not None
        names = {domain.space.canonical(one).key: name for name, one in known_of(domain).items()}
        facts = plain(self.method.facts(domain, self.session.journal), "facts")
        return RunResult(
            name=config.name,
            metric=metric.name,
            searched=self._searched(measured.values),
            unit=self.method.unit,
            architecture=dict(chosen),
            key=chosen.key,
            trial=by_key[chosen.key].number,
            validation=dict(measured.values),
            test=summaries[chosen.key].statistics("test") if chosen.key in summaries else {},
            retrained=tuple(
                summaries[a.key].result(a, by_key[a.key].number, names.get(domain.space.canonical(a).key, ""))
                for a in candidates
                if a.key in summaries
            ),
            baselines=tuple(summaries[name].result() for name in baselines_of(domain) if name in summaries),
            trials=state.completed,
            failed=state.failed,
            failures=dict(state.failures),
            seconds=round(state.seconds, 3),
            order=config.run.order,
            device=device_name(self.session.device),
            config_hash=self.resolved.hash,
            epochs=state.epochs or None,
            simulated_seconds=state.training_seconds if simulates_time(domain) else None,
            **{name: facts.pop(name) for name in ("stopped", "best_known") if name in facts},
            further=facts,
        )


def _write_drawings(session: Session, folder: Path) -> None:
    top = [trial.proposal.architecture for trial in session.state.top(KEPT)]
    drawings = {}
    for architecture in top:
        try:
            drawing = session.domain.draw(architecture)
        except Exception:  # a picture costs no result
            log.exception("an architecture cannot be drawn by its domain; its choices are drawn")
            drawing = Domain.draw(session.domain, architecture)
        drawings[architecture.key] = dataclasses.asdict(drawing)
    write_json(folder / "drawings.json", drawings)


def write_best(session: Session, result: RunResult) -> None:
    """Writes the chosen architecture and the weights of its best seed; without a retraining there are none."""
    folder = session.folder
    assert folder is not None
    weights, target = kept_weights(folder.checkpoints, result.key), folder.best / "weights.pt"
    # Weights first: whenever both files are there, they belong together.
    target.unlink(missing_ok=True)
    write_json(folder.best / "architecture.json", {"architecture": dict(result.architecture), "key": result.key})
    if result.test and weights.exists():
        temporary = folder.best / ".weights.pt"
        shutil.copyfile(weights, temporary)
        temporary.replace(target)
