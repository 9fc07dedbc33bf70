"""Schedules, simulated seconds and scores without training on tables."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from nichenas.core.commands.compare import ComparisonDesign
from nichenas.core.commands.compare import run_compare
from nichenas.core.commands.proxies import run_proxies
from nichenas.core.commands.search import run_search
from nichenas.core.commands.sessions import RunOptions
from nichenas.core.config import load_config
from nichenas.core.config import read_raw
from nichenas.core.context import Context
from nichenas.core.context import Environment
from nichenas.core.data.root import cache_folder
from nichenas.core.errors import ConfigError
from nichenas.core.errors import DataError
from nichenas.core.fidelity import FULL
from nichenas.core.fidelity import Fidelity
from nichenas.core.report.comparison_summary import ComparisonSummary
from nichenas.core.schedulers import SCHEDULERS
from nichenas.core.strategies import STRATEGIES
from nichenas.core.testing.datasets_contract import DatasetsContract
from nichenas.core.testing.domain_contract import DomainContract
from nichenas.core.testing.fidelity_contract import FidelityContract
from nichenas.core.testing.precomputed_contract import PrecomputedContract
from nichenas.core.trial import Measurement
from nichenas.core.trial import Proposal
from nichenas.core.trial import Trial
from nichenas.domains.tabular import nas_bench_201
from nichenas.domains.tabular import nas_bench_graph
from nichenas.domains.tabular import tables
from nichenas.domains.tabular.domain import TabularDomain
from nichenas.domains.tabular.domain import TabularSettings
from nichenas.domains.tabular.learning_curves import EPOCHS
from nichenas.domains.tabular.learning_curves import make_curves
from nichenas.domains.tabular.zero_cost import SCORES
from nichenas.domains.tabular.zero_cost import SUITE_OPERATIONS
from nichenas.domains.tabular.zero_cost import cell_of

QUIET = RunOptions(quiet=True)


def domain(root: Path = Path("none"), **settings: Any) -> TabularDomain:
    made = TabularDomain(TabularSettings.model_validate(settings), Environment(root, cache_folder()))
    made.prepare()
    return made


class TestContractOnCurves(DomainContract, FidelityContract, PrecomputedContract, DatasetsContract):
    target = "nichenas.domains.tabular:TabularDomain"
    settings = {"dataset": "learning-curves"}


class TestLearningCurves:
    def test_early_ranks_mislead(self) -> None:
        table = make_curves()
        assert table.curves is not None
        final = table.test["value"]
        rho = [float(stats.spearmanr(table.curves[:, epoch - 1], final).statistic) for epoch in (20, 35, EPOCHS)]
        assert rho == sorted(rho)
        assert rho[0] < 0.3
        assert rho[2] > 0.95
        assert (final.min(), final.max()) == (pytest.approx(0.6), pytest.approx(0.95))

    def test_a_fidelity_is_a_place_on_the_curve(self) -> None:
        of = domain(dataset="learning-curves")
        architecture = of.space.sample(np.random.default_rng(0))
        table = make_curves()
        assert table.curves is not None
        assert table.seconds is not None
        row = of.row(architecture)
        whole = of.evaluate(Proposal(architecture), Context(0))
        third = of.evaluate(Proposal(architecture, Fidelity(epochs=1 / 3)), Context(0))
        rest = of.evaluate(Proposal(architecture, FULL, parent=0, start=1 / 3), Context(0))
        assert whole.values["value"] == rest.values["value"] == table.curves[row, -1]
        assert third.values["value"] == table.curves[row, 19]
        assert whole.simulated_seconds == table.seconds[row]
        assert third.simulated_seconds is not None
        assert rest.simulated_seconds is not None
        assert third.simulated_seconds + rest.simulated_seconds == pytest.approx(whole.simulated_seconds)

    def test_hierarchical_beats_flat_at_equal_epochs(self) -> None:
        """The check of EcoNAS's schedule against its own flat baseline, 35 epochs an architecture, over 20 seeds."""
        of, table = domain(dataset="learning-curves"), make_curves()
        assert table.curves is not None
        final, curves = table.test["value"], table.curves

        def found(name: str, epochs: int, seed: int, budget: int = 20_000) -> float:
            strategy = STRATEGIES["evolution"](of.space, of.objectives, seed)
            schedule = SCHEDULERS[name](strategy, Fidelity(epochs=epochs / EPOCHS), epochs, seed)
            best, number = (0, 0.0, 0), 0
            while True:
                (proposal,) = schedule.ask(1)
                end, row = round(EPOCHS * proposal.fidelity["epochs"]), of.row(proposal.architecture)
                budget -= end - round(EPOCHS * proposal.start)
                if budget < 0:
                    return float(final[best[2]])
                value = float(curves[row, end - 1])
                schedule.tell(Trial(number, proposal, Measurement({"value": value})))
                best, number = max(best, (end, value, row)), number + 1

        hierarchical = [found("hierarchical", 60, seed) for seed in range(20)]
        flat = [found("full", 35, seed) for seed in range(20)]
        assert np.mean(hierarchical) > np.mean(flat) + 0.01
        assert stats.permutation_test(
            (np.array(hierarchical), np.array(flat)), lambda a, b: a.mean() - b.mean(), n_resamples=999, rng=0
        ).pvalue < 0.01  # fmt: skip

    def test_a_search_is_charged_the_seconds_of_the_table(self, tmp_path: Path) -> None:
        overrides = ["search.total_epochs=null", "search.seconds=50000", "search.schedule=hierarchical"]
        result = run_search(load_config("tabular/learning-curves", overrides), tmp_path / "run", QUIET)
        # The last trial may end after the budget; it began before. An architecture takes at most an hour.
        assert result.simulated_seconds is not None
        assert 50_000 <= result.simulated_seconds < 50_000 + 3600
        assert result.seconds < 600
        assert result.epochs is not None
        assert result.epochs > 600

    def test_compare_in_simulated_seconds(self, tmp_path: Path) -> None:
        raw = read_raw("tabular/learning-curves", ["search.total_epochs=null", "search.seconds=40000"])
        design = ComparisonDesign(["random"], 2, ["full:c0r0s0e35", "hierarchical", "asha"])
        summary = run_compare(raw, design, tmp_path / "cmp", QUIET)
        assert (summary.unit, summary.budget) == ("seconds", "40000 s")
        assert [arm.name for arm in summary.arms] == ["random-full-c0r0s0e35", "random-hierarchical", "random-asha"]
        for arm in summary.arms:
            assert min(arm.spent) >= 40_000
            assert arm.simulated_seconds == arm.spent
        # Values of different settings are not compared, test values are.
        by_pair = {(pair.one, pair.other): pair.tests for pair in summary.pairs}
        assert "best" not in by_pair["random-full-c0r0s0e35", "random-asha"]
        assert "test" in by_pair["random-full-c0r0s0e35", "random-asha"]
        assert "best" in by_pair["random-hierarchical", "random-asha"]
        rows = (tmp_path / "cmp" / "comparison.csv").read_text().splitlines()
        assert rows[0].startswith("arm,strategy,schedule,setting,sharing,seed,best_validation")
        assert rows[1].startswith("random-full-c0r0s0e35,random,full,c0r0s0e35,none,0,")
        assert len(rows) == 7
        assert ComparisonSummary.read(tmp_path / "cmp") == summary

    def test_a_budget_of_trials_becomes_one_of_epochs(self, tmp_path: Path) -> None:
        raw = read_raw("tabular/learning-curves", ["search.total_epochs=null", "search.trials=10"])
        design = ComparisonDesign(["evolution"], 2, ["full", "halving"])
        summary = run_compare(raw, design, tmp_path / "cmp", QUIET)
        assert (summary.trials, summary.total_epochs, summary.unit) == (None, 600, "epochs")
        assert all(540 < spent <= 600 for arm in summary.arms for spent in arm.spent)
        # Halving has its first complete training later; both columns stand under their own heads all the same.
        flat, halving = (arm.regret for arm in summary.arms)
        assert (list(flat), list(halving)) == ([100, 200, 500, 600], [200, 500, 600])
        page = (tmp_path / "cmp" / "report.html").read_text()
        lines = page[page.index("Regret</h2>") : page.index("Differences</h2>")].splitlines()
        assert [line.count("<t") for line in lines if "<tr>" in line] == [7, 6, 6]
        # The same command with a larger budget continues from it.
        kept = json.loads((tmp_path / "cmp" / "evolution-full-0" / "result.json").read_text())["trials"]
        raw = read_raw("tabular/learning-curves", ["search.total_epochs=null", "search.trials=20"])
        summary = run_compare(raw, design, tmp_path / "cmp", QUIET)
        assert kept == 10
        assert json.loads((tmp_path / "cmp" / "evolution-full-0" / "result.json").read_text())["trials"] == 20
        assert summary.total_epochs == 1200


def test_a_table_without_curves_has_no_schedules(made_201: Path, tmp_path: Path) -> None:
    overrides = ["domain.dataset=nas-bench-201-cifar10", "search.trials=5"]
    config = load_config("tabular/nats-cifar10", [*overrides, "search.schedule=hierarchical"])
    with pytest.raises(ConfigError, match="does not say how many epochs a training takes"):
        run_search(config, tmp_path / "run", RunOptions(data=str(made_201), quiet=True))
    config = load_config("tabular/nats-cifar10", [*overrides, "search.total_epochs=100"])
    with pytest.raises(ConfigError, match="the domain does not count epochs"):
        run_search(config, tmp_path / "run", RunOptions(data=str(made_201), quiet=True))
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def made_201(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """NAS-Bench-201's table with training seconds, of made figures."""
    folder = tmp_path_factory.mktemp("tables")
    (folder / "nas-bench-201").mkdir()
    space, rng = nas_bench_201.cell_space(), np.random.default_rng(0)
    names = sorted({nas_bench_201.string_of(space.sample(rng)) for _ in range(2000)})
    columns = {f"cifar10_{part}": 100 * rng.random(len(names)) for part in ("valid_12", "test_12", "test_200")}
    seconds = {"cifar10_seconds_12": np.full(len(names), 100.0)}
    np.savez(folder / "nas-bench-201" / "nas_bench_201.npz", architecture=np.array(names), **columns, **seconds)
    return folder


def test_training_seconds_of_a_table_end_a_search(made_201: Path, tmp_path: Path) -> None:
    overrides = ["search.trials=null", "search.seconds=950", "search.strategy=random"]
    options = RunOptions(data=str(made_201), quiet=True)
    result = run_search(load_config("tabular/nats-cifar10", overrides), tmp_path / "a", options)
    # Cells that the made table lacks fail and cost nothing.
    assert result.trials - result.failed == 10
    assert result.simulated_seconds == 1000


class TestScores:
    def made(self, folder: Path) -> Path:
        cells = [(a, b, 2, 3, c, 1) for a in range(5) for b in range(5) for c in range(5)]
        rng = np.random.default_rng(0)
        rows = {}
        for cell in cells:
            accuracy = 50 + 40 * float(rng.random())
            scores = {name: {"score": accuracy + float(rng.normal()), "time": 0.5} for name in SCORES}
            rows[str(cell)] = {"arch": str(cell), "val_accuracy": accuracy, **scores}
        rows[str(cells[0])]["nwot"] = {"score": -np.inf, "time": 0.5}
        del rows[str(cells[1])]["synflow"]
        (folder / "zero-cost").mkdir(parents=True)
        (folder / "zero-cost" / "zc_nasbench201.json").write_text(json.dumps({"cifar10": rows}))
        return folder

    def test_names_of_cells(self) -> None:
        found = cell_of("(0, 1, 2, 3, 4, 0)")
        assert found == "|skip_connect~0|+|none~0|nor_conv_1x1~1|+|nor_conv_3x3~0|avg_pool_3x3~1|skip_connect~2|"
        assert set(SUITE_OPERATIONS) == set(nas_bench_201.OPERATIONS)
        for wrong in ("(0, 1)", "[0, 1, 2, 3, 4, 0]", "(0, 1, 2, 3, 4, 7)", "__import__('os')"):
            with pytest.raises(ValueError, match=r"no cell|malformed"):
                cell_of(wrong)

    def test_scores_stand_beside_the_accuracy(self, tmp_path: Path) -> None:
        root = str(self.made(tmp_path / "data"))
        config = load_config("tabular/zero-cost-cifar10", ["proxies.zoo=100"])
        summary = run_proxies(config, tmp_path / "study", RunOptions(data=root, quiet=True))
        assert set(summary.zero_cost) == set(SCORES)
        found = {name: one.spearman.value for name, one in summary.zero_cost.items() if one is not None}
        assert found["snip"] > 0.95
        assert summary.zero_cost_seconds["snip"] == 0.5
        # All of them take half a second: the best is named.
        assert summary.cheapest_by_seconds is not None
        assert found[summary.cheapest_by_seconds] == max(found.values())
        nwot = summary.zero_cost["nwot"]
        assert nwot is not None
        assert nwot.count >= summary.architectures - 1

    def test_a_score_drives_a_search_and_is_charged_its_seconds(self, tmp_path: Path) -> None:
        root = self.made(tmp_path / "data")
        overrides = ["domain.score=nwot", "search.trials=null", "search.seconds=20"]
        config = load_config("tabular/zero-cost-cifar10", overrides)
        result = run_search(config, tmp_path / "run", RunOptions(data=str(root), quiet=True))
        assert result.simulated_seconds == 20
        assert result.metric == "nwot"
        assert set(result.validation) == {"nwot", "accuracy"}
        with pytest.raises(ConfigError, match=r"unknown score 'nwott' \(did you mean 'nwot'\?\)"):
            domain(root, dataset="zero-cost-nas-bench-201-cifar10", score="nwott")
        with pytest.raises(DataError, match="not the suite's scores"):
            domain(root, dataset="zero-cost-nas-bench-201-cifar100")

    def test_cells_are_those_of_nas_bench_201(self, data: Path) -> None:
        suite = tables.load("zero-cost-nas-bench-201-cifar10", data, cache_folder())
        whole = tables.load("nas-bench-201-cifar10", data, cache_folder())
        assert len(suite) == 725
        rows = [whole.rows[key] for key in suite.rows]
        after = whole.test["accuracy[200 epochs]"][rows]
        # Two figures of the same trainings: any other reading of the names gives far less.
        assert stats.spearmanr(suite.validation["accuracy"], after).statistic > 0.95


def test_proteins_has_2021_networks_of_five_operations() -> None:
    operations = [nas_bench_graph.OPERATIONS.index(name) for name in nas_bench_graph.PROTEINS_OPERATIONS]
    numbers = {
        nas_bench_graph.number((0, *inputs), chosen)
        for inputs in itertools.product(range(2), range(3), range(4))
        for chosen in itertools.product(operations, repeat=4)
    } - {nas_bench_graph.INVALID}
    assert len(numbers) == 2021
    space = tables.benchmark("nas-bench-graph-proteins").space
    assert space is not None
    assert nas_bench_graph.number(*nas_bench_graph.fields(space().sample(np.random.default_rng(0)))) in numbers
