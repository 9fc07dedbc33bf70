"""The journal: the append-only record of trials, one SQLite file with a documented schema.

Tables (see also ``docs/journal.md``):

- ``meta(key, value)``: ``version`` of the schema and whatever the run wants kept beside the trials, such as the
  seconds spent.
- ``trials(position, number, architecture, record)``: one row a told trial. ``position`` is the order of telling,
  ``number`` the order of asking, ``architecture`` its key, ``record`` everything else as JSON.
- ``retrainings(label, seed, record)``: one row a finished full training.

One process writes. Rows are committed in batches within :data:`COMMIT_WITHIN` seconds, by a thread where no
further row comes; what :meth:`Journal.flush` has returned from is on the disk.
"""

from __future__ import annotations

import json
import math
import sqlite3
import threading
import time
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nichenas.core import JOURNAL_VERSION
from nichenas.core.domain import Fidelity
from nichenas.core.domain import Measurement
from nichenas.core.domain import Proposal
from nichenas.core.domain import Retrained
from nichenas.core.domain import Trial
from nichenas.core.errors import RunFolderError
from nichenas.core.space import Architecture

COMMIT_WITHIN = 0.1  # seconds

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS trials (
    position INTEGER PRIMARY KEY,
    number INTEGER NOT NULL UNIQUE,
    architecture TEXT NOT NULL,
    record TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS retrainings (
    label TEXT NOT NULL,
    seed INTEGER NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (label, seed)
);
"""


class Journal:
    """The journal of one run.

    Args:
        path: of the file; none keeps everything in memory.

    Raises:
        RunFolderError: when the file is of another version or no journal.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._dirty_since: float | None = None
        self._wake = threading.Event()
        self._closed = False
        try:
            self._db = sqlite3.connect(path or ":memory:", check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_SCHEMA)
            found = self._get("version")
            if found is None:
                self._db.execute("INSERT INTO meta VALUES ('version', ?)", (str(JOURNAL_VERSION),))
        except sqlite3.DatabaseError as error:
            raise RunFolderError(f"{path}: not a journal that can be read ({error})") from None
        if found is not None and found != str(JOURNAL_VERSION):
            self._db.close()
            raise RunFolderError(
                f"{path}: written by journal version {found}, this is version {JOURNAL_VERSION}; "
                f"read its trials with 'nichenas report', or start a new run with --out"
            )
        self._thread: threading.Thread | None = None

    def append(self, trials: Sequence[Trial], **meta: Any) -> None:
        """Adds told trials, all or none; on the disk at most :data:`COMMIT_WITHIN` seconds later.

        Args:
            meta: values kept as by :meth:`set_meta`, in the same transaction.
        """
        rows = [(t.number, t.proposal.architecture.key, _trial_to_json(t)) for t in trials]
        with self._lock:
            self._begin()
            self._db.execute("SAVEPOINT batch")
            try:
                self._db.executemany("INSERT INTO trials (number, architecture, record) VALUES (?, ?, ?)", rows)
                self._set_meta(meta)
            except BaseException:
                self._db.execute("ROLLBACK TO batch")
                raise
            finally:
                self._db.execute("RELEASE batch")
            self._commit_if_due()

    def append_retraining(self, label: str, seed: int, result: Retrained | str) -> None:
        """Adds a finished full training: of an architecture, by its key, or of a baseline, by its name.

        Args:
            result: the figures, or the reason of a failure.
        """
        with self._lock:
            self._begin()
            self._db.execute(
                "INSERT OR REPLACE INTO retrainings VALUES (?, ?, ?)", (label, seed, _retrained_to_json(result))
            )
            self._commit_if_due()

    def set_meta(self, key: str, value: Any) -> None:
        """Keeps a JSON value; committed with the next rows or :meth:`flush`."""
        with self._lock:
            self._begin()
            self._set_meta({key: value})

    def _set_meta(self, values: Mapping[str, Any]) -> None:
        rows = [(key, json.dumps(value)) for key, value in values.items()]
        self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", rows)

    def meta(self, key: str, default: Any = None) -> Any:
        """Returns a value kept by :meth:`set_meta`."""
        with self._lock:
            found = self._get(key)
        return default if found is None else json.loads(found)

    def trials(self) -> Iterator[Trial]:
        """Yields every trial in the order of telling."""
        with self._lock:
            rows = self._db.execute("SELECT number, record FROM trials ORDER BY position").fetchall()
        for number, record in rows:
            yield _trial_from_json(number, record)

    def retrainings(self) -> dict[tuple[str, int], Retrained | str]:
        """Returns every finished full training by (label, seed)."""
        with self._lock:
            rows = self._db.execute("SELECT label, seed, record FROM retrainings ORDER BY rowid").fetchall()
        return {(label, seed): _retrained_from_json(record) for label, seed, record in rows}

    def flush(self) -> None:
        """Returns once everything added so far is on the disk."""
        with self._lock:
            self._commit()

    def close(self) -> None:
        """Flushes and closes; further calls do nothing."""
        with self._lock:
            if self._closed:
                return
            self._commit()
            self._closed = True
            self._db.close()
        self._wake.set()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _get(self, key: str) -> str | None:
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def _begin(self) -> None:
        if self._dirty_since is None:
            self._db.execute("BEGIN IMMEDIATE")
            self._dirty_since = time.monotonic()
            if self._thread is None:
                self._thread = threading.Thread(target=self._commit_in_time, name="journal", daemon=True)
                self._thread.start()
            self._wake.set()

    def _commit(self) -> None:
        if self._dirty_since is not None:
            self._db.execute("COMMIT")
            self._dirty_since = None

    def _commit_if_due(self) -> None:
        if self._dirty_since is not None and time.monotonic() - self._dirty_since >= COMMIT_WITHIN:
            self._commit()

    def _commit_in_time(self) -> None:
        while not self._closed:
            self._wake.wait()
            self._wake.clear()
            time.sleep(COMMIT_WITHIN)
            with self._lock:
                if not self._closed:
                    self._commit()


def _trial_to_json(trial: Trial) -> str:
    proposal, measured = trial.proposal, trial.measurement
    record: dict[str, Any] = {
        "architecture": dict(proposal.architecture),
        "fidelity": {n: v for n, v in vars(proposal.fidelity).items() if v != 1.0},
        "continues": proposal.continues,
        **({} if proposal.horizon is None else {"horizon": proposal.horizon}),
        **({"begins": proposal.begins} if proposal.begins else {}),
        "tag": dict(proposal.tag),
        "seconds": trial.seconds,
        **({"epochs": trial.epochs} if trial.epochs else {}),
    }
    if measured is None:
        record.update(failure=trial.failure, detail=trial.detail)
    else:
        record["measurement"] = {
            "values": {name: _finite(value) for name, value in measured.values.items()},
            "curve": [list(point) for point in measured.curve],
            **({} if measured.epochs is None else {"epochs": measured.epochs}),
            "seconds": measured.seconds,
            "peak_memory": measured.peak_memory,
            "diagnostics": dict(measured.diagnostics),
        }
    return json.dumps(record, separators=(",", ":"))


def _trial_from_json(number: int, text: str) -> Trial:
    record = json.loads(text)
    measurement = None
    if "measurement" in record:
        fields = record["measurement"]
        fields["values"] = {name: float(value) for name, value in fields["values"].items()}
        fields["curve"] = tuple((int(epoch), float(value)) for epoch, value in fields["curve"])
        measurement = Measurement(**fields)
    proposal = Proposal(
        Architecture(record["architecture"]),
        Fidelity(**record["fidelity"]),
        record["continues"],
        record["tag"],
        record.get("horizon"),
        record.get("begins", 0.0),
    )
    return Trial(
        number,
        proposal,
        measurement,
        record.get("failure"),
        record.get("detail", ""),
        record["seconds"],
        record.get("epochs", 0),
    )


def _finite(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)  # JSON has no infinity; float() reads it back


def _retrained_to_json(result: Retrained | str) -> str:
    if isinstance(result, str):
        return json.dumps({"failure": result})
    return json.dumps({"validation": result.validation, "test": result.test, "seconds": result.seconds})


def _retrained_from_json(text: str) -> Retrained | str:
    record = json.loads(text)
    return str(record["failure"]) if "failure" in record else Retrained(**record)
