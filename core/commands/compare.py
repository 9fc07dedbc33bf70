"""Comparing strategies, schedules and search methods at equal budget, several seeds each, on one page."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nichenas.core.commands.sessions import RunOptions
from nichenas.core.commands.sessions import prepare_domain
from nichenas.core.commands.several_runs import PlannedRun
from nichenas.core.commands.several_runs import check_jobs
from nichenas.core.commands.several_runs import finish_all
from nichenas.core.commands.several_runs import with_seed
from nichenas.core.config import RawConfig
from nichenas.core.config import ResolvedConfig
from nichenas.core.errors import ConfigError
from nichenas.core.errors import RunFolderError
from nichenas.core.files import write_csv
from nichenas.core.methods import METHODS
from nichenas.core.methods.base import method_name
from nichenas.core.methods.trial_search import SINGLE
from nichenas.core.methods.trial_search import TrialSettings
from nichenas.core.proxies.factors import full_epochs
from nichenas.core.report.comparison import ArmRuns
from nichenas.core.report.comparison import arm_figures
from nichenas.core.report.comparison import run_rows
from nichenas.core.report.comparison_analysis import spent_unit
from nichenas.core.report.comparison_analysis import summarise
from nichenas.core.report.comparison_page import write_comparison_page
from nichenas.core.report.comparison_summary import ComparisonSummary
from nichenas.core.session.record import read_runs
from nichenas.core.session.record import run_folder_of

KNOWN_STARTS = {"known": True, "no-known": False}  # behind a strategy: whether it begins with well-known architectures


@dataclass(frozen=True)
class ComparisonDesign:
    """What is compared: every strategy with every schedule and every sharing rule, over several seeds.

    Attributes:
        strategies: names, each with a start behind a colon if it is to have another than the configuration's:
            ``random:no-known`` begins with no well-known architecture, ``random:known`` does. ``gradient`` is a method,
            but named here too.
        seeds: runs of each arm; they count up from the configuration's seed.
        schedules: names, each with a proxy setting behind a colon if it is to have another than the configuration's, as
            ``full:c0r0s0e7``; none for the configuration's own.
        sharing: rules for inheriting weights, ``none`` among them if wanted; none for the configuration's own.
    """

    strategies: Sequence[str]
    seeds: int = 5
    schedules: Sequence[str] = ()
    sharing: Sequence[str] = ()


@dataclass(frozen=True)
class Arm:
    """One of the things that are compared.

    Attributes:
        name: as it stands in tables; also that of its run folders.
        changes: of the configuration's ``search`` section.
    """

    name: str
    changes: Mapping[str, Any]


def make_arms(design: ComparisonDesign) -> list[Arm]:
    """Returns every strategy with every schedule and every sharing rule.

    Raises:
        ConfigError: when there are none, or one twice.
    """
    axes = {"strategies": design.strategies, "schedules": design.schedules, "sharing": design.sharing}
    words = {
        "strategies": ("strategy", "conservative,random"),
        "schedules": ("schedule", "full,hierarchical"),
        "sharing": ("rule", "none,homogeneous"),
    }
    for axis, names in axes.items():
        kind, example = words[axis]
        if len(set(names)) != len(names) or (axis == "strategies" and not names):
            raise ConfigError(f"--{axis}: name each {kind} once, such as {example}")
    arms = []
    for first, text, sharing in itertools.product(*(names or [""] for names in axes.values())):
        strategy, _, start = first.rpartition(":")
        if start not in KNOWN_STARTS or not strategy:  # a colon may be part of a dotted name
            strategy, start = first, ""
        schedule, _, proxy = text.partition(":")
        name = "-".join(part for part in (strategy, start, schedule, proxy, sharing) if part)
        changes: dict[str, Any] = {"strategy": strategy, "schedule": schedule, "proxy": proxy, "sharing": sharing}
        if start:
            changes["start"] = {"known": KNOWN_STARTS[start]}
        arms.append(Arm(name, {key: value for key, value in changes.items() if value}))
    return arms


def arm_sections(raw: RawConfig, arms: Sequence[Arm]) -> list[dict[str, Any]]:
    """Returns the ``search`` section of every arm: the configuration's, with what the arm's method has of it.

    Keys of the configuration's own method are left out where no arm has that method, as they are when a search is
    told another one; every other key must be of use to an arm.

    Raises:
        ConfigError: for a key that no arm's method has, or a schedule that an arm's method does not have.
    """
    given = raw.values.get("search") or {}
    if not isinstance(given, Mapping):
        raise ConfigError(f"{raw.source}: search: must hold keys, such as trials: 20")
    method = str(given.get("method", "trial"))
    if method not in ("trial", "one-shot", "gradient"):
        raise ConfigError(
            f"{raw.source}: search.method: strategies are compared, not the method '{method}'; leave the key out"
        )
    common = {key: value for key, value in given.items() if key != "method"}
    methods = [method_name({**common, **arm.changes}) for arm in arms]
    used = {key for method in methods for key in _keys_of(method)}
    replaced = _keys_of(method_name(given)) if method_name(given) in METHODS else set()
    for key in common:
        owners = [name for name in METHODS if key in _keys_of(name)]
        dropped = key in replaced and not _overridden(raw, key)
        if key not in used and owners and not dropped:
            raise ConfigError(
                f"no arm of the comparison uses it; it belongs to: {', '.join(owners)}; the arms are searched by: "
                f"{', '.join(sorted(set(methods)))}",
                f"search.{key}",
            )
    sections = []
    for arm, method in zip(arms, methods, strict=True):
        keys = _keys_of(method)
        if "schedule" not in keys and (arm.changes.get("schedule", SINGLE) != SINGLE or "proxy" in arm.changes):
            raise ConfigError(
                f"--schedules: '{arm.name}': the method '{method}' has no schedules; allowed with it: {SINGLE}"
            )
        if "start" not in keys and "start" in arm.changes:
            raise ConfigError(f"--strategies: '{arm.name}': the method '{method}' has no starts")
        # A key that no method has is left to the arm's schema, which says what it may be meant for.
        own = {k: v for k, v in common.items() if k in keys or not any(k in _keys_of(name) for name in METHODS)}
        changes = {key: value for key, value in arm.changes.items() if key in keys}
        if "start" in changes and isinstance(own.get("start"), Mapping):
            changes["start"] = {**own["start"], **changes["start"]}
        sections.append({**own, **changes})
    return sections


def _keys_of(method: str) -> set[str]:
    return set(METHODS[method].Options.model_fields)


def _overridden(raw: RawConfig, key: str) -> bool:
    return any(given == f"search.{key}" or given.startswith(f"search.{key}.") for given in raw.overridden)


def run_compare(
    raw: RawConfig, design: ComparisonDesign, folder: Path, options: RunOptions | None = None, *, jobs: int = 1
) -> ComparisonSummary:
    """Runs every arm with every seed and returns the summary.

    Runs that are finished are kept, an interrupted one is resumed: the same command continues a comparison, and one
    with a larger budget continues from it. Where schedules are compared on a budget of trials, which are of different
    lengths then, every run gets the epochs that so many complete trials would take.

    Args:
        raw: the configuration; see :func:`arm_sections` for what the arms have of it.
        options: of every run; all are resumed.
        jobs: how many runs go on at a time, each in a process of its own.

    Raises:
        UserError: when a strategy or schedule is unknown, or the folder holds another comparison.
        Interrupted: on Ctrl-C.
    """
    options = dataclasses.replace(options or RunOptions(), resume=None)
    if (folder / "config.yaml").exists() or (folder / "study.yaml").exists():
        raise RunFolderError(f"'{folder}' holds a run or a study; name another folder (--out)")
    if isinstance(design.seeds, bool) or not isinstance(design.seeds, int) or design.seeds < 1:
        raise ConfigError(f"--seeds: a whole number of runs of each arm, at least 1, not {design.seeds!r}")
    check_jobs(jobs)
    arms = make_arms(design)
    configs = _equal_budgets(raw, arm_sections(raw, arms), options)
    seed = configs[0].config.seed
    runs = [
        PlannedRun(
            arm.name,
            with_seed(resolved, seed + index, baselines=index == 0 and arm is arms[0]),
            run_folder_of(folder, arm.name, index),
        )
        for index in range(design.seeds)  # an interrupted comparison holds the same seeds of all arms
        for arm, resolved in zip(arms, configs, strict=True)
    ]
    finish_all(runs, options, jobs, "comparison")
    finished = [
        ArmRuns(arm.name, resolved.method.budget(), resolved.method.unit, read_runs(folder, arm.name, design.seeds))
        for arm, resolved in zip(arms, configs, strict=True)
    ]
    unit = spent_unit(finished)
    figures = [arm_figures(arm.name, arm.records, unit) for arm in finished]
    summary = summarise(finished, figures)
    rows = [
        {"arm": arm.name, **_parts(resolved), **row}
        for arm, resolved, own in zip(arms, configs, figures, strict=True)
        for row in run_rows(own, seed)
    ]
    write_csv(folder / "comparison.csv", rows)
    summary.write(folder)
    write_comparison_page(folder, summary, figures, finished[0].records[0])
    return summary


def _equal_budgets(raw: RawConfig, sections: Sequence[Mapping[str, Any]], options: RunOptions) -> list[ResolvedConfig]:
    """Returns the configurations of the arms, a budget of trials turned into one of epochs where lengths differ."""
    configs = [raw.replaced(search=section).resolve() for section in sections]
    searches = [own.search for own in configs if isinstance(own.search, TrialSettings)]
    if len({(search.schedule, search.proxy) for search in searches}) < 2:
        return configs
    domain, _ = prepare_domain(configs[0], options.data)
    for own in configs[1:]:  # what the data refuses of a later arm is refused before the first one is run
        try:
            own.method.prepare(domain)
        except ConfigError as error:
            raise ConfigError(f"{own.source}: {error}") from None
    if searches[0].trials is None or searches[0].total_epochs is not None:
        return configs
    budget = {"trials": None, "total_epochs": searches[0].trials * full_epochs(domain)}
    return [
        raw.replaced(search={**section, **budget}).resolve() if isinstance(own.search, TrialSettings) else own
        for section, own in zip(sections, configs, strict=True)
    ]


def _parts(resolved: ResolvedConfig) -> dict[str, Any]:
    """Returns the leading columns of the table of runs; empty where the arm's method has none of the kind."""
    search = resolved.search
    return {
        "strategy": getattr(search, "strategy", None),
        "schedule": getattr(search, "schedule", None),
        "setting": getattr(search, "proxy", None),
        "sharing": getattr(search, "sharing", None),
    }
