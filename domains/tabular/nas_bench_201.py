"""NAS-Bench-201 (Dong and Yang 2020): all 15,625 cells of four nodes with one of five operations on each edge."""

from __future__ import annotations

from nichenas.core.space import Architecture
from nichenas.core.space import Choice
from nichenas.core.space import SearchSpace

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2))  # (to, from), in the order of the strings


def cell_space() -> SearchSpace:
    """Returns the space: an operation an edge."""
    return SearchSpace([Choice(f"edge{source}-{target}", OPERATIONS) for target, source in EDGES])


def string_of(architecture: Architecture) -> str:
    """Returns the benchmark's name of a cell, ``|op~0|+|op~0|op~1|+|op~0|op~1|op~2|``."""
    nodes = []
    for target in (1, 2, 3):
        parts = [f"{architecture[f'edge{source}-{to}']}~{source}" for to, source in EDGES if to == target]
        nodes.append("|" + "|".join(parts) + "|")
    return "+".join(nodes)
