"""Records short runs of every method in every domain, or compares new runs with a record, bit for bit.

    python benchmarks/recorded_runs.py record FILE [--data-root DIR] [--only NAME ...]
    python benchmarks/recorded_runs.py compare FILE [--data-root DIR] [--only NAME ...]

Compared are proposals, measured values, failures, and the chosen architecture with its figures; seconds are not.
Figures depend on the machine, its threads and its version of torch: compare only with a record made on the same one.
Runs use the installed ``nichenas`` command and read run folders as any user could, so a record outlives changes of the
code. The exit code is 1 where anything differs.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SHORT_BINARY = (
    "domain.training.stages=[{epochs: 1, weights: false}, {epochs: 1, weight_decay: 0.0}]",
    "domain.evaluation.stages=[{epochs: 2, weights: false}, {epochs: 1, weight_decay: 0.0}]",
    "domain.limit=400",
    "retrain.seeds=1",
)
SHORT_GAN = (
    "domain.training.steps=20",
    "domain.training.validate_every=10",
    "domain.training.samples=200",
    "domain.shared.samples=200",
    "domain.baselines=[sngan]",
    "retrain.seeds=1",
    "run.executor=serial",
    "run.workers=1",
)
ONE_SHOT = (
    "search.one_shot.iterations=[2,1,1]",
    "search.one_shot.shared_steps=12",
    "search.one_shot.scored=4",
    "search.one_shot.candidates=4",
    "search.one_shot.beam=2",
    "search.one_shot.reset={window: 4, variance: 0.01}",
)
SHORT_GNN = ("domain.epochs=40", "retrain.top=2", "retrain.seeds=2")
SMALL_POOLS = "search.options.hierarchical={initial: 3, parents: [1, 1, 1], promotions: [2, 1]}"

# Name: command, configuration, overrides; those with True need real data.
CASES: dict[str, tuple[tuple[str, ...], bool]] = {
    "cora": (("search", "gnn/cora", "search.trials=8", *SHORT_GNN), True),
    "cora-batch": (
        ("search", "gnn/cora", "search.trials=7", "search.batch=3", "search.strategy=random", *SHORT_GNN),
        True,
    ),
    "cora-hierarchical": (
        (
            "search",
            "gnn/cora",
            "search.trials=null",
            "search.total_epochs=240",
            "search.schedule=hierarchical",
            "search.strategy=evolution",
            SMALL_POOLS,
            *SHORT_GNN,
        ),
        True,
    ),
    "digits-knn-sharing": (
        (
            "search",
            "gnn/digits-knn",
            "search.trials=10",
            "search.strategy=evolution",
            "search.sharing=homogeneous",
            "search.options.evolution={population: 4, tournament: 2}",
            *SHORT_GNN,
        ),
        False,
    ),
    "digits-knn-processes": (
        (
            "search",
            "gnn/digits-knn",
            "search.trials=8",
            "search.strategy=reinforce",
            "run.executor=processes",
            "run.workers=2",
            *SHORT_GNN,
        ),
        False,
    ),
    "digits-knn-asha": (
        ("search", "gnn/digits-knn", "search.trials=9", "search.strategy=random", "search.schedule=asha", *SHORT_GNN),
        False,
    ),
    "digits-knn-proxies": (
        ("proxies", "gnn/digits-knn", "proxies.zoo=4", "domain.epochs=20", "proxies.zero_cost=[parameters, synflow]"),
        False,
    ),
    "binary-gradient": (("search", "binary/digits", "search.epochs=2", *SHORT_BINARY), False),
    "binary-second-order": (
        ("search", "binary/digits-second-order", "search.epochs=1", "retrain.seeds=0", "domain.limit=200"),
        False,
    ),
    "binary-single-level": (
        ("search", "binary/digits-single-level", "search.epochs=1", "retrain.seeds=0", "domain.limit=200"),
        False,
    ),
    "binary-trial": (("search", "binary/digits", "search.strategy=random", "search.trials=2", *SHORT_BINARY), False),
    "binary-halving": (
        (
            "search",
            "binary/digits-econas",
            "search.total_epochs=24",
            "search.schedule=halving",
            "search.options.halving={rungs: 2}",
            "domain.training.stages=[{epochs: 6, activations: false, weights: false}]",
            "retrain.seeds=1",
        ),
        False,
    ),
    "gan-one-shot": (("search", "gan/digits", *ONE_SHOT, *SHORT_GAN), False),
    "gan-trial": (
        ("search", "gan/digits", "search.strategy=evolution", "search.sharing=none", "search.trials=2", *SHORT_GAN),
        False,
    ),
    "curves-compare": (
        (
            "compare",
            "tabular/learning-curves",
            "--strategies",
            "evolution,random",
            "--schedules",
            "full:c0r0s0e35,hierarchical",
            "--seeds",
            "2",
            "search.total_epochs=1200",
        ),
        False,
    ),
}


def run_case(name: str, out: Path, data_root: str | None) -> float:
    """Runs a case into a folder and returns its seconds.

    Raises:
        SystemExit: when the command fails.
    """
    words, real = CASES[name]
    command = [str(Path(sys.executable).with_name("nichenas")), *words, "--quiet", "--out", str(out)]
    command += ["--data-root", data_root] if real and data_root else []
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if done.returncode:
        raise SystemExit(f"{name}: exit code {done.returncode}\n{' '.join(command)}\n{done.stderr}")
    return time.perf_counter() - began


def read_trials(journal: Path) -> Iterator[dict[str, Any]]:
    """Yields what does not depend on timing of every trial, from a journal of any version."""
    with sqlite3.connect(f"file:{journal}?mode=ro", uri=True) as database:
        rows = database.execute("SELECT number, record FROM trials ORDER BY position").fetchall()
    for number, text in rows:
        record = json.loads(text)
        measured = record.get("measurement")
        yield {
            "number": number,
            "architecture": record["architecture"],
            "fidelity": record["fidelity"],
            "parent": record.get("parent", record.get("continues")),
            "epochs": record.get("epochs", 0),
            "outcome": record.get("failure") if measured is None else measured["values"],
            "curve": None if measured is None else measured.get("curve", []),  # an empty one is not written
        }


def read_outcome(folder: Path) -> dict[str, Any]:
    """Returns what does not depend on timing of every run below a folder, by its path within it."""
    found: dict[str, Any] = {}
    for journal in sorted(folder.rglob("journal.sqlite")):
        run = journal.parent
        entry: dict[str, Any] = {"trials": list(read_trials(journal))}
        if (run / "result.json").exists():
            result = json.loads((run / "result.json").read_text())
            entry["result"] = {key: result[key] for key in ("key", "trial", "validation", "test", "trials", "failed")}
            entry["baselines"] = [[row["label"], row["test"]] for row in result["baselines"]]
            entry["retrained"] = [[row["label"], row["validation"], row["test"]] for row in result["retrained"]]
        found[str(run.relative_to(folder))] = entry
    return found


def differences(one: Any, other: Any, at: str = "") -> Iterator[str]:
    """Yields where two records differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted({*one, *other}):
            yield from differences(one.get(key), other.get(key), f"{at}/{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, pair in enumerate(zip(one, other, strict=True)):
            yield from differences(*pair, f"{at}/{index}")
    elif one != other:
        yield f"{at}: {json.dumps(one)[:160]} is now {json.dumps(other)[:160]}"


def main() -> int:
    """Records or compares, and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("record", "compare"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--data-root", help="folder of the real data sets; without it runs on them are left out")
    parser.add_argument("--only", nargs="+", choices=sorted(CASES), default=list(CASES))
    arguments = parser.parse_args()
    held = json.loads(arguments.file.read_text()) if arguments.file.exists() else {}
    failed = 0
    for name in arguments.only:
        if CASES[name][1] and arguments.data_root is None:
            print(f"{name}: left out, it needs --data-root")
            continue
        with tempfile.TemporaryDirectory() as folder:
            seconds = run_case(name, Path(folder) / "run", arguments.data_root)
            found = json.loads(json.dumps(read_outcome(Path(folder) / "run")))
        if arguments.action == "record":
            held[name] = found
            print(f"{name}: {sum(len(run['trials']) for run in found.values())} trials, {seconds:.1f} s", flush=True)
            arguments.file.write_text(json.dumps(held) + "\n")
            continue
        wrong = list(differences(held.get(name), found))
        failed += bool(wrong)
        print(f"{name}: {'equal' if not wrong else f'{len(wrong)} differences'} ({seconds:.1f} s)", flush=True)
        for line in wrong[:10]:
            print(f"  {line}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
