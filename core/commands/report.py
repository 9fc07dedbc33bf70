"""Writing the page of a folder again: of a run, a comparison, a study, or a study of proxies."""

from __future__ import annotations

from pathlib import Path

from nichenas.core.claims.page import write_claims_page
from nichenas.core.claims.settings import WRITTEN
from nichenas.core.claims.summary import SUMMARY as CLAIMS
from nichenas.core.claims.summary import ClaimsSummary
from nichenas.core.errors import RunFolderError
from nichenas.core.proxies.study_summary import SUMMARY
from nichenas.core.proxies.study_summary import Study
from nichenas.core.report.comparison import arm_figures
from nichenas.core.report.comparison_page import write_comparison_page
from nichenas.core.report.comparison_summary import COMPARISON
from nichenas.core.report.comparison_summary import ComparisonSummary
from nichenas.core.report.proxies_page import write_proxies_page
from nichenas.core.report.run_page import write_run_page
from nichenas.core.session.record import read_runs

KINDS = {SUMMARY: "a study of proxies", COMPARISON: "a comparison", CLAIMS: "a study of claims"}


def write_report(folder: Path, baseline: Path | None = None) -> Path:
    """Writes ``report.html`` and returns its path.

    Args:
        baseline: of a run, a random search of equal budget that is drawn beside it.

    Raises:
        RunFolderError: when the folder holds none of them, or a file of it is damaged.
    """
    kind = next((file for file in KINDS if (folder / file).exists()), None)
    if kind is None and (folder / WRITTEN).exists():
        raise RunFolderError(f"the study in '{folder}' is not finished; the command that began it continues it")
    if kind is None:
        return write_run_page(folder, baseline)
    if baseline is not None:
        raise RunFolderError(f"'{folder}' holds {KINDS[kind]}, which has no baseline")
    if kind == SUMMARY:
        return write_proxies_page(folder, Study.read(folder))
    if kind == CLAIMS:
        return write_claims_page(folder, ClaimsSummary.read(folder))
    return _comparison_page(folder)


def _comparison_page(folder: Path) -> Path:
    summary = ComparisonSummary.read(folder)
    records = {arm.name: read_runs(folder, arm.name, len(arm.spent)) for arm in summary.arms}
    for record in (record for own in records.values() for record in own):
        if record.result is None:
            raise RunFolderError(
                f"'{record.folder}' is not finished; the command that began the comparison continues it"
            )
    figures = [arm_figures(name, own, summary.unit) for name, own in records.items()]
    return write_comparison_page(folder, summary, figures, records[summary.arms[0].name][0])
