"""Retraining after the search: the best of a run with more seeds, or one given architecture."""

from __future__ import annotations

import contextlib
import copy
import json
from pathlib import Path
from typing import Any

from nichenas.core.commands.search import run_search
from nichenas.core.commands.workplace import make_executor
from nichenas.core.commands.workplace import prepare
from nichenas.core.config import Resolved
from nichenas.core.config import resolve
from nichenas.core.context import Limits
from nichenas.core.errors import ConfigError
from nichenas.core.errors import RunFolderError
from nichenas.core.search.driver import Budget
from nichenas.core.search.environment import device_name
from nichenas.core.search.journal import Journal
from nichenas.core.search.progress import Progress
from nichenas.core.search.retraining import retrain_all
from nichenas.core.search.run_folder import RunFolder
from nichenas.core.search.run_folder import read_yaml
from nichenas.core.search.run_folder import write_json
from nichenas.core.search.run_folder import write_yaml
from nichenas.core.space import Architecture
from nichenas.core.space import SearchSpace
from nichenas.core.space import SpaceError


def retrain_run(
    run: Path, top: int | None = None, seeds: int | None = None, data: str | None = None, quiet: bool = False
) -> dict[str, Any]:
    """Trains the best architectures of a finished search in full; trainings that are done are kept.

    Args:
        top: how many, by default as the run's configuration says.
        seeds: how many each, likewise.

    Returns:
        What ``result.json`` then holds.

    Raises:
        RunFolderError: when there is no run, or its search is not finished.
    """
    if not (run / "result.json").exists():
        if (run / "config.yaml").exists():
            raise RunFolderError(f"the search in '{run}' is not finished; continue it with: nichenas search --resume")
        raise RunFolderError(f"'{run}' holds no run (no config.yaml in it)")
    return run_search(configuration_of(run, top, seeds), run, resume=True, data=data, quiet=quiet)


def retrain_architecture(
    run: Path, file: Path, out: Path | None, seeds: int | None, data: str | None = None, quiet: bool = False
) -> tuple[dict[str, Any], Path]:
    """Trains one architecture in full with the settings of a run, into a folder of its own.

    Args:
        file: JSON: the choices by name, or a mapping that holds them under ``architecture``.
        out: by default ``<run>/retrained-<key>``.

    Returns:
        The result and its folder.

    Raises:
        UserError: when the file is no architecture of the run's space, or the folder cannot be used.
    """
    resolved = configuration_of(run, None, seeds)
    workplace = prepare(resolved, data)
    domain = workplace.domain
    architecture = read_architecture(file, domain.space)
    folder = out or run / f"retrained-{architecture.key}"
    metric = domain.objectives[0]
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(RunFolder(folder, resume=(folder / "config.yaml").exists()))
        journal = stack.enter_context(Journal(place.journal))
        write_yaml(folder / "config.yaml", resolved.to_dict())
        executor = stack.enter_context(make_executor(resolved, workplace))
        progress = None if quiet else stack.enter_context(Progress(metric, Budget()))
        config = resolved.config
        summaries = retrain_all(
            [architecture],
            max(1, config.retrain.seeds),
            config.seed,
            metric,
            executor,
            journal,
            place.checkpoints,
            Limits(config.retrain.seconds),
            progress,
            place.artifacts,
        )
        summary = summaries[architecture.key]
        validation = summary.statistics("validation")
        result: dict[str, Any] = {
            "name": config.name,
            "metric": metric.name,
            "searched": metric.name,
            "unit": "trial",
            "architecture": dict(architecture),
            "key": architecture.key,
            "trial": None,
            "validation": {name: figures["mean"] for name, figures in validation.items()},
            "test": summary.statistics("test"),
            "retrained": [{"architecture": dict(architecture), "trial": None, **summary.to_dict()}],
            "baselines": [],
            "trials": 0,
            "failed": 0,
            "failures": {},
            "seconds": 0.0,
            "device": device_name(workplace.device),
            "config_hash": resolved.hash,
        }
        write_json(folder / "result.json", result)
    return result, folder


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


def configuration_of(run: Path, top: int | None, seeds: int | None) -> Resolved:
    """Returns the configuration that a run folder holds, with another number of retrainings if one is named.

    Raises:
        UserError: when there is none, or it is not valid.
    """
    file = run / "config.yaml"
    if not file.exists():
        raise RunFolderError(f"'{run}' holds no run (no config.yaml in it)")
    raw = copy.deepcopy(read_yaml(file))
    if not isinstance(raw, dict):
        raise RunFolderError(f"{file}: holds no mapping")
    raw.setdefault("retrain", {})
    if top is not None:
        raw["retrain"]["top"] = top
    if seeds is not None:
        raw["retrain"]["seeds"] = seeds
    return resolve(raw, str(file))
