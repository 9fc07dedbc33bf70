"""What the driver itself costs: look-ups in a table through the whole of it, with the journal in memory and on disk.

Beside it, in the same run, a bare Optuna study (in memory, random sampler) with the same space and the same look-ups.
The table is made: NAS-Bench-201's space with random figures, so no file is needed. Memory is the process's resident
set, read after a tenth of the trials and at the end.

    python benchmarks/driver.py [--trials N] [--optuna-trials N] [--strategy NAME] [--output FILE]
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nichenas.core.context import Environment
from nichenas.core.execution.allocator import keep_freed_memory
from nichenas.core.execution.provenance import device_name
from nichenas.core.methods.trial_loop import TrialLoop
from nichenas.core.session.budget import Budget
from nichenas.core.session.journal import Journal
from nichenas.core.session.session import Session
from nichenas.core.session.state import SearchState
from nichenas.core.strategies import STRATEGIES
from nichenas.core.trial import Trial
from nichenas.domains.tabular.domain import TabularDomain
from nichenas.domains.tabular.domain import TabularSettings
from nichenas.domains.tabular.nas_bench_201 import OPERATIONS
from nichenas.domains.tabular.nas_bench_201 import cell_space
from nichenas.domains.tabular.nas_bench_201 import string_of


def make_domain(folder: Path) -> TabularDomain:
    """Returns the tabular domain on a table of made figures."""
    names = [choice.name for choice in cell_space().choices]
    space = cell_space()
    keys = [
        string_of(space.architecture(dict(zip(names, values, strict=True))))
        for values in itertools.product(OPERATIONS, repeat=len(names))
    ]
    figures = np.random.default_rng(0).random((3, len(keys))).astype(np.float32) * 100
    columns = dict(zip(("cifar10_valid_12", "cifar10_test_12", "cifar10_test_200"), figures, strict=True))
    (folder / "nas-bench-201").mkdir()
    np.savez(folder / "nas-bench-201" / "nas_bench_201.npz", architecture=np.array(keys), **columns)
    domain = TabularDomain(TabularSettings(dataset="nas-bench-201-cifar10"), Environment(folder, folder / "cache"))
    domain.prepare()
    return domain


def resident_megabytes() -> float:
    """Returns the resident memory of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return float("nan")


class Watch:
    """Notes the memory after a tenth of the trials."""

    def __init__(self, trials: int) -> None:
        self.at, self.early = max(1, trials // 10), float("nan")

    def on_trial(self, trial: Trial, state: SearchState, replayed: bool) -> None:
        """Looks at the memory."""
        if state.completed == self.at:
            self.early = resident_megabytes()


def driven(domain: TabularDomain, strategy: str, trials: int, journal: Journal) -> dict[str, float]:
    """Runs a search and returns microseconds a trial, and memory."""
    cls = STRATEGIES[strategy]
    options = cls.Options.model_validate({"deduplicate": False})
    chosen = cls(domain.space, domain.objectives, 0, options)
    watch = Watch(trials)
    session = Session(domain=domain, journal=journal, listeners=[watch])
    loop = TrialLoop(session, chosen, Budget(trials))
    began = time.perf_counter()
    state = loop.run()
    seconds = time.perf_counter() - began
    assert state.completed == trials
    return {
        "microseconds_a_trial": 1e6 * seconds / trials,
        "mb_after_a_tenth": watch.early,
        "mb_at_the_end": resident_megabytes(),
    }


def bare_optuna(domain: TabularDomain, trials: int) -> dict[str, float]:
    """Runs a bare Optuna study with the same look-ups."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    column = domain._table.validation[domain.objectives[0].name]

    def objective(trial: Any) -> float:
        values = {c.name: trial.suggest_categorical(c.name, c.options) for c in domain.space.choices}
        return float(column[domain.row(domain.space.architecture(values))])

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    began = time.perf_counter()
    study.optimize(objective, n_trials=trials)
    return {
        "microseconds_a_trial": 1e6 * (time.perf_counter() - began) / trials,
        "mb_at_the_end": resident_megabytes(),
    }


def main() -> None:
    """Prints microseconds a trial and writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--optuna-trials", type=int, default=10_000)
    parser.add_argument("--strategy", choices=("random", "evolution"), default="random")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    keep_freed_memory()
    result: dict[str, Any] = {"device": device_name(torch.device("cpu")), **vars(arguments), "output": None}
    with tempfile.TemporaryDirectory() as folder:
        domain = make_domain(Path(folder))
        for name, path in (("memory", None), ("sqlite", Path(folder) / "journal.sqlite")):
            with Journal(path) as journal:
                row = result[name] = driven(domain, arguments.strategy, arguments.trials, journal)
            print(
                f"{arguments.strategy}, journal {name}: {row['microseconds_a_trial']:.0f} us a trial; memory "
                f"{row['mb_after_a_tenth']:.0f} MB after a tenth, {row['mb_at_the_end']:.0f} MB at the end"
            )
        row = result["optuna"] = bare_optuna(domain, arguments.optuna_trials)
        ratio = result["ratio"] = row["microseconds_a_trial"] / result["sqlite"]["microseconds_a_trial"]
        print(
            f"bare Optuna study, {arguments.optuna_trials} trials in memory: {row['microseconds_a_trial']:.0f} us a "
            f"trial, {ratio:.1f} times ours on disk"
        )
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
