from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from core.report.comparison import band
from core.report.comparison import best_so_far
from core.report.comparison import interval
from core.report.comparison import permutation_p


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


def test_best_so_far_passes_over_failures() -> None:
    found = best_so_far([None, 0.2, None, 0.1, 0.4])
    assert np.isnan(found[0])
    assert found[1:].tolist() == [0.2, 0.2, 0.2, 0.4]
    assert best_so_far([3, 4, 1], sign=-1).tolist() == [3, 3, 1]


def test_band_goes_as_far_as_all_curves() -> None:
    mean, low, high = band([np.array([1.0, 2.0, 3.0]), np.array([1.0, 4.0])])
    assert mean.tolist() == [1.0, 3.0]
    assert low[1] < 3.0 < high[1]
