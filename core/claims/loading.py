"""Reading a study with the configurations of its arms."""

from __future__ import annotations

import os
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from nichenas.core.claims.settings import StudyFile
from nichenas.core.claims.settings import read_design
from nichenas.core.config import RawConfig
from nichenas.core.config import ResolvedConfig
from nichenas.core.config import read_raw
from nichenas.core.config_files import read_study
from nichenas.core.config_files import shipped_configs
from nichenas.core.errors import ConfigError
from nichenas.core.errors import did_you_mean


@dataclass(frozen=True)
class LoadedStudy:
    """A study with the configurations of its arms.

    Attributes:
        source: the file, as it reads in messages.
        raw: configurations of arms, by name.
    """

    study: StudyFile
    source: str
    raw: Mapping[str, RawConfig]

    @cached_property
    def resolved(self) -> Mapping[str, ResolvedConfig]:
        """The configurations, validated."""
        return {name: raw.resolve() for name, raw in self.raw.items()}

    def design(self) -> dict[str, Any]:
        """Returns all that is decided before anything is run, as JSON: every arm with its whole configuration."""
        whole = self.study.model_dump(mode="json")
        sections = ("seed", "domain", "search", "retrain")
        whole["arms"] = {
            name: {section: resolved.to_dict()[section] for section in sections}
            for name, resolved in self.resolved.items()
        }
        return whole


def load_study(name: str, overrides: Sequence[str] = (), seeds: int | None = None) -> LoadedStudy:
    """Reads and validates a study, and the configuration of every arm.

    Args:
        name: a file, or a shipped study.
        overrides: of the base configuration, ``KEY=VALUE``; what an arm says itself stays.
        seeds: searches of every arm, instead of the file's.

    Raises:
        ConfigError: one line.
    """
    source, values = read_study(name)
    try:
        study = read_design(values if seeds is None else {**values, "seeds": seeds})
    except ConfigError as error:
        raise ConfigError(f"{source}: {f'{error.key}: ' if error.key else ''}{error.message}") from None
    base = read_raw(_base_of(study, name, source), overrides).replaced(name=study.name)
    raw = {arm: base.overlaid(changes, f"{source}: arms.{arm}") for arm, changes in study.arms.items()}
    loaded = LoadedStudy(study, source, raw)
    seen: dict[str, str] = {}
    for arm, resolved in loaded.resolved.items():
        _check_retraining(source, arm, resolved, loaded.resolved[study.first])
        if resolved.hash in seen:
            raise ConfigError(f"{source}: arms.{arm}: is the same as '{seen[resolved.hash]}'")
        seen[resolved.hash] = arm
    return loaded


def _base_of(study: StudyFile, name: str, source: str) -> str:
    if study.base in shipped_configs():
        return study.base
    beside = str(Path(name).parent / study.base)
    if Path(study.base).name != study.base or not os.path.isfile(name) or not os.path.isfile(beside):
        hint = did_you_mean(study.base, shipped_configs())
        raise ConfigError(f"{source}: base: '{study.base}' is no shipped configuration{hint}, nor a file beside it")
    return beside


def _check_retraining(source: str, arm: str, resolved: ResolvedConfig, first: ResolvedConfig) -> None:
    """Refuses final trainings that would favour searches over controls, or an arm over another."""
    retrain, key = resolved.config.retrain, f"{source}: arms.{arm}.retrain"
    if retrain.seeds == 0:
        raise ConfigError(f"{key}.seeds: without final trainings nothing can be tested")
    if retrain.candidates > 1:
        raise ConfigError(
            f"{key}: {retrain.candidates} networks would be trained and the best one taken, where a control has one; "
            "set top to 1, and finalists to null"
        )
    if retrain.seeds != first.config.retrain.seeds:
        raise ConfigError(
            f"{key}.seeds: {retrain.seeds}, another arm has {first.config.retrain.seeds}; all need as many"
        )
