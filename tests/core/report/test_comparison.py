from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from nichenas.core.report.comparison import AnyTimeCurve
from nichenas.core.report.comparison import band
from nichenas.core.report.comparison import best_so_far
from nichenas.core.report.comparison import holm
from nichenas.core.report.comparison import interval
from nichenas.core.report.comparison import marks
from nichenas.core.report.comparison import mean_ranks
from nichenas.core.report.comparison import permutation_p
from nichenas.core.report.comparison import regrets


def over_trials(*best: float) -> AnyTimeCurve:
    return AnyTimeCurve(np.arange(1.0, len(best) + 1), np.array(best))


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
    curves = [over_trials(0.1, 0.4, 0.5), over_trials(0.3, 0.4, 0.9, 0.9)]
    found = regrets(curves, 1.0, 1.0, (1, 3, 4))
    assert list(found) == [1, 3, 4]
    assert found[4].mean == found[3].mean  # the first run ended before and keeps its best
    assert found[3].mean == pytest.approx(0.3)
    assert regrets([over_trials(3.0)], 1.0, -1.0, (1,))[1].mean == 2.0


def test_best_so_far_passes_over_failures() -> None:
    found = best_so_far([None, 0.2, None, 0.1, 0.4])
    assert np.isnan(found[0])
    assert found[1:].tolist() == [0.2, 0.2, 0.2, 0.4]
    assert best_so_far([3, 4, 1], sign=-1).tolist() == [3, 3, 1]


def test_band_goes_as_far_as_all_curves() -> None:
    spent, mean, low, high = band([over_trials(1.0, 2.0, 3.0), over_trials(1.0, 4.0)])
    assert spent.tolist() == [1.0, 2.0]
    assert mean.tolist() == [1.0, 3.0]
    assert low[1] < 3.0 < high[1]


def test_any_time_curves_meet_at_what_was_spent() -> None:
    one = AnyTimeCurve(np.array([4.0, 8.0, 20.0]), np.array([np.nan, 0.5, 0.7]))
    assert one.at(np.array([3.0, 4.0, 8.0, 19.9, 20.0]))[2:].tolist() == [0.5, 0.5, 0.7]
    assert np.isnan(one.at(np.array([3.0, 4.0]))).all()
    other = AnyTimeCurve(np.array([10.0, 30.0]), np.array([0.1, 0.9]))
    spent, mean, _, _ = band([one, other])
    assert spent.tolist() == [4.0, 8.0, 10.0, 20.0]
    assert np.isnan(mean[:2]).all()
    assert mean[2:].tolist() == pytest.approx([0.3, 0.4])
    assert regrets([one, other], 1.0, 1.0, (8, 20, 30)).keys() == {20, 30}
    assert marks(200) == [10, 20, 50, 100, 200]
    assert marks(700.5) == [10, 20, 50, 100, 200, 500, 700]
    assert marks(3) == [3]
