"""Comparing strategies at equal budget, several seeds each, on one page."""

from __future__ import annotations

import copy
import csv
import io
import itertools
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.commands.search import run_search
from core.config import Resolved
from core.config import resolve
from core.errors import ConfigError
from core.errors import Interrupted
from core.report.comparison import StrategyFigures
from core.report.comparison import figures
from core.report.comparison import holm
from core.report.comparison import interval
from core.report.comparison import mean_ranks
from core.report.comparison import permutation_p
from core.report.comparison import regrets
from core.report.comparison_page import write_comparison_page
from core.report.record import RunRecord
from core.search.run_folder import read_json
from core.search.run_folder import write_json
from core.search.run_folder import write_text

AFTER = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)  # trials after which regret is told
COLUMNS = (
    "strategy",
    "seed",
    "best_validation",
    "mean_validation",
    "last_fifth_validation",
    "retrained_validation",
    "test",
    "failed",
    "search_seconds",
)


def run_compare(
    base: Resolved,
    strategies: Sequence[str],
    seeds: int,
    out: Path | None = None,
    data: str | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Runs every strategy with every seed and returns what ``comparison.json`` holds.

    Runs that are finished are kept, an interrupted one is resumed: the same command continues a comparison.

    Args:
        base: the configuration; its strategy and seed are replaced, seeds count up from its seed.
        out: the folder; ``runs/compare-<name>`` by default.

    Raises:
        UserError: when a strategy is unknown, or the folder holds another comparison.
    """
    if len(set(strategies)) != len(strategies) or not strategies:
        raise ConfigError("--strategies: name each strategy once, such as conservative,random")
    folder = out or Path("runs") / f"compare-{base.config.name}"
    plan = [
        (strategy, seed, _variant(base, strategy, base.config.seed + seed, baselines=seed == 0 and position == 0))
        for position, strategy in enumerate(strategies)
        for seed in range(seeds)
    ]
    # Seeds outside, strategies inside: an interrupted comparison holds the same seeds of all of them.
    for strategy, seed, resolved in sorted(plan, key=lambda entry: entry[1]):
        run = folder / f"{strategy}-{seed}"
        if _finished(run, resolved):
            continue
        if not quiet:
            print(f"{strategy}, seed {resolved.config.seed}: {run}", flush=True)
        try:
            run_search(resolved, run, resume=(run / "config.yaml").exists(), data=data, quiet=quiet)
        except Interrupted as error:
            error.advice = "the same command continues the comparison"
            raise
    records = {(strategy, seed): RunRecord.read(folder / f"{strategy}-{seed}") for strategy, seed, _ in plan}
    objective = next(iter(records.values())).metric
    sides = []
    for strategy in strategies:
        found = [records[strategy, seed] for seed in range(seeds)]
        runs = [(record.result, record.values(record.objectives[0])) for record in found]
        sides.append(figures(strategy, runs, objective.name, found[0].objectives[0].sign))
    measured = {strategy: records[strategy, 0].objectives[0].name for strategy in strategies}
    optimum = records[strategies[0], 0].result.get("optimum")
    sign = records[strategies[0], 0].objectives[0].sign
    summary = _summary(base, objective.name, sides, measured, optimum, sign)
    write_text(folder / "comparison.csv", _csv(base.config.seed, sides))
    write_json(folder / "comparison.json", summary)
    write_comparison_page(folder, summary, sides, records[strategies[0], 0])
    return summary


def _variant(base: Resolved, strategy: str, seed: int, baselines: bool) -> Resolved:
    raw = copy.deepcopy(base.to_dict())
    raw["seed"] = seed
    raw["search"]["strategy"] = strategy
    # Baselines depend on the retraining's seeds alone, so one run of the comparison trains them for all.
    raw["retrain"]["baselines"] = raw["retrain"]["baselines"] and baselines
    return resolve(raw, base.source)


def _finished(run: Path, resolved: Resolved) -> bool:
    return (run / "result.json").exists() and read_json(run / "result.json").get("config_hash") == resolved.hash


def _summary(
    base: Resolved,
    metric: str,
    sides: Sequence[StrategyFigures],
    measured: Mapping[str, str],
    optimum: float | None,
    sign: float,
) -> dict[str, Any]:
    def tell(values: Sequence[float]) -> dict[str, Any] | None:
        if not values:
            return None
        found = interval(values)
        return {"mean": found.mean, "low": found.low, "high": found.high, "n": found.n, "values": list(values)}

    search = base.config.search
    pairs: list[dict[str, Any]] = [
        {
            "one": one.name,
            "other": other.name,
            **{
                f"p_{part}": permutation_p(getattr(one, part), getattr(other, part))
                for part in ("best", "mean", "test")
                # A supernet's score and that of networks trained alone are different figures.
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
    alike = len(set(measured.values())) == 1
    ranks = mean_ranks([side.best for side in sides], sign) if alike else [None] * len(sides)
    known = {} if optimum is None or not alike else {"optimum": optimum}

    def regret(side: StrategyFigures) -> dict[str, Any]:
        if not known:
            return {}
        found = regrets(side.curves, known["optimum"], sign, AFTER)
        return {"regret": {str(n): {"mean": i.mean, "low": i.low, "high": i.high} for n, i in found.items()}}

    return {
        "name": base.config.name,
        **known,
        "metric": metric,
        "searched": next(iter(measured.values())) if len(set(measured.values())) == 1 else metric,
        "trials": search.one_shot.trials if search.driver == "one-shot" and search.one_shot else search.trials,
        "epochs": search.epochs,
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
                "search_seconds": side.seconds,
            }
            for side, rank in zip(sides, ranks, strict=True)
        ],
        "pairs": pairs,
        "test_of_significance": "two-sided permutation test on the difference of means",
    }


def _csv(first_seed: int, sides: Sequence[StrategyFigures]) -> str:
    """Returns one row a run: what its search and its full trainings came to."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for side in sides:
        none: list[Any] = [""] * len(side.best)
        trained, tested = side.test_validation or none, side.test or none
        rows = zip(side.best, side.mean, side.last, trained, tested, side.failed, side.seconds, strict=True)
        for index, row in enumerate(rows):
            writer.writerow([side.name, first_seed + index, *row])
    return stream.getvalue()
