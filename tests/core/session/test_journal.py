from __future__ import annotations

import math
import sqlite3
import time
from pathlib import Path

import pytest

from nichenas.core.errors import RunFolderError
from nichenas.core.fidelity import Fidelity
from nichenas.core.search import journal as journal_module
from nichenas.core.session.journal import Journal
from nichenas.core.space import Architecture
from nichenas.core.trial import Measurement
from nichenas.core.trial import Proposal
from nichenas.core.trial import Retrained
from nichenas.core.trial import Trial

ARCHITECTURE = Architecture({"op": "conv", "width": 8, "rate": 0.5, "on": True, "none": None})
ASSETS = Path(__file__).parent / "assets"


def trials() -> list[Trial]:
    proposal = Proposal(ARCHITECTURE, Fidelity(epochs=0.5), parent=3, tag={"classes": ["a"]})
    measured = Measurement(
        {"accuracy": 0.1 + 0.2, "loss": math.inf}, ((1, 0.5), (2, 0.75)), 1.5, 1024, {"best_epoch": 2}
    )
    return [Trial(1, proposal, measured, seconds=1.5), Trial(0, Proposal(ARCHITECTURE), None, "diverged", "at epoch 3")]


def test_trials_round_trip_in_the_order_of_telling(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.sqlite") as journal:
        journal.append(trials()[:1], seconds=1.0)
        journal.append(trials()[1:])
    with Journal(tmp_path / "j.sqlite") as journal:
        assert list(journal.trials()) == trials()
        assert journal.meta("seconds") == 1.0
        assert journal.meta("absent", 5) == 5


def test_retrainings_round_trip() -> None:
    with Journal(None) as journal:
        journal.append_retraining("a", 0, Retrained({"accuracy": 0.9}, {"accuracy": 0.8}, 2.0))
        journal.append_retraining("a", 1, "diverged")
        found = journal.retrainings()
    assert found == {("a", 0): Retrained({"accuracy": 0.9}, {"accuracy": 0.8}, 2.0), ("a", 1): "diverged"}


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


def test_another_version_is_refused(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.sqlite") as journal:
        journal.set_meta("version", 999)
    with pytest.raises(RunFolderError, match="version 999"):
        Journal(tmp_path / "j.sqlite")


def test_a_file_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "j.sqlite").write_bytes(b"something else" * 100)
    with pytest.raises(RunFolderError, match="not a journal"):
        Journal(tmp_path / "j.sqlite")


def test_old_journals_stay_readable(tmp_path: Path) -> None:
    assets = sorted(ASSETS.glob("journal-*.sqlite"))
    assert assets
    for asset in assets:
        copy = tmp_path / asset.name
        copy.write_bytes(asset.read_bytes())
        with Journal(copy) as journal:
            assert list(journal.trials()) == trials()
