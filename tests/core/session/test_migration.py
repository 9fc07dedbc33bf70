"""Runs of journal version 1, made by the code of that time: they are read, upgraded, reported and continued."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from nichenas.core import cli
from nichenas.core.checkpoint import read_checkpoint
from nichenas.core.checkpoint import write_checkpoint
from nichenas.core.commands.sessions import stored_config
from nichenas.core.errors import RunFolderError
from nichenas.core.session import journal as journal_module
from nichenas.core.session.journal import Journal
from nichenas.core.session.record import RunRecord
from nichenas.core.session.records import JOURNAL_VERSION
from nichenas.core.session.results import RunResult
from nichenas.core.session.run_folder import RunFolder
from nichenas.core.session.session import Session
from nichenas.core.testing.toy import ToyDomain
from nichenas.core.testing.toy import ToySettings
from nichenas.core.trial import Trial

ASSETS = Path(__file__).parent / "assets" / "version-1"
RUNS = sorted(folder.name for folder in ASSETS.iterdir())
NOBODY = 65534  # a user that owns nothing
TOY = "nichenas.core.testing.toy:ToyDomain"
ONE_SHOT = "nichenas.core.testing.toy_one_shot:ToyOneShotDomain"

# The configurations as they were written; the folders hold what they were resolved to.
CONFIGS: dict[str, dict[str, Any]] = {
    "halving": {
        "seed": 3,
        "domain": {"kind": TOY, "fail": 0.1},
        "search": {
            "strategy": "evolution",
            "trials": 23,
            "schedule": "halving",
            "options": {"evolution": {"population": 6, "tournament": 3}},
        },
        "retrain": {"top": 2, "seeds": 2},
    },
    "evolution": {
        "seed": 1,
        "domain": {"kind": TOY, "fail": 0.1, "size_objective": True},
        "search": {
            "strategy": "evolution",
            "trials": 14,
            "batch": 4,
            "options": {"evolution": {"population": 6, "tournament": 3}},
        },
        "retrain": {"top": 2, "seeds": 2},
    },
    "one-shot": {
        "domain": {"kind": ONE_SHOT, "stage_ends": [2, 4, 5]},
        "search": {
            "strategy": "reinforce",
            "sharing": "supernet",
            "one_shot": {"iterations": [3, 3, 2], "shared_steps": 40, "scored": 4, "candidates": 4, "beam": 2},
            "options": {"reinforce": {"tanh": None, "betas": [0.0, 0.9], "deduplicate": False, "learning_rate": 0.01}},
        },
        "retrain": {"top": 2, "seeds": 1},
    },
    "tabular": {
        "domain": {"kind": "tabular", "dataset": "learning-curves"},
        "search": {"strategy": "random", "trials": 12, "seconds": 600000},
        "retrain": {"top": 1, "seeds": 1},
    },
}


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    """A folder with a copy of every run."""
    return Path(shutil.copytree(ASSETS, tmp_path / "version-1"))


def trials_of(folder: Path) -> list[Trial]:
    with Journal(folder / "journal.sqlite", read_only=True) as journal:
        return list(journal.trials())


def outline(trials: list[Trial]) -> list[tuple[Any, ...]]:
    """Returns what does not depend on the time that trials took."""
    return [
        (t.number, t.proposal, t.failure, t.detail, t.epochs, t.stage, t.final, t.record)
        + (() if t.measurement is None else (t.measurement.curve, t.measurement.epochs))
        for t in trials
    ]


def values(trials: list[Trial]) -> list[dict[str, float]]:
    return [{} if t.measurement is None else dict(t.measurement.values) for t in trials]


def config_file(folder: Path, name: str) -> str:
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump({"name": name, "run": {"tensorboard": False}, **CONFIGS[name]}))
    return str(file)


def version_of(file: Path) -> int:
    with Journal(file, read_only=True) as journal:
        return journal.version


# Reading


@pytest.mark.parametrize("name", RUNS)
def test_a_look_leaves_the_folder_as_it_is_and_sees_what_an_upgrade_makes(name: str, copies: Path) -> None:
    folder = copies / name
    file, files = folder / "journal.sqlite", sorted(folder.iterdir())
    before = file.read_bytes()
    with Journal(file, read_only=True) as journal:
        assert journal.version == 1
        seen, full = list(journal.trials()), journal.retrainings()
        kept = {key: journal.meta(key) for key in ("objectives", "retraining_objective", "seconds", "stopped")}
    assert file.read_bytes() == before
    assert sorted(folder.iterdir()) == files
    assert seen
    with Journal(file) as journal:
        assert journal.version == JOURNAL_VERSION
        assert list(journal.trials()) == seen
    assert version_of(file) == JOURNAL_VERSION
    with Journal(file, read_only=True) as journal:
        assert list(journal.trials()) == seen
        assert journal.retrainings() == full
        assert {key: journal.meta(key) for key in kept} == kept
    with sqlite3.connect(file) as reader:
        records = [json.loads(record) for (record,) in reader.execute("SELECT record FROM trials")]
    assert all(record.keys().isdisjoint({"continues", "begins"}) for record in records)


def test_what_methods_and_schedulers_said_in_tags_has_fields_of_its_own() -> None:
    halving = trials_of(ASSETS / "halving")
    assert {trial.proposal.rung for trial in halving} == {1, 2, 3}
    for trial in halving:
        assert (trial.proposal.parent is None) == (trial.proposal.rung == 1) == (trial.proposal.start == 0.0)
    one_shot = trials_of(ASSETS / "one-shot")
    assert {trial.stage for trial in one_shot} == {0, 1, 2}
    assert {trial.record.get("iteration") for trial in one_shot if not trial.final} == set(range(8))
    assert {trial.record.get("iteration") for trial in one_shot if trial.final} == {None}
    gradient = [trial.measurement for trial in trials_of(ASSETS / "gradient")]
    assert all(measured is not None and "gradient/temperature" in measured.scalars for measured in gradient)
    for name in RUNS:
        for trial in trials_of(ASSETS / name):
            assert trial.proposal.tag.keys() <= {"prefix"}  # which is reinforce's own
    for name, source in (("one-shot", "supernet"), ("gradient", "supernet"), ("evolution", "")):
        assert RunRecord.read(ASSETS / name).objectives[0].source == source


def test_the_seconds_of_a_table_are_those_of_its_trials() -> None:
    result = RunResult.read(ASSETS / "tabular")
    assert result.best_known == 0.9262943932898505
    spent = sum(trial.training_seconds for trial in trials_of(ASSETS / "tabular"))
    assert spent == pytest.approx(result.simulated_seconds)


@pytest.mark.parametrize("name", RUNS)
def test_the_stored_configuration_resolves_and_resolves_to_itself(name: str, tmp_path: Path) -> None:
    resolved = stored_config(ASSETS / name)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(resolved.to_dict()))
    assert stored_config(tmp_path).to_dict() == resolved.to_dict()
    expected = {"gradient": "gradient", "one-shot": "one-shot"}.get(name, "trial")
    assert resolved.search.method == expected


@pytest.mark.parametrize("name", RUNS)
def test_the_page_of_a_run_is_written(name: str, copies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = copies / name
    before = (folder / "journal.sqlite").read_bytes()
    assert cli.main(["report", str(folder)]) == 0
    assert capsys.readouterr().out.strip() == str(folder / "report.html")
    page = (folder / "report.html").read_text()
    assert f"{RunResult.read(folder).validation[RunRecord.read(folder).objectives[0].name]:.4f}" in page
    assert (folder / "journal.sqlite").read_bytes() == before


# Where nothing may be written


@pytest.fixture
def others(copies: Path) -> Iterator[Path]:
    """A folder of runs that are somebody else's, for :func:`as_nobody`."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root can act as another user")
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(shutil.copytree(copies, Path(folder) / "version-1"))


def as_nobody(call: Callable[[], object]) -> str:
    """Returns what a function returns, called by a user that owns nothing, in a child of this process.

    All that it imports must have been imported before: the user may not be allowed to read this installation.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            os.write(writer, str(call()).encode())
        except BaseException as error:
            os.write(writer, repr(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as stream:
        return stream.read()


def report(folder: Path) -> tuple[int, str]:
    complaints = io.StringIO()
    with contextlib.redirect_stderr(complaints), contextlib.redirect_stdout(io.StringIO()):
        return cli.main(["report", str(folder)]), complaints.getvalue()


def test_a_run_of_somebody_else_is_read_but_its_page_is_not_written(others: Path, copies: Path) -> None:
    run, own = others / "halving", copies / "halving"
    assert report(own) == (0, "")
    trials = trials_of(own)
    assert as_nobody(lambda: trials_of(run) == trials) == "True"
    complaint = f"nichenas: {run / 'report.html'}: cannot be written (Permission denied)\n"
    assert as_nobody(lambda: report(run)) == str((2, complaint))
    assert not (run / "report.html").exists()


@pytest.mark.parametrize("index", [False, True])
def test_rows_in_the_write_ahead_log_of_somebody_else_are_read(index: bool, others: Path) -> None:
    file, log = others / "halving" / "journal.sqlite", others / "halving" / "journal.sqlite-wal"
    kept = file.read_bytes()
    killed = f"""
import os, sqlite3
db = sqlite3.connect({str(file)!r}, isolation_level=None)
db.execute("DELETE FROM trials WHERE number = 22")
os._exit(0)
"""
    subprocess.run([sys.executable, "-c", killed], check=True)
    if not index:  # as in a copy without it
        log.with_name("journal.sqlite-shm").unlink()
    assert file.read_bytes() == kept
    assert log.stat().st_size > 0
    assert as_nobody(lambda: len(trials_of(others / "halving"))) == "22"


def test_a_copy_in_memory_has_the_rows_of_the_write_ahead_log(copies: Path) -> None:
    file = copies / "halving" / "journal.sqlite"
    with sqlite3.connect(file, isolation_level=None) as writer:
        writer.execute("DELETE FROM trials WHERE number = 22")
        held = journal_module._copied(file, file.with_name("journal.sqlite-wal"))
        assert held.execute("SELECT count(*) FROM trials").fetchone() == (22,)


def test_a_page_that_cannot_be_written_is_one_line(
    copies: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    assert cli.main(["report", str(copies / "tabular")]) == 2
    expected = f"nichenas: {copies / 'tabular' / 'report.html'}: cannot be written (Permission denied)\n"
    assert capsys.readouterr().err == expected


# Upgrading


@pytest.mark.parametrize("name", ["halving", "one-shot"])
def test_an_upgrade_that_fails_leaves_version_1(name: str, copies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = copies / name / "journal.sqlite"
    before = trials_of(copies / name)
    with sqlite3.connect(file) as reader:
        rows = reader.execute("SELECT * FROM trials ORDER BY position").fetchall()
        kept = reader.execute("SELECT * FROM meta ORDER BY key").fetchall()
    monkeypatch.setattr(journal_module, "_PAGE", journal_module._PAGE.replace("LIMIT 1000", "LIMIT 5"))
    upgraded = 0

    def failing(record: str, version: int) -> str:
        nonlocal upgraded
        upgraded += 1
        if upgraded > 12:
            raise RuntimeError("in the middle")
        return upgrade(record, version)

    upgrade = journal_module.upgrade_record
    with monkeypatch.context() as patch:
        patch.setattr(journal_module, "upgrade_record", failing)
        with pytest.raises(RuntimeError, match="in the middle"):
            Journal(file)
    with sqlite3.connect(file) as reader:
        assert reader.execute("SELECT * FROM trials ORDER BY position").fetchall() == rows
        assert reader.execute("SELECT * FROM meta ORDER BY key").fetchall() == kept
    assert version_of(file) == 1
    with Journal(file) as journal:  # in several pages
        assert list(journal.trials()) == before
    assert version_of(file) == JOURNAL_VERSION


@pytest.mark.parametrize("read_only", [False, True])
def test_a_newer_version_is_refused_and_left_alone(
    read_only: bool, copies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = copies / "halving" / "journal.sqlite"
    with Journal(file) as journal:
        journal.set_meta("version", JOURNAL_VERSION + 1)
    before = file.read_bytes()
    with pytest.raises(RunFolderError, match=r"^[^\n]*written by journal version 3, this nichenas knows [^\n]*$"):
        Journal(file, read_only=read_only)
    assert cli.main(["report", str(copies / "halving")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "written by journal version 3" in line
    assert file.read_bytes() == before


def test_a_version_that_is_no_number_is_refused(copies: Path) -> None:
    file = copies / "halving" / "journal.sqlite"
    with sqlite3.connect(file) as writer:
        writer.execute("UPDATE meta SET value = '\"two\"' WHERE key = 'version'")
    with pytest.raises(RunFolderError, match="not a journal that can be read"):
        Journal(file)


# Continuing


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("halving", ["search.trials=41"]),
        ("evolution", ["search.trials=33"]),
        ("tabular", ["search.trials=40"]),
        ("tabular", ["search.trials=null", "search.seconds=50000"]),
    ],
)
def test_a_larger_budget_continues_as_one_run_would(name: str, more: list[str], copies: Path, tmp_path: Path) -> None:
    before = trials_of(copies / name)
    file = config_file(tmp_path, name)
    resumed, fresh = copies / name, tmp_path / "fresh"
    assert cli.main(["search", file, *more, "--out", str(resumed), "--resume", "--quiet"]) == 0
    assert cli.main(["search", file, *more, "--out", str(fresh), "--quiet"]) == 0
    found, expected = trials_of(resumed), trials_of(fresh)
    assert len(found) > len(before) + 10
    assert found[: len(before)] == before
    assert outline(found) == outline(expected)
    for one, other in zip(values(found), values(expected), strict=True):
        assert one == pytest.approx(other)
    if name == "tabular":
        spent = [trial.training_seconds for trial in expected]
        assert [trial.training_seconds for trial in found] == pytest.approx(spent)
    same = {"seconds": 0.0, "device": "", "simulated_seconds": None}
    one, other = RunResult.read(resumed), RunResult.read(fresh)
    assert one.simulated_seconds == pytest.approx(other.simulated_seconds)
    assert dataclasses.replace(one, **same) == dataclasses.replace(other, **same)  # type: ignore[arg-type]
    assert version_of(resumed / "journal.sqlite") == JOURNAL_VERSION


def test_a_one_shot_search_continues_from_its_checkpoint(copies: Path, tmp_path: Path) -> None:
    resumed, fresh = copies / "one-shot", tmp_path / "fresh"
    checkpoint = resumed / "checkpoints" / "one_shot.pt"
    checkpoint.with_name("one_shot-iteration-4.pt").rename(checkpoint)
    seen = read_checkpoint(checkpoint)["trials"]
    with sqlite3.connect(resumed / "journal.sqlite") as writer:  # as if it had been killed two trials later
        writer.execute("DELETE FROM trials WHERE number >= ?", (seen + 2,))
        writer.execute("DELETE FROM retrainings")
    (resumed / "result.json").unlink()
    before = trials_of(resumed)
    assert 0 < seen < len(before) < 44
    file = config_file(tmp_path, "one-shot")
    assert cli.main(["search", file, "--out", str(resumed), "--resume", "--quiet"]) == 0
    assert cli.main(["search", file, "--out", str(fresh), "--quiet"]) == 0
    found, expected = trials_of(resumed), trials_of(fresh)
    assert found[: len(before)] == before
    assert outline(found) == outline(expected)
    assert outline(found) == outline(trials_of(ASSETS / "one-shot"))
    for one, other in zip(values(found), values(expected), strict=True):
        assert one == pytest.approx(other)
    assert RunResult.read(resumed).architecture == RunResult.read(ASSETS / "one-shot").architecture


def test_another_configuration_is_refused(copies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = config_file(tmp_path, "halving")
    before = (copies / "halving" / "journal.sqlite").read_bytes()
    changed = ["search.trials=41", "domain.fail=0.2"]
    assert cli.main(["search", file, *changed, "--out", str(copies / "halving"), "--resume", "--quiet"]) == 2
    assert "domain.fail was 0.1 and is 0.2 now; resume with the same configuration" in capsys.readouterr().err
    assert (copies / "halving" / "journal.sqlite").read_bytes() == before


def test_a_checkpoint_of_that_time_says_how_many_epochs_it_has_seen(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").touch()
    with RunFolder(tmp_path, resume=True) as folder:
        session = Session(domain=ToyDomain(ToySettings(), None), folder=folder)  # type: ignore[arg-type]
        write_checkpoint(folder.checkpoints / "gradient.pt", {"epoch": 0})
        assert session.read_checkpoint("gradient.pt") == {"epoch": 0}
        write_checkpoint(folder.checkpoints / "gradient.pt", {"epoch": 3})
        with pytest.raises(RunFolderError, match="of trial 3, the journal has 0"):
            session.read_checkpoint("gradient.pt")
