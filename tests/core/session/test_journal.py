from __future__ import annotations

import dataclasses
import math
import sqlite3
import time
from pathlib import Path

import pytest

from nichenas.core.errors import RunFolderError
from nichenas.core.fidelity import Fidelity
from nichenas.core.objectives import Objective
from nichenas.core.session import journal as journal_module
from nichenas.core.session.journal import Journal
from nichenas.core.session.records import JOURNAL_VERSION
from nichenas.core.space import Architecture
from nichenas.core.trial import Measurement
from nichenas.core.trial import Proposal
from nichenas.core.trial import Retrained
from nichenas.core.trial import Trial

ARCHITECTURE = Architecture({"op": "conv", "width": 8, "rate": 0.5, "on": True, "none": None})
ASSETS = Path(__file__).parent / "assets"


def trials() -> list[Trial]:
    """Returns what journals of all versions hold."""
    proposal = Proposal(ARCHITECTURE, Fidelity(epochs=0.5), parent=3, tag={"classes": ["a"]})
    measured = Measurement(
        {"accuracy": 0.1 + 0.2, "loss": math.inf},
        ((1, 0.5), (2, 0.75)),
        peak_memory=1024,
        diagnostics={"best_epoch": 2},
    )
    return [Trial(1, proposal, measured, seconds=1.5), Trial(0, Proposal(ARCHITECTURE), None, "diverged", "at epoch 3")]


def full() -> Trial:
    """Returns a trial with every field that there is."""
    proposal = Proposal(
        ARCHITECTURE,
        Fidelity(channels=0.25, tokens=0.5),
        parent=7,
        tag={"climb": 2},
        horizon=0.75,
        start=0.25,
        rung=2,
        repeat_of=5,
        repeat=2,
    )
    measured = Measurement(
        {"accuracy": 0.5},
        ((3, 0.5),),
        peak_memory=1,
        diagnostics={"kept": [[0, 1], None]},
        scalars={"entropy": 1.5, "ratio": math.inf},
        epochs=4,
        simulated_seconds=60.5,
        stopped=True,
    )
    return Trial(8, proposal, measured, seconds=0.5, epochs=4, stage=2, final=True, record={"iteration": 0})


def test_trials_round_trip_in_the_order_of_completion(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.sqlite") as journal:
        journal.append(trials()[:1], seconds=1.0)
        journal.append([*trials()[1:], full()])
    for read_only in (False, True):
        with Journal(tmp_path / "j.sqlite", read_only=read_only) as journal:
            assert list(journal.trials()) == [*trials(), full()]
            assert journal.meta("seconds") == 1.0
            assert journal.meta("absent", 5) == 5
            assert journal.version == JOURNAL_VERSION


def test_no_field_of_a_trial_is_left_out_of_the_record() -> None:
    for part in (full(), full().proposal, full().measurement):
        assert part is not None
        for field in dataclasses.fields(part):
            made = field.default_factory is not dataclasses.MISSING
            default = field.default_factory() if made else field.default  # type: ignore[misc]
            # Weights are never written, and what a training must reach follows from earlier trials; a trial either
            # has a measurement or says why not.
            absent = field.name in ("weights", "failure", "detail", "stop_below")
            assert absent or getattr(part, field.name) != default, field.name


def test_trials_are_read_in_pages() -> None:
    with Journal(None) as journal:
        journal.append([Trial(number, Proposal(ARCHITECTURE), None, "diverged") for number in range(2001)])
        assert [trial.number for trial in journal.trials()] == list(range(2001))
        found = journal.trials()
        assert next(found).number == 0
        journal.append([Trial(2001, Proposal(ARCHITECTURE), None, "diverged")])
        assert [trial.number for trial in found] == list(range(1, 2001))  # those that there were


def test_retrainings_round_trip() -> None:
    trained = Retrained({"accuracy": 0.9, "loss": math.inf}, {"accuracy": 0.8}, seconds=2.0)
    with Journal(None) as journal:
        journal.append_retraining("a", 0, trained)
        journal.append_retraining("a", 1, "diverged")
        found = journal.retrainings()
    assert found == {("a", 0): trained, ("a", 1): "diverged"}


def test_objectives_are_kept_as_they_are() -> None:
    objectives = [Objective("accuracy").of_supernet(), Objective("size", "minimize", "kB")]
    with Journal(None) as journal:
        journal.set_meta("objectives", [dataclasses.asdict(objective) for objective in objectives])
        assert [Objective(**fields) for fields in journal.meta("objectives")] == objectives


def test_a_journal_that_is_being_written_can_be_looked_at(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.sqlite") as journal:
        journal.append(trials())
        journal.flush()
        with Journal(tmp_path / "j.sqlite", read_only=True) as looked_at:
            assert list(looked_at.trials()) == trials()
            journal.append([full()])
            journal.flush()
            assert list(looked_at.trials()) == [*trials(), full()]
    assert [file.name for file in tmp_path.iterdir()] == ["j.sqlite"]


def test_rows_reach_the_disk_in_time_without_a_flush(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.sqlite") as journal:
        journal.append(trials()[:1])
        deadline = time.monotonic() + 50 * journal_module.COMMIT_WITHIN
        count = 0
        while count == 0 and time.monotonic() < deadline:
            time.sleep(0.02)
            with sqlite3.connect(f"file:{tmp_path / 'j.sqlite'}?mode=ro", uri=True) as reader:
                count = reader.execute("SELECT count(*) FROM trials").fetchone()[0]
        assert count == 1


def test_a_batch_is_added_whole_or_not_at_all(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.sqlite") as journal:
        journal.append(trials()[:1])
        with pytest.raises(sqlite3.IntegrityError):
            journal.append([trials()[1], trials()[0]])
        journal.flush()
        assert len(list(journal.trials())) == 1


@pytest.mark.parametrize("version", [0, JOURNAL_VERSION + 1, 999])
def test_another_version_is_refused(version: int, tmp_path: Path) -> None:
    with Journal(tmp_path / "j.sqlite") as journal:
        journal.set_meta("version", version)
    with pytest.raises(RunFolderError, match=f"version {version},"):
        Journal(tmp_path / "j.sqlite")


def test_a_file_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "j.sqlite").write_bytes(b"something else" * 100)
    for read_only in (False, True):
        with pytest.raises(RunFolderError, match="not a journal"):
            Journal(tmp_path / "j.sqlite", read_only=read_only)
    with pytest.raises(RunFolderError, match="not a journal"):
        Journal(tmp_path / "absent.sqlite", read_only=True)
    assert not (tmp_path / "absent.sqlite").exists()


def test_old_journals_stay_readable(tmp_path: Path) -> None:
    assets = sorted(ASSETS.glob("journal-*.sqlite"))
    assert assets
    for asset in assets:
        copy = tmp_path / asset.name
        copy.write_bytes(asset.read_bytes())
        with Journal(copy) as journal:
            assert list(journal.trials()) == trials()
