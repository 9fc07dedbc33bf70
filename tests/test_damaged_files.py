"""Damaged data files are read or refused in one line that names them; nothing else, and no crash."""

from __future__ import annotations

import itertools
import json
import pickle
import re
import shutil
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from PIL import Image

from tests.conftest import ROOT
from tests.domains.gnn.test_data import write_planetoid
from tests.domains.gnn.test_data import write_ppi


def damage(folder: Path, jobs: dict[str, int], seed: int = 0) -> Counter[tuple[str, str]]:
    """Returns how often damaged files of a job were read or refused; all in one process of its own."""
    arguments = [f"{job}={tries}" for job, tries in jobs.items()]
    command = [sys.executable, "-m", "tests.damage", str(folder), str(seed), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"exit code {done.returncode} after: {done.stdout[-500:]}{done.stderr[-2000:]}"
    assert "WRONG" not in done.stdout, done.stdout[max(0, done.stdout.index("WRONG") - 300) :][:3000]
    found = re.findall(r"^(\S+) \d+: (read|refused)", done.stdout, flags=re.MULTILINE)
    return Counter((job, what) for job, what in found)


def made_amazon(root: Path) -> None:
    """A small graph in the archive of PyG's Amazon: features and edges as CSR parts."""
    rng = np.random.default_rng(0)
    features = scipy.sparse.csr_matrix((rng.random((160, 9)) < 0.3).astype(np.float32))
    edges = scipy.sparse.csr_matrix((rng.random((160, 160)) < 0.02).astype(np.float32))
    arrays = {}
    for name, matrix in (("attr", features), ("adj", edges)):
        for part in ("data", "indices", "indptr"):
            arrays[f"{name}_{part}"] = getattr(matrix, part)
        arrays[f"{name}_shape"] = np.array(matrix.shape)
    folder = root / "Amazon" / "Computers" / "raw"
    folder.mkdir(parents=True)
    np.savez(folder / "amazon_electronics_computers.npz", labels=np.arange(160) % 2, **arrays)


def made_npz(root: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (48, 6, 6, 3), dtype=np.uint8)
    y, names = np.arange(48) % 4, np.array(["a", "b", "c", "d"])
    np.savez(root / "images.npz", x_train=x[:40], y_train=y[:40], x_test=x[40:], y_test=y[40:], class_names=names)


def made_folder(root: Path) -> None:
    rng = np.random.default_rng(0)
    kinds = itertools.cycle((".png", ".jpg", ".bmp", ".ppm", ".webp", ".tif"))
    for name in ("cats", "dogs"):
        (root / "folder" / name).mkdir(parents=True)
        for index in range(6):
            image = Image.fromarray(rng.integers(0, 256, (6, 7, 3), dtype=np.uint8))
            image.save(root / "folder" / name / f"{index}{next(kinds)}")


def made_idx(root: Path) -> None:
    rng = np.random.default_rng(0)
    folder = root / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    for part, count in (("train", 40), ("t10k", 20)):
        pixels = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8).tobytes()
        (folder / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">4I", 0x803, count, 28, 28) + pixels)
        labels = bytes(i % 10 for i in range(count))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x801, count) + labels)


def made_bench(root: Path) -> None:
    names = ("valid_perf", "perf", "latency", "para")
    table = {key: {name: np.float64(0.5) if name == "para" else 0.25 for name in names} for key in range(300)}
    (root / "nas-bench-graph").mkdir()
    (root / "nas-bench-graph" / "cora.bench").write_bytes(pickle.dumps(table, protocol=3))


def made_macro(root: Path) -> None:
    rows = {f"{key:08d}": {"test_acc": [90.0, 91.0, 92.0], "params": 5, "flops": 7} for key in range(20)}
    (root / "nas-bench-macro").mkdir()
    (root / "nas-bench-macro" / "nas-bench-macro_cifar10.json").write_text(json.dumps(rows))


def made_201(root: Path) -> None:
    columns = {f"cifar10_{part}": np.full(30, 90.0) for part in ("valid_12", "test_12", "test_200", "seconds_12")}
    (root / "nas-bench-201").mkdir()
    names = np.array([f"cell {i}" for i in range(30)])
    np.savez(root / "nas-bench-201" / "nas_bench_201.npz", architecture=names, **columns)


def made_zero_cost(root: Path) -> None:
    row = {"val_accuracy": 90.0, "synflow": {"score": 1.0, "time": 0.1}}
    cells = {str(cell): row for cell in itertools.islice(itertools.product(range(5), repeat=6), 20)}
    (root / "zero-cost").mkdir()
    (root / "zero-cost" / "zc_nasbench201.json").write_text(json.dumps({"cifar10": cells}))


MADE: dict[str, tuple[Callable[[Path], object], int]] = {
    "cora": (write_planetoid, 70),
    "citeseer": (lambda root: write_planetoid(root, "CiteSeer"), 70),
    "ppi": (write_ppi, 40),
    "amazon": (made_amazon, 60),
    "npz": (made_npz, 120),
    "folder": (made_folder, 80),
    "sized-folder": (made_folder, 80),
    "idx": (made_idx, 80),
    "bench": (made_bench, 100),
    "macro": (made_macro, 100),
    "201": (made_201, 100),
    "zero-cost": (made_zero_cost, 100),
}


@pytest.mark.slow
def test_made_files(tmp_path: Path) -> None:
    for job, (write, _) in MADE.items():
        (tmp_path / job).mkdir()
        write(tmp_path / job)
    found = damage(tmp_path, {job: tries for job, (_, tries) in MADE.items()})
    for job, (_, tries) in MADE.items():
        assert found[job, "refused"] > tries / 10
        assert found[job, "refused"] + found[job, "read"] == tries


REAL = {
    "cora": ("Cora/raw/*", 4),
    "citeseer": ("CiteSeer/raw/*", 8),
    "idx": ("FashionMNIST/raw/*", 3),
    "bench": ("nas-bench-graph/cora.bench", 3),
    "macro": ("nas-bench-macro/*.json", 8),
    "201": ("nas-bench-201/*.npz", 8),
    "zero-cost": ("zero-cost/*.json", 8),
    "sparse": ("graphs/acm.npz", 8),
}


@pytest.mark.slow
def test_copies_of_real_files(data: Path, tmp_path: Path) -> None:
    for job, (pattern, _) in REAL.items():
        for file in data.glob(pattern):
            copy = tmp_path / job / file.relative_to(data)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
    found = damage(tmp_path, {job: tries for job, (_, tries) in REAL.items()})
    assert all(found[job, "read"] + found[job, "refused"] == tries for job, (_, tries) in REAL.items())
