"""Retraining after the search: the best of a run with more seeds, or one given architecture."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from nichenas.core.commands.search import run_search
from nichenas.core.commands.search import write_best
from nichenas.core.commands.sessions import RunOptions
from nichenas.core.commands.sessions import open_session
from nichenas.core.commands.sessions import prepare_domain
from nichenas.core.commands.sessions import stored_config
from nichenas.core.config import ResolvedConfig
from nichenas.core.context import Limits
from nichenas.core.domain import Domain
from nichenas.core.domain_lookup import DomainRecipe
from nichenas.core.errors import ConfigError
from nichenas.core.errors import RunFolderError
from nichenas.core.execution.provenance import device_name
from nichenas.core.session.journal import Journal
from nichenas.core.session.progress import retraining_progress
from nichenas.core.session.results import RESULT
from nichenas.core.session.results import RunResult
from nichenas.core.session.retraining import retrain_all
from nichenas.core.space import Architecture
from nichenas.core.space import SearchSpace
from nichenas.core.space import SpaceError


def retrain_run(
    run: Path, top: int | None = None, seeds: int | None = None, options: RunOptions | None = None
) -> RunResult:
    """Trains the best architectures of a finished search in full; trainings that are done are kept.

    Args:
        top: how many, by default as the run's configuration says.
        seeds: how many each, likewise.

    Raises:
        RunFolderError: when there is no run, or its search is not finished.
    """
    if not (run / RESULT).exists():
        if (run / "config.yaml").exists():
            raise RunFolderError(f"the search in '{run}' is not finished; continue it with: nichenas search --resume")
        raise RunFolderError(f"'{run}' holds no run (no config.yaml in it)")
    resolved = stored_config(run, retrain={"top": top, "seeds": seeds})
    return run_search(resolved, run, dataclasses.replace(options or RunOptions(), resume=True))


def retrain_architecture(
    run: Path, file: Path, out: Path | None = None, seeds: int | None = None, options: RunOptions | None = None
) -> tuple[RunResult, Path]:
    """Trains one architecture in full with the settings of a run, into a folder of its own.

    The same command continues it, and adds seeds.

    Args:
        file: JSON: the choices by name, or a mapping that holds them under ``architecture``.
        out: by default ``<run>/retrained-<key>``.

    Returns:
        The result and its folder.

    Raises:
        UserError: when the file is no architecture of the run's space, or the folder holds something else.
    """
    options = options or RunOptions()
    resolved = stored_config(run, retrain={"seeds": seeds})
    prepared = prepare_domain(resolved, options.data)
    architecture = read_architecture(file, prepared[0].space)
    folder = out or run / f"retrained-{architecture.key}"
    return train_given(resolved, architecture, folder, options, prepared=prepared), folder


def train_given(
    resolved: ResolvedConfig,
    architecture: Architecture,
    folder: Path,
    options: RunOptions,
    *,
    prepared: tuple[Domain, DomainRecipe] | None = None,
) -> RunResult:
    """Trains an architecture in full with the settings of a configuration; a training that was begun is continued.

    Raises:
        UserError: when the folder holds something else.
    """
    _check_folder(folder, architecture)
    prepared = prepared or prepare_domain(resolved, options.data)
    domain = prepared[0]
    config, metric = resolved.config, domain.objectives[0]
    with open_session(resolved, folder, dataclasses.replace(options, resume=None), prepared=prepared) as session:
        session.journal.set_meta("given", architecture.key)
        session.journal.flush()
        with retraining_progress(metric, options.quiet) as listener:
            summaries = retrain_all(
                session,
                [architecture],
                max(1, config.retrain.seeds),
                limits=Limits(config.retrain.seconds),
                listener=listener,
            )
        summary = summaries[architecture.key]
        validation = summary.statistics("validation")
        result = RunResult(
            name=config.name,
            metric=metric.name,
            searched=metric.name,
            unit=resolved.method.unit,
            architecture=dict(architecture),
            key=architecture.key,
            trial=None,
            validation={name: figures["mean"] for name, figures in validation.items()},
            test=summary.statistics("test"),
            retrained=(summary.result(architecture),),
            baselines=(),
            trials=0,
            failed=0,
            failures={},
            seconds=0.0,
            order=config.run.order,
            device=device_name(session.device),
            config_hash=resolved.hash,
        )
        write_best(session, result)
        result.write(folder)
    return result


def _check_folder(folder: Path, architecture: Architecture) -> None:
    """Refuses a folder that holds a search, or the retraining of another architecture."""
    if not (folder / "journal.sqlite").exists():
        return
    with Journal(folder / "journal.sqlite", read_only=True) as journal:
        given, searched = journal.meta("given"), next(journal.trials(), None) is not None
    if searched or given not in (None, architecture.key):
        what = "a search" if searched else f"the retraining of architecture {given}"
        raise RunFolderError(f"'{folder}' holds {what}; name another folder (--out)")


def read_architecture(file: Path, space: SearchSpace) -> Architecture:
    """Returns the architecture in a JSON file.

    Raises:
        ConfigError: when it cannot be read or is not in the space.
    """
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"--architecture: '{file}' cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise ConfigError(f"--architecture: '{file}' is not JSON ({error})") from None
    if isinstance(values, dict) and isinstance(values.get("architecture"), dict):
        values = values["architecture"]
    try:
        return space.from_json(json.dumps(values))
    except SpaceError as error:
        raise ConfigError(f"--architecture: {file}: {error}") from None
