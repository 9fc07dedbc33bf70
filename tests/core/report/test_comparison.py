from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from core.report.comparison import band
from core.report.comparison import best_so_far
from core.report.comparison import holm
from core.report.comparison import interval
from core.report.comparison import mean_ranks
from core.report.comparison import permutation_p
from core.report.comparison import regrets


def test_interval_is_students() -> None:
    values = [0.8, 0.82, 0.79, 0.85]
    found = interval(values)
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert (found.low, found.high, found.n) == (pytest.approx(low), pytest.approx(high), 4)
    assert interval([0.5]).half == 0


def test_permutation_test_counts_every_split() -> None:
    assert permutation_p([1, 2, 3], [4, 5, 6]) == pytest.approx(2 / 20)
    assert permutation_p([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]) == pytest.approx(2 / 252)
    assert permutation_p([1, 1], [1, 1]) == 1.0
    assert permutation_p([1, 5], [2, 4]) == 1.0
    assert permutation_p([1], [5]) == 1.0


def test_holm_steps_down() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def test_mean_ranks_share_equals() -> None:
    assert mean_ranks([[3.0, 1.0], [2.0, 1.0], [1.0, 0.0]], 1.0) == [1.25, 1.75, 3.0]
    assert mean_ranks([[3.0, 1.0], [1.0, 2.0]], -1.0) == [1.5, 1.5]


def test_regret_is_the_distance_to_the_optimum() -> None:
    curves = [np.array([0.1, 0.4, 0.5]), np.array([0.3, 0.4, 0.9, 0.9])]
    found = regrets(curves, 1.0, 1.0, (1, 3, 4))
    assert list(found) == [1, 3]
    assert found[3].mean == pytest.approx(0.3)
    assert regrets([np.array([3.0])], 1.0, -1.0, (1,))[1].mean == 2.0


def test_best_so_far_passes_over_failures() -> None:
    found = best_so_far([None, 0.2, None, 0.1, 0.4])
    assert np.isnan(found[0])
    assert found[1:].tolist() == [0.2, 0.2, 0.2, 0.4]
    assert best_so_far([3, 4, 1], sign=-1).tolist() == [3, 3, 1]


def test_band_goes_as_far_as_all_curves() -> None:
    mean, low, high = band([np.array([1.0, 2.0, 3.0]), np.array([1.0, 4.0])])
    assert mean.tolist() == [1.0, 3.0]
    assert low[1] < 3.0 < high[1]
