"""Draws ``docs/data-flow.svg``, the picture of docs/design.md, from the registries and the classes that there are.

Run it after adding a part: ``python docs/draw_data_flow.py``.
"""

from __future__ import annotations

from pathlib import Path

from nichenas.core.capabilities.base import Capability
from nichenas.core.domain_lookup import domain_targets
from nichenas.core.domain_lookup import load_target
from nichenas.core.execution import EXECUTORS
from nichenas.core.figures.drawing import to_svg
from nichenas.core.methods import METHODS
from nichenas.core.schedulers import SCHEDULERS
from nichenas.core.strategies import STRATEGIES
from nichenas.core.trial import Drawing

STYLE = (
    "<style>rect { fill: #fff; stroke: #1f5fa8; stroke-width: 1.2; } "
    "text { font: 11px ui-monospace, monospace; text-anchor: middle; fill: #1c2430; } "
    "text.label { text-anchor: start; fill: #5d6875; } "
    ".edge { fill: none; stroke: #5d6875; stroke-width: 1.2; } .head { fill: #5d6875; }</style>"
)


def data_flow() -> Drawing:
    """Returns what is handed from where to where in a run."""
    domains = {name: load_target(target) for name, target in sorted(domain_targets().items())}
    capabilities = sorted(
        {cls.__name__ for domain in domains.values() for cls in domain.__mro__ if Capability in cls.__bases__}
    )
    nodes = {
        "yaml": "YAML file, overrides\nor nichenas.search(...)",
        "config": "config\nresolved whole: every key checked",
        "method": "method\n" + _lines(METHODS),
        "domain": "domain\n" + _lines(domains),
        "capabilities": "capabilities\n" + _lines(capabilities, 3),
        "session": "session\nfolder, journal, clock, executor,\nlisteners, checkpoints, state",
        "searcher": "strategy: " + _lines(STRATEGIES, 3) + "\nunder a scheduler: " + _lines(SCHEDULERS),
        "executor": "executor: " + _lines(EXECUTORS) + "\njobs, limits",
        "evaluate": "domain.evaluate\nvalidation data",
        "gate": "gate\ncomplete, finite, plain numbers",
        "journal": "journal\ntrials in the order of completion",
        "retrain": "final trainings\nbest of the search and baselines;\ntest data is read here alone",
        "result": "result.json, best/, report.html",
    }
    edges = [
        ("yaml", "config", ""),
        ("config", "method", "search:"),
        ("config", "domain", "domain:"),
        ("domain", "capabilities", "mixes in"),
        ("capabilities", "method", "what it needs"),
        ("method", "session", "run(session)"),
        ("session", "searcher", "ask"),
        ("searcher", "executor", "proposals"),
        ("executor", "evaluate", ""),
        ("evaluate", "gate", "measurement"),
        ("gate", "journal", "trial"),
        ("journal", "retrain", "the best"),
        ("retrain", "result", ""),
    ]
    return Drawing(nodes, edges)


def _lines(names: object, columns: int = 4) -> str:
    found = [str(name) for name in names]  # type: ignore[attr-defined]
    rows = [", ".join(found[start : start + columns]) for start in range(0, len(found), columns)]
    return ",\n".join(rows)


def picture() -> str:
    """Returns the picture as SVG with its style."""
    svg = str(to_svg(data_flow()))
    head = svg.index(">") + 1
    return f"{svg[:head]}{STYLE}{svg[head:]}\n"


if __name__ == "__main__":
    (Path(__file__).parent / "data-flow.svg").write_text(picture(), encoding="utf-8")
