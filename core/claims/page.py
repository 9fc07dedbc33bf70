"""The page of a study of claims."""

from __future__ import annotations

from pathlib import Path

import yaml

from nichenas.core.claims.settings import WRITTEN
from nichenas.core.claims.settings import gate_folder
from nichenas.core.claims.summary import ClaimsSummary
from nichenas.core.figures.page import write_page
from nichenas.core.files import read_json
from nichenas.core.files import read_yaml
from nichenas.core.session.record import run_folder_of


def write_claims_page(folder: Path, summary: ClaimsSummary) -> Path:
    """Writes ``report.html`` of a study and returns its path.

    Raises:
        RunFolderError: when the folder lacks what the study wrote.
    """
    design = read_yaml(folder / WRITTEN)
    gates = [folder / gate_folder(gate.arm) for gate in summary.gates]
    run_folders = [*gates, *(run_folder_of(folder, arm.name, 0) for arm in summary.arms)]
    first = next((one for one in run_folders if (one / "environment.json").exists()), None)
    return write_page(
        folder / "report.html",
        "claims.html",
        summary=summary,
        gate_folder=gate_folder,
        settings=yaml.safe_dump(design, sort_keys=False, allow_unicode=True),
        environment={} if first is None else read_json(first / "environment.json"),
    )
