from __future__ import annotations

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from nichenas.core.objectives import Objective
from nichenas.core.objectives import pareto_ranks
from nichenas.core.objectives import score

OBJECTIVES = (Objective("accuracy"), Objective("size", "minimize"))
ROWS = st.lists(st.fixed_dictionaries({"accuracy": st.integers(0, 4), "size": st.integers(0, 4)}), max_size=12)


def dominates(one: dict[str, float], other: dict[str, float]) -> bool:
    """The plain definition: nowhere worse and somewhere better."""
    gains = [o.sign * (one[o.name] - other[o.name]) for o in OBJECTIVES]
    return min(gains) >= 0 and max(gains) > 0


@given(ROWS)
@settings(max_examples=100, deadline=None)
def test_ranks_equal_the_plain_definition(rows: list[dict[str, float]]) -> None:
    ranks = pareto_ranks(OBJECTIVES, rows)
    left = set(range(len(rows)))
    rank = 0
    while left:
        front = {i for i in left if not any(dominates(rows[j], rows[i]) for j in left)}
        assert all(ranks[i] == rank for i in front)
        left -= front
        rank += 1


def test_score_signs_and_weights() -> None:
    values = {"accuracy": 0.8, "size": 100.0}
    assert score(OBJECTIVES, values) == 0.8
    assert score(OBJECTIVES, values, {"accuracy": 1.0, "size": 0.001}) == 0.8 - 0.1
    assert score(OBJECTIVES[1:], values) == -100.0
