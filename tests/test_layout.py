"""Rules of the tree: import floors, no stray words, scripts that only call the command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def test_import_rules() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    if not linter.exists():
        pytest.skip("import-linter is not installed")
    done = subprocess.run([str(linter), "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys, core.cli; core.cli.main(['--help']); print('torch' in sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == "False"


def test_scripts_hand_their_arguments_on() -> None:
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        from search_gnn import arguments  # type: ignore[import-not-found]
    finally:
        sys.path.pop(0)
    assert arguments(["--dataset", "citeseer", "--data-root", "d"]) == ["search", "gnn/citeseer", "--data-root", "d"]
    assert arguments(["--dataset", "a.b.Made"])[1:] == ["gnn/cora", "name=Made", "domain.dataset=a.b.Made"]


def test_the_benchmark_runs(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    command = [sys.executable, "benchmarks/gnn_evaluation.py", "--dataset", "digits-knn", "--architectures", "2"]
    done = subprocess.run([*command, "--epochs", "2", "--out", str(out)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "median_ratio" in done.stdout
    assert out.exists()
