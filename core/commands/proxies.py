"""The study of whether cheap settings keep the ranking of full training (EcoNAS, section on reliable proxies)."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nichenas.core.capabilities.precomputed import UntrainedScore
from nichenas.core.commands.workplace import Workplace
from nichenas.core.commands.workplace import check_resume
from nichenas.core.commands.workplace import make_executor
from nichenas.core.commands.workplace import prepare
from nichenas.core.config import ProxiesSection
from nichenas.core.config import Resolved
from nichenas.core.context import Context
from nichenas.core.context import Limits
from nichenas.core.domain import Domain
from nichenas.core.errors import Interrupted
from nichenas.core.execution.provenance import device_name
from nichenas.core.execution.provenance import environment
from nichenas.core.fidelity import FULL
from nichenas.core.fidelity import Fidelity
from nichenas.core.files import write_csv
from nichenas.core.files import write_json
from nichenas.core.files import write_yaml
from nichenas.core.methods.trial_search import Budget
from nichenas.core.methods.trial_search import TrialDriver
from nichenas.core.proxies.consistency import Consistency
from nichenas.core.proxies.consistency import cheapest
from nichenas.core.proxies.consistency import consistency
from nichenas.core.proxies.consistency import difference
from nichenas.core.proxies.factors import ProxySetting
from nichenas.core.proxies.factors import fidelity_of
from nichenas.core.proxies.factors import full_epochs
from nichenas.core.proxies.sample import Zoo
from nichenas.core.proxies.sample import draw_zoo
from nichenas.core.proxies.zero_cost import ZERO_COST
from nichenas.core.proxies.zero_cost import score_all
from nichenas.core.report.proxies_page import write_proxies_page
from nichenas.core.seeds import numpy_generator
from nichenas.core.session.journal import Journal
from nichenas.core.session.progress import Progress
from nichenas.core.session.run_folder import RunFolder
from nichenas.core.trial import Trial

AGAIN = "full again"
QUARTER = 2  # the level that costs a quarter, of every factor


def run_proxies(
    resolved: Resolved, out: Path | None = None, data: str | None = None, quiet: bool = False
) -> dict[str, Any]:
    """Trains a zoo at the full setting and at reduced ones, and returns what ``consistency.json`` holds.

    The full setting is that of full trainings, whatever the configuration's candidates get. An interrupted study is
    continued by the same command, and so is a shorter one by one of more architectures.

    Args:
        out: the folder; ``runs/proxies-<name>`` by default.
        data: the data root, if named.

    Raises:
        UserError: for a setting that the domain does not have, or a folder that holds another study.
        Interrupted: on Ctrl-C.
    """
    resolved = dataclasses.replace(resolved, settings=resolved.domain.final_training_settings(resolved.settings))
    config = resolved.config
    folder = out or Path("runs") / f"proxies-{config.name}"
    resume = (folder / "config.yaml").exists()
    if resume:
        check_resume(folder, resolved)
    workplace = prepare(resolved, data)
    domain, objective = workplace.domain, workplace.domain.objectives[0]
    settings = _settings(config.proxies, domain)
    zoo = draw_zoo(domain.space, config.proxies.zoo, config.seed)
    total = len(zoo) * len(settings)
    with contextlib.ExitStack() as stack:
        run = stack.enter_context(RunFolder(folder, resume))
        journal = stack.enter_context(Journal(run.journal))
        journal.set_meta("objectives", [dataclasses.asdict(o) for o in domain.objectives])
        write_yaml(folder / "config.yaml", resolved.to_dict())
        write_json(folder / "environment.json", environment(config.seed, workplace.device))
        executor = stack.enter_context(make_executor(resolved, workplace))
        limits = Limits(config.run.limits.seconds, config.run.limits.memory_mb)
        listeners = []
        if not quiet:
            listeners.append(stack.enter_context(Progress(objective, Budget(total), task="study")))
        driver = TrialDriver(
            domain,
            Zoo(zoo, settings, objective),
            executor,
            journal,
            Budget(total),
            config.seed,
            limits=limits,
            listeners=listeners,
        )
        try:
            driver.run()
        except Interrupted as error:
            error.advice = "the same command continues the study"
            raise
        # The folder may hold a larger study.
        trials = [trial for trial in journal.trials() if int(trial.proposal.tag["member"]) < len(zoo)]
    summary, rows = _summary(resolved, workplace, settings, trials)
    write_csv(folder / "consistency.csv", rows)
    write_json(folder / "consistency.json", summary)
    write_proxies_page(folder, summary, rows)
    return summary


def _settings(section: ProxiesSection, domain: Domain) -> dict[str, Fidelity]:
    """Returns the settings by name, the full one first; those that come to the same sizes as an earlier one go."""
    sizes = [domain.resolve_fidelity(FULL)]
    names = default_settings(domain) if section.settings is None else section.settings
    full = str(ProxySetting(0, 0, 0, full_epochs(domain))) if "epochs" in sizes[0] else "full"
    found = {full: FULL}
    for name in names:
        fidelity = fidelity_of(name, section.levels, domain)
        if domain.resolve_fidelity(fidelity) not in sizes:
            found[name] = fidelity
            sizes.append(domain.resolve_fidelity(fidelity))
    if section.again:
        found[AGAIN] = FULL
    return found


def default_settings(domain: Domain) -> tuple[str, ...]:
    """Returns names of settings: every factor alone at a quarter of the cost, and combinations of several."""
    if "epochs" not in domain.resolve_fidelity(FULL):
        return ()
    epochs = full_epochs(domain)
    quarter = max(1, round(epochs / 4))
    level = {factor: QUARTER if factor in domain.reductions else 0 for factor in ("channels", "resolution", "samples")}
    c, r, s = level["channels"], level["resolution"], level["samples"]
    wanted = [(c, 0, 0, epochs), (0, r, 0, epochs), (0, 0, s, epochs), (0, 0, 0, quarter)]
    wanted += [(c, 0, 0, quarter), (0, r, 0, quarter), (c, r, 0, quarter)]
    names = dict.fromkeys(str(ProxySetting(*levels)) for levels in wanted)
    names.pop(str(ProxySetting(0, 0, 0, epochs)), None)
    return tuple(names)


def _summary(
    resolved: Resolved, workplace: Workplace, settings: Mapping[str, Fidelity], trials: Sequence[Trial]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    domain, section = workplace.domain, resolved.config.proxies
    objective = domain.objectives[0]
    full = next(iter(settings))
    members: dict[int, dict[str, Trial]] = {}
    for trial in trials:
        members.setdefault(int(trial.proposal.tag["member"]), {})[str(trial.proposal.tag["setting"])] = trial
    untrained = _untrained(resolved, workplace, members)
    rows: list[dict[str, Any]] = [
        {
            "member": member,
            "key": domain.space.canonical(by_setting[full].proposal.architecture).key,
            **{name: _value(by_setting.get(name), objective.name) for name in settings},
            **{name: score.value for name, score in untrained.get(member, {}).items()},
        }
        for member, by_setting in sorted(members.items())
        if full in by_setting
    ]

    def signed(name: str, sign: float) -> list[float | None]:
        return [None if row.get(name) is None else sign * row[name] for row in rows]

    def compare(name: str, sign: float, bounds: tuple[float, float] | None = None) -> Consistency | None:
        rng = numpy_generator(resolved.config.seed, f"bootstrap {name}")
        return consistency(signed(full, objective.sign), signed(name, sign), rng, bounds)

    reduced = [name for name in settings if name not in (full, AGAIN)]
    values = [v for name in (*settings,) for v in signed(name, objective.sign) if v is not None]
    bounds = (min(values), max(values)) if values else None
    found = {name: compare(name, objective.sign, bounds) for name in (*reduced, *([AGAIN] if section.again else []))}
    scores = {name: compare(name, 1.0) for name in dict.fromkeys(n for one in untrained.values() for n in one)}
    costs = {name: domain.relative_cost(settings[name]) for name in reduced}
    seconds = {name: _seconds([members[row["member"]].get(name) for row in rows]) for name in settings}
    apart = []
    for one, other in itertools.combinations(reduced, 2):
        rng = numpy_generator(resolved.config.seed, f"bootstrap {one} {other}")
        a, b = signed(one, objective.sign), signed(other, objective.sign)
        gap = difference(signed(full, objective.sign), a, b, rng)
        apart += [] if gap is None else [{"one": one, "other": other, **dataclasses.asdict(gap)}]
    scoring = {name: _mean([one[name].seconds for one in untrained.values() if name in one]) for name in scores}
    good = {name: one for name, one in (found | scores).items() if one is not None and name != AGAIN}
    known = {name: s for name, s in (seconds | scoring).items() if s is not None}
    measured = sum(row[full] is not None for row in rows)
    summary = {
        "name": resolved.config.name,
        "metric": objective.name,
        "zoo": len(rows),
        "measured": measured,
        "full": full,
        "sizes": {name: dict(domain.resolve_fidelity(fidelity)) for name, fidelity in settings.items()},
        "seconds": seconds,
        "cost": costs,
        "proxies": {name: one and dataclasses.asdict(one) for name, one in found.items()},
        "differences": apart,
        "zero_cost": {name: one and dataclasses.asdict(one) for name, one in scores.items()},
        "zero_cost_seconds": scoring,
        "wanted": section.wanted,
        "cheapest": cheapest(good, costs, section.wanted, measured),
        "cheapest_by_seconds": cheapest(good, known, section.wanted, measured),
        "device": device_name(workplace.device),
    }
    return summary, rows


def _value(trial: Trial | None, name: str) -> float | None:
    return None if trial is None or trial.measurement is None else trial.measurement.values[name]


def _seconds(trials: Sequence[Trial | None]) -> float | None:
    return _mean([trial.seconds for trial in trials if trial is not None and not trial.failed])


def _mean(values: Sequence[float]) -> float | None:
    known = [value for value in values if math.isfinite(value)]
    return float(np.mean(known)) if known else None


def _untrained(
    resolved: Resolved, workplace: Workplace, members: Mapping[int, Mapping[str, Trial]]
) -> dict[int, dict[str, UntrainedScore]]:
    """Returns scores of every member's untrained network: known ones, and those of the network if there is one."""
    wanted = resolved.config.proxies.zero_cost
    names = list(ZERO_COST if wanted is None else wanted)
    found: dict[int, dict[str, UntrainedScore]] = {}
    for member, by_setting in members.items():
        trial = next(iter(by_setting.values()))
        architecture = trial.proposal.architecture
        context = Context(resolved.config.seed, member, workplace.device)
        probe = workplace.domain.probe(architecture, context) if names else None
        known = {} if trial.failed else workplace.domain.precomputed_scores(architecture)
        found[member] = {**known, **(score_all(probe, names) if probe is not None else {})}
    return found
