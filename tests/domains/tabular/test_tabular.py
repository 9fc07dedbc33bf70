from __future__ import annotations

import itertools
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nichenas.core.cli import main
from nichenas.core.commands.search import run_search
from nichenas.core.commands.sessions import RunOptions
from nichenas.core.config import load_config
from nichenas.core.context import Context
from nichenas.core.context import Environment
from nichenas.core.context import open_test_data
from nichenas.core.data.root import cache_folder
from nichenas.core.domain_lookup import DomainRecipe
from nichenas.core.errors import CandidateFailure
from nichenas.core.errors import ConfigError
from nichenas.core.errors import DataError
from nichenas.core.space import Architecture
from nichenas.core.strategies import STRATEGIES
from nichenas.core.testing.datasets_contract import DatasetsContract
from nichenas.core.testing.domain_contract import DomainContract
from nichenas.core.testing.fidelity_contract import FidelityContract
from nichenas.core.testing.precomputed_contract import PrecomputedContract
from nichenas.core.trial import Proposal
from nichenas.core.trial import Trial
from nichenas.domains.tabular import nas_bench_201
from nichenas.domains.tabular import nas_bench_graph
from nichenas.domains.tabular import tables
from nichenas.domains.tabular.domain import TabularDomain
from nichenas.domains.tabular.domain import TabularSettings
from nichenas.domains.tabular.safe_pickle import load_table


def strings() -> Any:
    for inputs in itertools.product((0,), range(2), range(3), range(4)):
        for operations in itertools.product(range(9), repeat=4):
            yield inputs, operations


def write_graph_table(folder: Path, name: str = "cora") -> Path:
    """A table in the benchmark's format, of made figures: numpy's scalars among plain numbers."""
    rng = np.random.default_rng(0)
    keys = sorted({nas_bench_graph.number(*string) for string in strings()} - {nas_bench_graph.INVALID})
    table = {
        key: {
            "valid_perf": float(rng.random()),
            "perf": float(rng.random()),
            "latency": float(rng.random()),
            "para": np.float64(rng.random()),
        }
        for key in keys
    }
    (folder / "nas-bench-graph").mkdir(parents=True, exist_ok=True)
    file = folder / "nas-bench-graph" / f"{name}.bench"
    file.write_bytes(pickle.dumps(table, protocol=3))
    return file


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    write_graph_table(folder)
    return folder


def domain(root: Path, cache: Path, **settings: Any) -> TabularDomain:
    found = TabularDomain(TabularSettings.model_validate(settings), Environment(root, cache))
    found.prepare()
    return found


class TestContractOnAMadeTable(DomainContract, FidelityContract, PrecomputedContract, DatasetsContract):
    @pytest.fixture(scope="class")
    @classmethod
    def recipe(cls, made: Path) -> DomainRecipe:
        settings = TabularSettings(dataset="nas-bench-graph-cora", objectives=("latency",))
        return DomainRecipe("nichenas.domains.tabular:TabularDomain", settings, Environment(made, cache_folder()))


class TestCanonicalForm:
    def test_numbers_of_all_strings(self) -> None:
        """26,206 networks; 24 strings that are none; 1 to 164 strings a network; counts by structure."""
        counts: dict[int, int] = {}
        for string in strings():
            found = nas_bench_graph.number(*string)
            counts[found] = counts.get(found, 0) + 1
        assert sum(counts.values()) == 157_464 == nas_bench_graph.graph_space().size
        assert counts.pop(nas_bench_graph.INVALID) == 24
        assert len(counts) == 26_206
        assert (min(counts.values()), max(counts.values())) == (1, 164)
        by_structure = [sum(key // 10_000 == structure for key in counts) for structure in range(9)]
        assert by_structure == [330, 2304, 2880, 2080, 4096, 1440, 5120, 3276, 4680]

    def test_numbering_of_nodes_does_not_matter(self) -> None:
        rng = np.random.default_rng(0)
        for _ in range(300):
            inputs = (0, *(int(rng.integers(node + 1)) for node in (1, 2, 3)))
            operations = tuple(int(o) for o in rng.integers(0, 9, 4))
            expected = nas_bench_graph.number(inputs, operations)
            for order in itertools.permutations(range(4)):
                place = {old + 1: new + 1 for new, old in enumerate(order)} | {0: 0}
                moved = tuple(place[inputs[old]] for old in order)
                if all(source <= node for node, source in enumerate(moved)):
                    assert nas_bench_graph.number(moved, [operations[old] for old in order]) == expected

    def test_known_numbers(self) -> None:
        names = nas_bench_graph.OPERATIONS

        def of(structure: str, *operations: str) -> int:
            inputs = [int(c) for c in structure]
            return nas_bench_graph.number(inputs, [names.index(o) for o in operations])

        assert of("0123", "fc", "gat", "fc", "gin") == 87072  # best on Cora's validation data
        assert of("0012", "gcn", "gcn", "sage", "sage") == 31144
        assert of("0122", "fc", "gat", "gcn", "graph") == 77016
        assert of("0123", "gcn", "skip", "skip", "gcn") == of("0123", "skip", "skip", "gcn", "gcn") == 88811
        assert of("0122", "gcn", "skip", "gat", "fc") == of("0122", "skip", "gcn", "gat", "fc")

    def test_canonical_forms_have_the_number_of_what_they_stand_for(self) -> None:
        space = nas_bench_graph.graph_space()
        rng = np.random.default_rng(1)
        for _ in range(200):
            architecture = space.sample(rng)
            same = space.canonical(architecture)
            assert space.canonical(same) == same
            assert nas_bench_graph.number(*nas_bench_graph.fields(same)) == nas_bench_graph.number(
                *nas_bench_graph.fields(architecture)
            )


class TestFiles:
    def test_nothing_in_a_pickle_is_executed(self, tmp_path: Path) -> None:
        class Evil:
            def __reduce__(self) -> Any:
                return Path.touch, (tmp_path / "executed",)

        file = tmp_path / "evil.bench"
        file.write_bytes(pickle.dumps({1: {"perf": Evil()}}))
        with pytest.raises(DataError, match="not a table of numbers"):
            load_table(file)
        assert not (tmp_path / "executed").exists()

    @pytest.mark.parametrize("content", [b"", b"abc", pickle.dumps([1]), pickle.dumps({1: 2}), pickle.dumps({"a": {}})])
    def test_damaged_files_are_one_sentence(self, content: bytes, tmp_path: Path) -> None:
        file = tmp_path / "broken.bench"
        file.write_bytes(content)
        with pytest.raises(DataError, match=r"broken\.bench: not a table of numbers") as caught:
            load_table(file)
        assert "\n" not in str(caught.value)

    def test_read_once_and_equal_from_the_cache(
        self, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = domain(made, tmp_path, dataset="nas-bench-graph-cora")
        monkeypatch.setattr(tables, "load_table", None)
        again = domain(made, tmp_path, dataset="nas-bench-graph-cora")
        architecture = first.space.sample(np.random.default_rng(0))
        proposal = Proposal(architecture)
        assert first.evaluate(proposal, Context(0)).values == again.evaluate(proposal, Context(0)).values

    def test_errors(self, made: Path, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"photo\.bench' is not there; put the benchmark's file there"):
            domain(made, tmp_path, dataset="nas-bench-graph-photo")
        with pytest.raises(ConfigError, match=r"unknown table 'nas-bench-graph-coral'.*did you mean"):
            domain(made, tmp_path, dataset="nas-bench-graph-coral")
        with pytest.raises(ConfigError, match=r"'flops' is not in the table; it has: latency, parameters"):
            domain(made, tmp_path, dataset="nas-bench-graph-cora", objectives=["flops"])

    def test_no_network_is_a_failed_candidate(self, made: Path, tmp_path: Path) -> None:
        found = domain(made, tmp_path, dataset="nas-bench-graph-cora")
        nothing = found.space.architecture({"in1": 0, "in2": 1, "in3": 0, **{f"op{node}": "skip" for node in range(4)}})
        with pytest.raises(CandidateFailure, match="no operation is left"):
            found.evaluate(Proposal(nothing), Context(0))

    def test_macro_and_201_in_their_formats(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "nas-bench-macro").mkdir()
        rows = {
            "".join(map(str, digits)): {"test_acc": [80.0 + sum(digits), 91.0, 92.0], "params": 5, "flops": 7}
            for digits in itertools.product(range(3), repeat=8)
        }
        (tmp_path / "nas-bench-macro" / "nas-bench-macro_cifar10.json").write_text(json.dumps(rows))
        macro = domain(tmp_path, tmp_path, dataset="nas-bench-macro", objectives=["flops"])
        best = macro.space.architecture({f"layer{layer}": "mb6_k5" for layer in range(8)})
        values = macro.evaluate(Proposal(best), Context(0)).values
        assert values == {"accuracy[test images]": pytest.approx(0.96), "parameters": 5, "flops": 7}
        with open_test_data():
            reported = macro.retrain(best, Context(0)).test
        assert reported == {"accuracy[test images]": pytest.approx(0.915)}  # of the runs that the search did not see
        arguments = ["tabular/nas-bench-macro", "search.trials=5", "retrain.seeds=0", "--data-root", str(tmp_path)]
        assert main(["search", *arguments, "--out", str(tmp_path / "run")]) == 0
        assert "validation accuracy[test images] of the best: 0.8800" in capsys.readouterr().out
        space = nas_bench_201.cell_space()
        names = [
            nas_bench_201.string_of(Architecture(dict(zip([c.name for c in space.choices], v, strict=True))))
            for v in itertools.product(nas_bench_201.OPERATIONS, repeat=6)
        ]
        (tmp_path / "nas-bench-201").mkdir()
        columns = {
            f"cifar10_{part}": np.arange(15625, dtype=np.float32) / 200 for part in ("valid_12", "test_12", "test_200")
        }
        np.savez(tmp_path / "nas-bench-201" / "nas_bench_201.npz", architecture=np.array(names), **columns)
        cells = domain(tmp_path, tmp_path, dataset="nas-bench-201-cifar10")
        assert cells.objectives[0].name == "accuracy[12 epochs]"
        last = space.architecture({c.name: c.options[-1] for c in space.choices})
        with open_test_data():
            found = cells.retrain(last, Context(0))
        assert set(found.test) == {"accuracy[12 epochs]", "accuracy[200 epochs]"}
        assert found.validation["accuracy[12 epochs]"] == pytest.approx(15624 / 20000, rel=1e-6)


class TestRealTables:
    @pytest.mark.parametrize("name", ["cora", "photo"])
    def test_every_key_is_a_network_of_the_space(self, name: str, data: Path) -> None:
        held = load_table(data / "nas-bench-graph" / f"{name}.bench")
        assert len(held) == 26_206
        assert set(held) == {nas_bench_graph.number(*string) for string in strings()} - {nas_bench_graph.INVALID}

    def test_known_figures_of_cora(self, data: Path, tmp_path: Path) -> None:
        found = domain(data, tmp_path, dataset="nas-bench-graph-cora")
        validation = found._table.validation["accuracy"]
        with open_test_data():
            test = found._test.read()["accuracy"]
        best = int(validation.argmax())
        assert [round(float(v), 4) for v in (validation[best], test[best], test.max())] == [0.8193, 0.8263, 0.8313]
        assert round(float(np.quantile(test, 0.95)), 4) == 0.8063
        assert found._table.rows["87072"] == best

    def test_all_cells_of_nas_bench_201_are_there(self, data: Path, tmp_path: Path) -> None:
        for name in ("cifar10", "cifar100"):
            found = domain(data, tmp_path, dataset=f"nas-bench-201-{name}")
            assert found.space.size == 15_625 == len(found._table)
            rng = np.random.default_rng(0)
            assert {found.row(found.space.sample(rng)) for _ in range(2000)} <= set(range(15_625))

    def test_blocks_of_macro_grow(self, data: Path, tmp_path: Path) -> None:
        found = domain(data, tmp_path, dataset="nas-bench-macro")
        assert found.space.size == 6_561 == len(found._table)
        sizes = [
            found.evaluate(Proposal(found.space.architecture({f"layer{i}": b for i in range(8)})), Context(0)).values
            for b in found.space.choices[0].options
        ]
        assert sizes[0]["parameters"] < sizes[1]["parameters"] < sizes[2]["parameters"]

    def test_reference_searches_on_cora(self, data: Path, tmp_path: Path) -> None:
        """Best validation accuracy of 500 look-ups over 20 seeds: 81.05, 81.35 and 81.40 %, in independent runs."""
        found = {}
        for name in ("random", "evolution", "local"):
            best = []
            for seed in range(20):
                resolved = load_config("tabular/nas-bench-graph-cora", [f"seed={seed}", f"search.strategy={name}"])
                table = domain(data, tmp_path, dataset="nas-bench-graph-cora")
                cls = STRATEGIES[name]
                options = cls.Options.model_validate(resolved.search.options.get(name, {}))
                strategy = cls(table.space, table.objectives, seed, options)
                best.append(best_of(strategy, table, 500))
            found[name] = 100 * np.array(best)
        # Two means of 20 runs whose deviation is about 0.4 each differ by less than 0.4, if they mean the same.
        for name, expected in {"random": 81.05, "evolution": 81.35, "local": 81.40}.items():
            assert found[name].mean() == pytest.approx(expected, abs=0.4), name
        assert found["local"].mean() > found["random"].mean()
        assert found["evolution"].mean() > found["random"].mean()

    def test_a_search_ends_with_test_figures(self, data: Path, tmp_path: Path) -> None:
        resolved = load_config("tabular/nats-cifar10", ["search.trials=30"])
        result = run_search(resolved, tmp_path / "run", RunOptions(data=str(data), quiet=True))
        assert set(result.test) == {"accuracy[12 epochs]", "accuracy[200 epochs]"}


def best_of(strategy: Any, table: TabularDomain, trials: int) -> float:
    best = 0.0
    for number in range(trials):
        (proposal,) = strategy.ask(1)
        try:
            measured = table.evaluate(proposal, Context(0, number))
            best = max(best, measured.values["accuracy"])
            strategy.tell(Trial(number, proposal, measured))
        except CandidateFailure as failure:
            strategy.tell(Trial(number, proposal, None, failure.reason))
    return best
