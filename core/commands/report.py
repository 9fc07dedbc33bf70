"""Writing the page of a folder anew: of a run, a comparison, or a study of reduced settings."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from nichenas.core.errors import RunFolderError
from nichenas.core.files import read_json
from nichenas.core.report.comparison import figures
from nichenas.core.report.comparison_page import write_comparison_page
from nichenas.core.report.proxies_page import write_proxies_page
from nichenas.core.report.run_page import write_run_page
from nichenas.core.session.record import read_runs


def write_report(folder: Path, baseline: Path | None = None) -> Path:
    """Writes ``report.html`` and returns its path.

    Args:
        baseline: of a run, a random search of equal budget that is drawn beside it.

    Raises:
        RunFolderError: when the folder holds none of them, or a file of it is damaged.
    """
    kinds = {"consistency.json": "a study of reduced settings", "comparison.json": "a comparison"}
    kind = next((file for file in kinds if (folder / file).exists()), None)
    if kind is None:
        return write_run_page(folder, baseline)
    if baseline is not None:
        raise RunFolderError(f"'{folder}' holds {kinds[kind]}, which has no baseline")
    summary = read_json(folder / kind)
    if kind == "consistency.json":
        return write_proxies_page(folder, summary, _rows(folder / "consistency.csv"))
    return _comparison_page(folder, summary)


def _comparison_page(folder: Path, summary: Any) -> Path:
    try:
        sides = [(str(side["name"]), len(side["spent"])) for side in summary["strategies"]]
        first, unit = sides[0][0], str(summary["unit"])
    except (IndexError, KeyError, TypeError):
        raise RunFolderError(f"{folder / 'comparison.json'}: not the summary of a comparison") from None
    records = {name: read_runs(folder, name, seeds) for name, seeds in sides}
    for run in (run for runs in records.values() for run in runs):
        if not run.result:
            raise RunFolderError(f"'{run.folder}' is not finished; the command that began the comparison continues it")
    found = [figures(name, runs, unit) for name, runs in records.items()]
    return write_comparison_page(folder, summary, found, records[first][0])


def _rows(file: Path) -> list[dict[str, Any]]:
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            return [{name: _cell(name, text) for name, text in row.items()} for row in csv.DictReader(stream)]
    except OSError as error:
        raise RunFolderError(f"{file}: cannot be read ({error.strerror})") from None
    except ValueError:
        raise RunFolderError(f"{file}: not the figures of a study") from None


def _cell(name: str, text: str) -> Any:
    if name == "key":
        return text
    return float(text) if text else None
