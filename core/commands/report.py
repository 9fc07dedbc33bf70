"""Writing the page of a folder anew: of a run, or of a study of reduced settings."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from core.errors import RunFolderError
from core.report.proxies_page import write_proxies_page
from core.report.run_page import write_run_page
from core.search.run_folder import read_json


def write_report(folder: Path, baseline: Path | None = None) -> Path:
    """Writes ``report.html`` and returns its path.

    Args:
        baseline: of a run, a random search of equal budget that is drawn beside it.

    Raises:
        RunFolderError: when the folder holds neither, or a file of it is damaged.
    """
    if not (folder / "consistency.json").exists():
        return write_run_page(folder, baseline)
    if baseline is not None:
        raise RunFolderError(f"'{folder}' holds a study of reduced settings, which has no baseline")
    return write_proxies_page(folder, read_json(folder / "consistency.json"), _rows(folder / "consistency.csv"))


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
