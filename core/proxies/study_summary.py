"""What a study found: ``consistency.json`` and ``consistency.csv``, written and read here alone."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nichenas.core.errors import RunFolderError
from nichenas.core.files import read_json
from nichenas.core.files import write_csv
from nichenas.core.files import write_json
from nichenas.core.proxies.consistency import Consistency
from nichenas.core.proxies.consistency import Correlation
from nichenas.core.proxies.study_settings import REPEATED
from nichenas.core.proxies.untrained import FailedProbes

SUMMARY = "consistency.json"
ROWS = "consistency.csv"
REPEATED_ONCE = "full again"  # the name that the repeated full training had first


@dataclass(frozen=True)
class Difference:
    """Spearman's correlation of one setting less that of another, with its interval."""

    one: str
    other: str
    gap: Correlation


@dataclass(frozen=True)
class StudyRow:
    """One architecture.

    Attributes:
        member: its place in the sample.
        key: of its canonical form.
        values: by setting, then scores of its untrained network; none where there is none.
    """

    member: int
    key: str
    values: Mapping[str, float | None]


@dataclass(frozen=True, kw_only=True)
class StudySummary:
    """How well settings and scores of untrained networks rank a sample of architectures.

    Attributes:
        metric: primary objective.
        architectures: of the sample.
        measured: those whose full training did not fail.
        full: name of the full setting.
        sizes: of every setting in whole units, by factor.
        seconds: mean of a training at every setting; none where all failed.
        cost: arithmetic of every reduced setting as a share of the full one's.
        proxies: of every reduced setting, and of the repeated full training; none for fewer than four architectures.
        differences: of every two reduced settings.
        zero_cost: of every score of untrained networks.
        zero_cost_seconds: mean of computing every score.
        failed_probes: architectures of which a score could not be computed; none without any.
        min_correlation: rank correlation from which a proxy is good enough.
        cheapest: the proxy of the least arithmetic that is good enough; none where none is.
        cheapest_by_seconds: that of the fewest seconds.
        device: that networks were trained on.
    """

    name: str
    metric: str
    architectures: int
    measured: int
    full: str
    sizes: Mapping[str, Mapping[str, int]]
    seconds: Mapping[str, float | None]
    cost: Mapping[str, float]
    proxies: Mapping[str, Consistency | None]
    differences: tuple[Difference, ...]
    zero_cost: Mapping[str, Consistency | None]
    zero_cost_seconds: Mapping[str, float | None]
    failed_probes: FailedProbes | None
    min_correlation: float
    cheapest: str | None
    cheapest_by_seconds: str | None
    device: str

    @property
    def repeated(self) -> Consistency | None:
        """How well the full training agrees with its repetition; none where it was not repeated."""
        return self.proxies.get(REPEATED)

    def to_dict(self) -> dict[str, Any]:
        """Returns the summary as JSON."""
        whole = dataclasses.asdict(self)
        whole["differences"] = [
            {"one": pair.one, "other": pair.other, **dataclasses.asdict(pair.gap)} for pair in self.differences
        ]
        return whole

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> StudySummary:
        """Returns what :meth:`to_dict` was made of; older versions had other names for some of it.

        Raises:
            KeyError: when something is missing; TypeError, ValueError or AttributeError when it is not of its form.
        """
        failed = found.get("failed_probes")
        return cls(
            name=str(found["name"]),
            metric=str(found["metric"]),
            architectures=int(_either(found, "architectures", "zoo")),
            measured=int(found["measured"]),
            full=str(found["full"]),
            sizes={name: dict(own) for name, own in _renamed(found["sizes"]).items()},
            seconds=_renamed(found["seconds"]),
            cost=dict(found["cost"]),
            proxies={name: _consistency(own) for name, own in _renamed(found["proxies"]).items()},
            differences=tuple(_difference(pair) for pair in found.get("differences", ())),
            zero_cost={name: _consistency(own) for name, own in found.get("zero_cost", {}).items()},
            zero_cost_seconds=dict(found.get("zero_cost_seconds", {})),
            failed_probes=None if failed is None else FailedProbes(int(failed["count"]), str(failed["first"])),
            min_correlation=float(_either(found, "min_correlation", "wanted")),
            cheapest=found["cheapest"],
            cheapest_by_seconds=found.get("cheapest_by_seconds"),
            device=str(found["device"]),
        )


@dataclass(frozen=True)
class Study:
    """A summary and the rows that it is of."""

    summary: StudySummary
    rows: tuple[StudyRow, ...]

    def write(self, folder: Path) -> None:
        """Writes both files into the folder of the study."""
        write_csv(folder / ROWS, [{"member": row.member, "key": row.key, **row.values} for row in self.rows])
        write_json(folder / SUMMARY, self.summary.to_dict())

    @classmethod
    def read(cls, folder: Path) -> Study:
        """Reads both files of a study's folder, also those that an older version wrote.

        Raises:
            RunFolderError: when one is missing, damaged, or not of a study.
        """
        found = read_json(folder / SUMMARY)
        try:
            summary = StudySummary.from_dict(found)
        except (AttributeError, KeyError, TypeError, ValueError):
            raise RunFolderError(f"{folder / SUMMARY}: not the summary of a study") from None
        file = folder / ROWS
        try:
            with file.open(encoding="utf-8", newline="") as stream:
                return cls(summary, tuple(map(_row, csv.DictReader(stream))))
        except OSError as error:
            raise RunFolderError(f"{file}: cannot be read ({error.strerror})") from None
        except (AttributeError, KeyError, TypeError, ValueError):
            raise RunFolderError(f"{file}: not the figures of a study") from None


def _row(cells: Mapping[str, str]) -> StudyRow:
    figures = {name: float(text) if text else None for name, text in cells.items() if name not in ("member", "key")}
    return StudyRow(int(cells["member"]), cells["key"], _renamed(figures))


def _renamed(found: Mapping[str, Any]) -> dict[str, Any]:
    return {REPEATED if name == REPEATED_ONCE else name: value for name, value in found.items()}


def _either(found: Mapping[str, Any], name: str, once: str) -> Any:
    """Returns a value by its name, or by the name that it had in older versions."""
    return found[name] if name in found else found[once]


def _consistency(found: Mapping[str, Any] | None) -> Consistency | None:
    if found is None:
        return None
    return Consistency(
        Correlation(**found["spearman"]),
        Correlation(**found["kendall"]),
        int(found["count"]),
        float(found["entropy"]),
        top=float(found["top"]),
    )


def _difference(found: Mapping[str, Any]) -> Difference:
    own = {name: float(found[name]) for name in ("value", "low", "high")}
    return Difference(str(found["one"]), str(found["other"]), Correlation(**own))
