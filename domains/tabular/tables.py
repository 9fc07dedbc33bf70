"""Tables of trained architectures: read once from their original files, kept as arrays."""

from __future__ import annotations

import json
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nichenas.core.data.array_files import cached_arrays
from nichenas.core.data.array_files import load_npz
from nichenas.core.data.array_files import reason_of
from nichenas.core.data.root import fingerprint
from nichenas.core.errors import ConfigError
from nichenas.core.errors import DataError
from nichenas.core.errors import unknown_name_message
from nichenas.core.files import write_cache
from nichenas.core.space import Architecture
from nichenas.core.space import SearchSpace
from nichenas.domains.tabular import learning_curves
from nichenas.domains.tabular import nas_bench_201
from nichenas.domains.tabular import nas_bench_graph
from nichenas.domains.tabular import nas_bench_macro
from nichenas.domains.tabular.safe_pickle import load_table
from nichenas.domains.tabular.table import Columns
from nichenas.domains.tabular.table import Table
from nichenas.domains.tabular.zero_cost import read_scores

GRAPHS = ("cora", "citeseer", "pubmed", "cs", "physics", "photo", "computers", "arxiv")


@dataclass(frozen=True)
class Benchmark:
    """A table and the space that it covers.

    Attributes:
        about: one line for lists.
        file: relative to the data root; none for a table that is made.
        space: makes the space; none where the table holds a part of one, and then its rows are the options of the only
            choice.
        key: of an architecture in the table; none for one that is no network.
        read: makes the table from the file.
    """

    about: str
    file: str | None
    space: Callable[[], SearchSpace] | None
    key: Callable[[Architecture], str | None]
    read: Callable[[Path], Table]


def _graph_key(architecture: Architecture) -> str | None:
    found = nas_bench_graph.number(*nas_bench_graph.fields(architecture))
    return None if found == nas_bench_graph.INVALID else str(found)


def _read_graph(file: Path) -> Table:
    held = load_table(file)
    names = {"valid_perf", "perf", "latency", "para"}
    for key, row in held.items():
        if set(row) != names:
            raise DataError(f"{file}: row {key} holds {', '.join(row)}; wanted: {', '.join(sorted(names))}")
    columns = {name: np.array([row[name] for row in held.values()]) for name in names}
    return Table(
        {str(key): index for index, key in enumerate(held)},
        {"accuracy": columns["valid_perf"]},
        {"accuracy": columns["perf"]},
        {"latency": columns["latency"], "parameters": columns["para"] * 1e6},
    )


def _read_201(dataset: str) -> Callable[[Path], Table]:
    def read(file: Path) -> Table:
        parts = ("valid_12", "test_12", "test_200")
        took = f"{dataset}_seconds_12"  # of training; public extracts leave it out
        held = load_npz(file, ("architecture", *(f"{dataset}_{part}" for part in parts)), (took,))
        for key, array in held.items():
            if array.dtype.kind not in ("U" if key == "architecture" else "iuf"):
                raise DataError(f"{file}: not the benchmark's table ({key} of {array.dtype})")
        names = [str(name) for name in held["architecture"].reshape(-1)]
        columns = {part: held[f"{dataset}_{part}"].astype(np.float64) / 100 for part in parts}
        seconds = held[took].astype(np.float64) if took in held else None
        return Table(
            {name: index for index, name in enumerate(names)},
            {"accuracy[12 epochs]": columns["valid_12"]},
            {"accuracy[12 epochs]": columns["test_12"], "accuracy[200 epochs]": columns["test_200"]},
            {},
            seconds=seconds,
        )

    return read


def _read_macro(file: Path) -> Table:
    try:
        held = json.loads(file.read_text(encoding="utf-8"))
        runs = np.array([row["test_acc"] for row in held.values()], dtype=np.float64) / 100
        if runs.ndim != 2 or runs.shape[1] < 2:
            raise ValueError(f"accuracies of shape {runs.shape}")
        further = {
            "parameters": np.array([float(row["params"]) for row in held.values()]),
            "flops": np.array([float(row["flops"]) for row in held.values()]),
        }
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise DataError(f"{file}: not the benchmark's table ({reason_of(error)})") from None
    # The benchmark has no validation figures. The first run stands for them, the mean of the others is reported; the
    # name says that both are of the test images.
    metric = "accuracy[test images]"
    return Table(
        {str(name): index for index, name in enumerate(held)},
        {metric: runs[:, 0]},
        {metric: runs[:, 1:].mean(1)},
        further,
    )


BENCHMARKS: Mapping[str, Benchmark] = {
    **{
        f"nas-bench-graph-{name}": Benchmark(
            f"26,206 graph networks trained on {name} (NAS-Bench-Graph)",
            f"nas-bench-graph/{name}.bench",
            space=nas_bench_graph.graph_space,
            key=_graph_key,
            read=_read_graph,
        )
        for name in GRAPHS
    },
    **{
        f"nas-bench-201-{name}": Benchmark(
            f"15,625 cells trained on {name.upper()} (NAS-Bench-201, the topology space of NATS-Bench)",
            "nas-bench-201/nas_bench_201.npz",
            space=nas_bench_201.cell_space,
            key=nas_bench_201.string_of,
            read=_read_201(name),
        )
        for name in ("cifar10", "cifar100")
    },
    "nas-bench-graph-proteins": Benchmark(
        "2,021 graph networks of five operations trained on proteins (NAS-Bench-Graph)",
        "nas-bench-graph/proteins.bench",
        space=lambda: nas_bench_graph.graph_space(nas_bench_graph.PROTEINS_OPERATIONS),
        key=_graph_key,
        read=_read_graph,
    ),
    **{
        f"zero-cost-nas-bench-201-{dataset.lower()}": Benchmark(
            f"scores of some 725 untrained NAS-Bench-201 cells, with accuracies on {dataset} (NAS-Bench-Suite-Zero)",
            "zero-cost/zc_nasbench201.json",
            space=None,
            key=lambda architecture: str(architecture["cell"]),
            read=partial(read_scores, dataset=dataset),
        )
        for dataset in ("cifar10", "cifar100", "ImageNet16-120")
    },
    "learning-curves": Benchmark(
        "4,096 made learning curves on which early ranks mislead; nothing was trained",
        None,
        space=learning_curves.curve_space,
        key=learning_curves.string_of,
        read=lambda _: learning_curves.make_curves(),
    ),
    "nas-bench-macro": Benchmark(
        "6,561 chains trained on CIFAR-10 (NAS-Bench-Macro); it has test figures only",
        "nas-bench-macro/nas-bench-macro_cifar10.json",
        space=nas_bench_macro.chain_space,
        key=nas_bench_macro.string_of,
        read=_read_macro,
    ),
}


def benchmark(name: str) -> Benchmark:
    """Returns a benchmark by name.

    Raises:
        ConfigError: when there is none of that name.
    """
    if name not in BENCHMARKS:
        raise ConfigError(f"domain.dataset: {unknown_name_message('table', name, BENCHMARKS)}")
    return BENCHMARKS[name]


def load(name: str, data_root: Path, cache: Path) -> Table:
    """Returns a table, from the cache where its file was read before.

    Raises:
        ConfigError: when there is no table of that name.
        DataError: when its file is missing or damaged.
    """
    known = benchmark(name)
    if known.file is None:
        return known.read(data_root)
    file = data_root / known.file
    if not file.is_file():
        raise DataError(f"{name}: '{file}' is not there; put the benchmark's file there, or name --data-root")
    kept = cache / "tables" / f"{fingerprint([file], '3', name)}.npz"
    held = cached_arrays(kept)
    if held is not None and held.keys() >= {"keys", *(f"{part}-names" for part in PARTS)}:
        return _from_arrays(held)
    table = known.read(file)
    try:
        table.check()
    except ValueError as error:
        raise DataError(f"{file}: damaged ({error}); replace it with the original file") from None
    write_cache(kept, lambda stream: np.savez(stream, allow_pickle=False, **_to_arrays(table)))
    return table


PARTS = ("validation", "test", "further", "scores", "score_seconds")


def _to_arrays(table: Table) -> dict[str, NDArray[np.generic]]:
    arrays: dict[str, NDArray[np.generic]] = {"keys": np.array(list(table.rows))}
    for part in PARTS:
        columns: Columns = getattr(table, part)
        arrays[f"{part}-names"] = np.array(list(columns), dtype=np.str_)
        for index, column in enumerate(columns.values()):
            arrays[f"{part}-{index}"] = column
    arrays.update({name: found for name in ("curves", "seconds") if (found := getattr(table, name)) is not None})
    return arrays


def _from_arrays(arrays: Mapping[str, NDArray[np.generic]]) -> Table:
    def columns(part: str) -> Columns:
        return {str(name): np.asarray(arrays[f"{part}-{i}"]) for i, name in enumerate(arrays[f"{part}-names"])}

    def array(name: str) -> NDArray[np.float64] | None:
        return np.asarray(arrays[name], dtype=np.float64) if name in arrays else None

    rows = {str(key): index for index, key in enumerate(arrays["keys"])}
    validation, test, further, scores, score_seconds = (columns(part) for part in PARTS)
    return Table(
        rows,
        validation,
        test=test,
        further=further,
        scores=scores,
        score_seconds=score_seconds,
        curves=array("curves"),
        seconds=array("seconds"),
    )
