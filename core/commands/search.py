"""Running a search end to end: search, retrain, write the result and the report."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

from nichenas.core.capabilities.baselines import baselines_of
from nichenas.core.capabilities.precomputed import simulates_time
from nichenas.core.commands.sessions import KEPT
from nichenas.core.commands.sessions import RunOptions
from nichenas.core.commands.sessions import listening
from nichenas.core.commands.sessions import open_session
from nichenas.core.config import ResolvedConfig
from nichenas.core.context import Limits
from nichenas.core.errors import NichenasError
from nichenas.core.execution.provenance import device_name
from nichenas.core.files import write_json
from nichenas.core.report.run_page import write_run_page
from nichenas.core.session.progress import Progress
from nichenas.core.session.progress import retraining_progress
from nichenas.core.session.results import RunResult
from nichenas.core.session.retraining import Subject
from nichenas.core.session.retraining import Summary
from nichenas.core.session.retraining import choose
from nichenas.core.session.retraining import kept_weights
from nichenas.core.session.retraining import retrain_all
from nichenas.core.session.session import Session
from nichenas.core.session.state import SearchState
from nichenas.core.trial import Trial


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
    with open_session(resolved, folder, options) as session:
        state = _search(resolved, session, options.quiet)
        if state.best is None:
            reason = state.failures.most_common(1)[0][0] if state.failures else "no trial was made"
            raise SearchFailed(
                f"none of {state.completed} candidates could be measured; the most frequent reason: {reason}"
            )
        _write_drawings(session, folder)
        summaries = _retrain(resolved, session, options.quiet)
        result = _result(resolved, session, summaries)
        write_best(session, result)
        result.write(folder)
    write_run_page(folder)
    return result


def _search(resolved: ResolvedConfig, session: Session, quiet: bool) -> SearchState:
    method, domain = resolved.method, session.domain
    progress = None
    if not quiet:
        objective = method.objectives(domain)[0]
        progress = Progress(objective, method.budget(), unit=method.unit, simulated_time=simulates_time(domain))
    with listening(session, progress, resolved.config.run.tensorboard):
        return method.run(session)


def _retrain(resolved: ResolvedConfig, session: Session, quiet: bool) -> dict[str, Summary]:
    config = resolved.config.retrain
    if config.seeds == 0:
        return {}
    subjects: list[Subject] = [trial.proposal.architecture for trial in session.state.top(config.top)]
    if config.baselines:
        subjects += baselines_of(session.domain)
    with retraining_progress(session.domain.objectives[0], quiet) as listener:
        return retrain_all(session, subjects, config.seeds, limits=Limits(config.seconds), listener=listener)


def _result(resolved: ResolvedConfig, session: Session, summaries: dict[str, Summary]) -> RunResult:
    config, domain, state, method = resolved.config, session.domain, session.state, resolved.method
    by_key: dict[str, Trial] = {t.proposal.architecture.key: t for t in state.top(config.retrain.top)}
    candidates = [trial.proposal.architecture for trial in by_key.values()]
    chosen = choose(candidates, summaries, domain.objectives[0])
    measured = by_key[chosen.key].measurement
    assert measured is not None
    facts = method.facts(domain, session.journal)
    known = {field.name for field in dataclasses.fields(RunResult)}
    return RunResult(
        name=config.name,
        metric=domain.objectives[0].name,
        searched=method.objectives(domain)[0].name,
        unit=method.unit,
        architecture=dict(chosen),
        key=chosen.key,
        trial=by_key[chosen.key].number,
        validation=dict(measured.values),
        test=summaries[chosen.key].statistics("test") if chosen.key in summaries else {},
        retrained=tuple(summaries[a.key].result(a, by_key[a.key].number) for a in candidates if a.key in summaries),
        baselines=tuple(summaries[name].result() for name in baselines_of(domain) if name in summaries),
        trials=state.completed,
        failed=state.failed,
        failures=dict(state.failures),
        seconds=round(state.seconds, 3),
        order=config.run.order,
        device=device_name(session.device),
        config_hash=resolved.hash,
        epochs=state.epochs or None,
        simulated_seconds=state.training_seconds if simulates_time(domain) else None,
        **{name: fact for name, fact in facts.items() if name in known},
        further={name: fact for name, fact in facts.items() if name not in known},
    )


def _write_drawings(session: Session, folder: Path) -> None:
    top = [trial.proposal.architecture for trial in session.state.top(KEPT)]
    drawings = {architecture.key: dataclasses.asdict(session.domain.draw(architecture)) for architecture in top}
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
