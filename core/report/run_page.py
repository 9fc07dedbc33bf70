"""The page of one run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from nichenas.core.errors import ConfigError
from nichenas.core.figures.drawing import to_svg
from nichenas.core.figures.page import write_page
from nichenas.core.figures.pictures import curve_plots
from nichenas.core.figures.pictures import pictures_of
from nichenas.core.figures.plots import training_plot
from nichenas.core.methods import METHODS
from nichenas.core.methods import Method
from nichenas.core.methods.base import method_name
from nichenas.core.objectives import pareto_ranks
from nichenas.core.objectives import score
from nichenas.core.session.record import RunRecord
from nichenas.core.trial import Trial

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
    metric = record.objective
    first = (metric.name, record.searched.name)
    other = RunRecord.read(baseline) if baseline else None
    weights = record.config["search"].get("weights")
    method, unit = _method(record)
    good = [trial for trial in record.final if not trial.failed]
    criterion = None if record.searched == metric else record.searched
    ranked_by = (record.searched,) if criterion is not None or metric != record.objectives[0] else record.objectives
    good.sort(key=lambda t: (-score(ranked_by, _values(t), weights), t.number))
    top = _distinct(good)[:TOP]
    rows = _rows(record)
    names = {row["label"]: row["name"] for row in rows}
    pictures = pictures_of(folder / "artifacts", [row["label"] for row in rows], ("samples", "interpolation"))
    return write_page(
        folder / "report.html",
        "run.html",
        name=record.config["name"],
        notes=record.notes,
        result=record.result,
        metric=metric.name,
        test_metric=record.metric.name,
        criterion=criterion,
        unit=unit,
        objectives=record.objectives,
        front=_front(record, good),
        trials=len(record.trials),
        failures=_failures(record.trials),
        seconds=record.seconds,
        best=top[0] if top else None,
        pictures=pictures,
        picture_names=names,
        curves=curve_plots(pictures, names),
        sections=method.sections(record, other),
        training=_training(top[:5], metric.name),
        has_baseline=other is not None,
        table=[(t, _values(t)) for t in top],
        memory=any(t.measurement is not None and t.measurement.peak_memory for t in top),
        columns=sorted({name for t in top for name in _values(t)}, key=lambda n: (n not in first, n)),
        drawings=[(t, to_svg(record.drawings[_key(t)])) for t in _drawn(record, good, top)],
        tests=rows,
        further=_further(record),
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
    if len(record.objectives) < 2 or not good or record.objective != record.objectives[0]:
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
    chosen = [trial for trial in good if record.result is not None and trial.number == record.result.trial]
    trials = [trial for trial in _distinct([*chosen, *top]) if _key(trial) in record.drawings]
    return trials[:DRAWN]


def _further(record: RunRecord) -> list[tuple[str, list[str]]]:
    """Returns the other figures of the full trainings: (metric, one cell a row of the table of trainings)."""
    rows = _rows(record)
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
    return f"{found['mean']:.4f} ± {found['std']:.4f}" if found["n"] > 1 else f"{found['mean']:.4f}"


def _rows(record: RunRecord) -> list[dict[str, Any]]:
    """Returns the rows of the table of final trainings: architectures first, then baselines."""
    result = record.result
    if result is None:
        return []
    rows = []
    for index, entry in enumerate(result.trainings):
        baseline = index >= len(result.retrained)
        name = result.name_of(entry)
        chosen = not baseline and entry.label == result.key
        rows.append({"name": name, "chosen": chosen, "baseline": baseline, **dataclasses.asdict(entry)})
    return rows


def _method(record: RunRecord) -> tuple[Method, str]:
    """Returns the search method of a run, and what its trials are called.

    Where a method of another package is not there any more, the page has what every run has.
    """
    try:
        cls = METHODS[method_name(record.config.get("search") or {})]
    except ConfigError:
        cls = METHODS["trial"]
    try:
        method = cls(cls.Options.model_validate(record.config["search"]))
    except ValidationError:  # written by another version
        return cls(None), cls.unit
    return method, method.unit
