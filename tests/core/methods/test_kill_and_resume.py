"""A run killed in the middle and resumed has the trials, values and best architecture of an undisturbed one."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from nichenas.core.commands.search import run_search
from nichenas.core.commands.sessions import RunOptions
from nichenas.core.config import load_config
from nichenas.core.session.journal import Journal
from nichenas.core.strategies import STRATEGIES
from tests.conftest import toy_config

TRIALS = 24
QUIET, RESUME = RunOptions(quiet=True), RunOptions(quiet=True, resume=True)


def told(folder: Path) -> int:
    try:
        with sqlite3.connect(f"file:{folder / 'journal.sqlite'}?mode=ro", uri=True) as reader:
            return int(reader.execute("SELECT count(*) FROM trials").fetchone()[0])
    except sqlite3.Error:
        return 0


def kill_in_the_middle(config: Path, folder: Path, after: int) -> int:
    """Starts a search in a process of its own, kills it once ``after`` trials are told; returns how many were."""
    command = [sys.executable, "-m", "nichenas.core.cli", "search", str(config), "--out", str(folder), "--quiet"]
    # As many threads as the tests have: sums are split among threads, and rounding depends on it.
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env=one_thread)
    deadline = time.monotonic() + 120
    while told(folder) < after and time.monotonic() < deadline:
        if process.poll() is not None:
            break
        time.sleep(0.01)
    assert process.poll() is None, process.stderr.read().decode() if process.stderr else ""
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    return told(folder)


def outline(folder: Path) -> tuple[list[Any], dict[str, Any]]:
    with Journal(folder / "journal.sqlite") as journal:
        trials = [
            (t.number, t.proposal, dict(t.measurement.values) if t.measurement else t.failure) for t in journal.trials()
        ]
    result = json.loads((folder / "result.json").read_text())
    return trials, {key: value for key, value in result.items() if key not in ("seconds", "config_hash")}


def configuration(tmp_path: Path, **sections: Any) -> Path:
    raw = toy_config(**sections)
    file = tmp_path / "toy.yaml"
    file.write_text(yaml.safe_dump(raw))
    return file


@pytest.mark.parametrize("executor", ["serial", "processes"])
@pytest.mark.parametrize("strategy", list(STRATEGIES))
def test_every_strategy_on_both_executors(strategy: str, executor: str, tmp_path: Path) -> None:
    if strategy == "optuna":
        pytest.importorskip("optuna")
    config = configuration(
        tmp_path,
        domain={"sleep": 0.1, "fail": 0.1},
        search={"strategy": strategy, "trials": TRIALS, "options": {"evolution": {"population": 6, "tournament": 3}}},
        run={"executor": executor, "workers": 2 if executor == "processes" else 1},
    )
    run_search(load_config(str(config)), tmp_path / "whole", QUIET)
    done = kill_in_the_middle(config, tmp_path / "killed", after=7)
    assert 7 <= done < TRIALS
    run_search(load_config(str(config)), tmp_path / "killed", RESUME)
    assert outline(tmp_path / "killed") == outline(tmp_path / "whole")


def test_shared_weights(tmp_path: Path) -> None:
    config = configuration(
        tmp_path,
        domain={"sleep": 0.1},
        search={"strategy": "evolution", "trials": TRIALS, "sharing": "homogeneous", "batch": 2},
        run={"executor": "processes", "workers": 2},
    )
    run_search(load_config(str(config)), tmp_path / "whole", QUIET)
    kill_in_the_middle(config, tmp_path / "killed", after=8)
    run_search(load_config(str(config)), tmp_path / "killed", RESUME)
    assert outline(tmp_path / "killed") == outline(tmp_path / "whole")


def test_real_training_with_shared_weights(tmp_path: Path) -> None:
    config = tmp_path / "digits.yaml"
    raw = {
        "name": "digits",
        "domain": {"kind": "gnn", "dataset": "digits-knn", "epochs": 30},
        "search": {"strategy": "conservative", "trials": 14, "sharing": "homogeneous"},
        "retrain": {"top": 1, "seeds": 1, "baselines": False},
        "run": {"tensorboard": False, "limits": {"memory_mb": 40}},
    }
    config.write_text(yaml.safe_dump(raw))
    # Both in processes with one thread: a sum over threads may round otherwise.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "nichenas.core.cli", "search", str(config), "--quiet", "--out"]
    subprocess.run([*command, str(tmp_path / "whole")], check=True, env=environment, stdout=subprocess.DEVNULL)
    os.environ["OMP_NUM_THREADS"] = "1"
    kill_in_the_middle(config, tmp_path / "killed", after=4)
    resumed = [*command, str(tmp_path / "killed"), "--resume"]
    subprocess.run(resumed, check=True, env=environment, stdout=subprocess.DEVNULL)
    assert outline(tmp_path / "killed") == outline(tmp_path / "whole")


def test_killed_while_retraining(tmp_path: Path) -> None:
    config = configuration(tmp_path, search={"trials": 5}, retrain={"seeds": 3})
    whole = run_search(load_config(str(config)), tmp_path / "whole", QUIET)
    run_search(load_config(str(config)), tmp_path / "cut", QUIET)
    with sqlite3.connect(tmp_path / "cut" / "journal.sqlite") as writer:
        writer.execute("DELETE FROM retrainings WHERE seed > 0")
    (tmp_path / "cut" / "result.json").unlink()
    again = run_search(load_config(str(config)), tmp_path / "cut", RESUME)
    assert replace(again, seconds=0.0) == replace(whole, seconds=0.0)
