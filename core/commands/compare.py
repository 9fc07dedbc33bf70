"""Comparing strategies and schedules at equal budget, several seeds each, on one page."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nichenas.core.commands.search import run_search
from nichenas.core.commands.workplace import prepare
from nichenas.core.config import Resolved
from nichenas.core.config import SearchSection
from nichenas.core.config import resolve
from nichenas.core.errors import ConfigError
from nichenas.core.errors import Interrupted
from nichenas.core.files import read_json
from nichenas.core.files import write_csv
from nichenas.core.files import write_json
from nichenas.core.proxies.factors import full_epochs
from nichenas.core.report.comparison import StrategyFigures
from nichenas.core.report.comparison import figures
from nichenas.core.report.comparison import holm
from nichenas.core.report.comparison import interval
from nichenas.core.report.comparison import marks
from nichenas.core.report.comparison import mean_ranks
from nichenas.core.report.comparison import permutation_p
from nichenas.core.report.comparison import regrets
from nichenas.core.report.comparison_page import write_comparison_page
from nichenas.core.session.record import RunRecord
from nichenas.core.session.record import read_runs
from nichenas.core.session.record import run_of


@dataclass(frozen=True)
class Contender:
    """What is compared.

    Attributes:
        proxy: setting that its search takes for a complete measurement; none for the configuration's own.
        name: as it stands in tables; also that of its run folders.
    """

    strategy: str
    schedule: str
    proxy: str | None
    name: str


def contenders(base: SearchSection, strategies: Sequence[str], schedules: Sequence[str] = ()) -> list[Contender]:
    """Returns every strategy with every schedule.

    Args:
        base: the configuration's own section.
        schedules: names, each with a setting behind a colon if it is to have another than the configuration's, as
            ``full:c0r0s0e7``; none for the configuration's own.

    Raises:
        ConfigError: when there are none, or one twice.
    """
    if len(set(strategies)) != len(strategies) or not strategies:
        raise ConfigError("--strategies: name each strategy once, such as conservative,random")
    if len(set(schedules)) != len(schedules):
        raise ConfigError("--schedules: name each schedule once, such as full,hierarchical")
    if not schedules:
        return [Contender(strategy, base.schedule, base.proxy, strategy) for strategy in strategies]
    found = []
    for strategy, text in itertools.product(strategies, schedules):
        schedule, _, proxy = text.partition(":")
        name = "-".join(part for part in (strategy, schedule, proxy) if part)
        found.append(Contender(strategy, schedule, proxy or base.proxy, name))
    return found


def run_compare(
    base: Resolved,
    strategies: Sequence[str],
    seeds: int,
    out: Path | None = None,
    data: str | None = None,
    quiet: bool = False,
    schedules: Sequence[str] = (),
) -> dict[str, Any]:
    """Runs every strategy with every schedule and seed and returns what ``comparison.json`` holds.

    Runs that are finished are kept, an interrupted one is resumed: the same command continues a comparison, and one
    with a larger budget goes on from it. Where schedules are compared on a budget of trials, which are of different
    lengths then, every run gets the epochs that so many complete trials would take.

    Args:
        base: the configuration; its strategy, schedule and seed are replaced, seeds count up from its seed.
        out: the folder; ``runs/compare-<name>`` by default.
        schedules: see :func:`contenders`.

    Raises:
        UserError: when a strategy or schedule is unknown, or the folder holds another comparison.
    """
    folder = out or Path("runs") / f"compare-{base.config.name}"
    sides = contenders(base.config.search, strategies, schedules)
    budget = _budget(base, sides, data)
    plan = [
        (side, seed, _variant(base, side, budget, base.config.seed + seed, baselines=seed == 0 and position == 0))
        for position, side in enumerate(sides)
        for seed in range(seeds)
    ]
    # Seeds outside, contenders inside: an interrupted comparison holds the same seeds of all of them.
    for side, seed, resolved in sorted(plan, key=lambda entry: entry[1]):
        run = run_of(folder, side.name, seed)
        if _finished(run, resolved):
            continue
        if not quiet:
            print(f"{side.name}, seed {resolved.config.seed}: {run}", flush=True)
        try:
            run_search(resolved, run, resume=(run / "config.yaml").exists(), data=data, quiet=quiet)
        except Interrupted as error:
            error.advice = "the same command continues the comparison"
            raise
    records = {side.name: read_runs(folder, side.name, seeds) for side in sides}
    first = records[sides[0].name][0]
    unit = _unit(plan[0][2].config.search, first)
    found = [figures(name, own, unit) for name, own in records.items()]
    measured = {name: _measured(own[0]) for name, own in records.items()}
    summary = _summary(plan[0][2], found, measured, first, unit)
    write_csv(folder / "comparison.csv", _rows(base.config.seed, sides, found))
    write_json(folder / "comparison.json", summary)
    write_comparison_page(folder, summary, found, first)
    return summary


def _budget(base: Resolved, sides: Sequence[Contender], data: str | None) -> dict[str, Any]:
    """Returns what is to be replaced in the ``search`` section so that all have the same budget."""
    search = base.config.search
    lengths = {(side.schedule, side.proxy) for side in sides}
    if len(lengths) == 1 or search.total_epochs is not None or search.trials is None:
        return {}
    epochs = search.trials * full_epochs(prepare(base, data).domain)
    return {"trials": None, "total_epochs": epochs}


def _variant(base: Resolved, side: Contender, budget: Mapping[str, Any], seed: int, baselines: bool) -> Resolved:
    raw = copy.deepcopy(base.to_dict())
    raw["seed"] = seed
    raw["search"].update(budget, strategy=side.strategy, schedule=side.schedule, proxy=side.proxy)
    # Baselines depend on the retraining's seeds alone, so one run of the comparison trains them for all.
    raw["retrain"]["baselines"] = raw["retrain"]["baselines"] and baselines
    return resolve(raw, base.source)


def _finished(run: Path, resolved: Resolved) -> bool:
    return (run / "result.json").exists() and read_json(run / "result.json").get("config_hash") == resolved.hash


def _unit(search: SearchSection, record: RunRecord) -> str:
    """Returns what the budget is counted in."""
    if search.total_epochs is not None:
        return "epochs"
    simulated = "simulated_seconds" in record.result
    return "seconds" if simulated and search.seconds is not None else "trials"


def _measured(record: RunRecord) -> str:
    """Returns the name of what a search measured, with its setting where that is reduced."""
    name, proxy = record.objectives[0].name, record.config["search"].get("proxy")
    return name if proxy is None else f"{name}[{proxy}]"


def _told(search: SearchSection) -> str:
    """Returns the budget as it reads in a sentence."""
    trials = search.one_shot.trials if search.driver == "one-shot" and search.one_shot else search.trials
    parts = [f"{trials:,} trials"] if trials is not None else []
    parts += [f"{search.total_epochs:,} epochs"] if search.total_epochs is not None else []
    parts += [f"{search.seconds:g} s"] if search.seconds is not None else []
    return ", ".join(parts)


def _summary(
    one: Resolved,
    sides: Sequence[StrategyFigures],
    measured: Mapping[str, str],
    first: RunRecord,
    unit: str,
) -> dict[str, Any]:
    def tell(values: Sequence[float]) -> dict[str, Any] | None:
        if not values:
            return None
        found = interval(values)
        return {"mean": found.mean, "low": found.low, "high": found.high, "n": found.n, "values": list(values)}

    search, sign, optimum = one.config.search, first.objectives[0].sign, first.result.get("optimum")
    alike = len(set(measured.values())) == 1
    known = {} if optimum is None or not alike else {"optimum": optimum}
    limit = {"trials": search.trials, "epochs": search.total_epochs, "seconds": search.seconds}[unit]
    budget = limit or max(spent for side in sides for spent in side.spent)
    # What the searches measured is ranked where it is the same figure for all, else what their choices came to.
    ranked, compared = (
        ("best validation", [side.best for side in sides]) if alike else ("test", [side.test for side in sides])
    )
    good = all(compared)
    ranks = mean_ranks(compared, sign if alike else first.metric.sign) if good else [None] * len(sides)

    def regret(side: StrategyFigures) -> dict[str, Any]:
        if not known:
            return {}
        found = regrets(side.curves, known["optimum"], sign, marks(budget))
        return {"regret": {str(n): {"mean": i.mean, "low": i.low, "high": i.high} for n, i in found.items()}}

    return {
        "name": one.config.name,
        **known,
        "metric": first.metric.name,
        "searched": next(iter(measured.values())) if alike else first.metric.name,
        "budget": _told(search),
        "unequal": len({record for record in measured.values() if "[supernet]" in record}) == 1 and not alike,
        "unit": unit,
        "ranked_by": ranked,
        "trials": search.one_shot.trials if search.driver == "one-shot" and search.one_shot else search.trials,
        "epochs": search.epochs,
        "total_epochs": search.total_epochs,
        "seconds": search.seconds,
        "strategies": [
            {
                "name": side.name,
                "measures": measured[side.name],
                "best_validation": tell(side.best),
                "mean_validation": tell(side.mean),
                "last_fifth_validation": tell(side.last),
                "retrained_validation": tell(side.test_validation),
                "test": tell(side.test),
                "mean_rank": rank,
                **regret(side),
                "failed": side.failed,
                "spent": side.spent,
                "search_seconds": side.seconds,
                **({"simulated_seconds": side.simulated} if side.simulated else {}),
            }
            for side, rank in zip(sides, ranks, strict=True)
        ],
        "pairs": _pairs(sides, measured),
        "test_of_significance": "two-sided permutation test on the difference of means",
    }


def _pairs(sides: Sequence[StrategyFigures], measured: Mapping[str, str]) -> list[dict[str, Any]]:
    """Returns p-values of every pair, plain and corrected for their number."""
    pairs: list[dict[str, Any]] = [
        {
            "one": one.name,
            "other": other.name,
            **{
                f"p_{part}": permutation_p(getattr(one, part), getattr(other, part))
                for part in ("best", "mean", "test")
                # A supernet's score and that of networks trained alone are different figures, and so are those of
                # different settings.
                if getattr(one, part)
                and getattr(other, part)
                and (part == "test" or measured[one.name] == measured[other.name])
            },
        }
        for one, other in itertools.combinations(sides, 2)
    ]
    for part in ("best", "mean", "test"):
        tested = [pair for pair in pairs if f"p_{part}" in pair]
        for pair, corrected in zip(tested, holm([pair[f"p_{part}"] for pair in tested]), strict=True):
            pair[f"holm_{part}"] = corrected
    return pairs


def _rows(first_seed: int, sides: Sequence[Contender], found: Sequence[StrategyFigures]) -> list[dict[str, Any]]:
    """Returns one row a run: what its search and its full trainings came to."""
    rows = []
    for side, own in zip(sides, found, strict=True):
        for index, best in enumerate(own.best):
            rows.append(
                {
                    "strategy": side.strategy,
                    "schedule": side.schedule,
                    "setting": side.proxy,
                    "seed": first_seed + index,
                    "best_validation": best,
                    "mean_validation": own.mean[index],
                    "last_fifth_validation": own.last[index],
                    "retrained_validation": own.test_validation[index] if own.test else None,
                    "test": own.test[index] if own.test else None,
                    "failed": own.failed[index],
                    "spent": own.spent[index],
                    "search_seconds": own.seconds[index],
                    **({"simulated_seconds": own.simulated[index]} if own.simulated else {}),
                }
            )
    return rows
