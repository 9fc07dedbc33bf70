"""The examples of docs/extending.md, run as they stand there, outside of the repository."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """A folder with the files that the page tells to write."""
    text = (ROOT / "docs" / "extending.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    tests = {block.splitlines()[0].removeprefix("# "): block for block in blocks if block.startswith("# test_")}
    assert set(tests) == {"test_digits_mlp.py", "test_my_parts.py"}
    first = next(index for index, block in enumerate(blocks) if block.startswith("# my_parts.py"))
    files = {
        **tests,
        "digits_mlp.py": "\n".join(block for block in blocks[:first] if block not in tests.values()),
        "my_parts.py": "\n".join(block for block in blocks[first:] if block not in tests.values()),
    }
    (files["digits_mlp.yaml"],) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    return tmp_path


def python(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([".", os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return python(folder, "-m", *arguments)


SEVERAL = """
import json, sys
from nichenas.core.cli import main

for arguments in json.loads(sys.argv[1]):
    assert main(arguments) == 2, arguments
"""


def mistakes(folder: Path, *commands: list[str]) -> list[str]:
    """Returns what each of several commands, all of them the user's mistakes, answers; from one process."""
    lines = python(folder, "-c", SEVERAL, json.dumps(commands)).stderr.splitlines()
    assert len(lines) == len(commands)
    return lines


def search(folder: Path, name: str, **changes: Any) -> dict[str, Any]:
    """Runs the example's search with another ``search`` section, and returns its result."""
    config = yaml.safe_load((folder / "digits_mlp.yaml").read_text())
    config["name"], config["search"] = name, changes
    config["domain"]["epochs"] = 6
    config["retrain"] = {"top": 1, "seeds": 1}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(config))
    run(folder, "nichenas.core.cli", "search", f"{name}.yaml", "--quiet")
    result: dict[str, Any] = json.loads((folder / "runs" / name / "result.json").read_text())
    return result


def test_the_examples_pass_their_contracts(example: Path) -> None:
    done = run(example, "pytest", "-q", "-p", "no:cacheprovider", "test_digits_mlp.py", "test_my_parts.py")
    assert re.search(r"\d\d passed", done.stdout)


def test_the_domain_is_searched_in_processes(example: Path) -> None:
    run(example, "nichenas.core.cli", "search", "digits_mlp.yaml", "--quiet", "run.executor=processes", "run.workers=2")
    result = json.loads((example / "runs/digits-mlp/result.json").read_text())
    assert result["trials"] == 30
    assert result["failed"] == 0
    assert result["test"]["accuracy"]["mean"] > 0.85
    assert "Pareto front" in (example / "runs/digits-mlp/report.html").read_text()


def test_the_strategy_is_used_by_its_path(example: Path) -> None:
    path = "my_parts:Annealing"
    result = search(example, "annealed", strategy=path, trials=8, options={path: {"decay": 0.9}})
    assert result["trials"] == 8
    config = example / "annealed.yaml"
    config.write_text(config.read_text().replace("decay", "decoy"))
    (found,) = mistakes(example, ["search", "annealed.yaml", "--out", "other"])
    assert "search.options.my_parts:Annealing.decoy: unknown key (did you mean 'decay'?)" in found


def test_the_scheduler_is_used_by_its_path(example: Path) -> None:
    toy = {"kind": "nichenas.core.testing.toy:ToyDomain"}
    config = {
        "name": "two",
        "domain": toy,
        "search": {"schedule": "my_parts:TwoRungs", "strategy": "random", "trials": 20},
    }
    (example / "two.yaml").write_text(yaml.safe_dump(config))
    run(example, "nichenas.core.cli", "search", "two.yaml", "--quiet")
    result = json.loads((example / "runs/two/result.json").read_text())
    assert result["trials"] == 20
    assert "rung" in (example / "runs/two/report.html").read_text()
    left = list((example / "runs/two/checkpoints").glob("trial-*.pt"))
    assert len(left) <= 2  # those that are obsolete are gone
    # The domain of the page cannot continue trainings, and says so.
    (found,) = mistakes(example, ["search", "digits_mlp.yaml", "search.schedule=my_parts:TwoRungs"])
    assert "cannot continue a trial's training; allowed: full" in found


def test_the_method_is_used_by_its_path(example: Path) -> None:
    result = search(example, "screened", method="my_parts:Screened", drawn=12, trials=3, score="grad_norm")
    assert result["trials"] == 3
    page = (example / "runs/screened/report.html").read_text()
    assert "best so far" in page
    command = ["search", "screened.yaml", "--quiet"]
    run(example, "nichenas.core.cli", *command, "--resume")
    assert json.loads((example / "runs/screened/result.json").read_text())["key"] == result["key"]
    told = {
        "search.batch=3": "search.batch: the method 'my_parts:Screened' does not use it; it belongs to: trial",
        "search.score=nothing": "unknown zero-cost proxy 'nothing'",
        "domain={kind: 'nichenas.core.testing.toy:ToyDomain'}": "has no untrained networks to score",
        "search.options={evolution: {size: 3}}": "search.options.evolution.size: unknown key",
    }
    compared = ["compare", "screened.yaml", "--strategies", "random"]
    *found, last = mistakes(example, *([*command, "--out", "x", word] for word in told), compared)
    for line, message in zip(found, told.values(), strict=True):
        assert message in line
    assert "strategies are compared, not the method 'my_parts:Screened'" in last
    (example / "my_parts.py").unlink()  # the page of a run can be written where its method is not there any more
    run(example, "nichenas.core.cli", "report", "runs/screened")
