"""Rules of the tree: import floors, no stray words, scripts that only call the command line."""

from __future__ import annotations

import ast
import importlib.util
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import nichenas

ROOT = Path(__file__).resolve().parent.parent


def test_import_rules() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    if not linter.exists():
        pytest.skip("import-linter is not installed")
    if not (ROOT / ".links").exists():
        pytest.skip("the tree of packages is not there; make venv makes it")
    command = [str(linter), "--no-cache", str(ROOT / "pyproject.toml")]
    done = subprocess.run(command, cwd=ROOT / ".links", capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys, nichenas.core.cli as cli; cli.main(['--help']); print('torch' in sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == "False"


@pytest.mark.parametrize("domain", ["binary", "gan", "gnn"])
def test_scripts_only_translate(domain: str) -> None:
    command = [sys.executable, f"scripts/search_{domain}.py", "--dataset", "cora"]
    environment = dict(os.environ)
    command += ["--resume", "--out", "nowhere", "retrain.seeds=-1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 2
    assert "retrain.seeds" in done.stderr
    assert done.stderr.count("\n") == 1


def test_gan_benchmarks_run(tmp_path: Path) -> None:
    small = {
        "gan_step": ["--steps", "6", "--repeats", "1", "--threads", "1", "--channels", "4", "--stages", "2"],
        "frechet": ["--dimensions", "96", "--repeats", "1", "--threads", "1"],
    }
    for name, options in small.items():
        out = tmp_path / f"{name}.json"
        command = [sys.executable, f"benchmarks/{name}.py", *options, "--output", str(out)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found = json.loads(out.read_text())
        if name == "gan_step":
            assert found["same_weights"] is True
            assert len(found["stages"]) == 2
        else:
            assert found["relative_difference"] < 1e-6


def test_the_driver_s_benchmark_runs(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    out = tmp_path / "driver.json"
    command = [sys.executable, "benchmarks/driver.py", "--trials", "200", "--optuna-trials", "20", "--output", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert all(found[name]["microseconds_a_trial"] > 0 for name in ("memory", "sqlite", "optuna"))


def test_binary_benchmarks_run(tmp_path: Path) -> None:
    # One thread: with more, small operations wait for threads that other tests keep from running.
    small = {
        "supernet_step": ["--batch", "4", "--repeats", "1", "--threads", "1", "--spaces", "darts-real"],
        "binary_inference": ["--repeats", "2"],
        "binary_network": ["--repeats", "1", "--batches", "2", "--networks", "BATS C48 L8 g4"],
    }
    if importlib.util.find_spec("onnxruntime") is None:
        del small["binary_network"]
    for name, options in small.items():
        out = tmp_path / f"{name}.json"
        command = [sys.executable, f"benchmarks/{name}.py", *options, "--output", str(out)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found = json.loads(out.read_text())
        if name == "supernet_step":
            assert max(found["darts-real"]["difference_float64"].values()) < 1e-9
        else:
            assert all(row["exact"] for row in found["rows"])


def test_wiring_patterns_are_looked_for(tmp_path: Path) -> None:
    out = tmp_path / "wiring.json"
    command = [sys.executable, "benchmarks/wiring_patterns.py", "--seeds", "1", "--steps", "40", "--output", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    found = json.loads(out.read_text())
    assert done.returncode == (0 if all(found["patterns"].values()) else 1), done.stderr
    for name, (row,) in found["searches"].items():
        assert len(row["none"]) == 5, name
        assert all(0 <= one <= 1 for one in row["none"])
        assert row["held_out"] != row["held_out"] if "single" in name else row["held_out"] > -3  # none is held out


def test_graph_benchmarks_run(tmp_path: Path) -> None:
    out = tmp_path / "epochs.json"
    small = ["--mutants", "1", "--seeds", "3", "--epochs", "3", "--least", "0", "--dataset", "digits-knn"]
    pair = ["GCN", "SSGC"]
    commands = {
        "epoch_choice": [*small, "--output", str(out)],
        "agnn_operations": ["--dataset", "digits-knn", "--seeds", "2", "--epochs", "2"],
        "aggregations": ["--nodes", "300", "--edges", "900", "--widths", "32", "--repeats", "1"],
        "published_protocols": ["--datasets", "digits-knn", "--networks", *pair, "--seeds", "2", "--epochs", "6"],
        "sparse_products": ["--widths", "16", "--repeats", "2"],
        "ranking_criteria": ["--mutants", "1", "--epochs", "4", "--least", "0", "--dataset", "digits-knn"],
        "large_graph": ["--nodes", "3000", "--edges", "9000", "--networks", "SGC", "GCN"],
    }
    printed = {}
    for name, options in commands.items():
        command = [sys.executable, f"benchmarks/{name}.py", *options]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        printed[name] = done.stdout
    assert "12 networks, 12 of them ranked" in printed["epoch_choice"]
    assert all(-1 <= row["itself"] <= 1 for row in json.loads(out.read_text())["figures"].values())
    assert "18 networks, 18 of them ranked" in printed["ranking_criteria"]
    assert printed["ranking_criteria"].count("Brier") == 1
    for name, line in zip(pair, printed["published_protocols"].splitlines()[2:4], strict=True):
        assert line.startswith(name)
        lowest, highest, improved, best = (float(part.split()[-1]) for part in line.split("±")[:4])
        assert best >= max(lowest, highest, improved)
        assert improved >= lowest  # the epoch of the lowest loss is the last that improved it
    assert [line.split(":")[0] for line in printed["large_graph"].splitlines()] == ["loading", "SGC", "GCN"]
    operations = [tuple(line.split()[:2]) for line in printed["agnn_operations"].splitlines()[1:]]
    assert operations == list(itertools.product(("sum", "mean", "max"), ("identity", "mlp")))
    assert all(line.count("x ") + line.endswith("x") == 3 for line in printed["aggregations"].splitlines()[1:])
    assert float(printed["large_graph"].split("then ")[-1].split()[0]) > 0


def test_what_early_stops_would_save(tmp_path: Path) -> None:
    words = ["search.trials=14", "search.early_stop=null", "search.confirm=0", "retrain.seeds=0", "domain.epochs=8"]
    search = [sys.executable, "-m", "nichenas.core.cli", "search", "gnn/digits-knn", *words, "--quiet"]
    assert subprocess.run([*search, "--out", str(tmp_path / "run")], cwd=tmp_path, capture_output=True).returncode == 0
    command = [sys.executable, "benchmarks/early_stops.py", str(tmp_path / "run"), "--quantiles", "0.5", "--after", "3"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    quantile, trainings, stopped, *_ = done.stdout.splitlines()[1].split()
    assert (quantile, int(trainings) >= 10, int(stopped) > 0) == ("0.5", True, True)


def test_the_benchmark_runs(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    command = [sys.executable, "benchmarks/gnn_evaluation.py", "--dataset", "digits-knn", "--architectures", "2"]
    done = subprocess.run([*command, "--epochs", "2", "--out", str(out)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "median_ratio" in done.stdout
    assert out.exists()


def test_the_picture_of_the_design_is_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("draw_data_flow", ROOT / "docs" / "draw_data_flow.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.picture() == (ROOT / "docs" / "data-flow.svg").read_text(encoding="utf-8")


def test_the_public_api_is_the_same_for_people_and_type_checkers() -> None:
    tree = ast.parse((ROOT / "nichenas" / "__init__.py").read_text())
    checked = {
        (node.module, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("nichenas.")
        for alias in node.names
    }
    assert checked == {(home, name) for name, home in nichenas._HOMES.items()}
    for name in nichenas.__all__:
        assert getattr(nichenas, name) is not None
    assert set(nichenas.__all__) <= set(dir(nichenas))
    with pytest.raises(AttributeError, match="no attribute 'Domian'"):
        getattr(nichenas, "Domian")  # noqa: B009  (as a user would mistype it)
