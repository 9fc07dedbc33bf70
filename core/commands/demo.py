"""The demonstration: a search on embedded data beside an equal-budget random search."""

from __future__ import annotations

from pathlib import Path

from nichenas.core.commands.search import run_search
from nichenas.core.commands.sessions import RunOptions
from nichenas.core.config import load_config
from nichenas.core.execution.executors import cpu_count
from nichenas.core.report.run_page import write_run_page
from nichenas.core.session.results import RunResult

CONFIG = "gnn/digits-knn"


def run_demo(out: Path, quiet: bool = False) -> tuple[RunResult, RunResult]:
    """Runs the shipped configuration for the embedded digits with its strategy and with random search.

    Args:
        out: run folder; the random search goes into ``random`` inside it.

    Returns:
        The results of the search and of the random search.

    Raises:
        UserError: when the folder cannot be used.
    """
    options = RunOptions(quiet=quiet)
    workers = min(2, cpu_count())
    common = [f"run.workers={workers}", "run.executor=processes"] if workers > 1 else []
    result = run_search(load_config(CONFIG, common), out, options)
    random = load_config(
        CONFIG, [*common, "name=random", "search.strategy=random", "search.start.known=false", "retrain.seeds=0"]
    )
    beside = run_search(random, out / "random", options)
    write_run_page(out, baseline=out / "random")
    return result, beside
