"""The journal: the append-only record of trials, one SQLite file with a documented schema.

Tables (see also ``docs/journal.md``):

- ``meta(key, value)``: ``version`` of the schema and whatever the run wants kept beside the trials, such as the
  seconds spent.
- ``trials(position, number, architecture, record)``: one row a completed trial. ``position`` is the order of
  completion, ``number`` the order of submission, ``architecture`` its key, ``record`` everything else as JSON.
- ``retrainings(label, seed, record)``: one row a finished full training.

A file of an older version is upgraded when it is opened for writing, all or nothing, and read as it is otherwise
(:mod:`nichenas.core.session.records` has the versions).

One process writes. Rows are committed in batches within :data:`COMMIT_WITHIN` seconds, by a thread where no
further row comes; what :meth:`Journal.flush` has returned from is on the disk.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nichenas.core.errors import RunFolderError
from nichenas.core.session.records import JOURNAL_VERSION
from nichenas.core.session.records import retrained_from_json
from nichenas.core.session.records import retrained_to_json
from nichenas.core.session.records import trial_from_json
from nichenas.core.session.records import trial_to_json
from nichenas.core.session.records import upgrade_meta
from nichenas.core.session.records import upgrade_record
from nichenas.core.trial import Retrained
from nichenas.core.trial import Trial

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

_PAGE = "SELECT position, number, record FROM trials WHERE position > ? AND position <= ? ORDER BY position LIMIT 1000"
_LAST = "SELECT COALESCE(MAX(position), 0) FROM trials"


class Journal:
    """The journal of one run.

    Args:
        path: of the file; none keeps everything in memory.
        read_only: whether the file is only looked at; it is left as it is then, whatever its version.

    Attributes:
        version: of the file's records.

    Raises:
        RunFolderError: when the file is of a newer version or no journal.
    """

    def __init__(self, path: Path | None, *, read_only: bool = False) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._dirty_since: float | None = None
        self._wake = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None
        try:
            self._db = _connect(path, read_only)
            if not read_only:
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=FULL")
                self._db.executescript(_SCHEMA)
            found = self._get("version")
            if found is not None and not found.isdecimal():
                raise sqlite3.DatabaseError(f"its version is {found[:40]}")
        except sqlite3.DatabaseError as error:
            raise RunFolderError(f"{path}: not a journal that can be read ({error})") from None
        self.version = JOURNAL_VERSION if found is None else int(found)
        if not 1 <= self.version <= JOURNAL_VERSION:
            self._db.close()
            raise RunFolderError(
                f"{path}: written by journal version {found}, this nichenas knows versions 1 to {JOURNAL_VERSION}; "
                "use a newer one, or start a new run in another folder (--out)"
            )
        if not read_only:
            self._upgrade(found is None)

    def _upgrade(self, new: bool) -> None:
        """Brings the file to the present version, or marks a new one."""
        if not new and self.version == JOURNAL_VERSION:
            return
        self._db.execute("BEGIN IMMEDIATE")
        try:
            if not new:
                for rows in self._pages():
                    upgraded = []
                    for position, number, record in rows:
                        with self._readable(f"trial {number}"):
                            upgraded.append((upgrade_record(record, self.version), position))
                    self._db.executemany("UPDATE trials SET record = ? WHERE position = ?", upgraded)
                kept = {key: upgrade_meta(key, json.loads(value), self.version) for key, value in self._all_meta()}
                self._set_meta(kept)
            self._set_meta({"version": JOURNAL_VERSION})
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            self._db.close()
            raise
        self.version = JOURNAL_VERSION

    def append(self, trials: Sequence[Trial], **meta: Any) -> None:
        """Adds completed trials, all or none; on the disk at most :data:`COMMIT_WITHIN` seconds later.

        Args:
            meta: values kept as by :meth:`set_meta`, in the same transaction.
        """
        rows = [(t.number, t.proposal.architecture.key, trial_to_json(t)) for t in trials]
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
                "INSERT OR REPLACE INTO retrainings VALUES (?, ?, ?)", (label, seed, retrained_to_json(result))
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
        return default if found is None else upgrade_meta(key, json.loads(found), self.version)

    def trials(self) -> Iterator[Trial]:
        """Yields every trial that there is now, in the order of completion."""
        for rows in self._pages():
            for _, number, record in rows:
                with self._readable(f"trial {number}"):
                    trial = trial_from_json(number, upgrade_record(record, self.version))
                yield trial

    def retrainings(self) -> dict[tuple[str, int], Retrained | str]:
        """Returns every finished full training by (label, seed)."""
        with self._lock:
            rows = self._db.execute("SELECT label, seed, record FROM retrainings ORDER BY rowid").fetchall()
        found = {}
        for label, index, record in rows:
            with self._readable(f"final training {label} {index}"):
                found[label, index] = retrained_from_json(record)
        return found

    @contextlib.contextmanager
    def _readable(self, what: str) -> Iterator[None]:
        """Says which record is damaged where one cannot be read inside the ``with`` block."""
        try:
            yield
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunFolderError(f"{self.path}: {what} is damaged ({type(error).__name__})") from None

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

    def _pages(self) -> Iterator[list[tuple[int, int, str]]]:
        """Yields the rows of trials that there are now, in pages, as (position, number, record)."""
        position = 0
        with self._lock:
            (last,) = self._db.execute(_LAST).fetchone()
        while position < last:
            with self._lock:
                rows = self._db.execute(_PAGE, (position, last)).fetchall()
            position = rows[-1][0]
            yield rows

    def _all_meta(self) -> list[tuple[str, str]]:
        return self._db.execute("SELECT key, value FROM meta").fetchall()

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


def _connect(path: Path | None, read_only: bool) -> sqlite3.Connection:
    if path is None or not read_only:
        return _open(path or ":memory:")
    address, log = f"file:{quote(str(path.resolve()))}?mode=ro", path.with_name(f"{path.name}-wal")
    if not log.exists() or log.stat().st_size == 0:
        # All rows are in the file itself. SQLite is told that nobody writes, or it would leave files of its own beside.
        return _open(f"{address}&immutable=1")
    connection = _open(address)
    try:
        connection.execute("SELECT 1 FROM meta")
    except sqlite3.OperationalError:
        # Rows wait in the write-ahead log, but where SQLite may write nothing it may not be able to read that.
        connection.close()
        connection = _copied(path, log)
    return connection


def _copied(path: Path, log: Path) -> sqlite3.Connection:
    """Returns a journal with its write-ahead log, read into memory."""
    connection = _open(":memory:")
    with tempfile.TemporaryDirectory() as folder:
        for file in (path, log):
            shutil.copyfile(file, Path(folder) / file.name)
        with contextlib.closing(_open(Path(folder) / path.name)) as copy:
            copy.backup(connection)
    return connection


def _open(address: Path | str) -> sqlite3.Connection:
    uri = isinstance(address, str) and address.startswith("file:")
    return sqlite3.connect(address, uri=uri, check_same_thread=False, isolation_level=None)
