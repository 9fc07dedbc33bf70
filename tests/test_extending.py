"""The example of docs/extending.md, run as it stands there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def example(tmp_path: Path) -> Path:
    text = (ROOT / "docs" / "extending.md").read_text()
    python = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    suite = [block for block in python if block.startswith("# test_digits_mlp.py")]
    assert len(suite) == 1
    (tmp_path / "digits_mlp.py").write_text("\n".join(block for block in python if block not in suite))
    (tmp_path / "test_digits_mlp.py").write_text(suite[0])
    (yaml,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "digits_mlp.yaml").write_text(yaml)
    return tmp_path


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([".", os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_the_example_passes_the_contract(example: Path) -> None:
    out = run(example, "pytest", "-q", "-p", "no:cacheprovider", "test_digits_mlp.py").stdout
    assert re.search(r"1\d passed", out)


def test_the_example_is_searched_in_processes(example: Path) -> None:
    run(example, "nichenas.core.cli", "search", "digits_mlp.yaml", "--quiet", "run.executor=processes", "run.workers=2")
    result = json.loads((example / "runs/digits-mlp/result.json").read_text())
    assert result["trials"] == 30
    assert result["failed"] == 0
    assert result["test"]["accuracy"]["mean"] > 0.85
    assert "Pareto front" in (example / "runs/digits-mlp/report.html").read_text()
