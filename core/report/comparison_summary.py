"""The summary of a comparison: what ``comparison.json`` holds, written and read here alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nichenas.core.errors import RunFolderError
from nichenas.core.files import read_json
from nichenas.core.files import write_json
from nichenas.core.report.comparison import Interval

COMPARISON = "comparison.json"
SIGN_FLIP = "two-sided paired sign-flip test on the mean difference"
TESTED = ("best", "mean", "test")  # figures of a run whose differences are tested


@dataclass(frozen=True)
class PValue:
    """A p-value, and the same corrected for the number of pairs by Holm's rule."""

    plain: float
    holm: float


@dataclass(frozen=True)
class PairSummary:
    """Two arms.

    Attributes:
        tests: by what was tested, of :data:`TESTED`; only what is the same figure for both.
    """

    one: str
    other: str
    tests: Mapping[str, PValue]

    def to_dict(self) -> dict[str, Any]:
        """Returns the pair as JSON."""
        plain = {f"p_{part}": p.plain for part, p in self.tests.items()}
        return {
            "one": self.one,
            "other": self.other,
            **plain,
            **{f"holm_{part}": p.holm for part, p in self.tests.items()},
        }

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> PairSummary:
        """Returns what :meth:`to_dict` was made of."""
        tests = {
            part: PValue(float(found[f"p_{part}"]), float(found[f"holm_{part}"]))
            for part in TESTED
            if f"p_{part}" in found
        }
        return cls(str(found["one"]), str(found["other"]), tests)


@dataclass(frozen=True, kw_only=True)
class ArmSummary:
    """One arm.

    Attributes:
        name: also that of its run folders.
        measures: what its searches measured.
        budget: of a run, as it reads in a sentence.
        best_validation: best validation value of every run.
        mean_validation: mean of all that a run evaluated.
        last_fifth_validation: mean of the last fifth of a run's trials; none where none of them has a figure.
        retrained_validation: of the final trainings of the chosen architecture; none without any.
        test: of the same trainings.
        mean_rank: among the arms; none where they have no figure in common.
        regret: after so much of the budget; nothing where the best value is not known.
        failed: trials of every run.
        spent: of its budget by every run.
        search_seconds: of every run.
        simulated_seconds: that the trainings of every run would have taken; nothing where no table tells.
    """

    name: str
    measures: str
    budget: str
    best_validation: Interval
    mean_validation: Interval
    last_fifth_validation: Interval | None
    retrained_validation: Interval | None
    test: Interval | None
    mean_rank: float | None
    regret: Mapping[int, Interval]
    failed: tuple[int, ...]
    spent: tuple[float, ...]
    search_seconds: tuple[float, ...]
    simulated_seconds: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """Returns the arm as JSON; what is not known is none, or left out where few comparisons have it."""
        regret = {str(after): _interval_to_dict(found) for after, found in self.regret.items()}
        simulated = {"simulated_seconds": list(self.simulated_seconds)} if self.simulated_seconds else {}
        return {
            "name": self.name,
            "measures": self.measures,
            "budget": self.budget,
            "best_validation": _sample_to_dict(self.best_validation),
            "mean_validation": _sample_to_dict(self.mean_validation),
            "last_fifth_validation": _sample_to_dict(self.last_fifth_validation),
            "retrained_validation": _sample_to_dict(self.retrained_validation),
            "test": _sample_to_dict(self.test),
            "mean_rank": self.mean_rank,
            **({"regret": regret} if regret else {}),
            "failed": list(self.failed),
            "spent": list(self.spent),
            "search_seconds": list(self.search_seconds),
            **simulated,
        }

    @classmethod
    def from_dict(cls, found: Mapping[str, Any], budget: str) -> ArmSummary:
        """Returns what :meth:`to_dict` was made of.

        Args:
            budget: where the arm does not say its own, as in files of older versions.
        """
        spent = tuple(map(float, found["spent"]))
        return cls(
            name=str(found["name"]),
            measures=str(found["measures"]),
            budget=str(found.get("budget", budget)),
            best_validation=_interval_from(found["best_validation"]),
            mean_validation=_interval_from(found["mean_validation"]),
            last_fifth_validation=_interval_or_none(found["last_fifth_validation"]),
            retrained_validation=_interval_or_none(found["retrained_validation"]),
            test=_interval_or_none(found["test"]),
            mean_rank=found["mean_rank"],
            regret={int(after): _interval_from(one, len(spent)) for after, one in found.get("regret", {}).items()},
            failed=tuple(map(int, found["failed"])),
            spent=spent,
            search_seconds=tuple(map(float, found["search_seconds"])),
            simulated_seconds=tuple(map(float, found.get("simulated_seconds", ()))),
        )


@dataclass(frozen=True, kw_only=True)
class ComparisonSummary:
    """What a comparison found.

    Attributes:
        metric: primary objective of full trainings.
        searched: what the searches measured; the metric where it is not the same for all arms.
        budget: of a run, as it reads in a sentence.
        unequal: whether the arms' budgets cannot be compared, such as epochs of a supernet and trials.
        unit: of what is spent: ``trials``, ``epochs`` or ``seconds``.
        ranked_by: the figure behind the mean ranks.
        trials: budget of the arms that count them.
        epochs: budget of the arms that train a supernet.
        total_epochs: budget in epochs of all trials together.
        seconds: budget in seconds.
        arms: in the order of the command.
        pairs: every two arms.
        test_of_significance: how the p-values of the pairs were found.
        best_known: the best validation value of the whole space, where a table knows it and all arms measure it.
        known_starts: well-known architectures that every run of every arm began with.
    """

    name: str
    metric: str
    searched: str
    budget: str
    unequal: bool
    unit: str
    ranked_by: str
    trials: int | None
    epochs: int | None
    total_epochs: int | None
    seconds: float | None
    arms: tuple[ArmSummary, ...]
    pairs: tuple[PairSummary, ...]
    test_of_significance: str = SIGN_FLIP
    best_known: float | None = None
    known_starts: int = 0

    @property
    def smallest_p(self) -> float:
        """The smallest p-value that the test can give with so many runs an arm."""
        count = len(self.arms[0].spent)
        # Until the runs were paired by their seed, all splits of both arms' values were tried.
        patterns = 2**count if self.test_of_significance == SIGN_FLIP else math.comb(2 * count, count)
        return min(1.0, 2 / patterns)

    def to_dict(self) -> dict[str, Any]:
        """Returns the summary as JSON."""
        return {
            "name": self.name,
            **({} if self.best_known is None else {"best_known": self.best_known}),
            "metric": self.metric,
            "searched": self.searched,
            "budget": self.budget,
            "unequal": self.unequal,
            "unit": self.unit,
            "ranked_by": self.ranked_by,
            "trials": self.trials,
            "epochs": self.epochs,
            "total_epochs": self.total_epochs,
            "seconds": self.seconds,
            "strategies": [arm.to_dict() for arm in self.arms],
            "pairs": [pair.to_dict() for pair in self.pairs],
            "test_of_significance": self.test_of_significance,
            **({"known_starts": self.known_starts} if self.known_starts else {}),
        }

    def write(self, folder: Path) -> None:
        """Writes the file into the folder of the comparison."""
        write_json(folder / COMPARISON, self.to_dict())

    @classmethod
    def read(cls, folder: Path) -> ComparisonSummary:
        """Reads the file of a comparison's folder, also one that an older version wrote.

        Raises:
            RunFolderError: when it is missing, damaged, or not the summary of a comparison.
        """
        found = read_json(folder / COMPARISON)
        try:
            return cls._from_dict(found)
        except (AttributeError, KeyError, TypeError, ValueError):
            raise RunFolderError(f"{folder / COMPARISON}: not the summary of a comparison") from None

    @classmethod
    def _from_dict(cls, found: Mapping[str, Any]) -> ComparisonSummary:
        budget = _budget_text(found)
        arms = tuple(ArmSummary.from_dict(arm, budget) for arm in found["strategies"])
        if not arms:
            raise ValueError("no arms")
        return cls(
            name=str(found["name"]),
            metric=str(found["metric"]),
            searched=str(found["searched"]),
            budget=budget,
            unequal=bool(found["unequal"]),
            unit=str(found["unit"]),
            ranked_by=str(found["ranked_by"]),
            trials=found["trials"],
            epochs=found["epochs"],
            total_epochs=found["total_epochs"],
            seconds=found["seconds"],
            arms=arms,
            pairs=tuple(PairSummary.from_dict(pair) for pair in found["pairs"]),
            test_of_significance=str(found["test_of_significance"]),
            best_known=found.get("best_known", found.get("optimum")),  # its name in older files
            known_starts=int(found.get("known_starts", 0)),
        )


def _budget_text(found: Mapping[str, Any]) -> str:
    """Returns the budget; until every arm said its own, that of trials alone stood where they were not equal."""
    if found["unequal"] and not any("budget" in arm for arm in found["strategies"]):
        return f"{found['epochs']} epochs of a gradient search, {found['trials']} trials of the others"
    return str(found["budget"])


def _sample_to_dict(found: Interval | None) -> dict[str, Any] | None:
    return None if found is None else {**_interval_to_dict(found), "values": list(found.values)}


def _interval_to_dict(found: Interval) -> dict[str, Any]:
    return {"mean": found.mean, "low": found.low, "high": found.high, "n": found.n}


def _interval_from(found: Mapping[str, Any], count: int = 0) -> Interval:
    values = tuple(map(float, found.get("values", ())))
    return Interval(
        float(found["mean"]), float(found["low"]), float(found["high"]), int(found.get("n", count)), values=values
    )


def _interval_or_none(found: Mapping[str, Any] | None) -> Interval | None:
    # Older versions wrote a mean that is not a number where there was nothing.
    return None if found is None or math.isnan(found["mean"]) else _interval_from(found)
