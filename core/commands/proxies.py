"""The study of whether cheap settings keep the ranking of full training (EcoNAS, section on reliable proxies)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from nichenas.core.capabilities.fidelity import ReducedFidelity
from nichenas.core.commands.sessions import RunOptions
from nichenas.core.commands.sessions import listening
from nichenas.core.commands.sessions import open_session
from nichenas.core.config import ResolvedConfig
from nichenas.core.domain import Domain
from nichenas.core.errors import ConfigError
from nichenas.core.errors import Interrupted
from nichenas.core.execution.provenance import device_name
from nichenas.core.fidelity import Fidelity
from nichenas.core.methods.trial_loop import TrialLoop
from nichenas.core.objectives import Objective
from nichenas.core.proxies.sample import StudyPlan
from nichenas.core.proxies.sample import sample_architectures
from nichenas.core.proxies.study import Measured
from nichenas.core.proxies.study import StudyDesign
from nichenas.core.proxies.study import analyse
from nichenas.core.proxies.study_settings import study_settings
from nichenas.core.proxies.study_summary import StudySummary
from nichenas.core.proxies.untrained import UntrainedScores
from nichenas.core.proxies.untrained import UntrainedScoring
from nichenas.core.proxies.zero_cost import ZERO_COST
from nichenas.core.report.proxies_page import write_proxies_page
from nichenas.core.session.budget import Budget
from nichenas.core.session.progress import Progress
from nichenas.core.session.session import Session
from nichenas.core.space import Architecture


def run_proxies(
    resolved: ResolvedConfig, folder: Path, options: RunOptions | None = None, objective: Objective | None = None
) -> StudySummary:
    """Trains a sample of architectures at the full setting and at reduced ones, and returns the summary.

    Architectures are drawn from the part of the space that the configuration searches.
    The full setting is that of final trainings, whatever the configuration's candidates get. An interrupted study is
    continued by the same command, and so is a smaller one by one of more architectures.

    Args:
        options: of the session; it is resumed where there is one.
        objective: what architectures are ranked by, of which every measurement has a value; the domain's first by
            default.

    Raises:
        UserError: for a setting that the domain does not have, or a folder that holds another study.
        Interrupted: on Ctrl-C.
    """
    options = dataclasses.replace(options or RunOptions(), resume=None)
    resolved = _of_final_training(resolved)
    config = resolved.config

    def settings_of(domain: Domain) -> dict[str, Fidelity]:
        section = config.proxies
        try:
            return study_settings(domain, section.settings, section.levels, section.repeat_full)
        except ConfigError as error:
            raise ConfigError(f"{resolved.source}: proxies.settings: {error}") from None

    def check(domain: Domain) -> None:
        settings_of(domain)

    with open_session(resolved, folder, options, check=check, objectives=lambda domain: domain.objectives) as session:
        design = StudyDesign(
            name=config.name,
            seed=config.seed,
            settings=settings_of(session.domain),
            objective=objective or session.domain.objectives[0],
            min_correlation=config.proxies.min_correlation,
            device=device_name(session.device),
        )
        names = list(ZERO_COST if config.proxies.zero_cost is None else config.proxies.zero_cost)
        try:
            space = resolved.method.searched_space(session.domain)
            sample = sample_architectures(space, config.proxies.architectures, design.seed)
            measured = _train(session, design, sample, options.quiet)
            untrained = _score(session, design, measured, names)
        except Interrupted as error:
            error.advice = "the same command continues the study"
            raise
        study = analyse(session.domain, design, measured, untrained)
    study.write(folder)
    write_proxies_page(folder, study)
    return study.summary


def _of_final_training(resolved: ResolvedConfig) -> ResolvedConfig:
    """Returns the configuration with candidates that are trained as final trainings are."""
    if not issubclass(resolved.domain, ReducedFidelity):
        return resolved
    return dataclasses.replace(resolved, settings=resolved.domain.final_training_settings(resolved.settings))


def _train(session: Session, design: StudyDesign, sample: Sequence[Architecture], quiet: bool) -> Measured:
    """Trains every architecture at every setting, unless the journal has it."""
    plan = StudyPlan(sample, design.settings, design.objective)
    budget = Budget(len(plan))
    with listening(session, None if quiet else Progress(design.objective, budget, task="study"), tensorboard=False):
        TrialLoop(session, plan, budget).run()
    return Measured(list(session.journal.trials()), len(sample))


def _score(session: Session, design: StudyDesign, measured: Measured, names: list[str]) -> UntrainedScores:
    """Scores the untrained network of every architecture, unless the journal has the score."""
    scoring = UntrainedScoring(session.domain, names, seed=design.seed, device=session.device, store=session.journal)
    try:
        for member, by_setting in measured.members.items():
            trial = next(iter(by_setting.values()))
            scoring.add(member, trial.proposal.architecture, known=not trial.failed)
        session.journal.flush()
    except KeyboardInterrupt:
        session.journal.flush()
        raise Interrupted(f"interrupted after {len(scoring.found.by_member)} untrained networks") from None
    return scoring.found
