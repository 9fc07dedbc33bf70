from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from nichenas.core.errors import RunFolderError
from nichenas.core.figures.anytime import AnyTimeCurve
from nichenas.core.figures.anytime import band
from nichenas.core.figures.anytime import best_so_far
from nichenas.core.report.comparison import ArmFigures
from nichenas.core.report.comparison import RunFigures
from nichenas.core.report.comparison import budget_marks
from nichenas.core.report.comparison import holm
from nichenas.core.report.comparison import interval
from nichenas.core.report.comparison import mean_ranks
from nichenas.core.report.comparison import regrets
from nichenas.core.report.comparison import run_rows
from nichenas.core.report.comparison import sign_flip_p
from nichenas.core.report.comparison_analysis import pair_tests
from nichenas.core.report.comparison_summary import ComparisonSummary

ASSETS = Path(__file__).parent / "assets"


def over_trials(*best: float) -> AnyTimeCurve:
    return AnyTimeCurve(np.arange(1.0, len(best) + 1), np.array(best))


def test_interval_is_students() -> None:
    values = [0.8, 0.82, 0.79, 0.85]
    found = interval(values)
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert (found.low, found.high, found.n) == (pytest.approx(low), pytest.approx(high), 4)
    assert interval([0.5]).half == 0


def by_hand(differences: list[float]) -> float:
    total = abs(sum(differences))
    patterns = list(itertools.product((1, -1), repeat=len(differences)))
    flipped = [abs(sum(s * d for s, d in zip(signs, differences, strict=True))) for signs in patterns]
    return sum(one >= total - 1e-9 for one in flipped) / len(patterns)


@pytest.mark.parametrize("differences", [[1, 2, 3], [1, -2, 3], [1, 1, 1, -1], [0.5, -0.25, 4, 4, -1, 2], [3, 3, -3]])
def test_every_pattern_of_signs_counts_once(differences: list[float]) -> None:
    other = [7.0, 1.0, 100.0, -3.0, 0.0, 12.0][: len(differences)]
    one = [value + difference for value, difference in zip(other, differences, strict=True)]
    assert sign_flip_p(one, other) == pytest.approx(by_hand(differences))
    assert sign_flip_p(other, one) == sign_flip_p(one, other)


def test_the_smallest_p_value_of_n_pairs() -> None:
    for count in range(1, 12):
        one = list(map(float, range(1, count + 1)))
        assert sign_flip_p(one, [0.0] * count) == pytest.approx(min(1.0, 2 / 2**count))


def test_pairs_without_a_difference_do_not_count() -> None:
    assert sign_flip_p([1.0, 1.0], [1.0, 1.0]) == 1.0
    assert sign_flip_p([1.0, 2.0, 3.0, 5.0], [0.0, 0.0, 0.0, 5.0]) == pytest.approx(2 / 8)
    assert sign_flip_p([0.1 + 0.2], [0.3]) == 1.0
    # Differences that are equal but for rounding are ties: 0.3 - 0.2 is not 0.2 - 0.1 in floating point.
    assert sign_flip_p([0.2, 0.2], [0.1, 0.3]) == 1.0
    assert sign_flip_p([], []) == 1.0
    with pytest.raises(ValueError, match="3 and 2 values cannot be paired"):
        sign_flip_p([1, 2, 3], [1, 2])


def test_seeds_that_differ_more_than_the_arms_do_not_hide_a_difference() -> None:
    rng = np.random.default_rng(0)
    seeds = rng.normal(0, 10, 12)  # how easy a seed is, for both arms alike
    one, other = seeds + 0.3 + rng.normal(0, 0.1, 12), seeds + rng.normal(0, 0.1, 12)
    unpaired = stats.permutation_test((one, other), lambda a, b: a.mean() - b.mean(), n_resamples=2000, rng=0)
    assert unpaired.pvalue > 0.9  # the test that took runs of one seed for independent ones
    assert sign_flip_p(list(one), list(other)) < 0.001


def test_many_pairs_are_flipped_at_random_but_always_alike() -> None:
    rng = np.random.default_rng(1)
    differences = rng.normal(0.35, 1, 40)
    found = sign_flip_p(list(differences), [0.0] * 40)
    assert found == sign_flip_p(list(differences), [0.0] * 40)
    # The distribution of the flipped sum is close to a normal one.
    z = abs(differences.sum()) / np.sqrt((differences**2).sum())
    assert found == pytest.approx(2 * stats.norm.sf(z), abs=0.004)
    assert sign_flip_p([1.0] * 40, [0.0] * 40) == pytest.approx(1 / 100_001)
    # Both ways agree where either could be taken: the seventeenth difference is nearly nothing.
    sixteen = list(differences[:16])
    assert sign_flip_p([*sixteen, 1e-6], [0.0] * 17) == pytest.approx(sign_flip_p(sixteen, [0.0] * 16), abs=0.01)


def test_p_values_keep_to_their_level() -> None:
    rng = np.random.default_rng(2)
    found = np.array([sign_flip_p(list(rng.normal(size=8)), list(rng.normal(size=8))) for _ in range(2000)])
    for level in (0.05, 0.1, 0.5):
        assert np.mean(found <= level) <= level + 0.02


def test_holm_steps_down() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def test_mean_ranks_share_equals() -> None:
    assert mean_ranks([[3.0, 1.0], [2.0, 1.0], [1.0, 0.0]], 1.0) == [1.25, 1.75, 3.0]
    assert mean_ranks([[3.0, 1.0], [1.0, 2.0]], -1.0) == [1.5, 1.5]


def test_regret_is_the_distance_to_the_best_known() -> None:
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
    assert budget_marks(200) == [10, 20, 50, 100, 200]
    assert budget_marks(700.5) == [10, 20, 50, 100, 200, 500, 700]
    assert budget_marks(3) == [3]


def arm(name: str, measures: str, best: list[float], test: list[float | None]) -> ArmFigures:
    runs = [
        RunFigures(
            best=value,
            mean=value - 0.1,
            last=None,
            test=tested,
            test_validation=tested,
            curve=over_trials(value),
            failed=0,
            seconds=1.0,
            simulated_seconds=None,
            spent=1.0,
        )
        for value, tested in zip(best, test, strict=True)
    ]
    return ArmFigures(name, measures, tuple(runs))


def test_only_the_same_figure_of_the_same_seeds_is_tested() -> None:
    a = arm("a", "x", [1.0, 2.0, 3.0, 4.0], [0.5, None, 0.7, 0.9])
    b = arm("b", "x", [0.5, 1.0, 1.5, 2.0], [0.1, 0.2, 0.3, 0.4])
    c = arm("c", "x[supernet]", [9.0, 9.0, 9.0, 9.0], [None, None, None, None])
    ab, ac, bc = pair_tests([a, b, c])
    assert (ab.one, ab.other, set(ab.tests)) == ("a", "b", {"best", "mean", "test"})
    assert ab.tests["best"].plain == pytest.approx(2 / 16)
    assert ab.tests["test"].plain == pytest.approx(2 / 8)  # the second seed of a has no test figure
    assert ab.tests["test"].holm == ab.tests["test"].plain  # one pair was tested
    assert ac.tests == bc.tests == {}
    assert [row["test"] for row in run_rows(a, 7)] == [0.5, None, 0.7, 0.9]
    assert [row["seed"] for row in run_rows(a, 7)] == [7, 8, 9, 10]


def damaged(folder: Path, **changes: Any) -> Path:
    values = json.loads((ASSETS / "comparison-permutation" / "comparison.json").read_text())
    values = {name: value for name, value in {**values, **changes}.items() if value != "gone"}
    (folder / "comparison.json").write_text(json.dumps(values))
    return folder


def test_summaries_of_older_versions_are_read(tmp_path: Path) -> None:
    old = ComparisonSummary.read(ASSETS / "comparison-permutation")
    assert [own.name for own in old.arms] == ["evolution", "random"]
    assert old.best_known == pytest.approx(0.9262943932898505)
    assert old.arms[0].budget == old.budget == "1,200 epochs"
    assert old.arms[0].regret[100].n == 3
    assert old.arms[0].test is not None
    assert old.arms[0].test.values == pytest.approx((0.82355755, 0.86871951, 0.88350295))
    # Its p-values are those of the unpaired test, and are still called so.
    assert old.pairs[0].tests["best"].plain == 0.8
    assert old.smallest_p == pytest.approx(2 / 20)
    assert "permutation test" in old.test_of_significance
    old.write(tmp_path)
    assert ComparisonSummary.read(tmp_path) == old
    empty = json.loads((tmp_path / "comparison.json").read_text())["strategies"]
    empty[0]["last_fifth_validation"].update(mean=float("nan"))
    assert ComparisonSummary.read(damaged(tmp_path, strategies=empty)).arms[0].last_fifth_validation is None
    unequal = damaged(tmp_path, unequal=True, epochs=12, trials=100)
    assert ComparisonSummary.read(unequal).budget == "12 epochs of a gradient search, 100 trials of the others"


@pytest.mark.parametrize(
    "changes", [{"unit": "gone"}, {"strategies": []}, {"strategies": [{"name": "a"}]}, {"pairs": 3}]
)
def test_damaged_summaries_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(RunFolderError, match="not the summary of a comparison"):
        ComparisonSummary.read(damaged(tmp_path, **changes))
