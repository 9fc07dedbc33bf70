"""What the found network of a run predicts for the data that it was searched on."""

from __future__ import annotations

from pathlib import Path

from nichenas.core.capabilities.predicting import Predicting
from nichenas.core.commands.best_network import best_network
from nichenas.core.errors import ConfigError
from nichenas.core.files import write_csv


def write_predictions(run: Path, file: Path | None = None, data: str | None = None) -> tuple[Path, int]:
    """Writes a CSV file: a row an item with its name, its label, and the probability of every class.

    Args:
        file: by default ``<run>/best/predictions.csv``.
        data: the data root, if named.

    Returns:
        The file, and how many items it has.

    Raises:
        UserError: when the run was not retrained, its data are others by now, or its domain predicts nothing.
    """
    domain, architecture, weights = best_network(run, data)
    if not isinstance(domain, Predicting):
        raise ConfigError(f"'{run}': its domain has no {Predicting.offers}")
    found = domain.predict(architecture, weights)
    columns = [f"p({name})" for name in found.classes]
    rows = [
        {found.kind: item, "predicted": label, **dict(zip(columns, (f"{value:.6f}" for value in values), strict=True))}
        for item, label, values in zip(found.items, found.labels(), found.probabilities.tolist(), strict=True)
    ]
    target = file or run / "best" / "predictions.csv"
    target.parent.mkdir(parents=True, exist_ok=True)
    write_csv(target, rows)
    return target, len(rows)
