"""The page of one run."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from nichenas.core.domain import Trial
from nichenas.core.objectives import pareto_ranks
from nichenas.core.objectives import score
from nichenas.core.report.drawing import to_svg
from nichenas.core.report.gradient_figures import gradient_figures
from nichenas.core.report.one_shot_figures import one_shot_figures
from nichenas.core.report.page import write_page
from nichenas.core.report.pictures import curve_plots
from nichenas.core.report.pictures import pictures_of
from nichenas.core.report.plots import search_plot
from nichenas.core.report.plots import training_plot
from nichenas.core.report.record import RunRecord
from nichenas.core.report.schedule_figures import schedule_figures

TOP = 10
DRAWN = 3


def write_run_page(folder: Path, baseline: Path | None = None) -> Path:
    """Writes ``report.html`` of a run, finished or not, and returns its path.

    Args:
        baseline: folder of a random search with the same budget, drawn beside this one.

    Raises:
        RunFolderError: when a folder holds no run.
    """
    record = RunRecord.read(folder)
    metric = record.objectives[0]
    values = record.values(metric)
    other = RunRecord.read(baseline).values(metric) if baseline else None
    weights = record.config["search"].get("weights")
    unit = "epoch" if record.config["search"].get("strategy") == "gradient" else "trial"
    one_shot = one_shot_figures(sorted(record.trials, key=lambda t: t.number))
    scheduled = schedule_figures(record)
    good = [trial for trial in record.final if not trial.failed]
    good.sort(key=lambda t: (-score(record.objectives, _values(t), weights), t.number))
    top = _distinct(good)[:TOP]
    rows = _tests(record.result)
    names = {row["label"]: row["name"] for row in rows}
    pictures = pictures_of(folder / "artifacts", [row["label"] for row in rows], ("samples", "interpolation"))
    return write_page(
        folder / "report.html",
        "run.html",
        name=record.config["name"],
        result=record.result,
        metric=metric.name,
        test_metric=record.metric.name,
        unit=unit,
        objectives=record.objectives,
        front=_front(record, good),
        trials=len(record.trials),
        failures=_failures(record.trials),
        seconds=record.seconds,
        best=top[0] if top else None,
        one_shot=one_shot,
        pictures=pictures,
        picture_names=names,
        curves=curve_plots(pictures, names),
        plot="" if one_shot or scheduled else search_plot(values, metric.name, metric.sign, other, unit),
        scheduled=scheduled,
        training=_training(top[:5], metric.name),
        has_baseline=other is not None,
        table=[(t, _values(t)) for t in top],
        columns=sorted({name for t in top for name in _values(t)}, key=lambda n: (n != metric.name, n)),
        drawings=[(t, to_svg(record.drawings[_key(t)])) for t in _drawn(record, good, top)],
        tests=rows,
        further=_further(record),
        gradient=gradient_figures(sorted(record.trials, key=lambda t: t.number)),
        settings=yaml.safe_dump(record.config, sort_keys=False, allow_unicode=True),
        environment=record.environment,
    )


def _training(trials: Sequence[Trial], metric: str) -> str:
    curves = [(f"trial {t.number}", _curve(t)) for t in trials]
    return training_plot(curves, metric) if any(points for _, points in curves) else ""


def _key(trial: Trial) -> str:
    return trial.proposal.architecture.key


def _values(trial: Trial) -> Mapping[str, float]:
    assert trial.measurement is not None
    return trial.measurement.values


def _curve(trial: Trial) -> Sequence[tuple[int, float]]:
    assert trial.measurement is not None
    return trial.measurement.curve


def _distinct(trials: Sequence[Trial]) -> list[Trial]:
    seen: dict[str, Trial] = {}
    for trial in trials:
        seen.setdefault(_key(trial), trial)
    return list(seen.values())


def _front(record: RunRecord, good: Sequence[Trial]) -> list[Trial]:
    """Returns the trials that no other one dominates, where there are several objectives."""
    if len(record.objectives) < 2 or not good:
        return []
    ranks = pareto_ranks(record.objectives, [_values(trial) for trial in good])
    return [trial for trial, rank in zip(good, ranks, strict=True) if rank == 0]


def _failures(trials: Sequence[Trial]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for trial in trials:
        if trial.failed:
            counts[trial.failure or "error"] = counts.get(trial.failure or "error", 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def _drawn(record: RunRecord, good: Sequence[Trial], top: Sequence[Trial]) -> list[Trial]:
    """Returns the trials whose architectures are drawn: the chosen one first, then the best."""
    chosen = [trial for trial in good if trial.number == record.result.get("trial")]
    trials = [trial for trial in _distinct([*chosen, *top]) if _key(trial) in record.drawings]
    return trials[:DRAWN]


def _further(record: RunRecord) -> list[tuple[str, list[str]]]:
    """Returns the other figures of the full trainings: (metric, one cell a row of the table of trainings)."""
    rows = _tests(record.result)
    names = []
    for part in ("test", "validation"):
        for row in rows:
            names += [(part, n) for n in row[part] if n != record.metric.name and (part, n) not in names]
    tested = {name for part, name in names if part == "test"}
    result = []
    for part, name in names:
        if part == "validation" and name in tested:
            continue  # the same figure on other data says little more
        cells = []
        for row in rows:
            found = row[part].get(name)
            cells.append("–" if found is None else _spread(found))
        result.append((f"{part} {name}" if part == "test" else name, cells))
    return result


def _spread(found: Mapping[str, float]) -> str:
    if found["std"] == 0 and float(found["mean"]).is_integer():
        return f"{int(found['mean']):,}"
    return f"{found['mean']:.4f} ± {found['std']:.4f}"


def _tests(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the rows of the table of full trainings: architectures first, then baselines."""
    rows = []
    for entry in result.get("retrained", []):
        chosen = entry["label"] == result["key"]
        rows.append(
            {"name": f"{result.get('unit', 'trial')} {entry['trial']}", "chosen": chosen, "baseline": False, **entry}
        )
    for entry in result.get("baselines", []):
        rows.append({"name": entry["label"], "chosen": False, "baseline": True, "architecture": {}, **entry})
    return rows
