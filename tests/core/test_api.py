"""Searching from Python."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nichenas
from nichenas.core.errors import ConfigError
from tests.conftest import toy_config

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_search_with_its_tables(tmp_path: Path) -> None:
    run = nichenas.search(toy_config(), trials=12, seed=3, retrain={"seeds": 2, "top": 2}, strategy="local")
    assert run.folder == Path("runs/toy")
    assert run.result is not None
    assert run.result.trials == len(run.trials) == 12
    assert run.best == run.result.chosen
    assert run.report.exists()
    rows = run.table()
    assert [row["number"] for row in rows] == list(range(12))
    assert {"value/quality", "choice/c0", "seconds", "failure"} <= set(rows[0])
    final = run.final_table()
    assert [row["label"] for row in final][-1] == "middle"
    assert final[0]["test/quality/n"] == 2
    again = nichenas.load_run("runs/toy")
    assert again.result == run.result
    longer = nichenas.search(toy_config(), trials=15, seed=3, retrain={"seeds": 0}, strategy="local", resume=True)
    assert longer.table()[:12] == rows


def test_an_unfinished_run_can_be_read(tmp_path: Path) -> None:
    nichenas.search(toy_config(), trials=6, out=tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    run = nichenas.load_run(tmp_path / "run")
    assert run.result is None
    assert run.final_table() == []
    quality = {row["number"]: row["value/quality"] for row in run.table()}
    best = max(quality, key=lambda number: quality[number])
    assert run.best == run.trials[best].proposal.architecture


def test_a_comparison(tmp_path: Path) -> None:
    comparison = nichenas.compare(toy_config(), ["random", "local"], seeds=2, trials=6, out=tmp_path / "compared")
    assert [row["name"] for row in comparison.table()] == ["random", "local"]
    assert comparison.report.exists()
    assert nichenas.load_run(tmp_path / "compared" / "random-0").result is not None


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"trails": 5}, r"search\.trails: unknown key \(did you mean 'trials'\?\)"),
        ({"epochs": 5}, r"search\.epochs: the method 'trial' does not use it"),
        ({"retrain": {"seeds": -1}}, r"retrain\.seeds"),
        ({"seed": "x"}, "seed"),
        ({"name": "a/b"}, "name"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(tmp_path: Path, overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(nichenas.UserError, match=message) as error:
        nichenas.search(toy_config(), **overrides)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(nichenas.UserError, match="holds no run"):
        nichenas.load_run(tmp_path)


def test_the_quick_start_of_the_readme_runs(tmp_path: Path) -> None:
    (block,) = re.findall(r"```python\n(import nichenas.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    short = block.replace("trials=40", "trials=3").replace('domain={"', 'domain={"epochs": 5, "')
    assert short != block
    done = subprocess.run([sys.executable, "-c", short], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "'mean'" in done.stdout
    assert (tmp_path / "runs" / "quick" / "report.html").exists()


def test_values_of_numpy_and_paths(tmp_path: Path) -> None:
    config = toy_config(search={"trials": np.int64(4)}, domain={"noise": np.float32(0.5)})
    found = nichenas.search(config, out=tmp_path / "run", retrain={"seeds": np.int64(2)})
    assert len(found.trials) == 4
    assert nichenas.load_run(tmp_path / "run").record.result is not None
    with pytest.raises(ConfigError, match="did you mean 'domain'"):
        nichenas.search(toy_config(), out=tmp_path / "none", domian={"noise": 0.1})
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    "mode", [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", dtype=torch.bfloat16)]
)
def test_modes_of_the_caller_do_not_reach_trainings(tmp_path: Path, mode: Any) -> None:
    short = {"trials": 2, "start": {"known": False}, "confirm": 0}
    domain = {"epochs": 3}
    torch.set_default_dtype(torch.float64)
    try:
        with mode():
            found = nichenas.search(
                "gnn/digits-knn", out=tmp_path / "run", domain=domain, retrain={"seeds": 1, "baselines": False}, **short
            )
            assert torch.is_grad_enabled() == (mode not in (torch.no_grad, torch.inference_mode))
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert found.result is not None
