"""Tables of trained architectures: read once from their original files, kept as arrays."""

from __future__ import annotations

import contextlib
import json
import zipfile
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.data.root import fingerprint
from core.errors import ConfigError
from core.errors import DataError
from core.errors import unknown
from core.space import Architecture
from core.space import SearchSpace
from core.whole_files import write_cache
from domains.tabular import nas_bench_201
from domains.tabular import nas_bench_graph
from domains.tabular import nas_bench_macro
from domains.tabular.safe_pickle import load_table

GRAPHS = ("cora", "citeseer", "pubmed", "cs", "physics", "photo", "computers", "arxiv")
Columns = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Table:
    """Figures of architectures.

    Attributes:
        rows: row of every key.
        validation: figures that may drive a search, by name; the first is the accuracy.
        test: figures that are only reported.
        further: what else is known of an architecture, such as its latency.
    """

    rows: Mapping[str, int]
    validation: Columns
    test: Columns
    further: Columns

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Benchmark:
    """A table and the space that it covers.

    Attributes:
        about: one line for lists.
        file: relative to the data root.
        space: makes the space.
        key: of an architecture in the table; none for one that is no network.
        read: makes the table from the file.
    """

    about: str
    file: str
    space: Callable[[], SearchSpace]
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
        try:
            with np.load(file, allow_pickle=False) as held:
                names = [str(name) for name in held["architecture"]]
                columns = {
                    part: np.asarray(held[f"{dataset}_{part}"], dtype=np.float64) / 100
                    for part in ("valid_12", "test_12", "test_200")
                }
        except OSError as error:
            raise DataError(f"{file}: cannot be read ({error})") from None
        except (ValueError, KeyError, zipfile.BadZipFile) as error:
            raise DataError(f"{file}: not the benchmark's table ({error})") from None
        return Table(
            {name: index for index, name in enumerate(names)},
            {"accuracy[12 epochs]": columns["valid_12"]},
            {"accuracy[12 epochs]": columns["test_12"], "accuracy[200 epochs]": columns["test_200"]},
            {},
        )

    return read


def _read_macro(file: Path) -> Table:
    try:
        held = json.loads(file.read_text(encoding="utf-8"))
        runs = np.array([row["test_acc"] for row in held.values()], dtype=np.float64) / 100
        further = {
            "parameters": np.array([float(row["params"]) for row in held.values()]),
            "flops": np.array([float(row["flops"]) for row in held.values()]),
        }
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{file}: not the benchmark's table ({error})") from None
    # The benchmark has no validation figures: the search is given the first run's test accuracy, under that name.
    return Table(
        {str(name): index for index, name in enumerate(held)},
        {"accuracy[first run on test images]": runs[:, 0]},
        {
            "accuracy[first run on test images]": runs[:, 0],
            "accuracy[other runs]": runs[:, 1:].mean(1),
        },
        further,
    )


BENCHMARKS: Mapping[str, Benchmark] = {
    **{
        f"nas-bench-graph-{name}": Benchmark(
            f"26,206 graph networks trained on {name} (NAS-Bench-Graph)",
            f"nas-bench-graph/{name}.bench",
            nas_bench_graph.graph_space,
            _graph_key,
            _read_graph,
        )
        for name in GRAPHS
    },
    **{
        f"nas-bench-201-{name}": Benchmark(
            f"15,625 cells trained on {name.upper()} (NAS-Bench-201, the topology space of NATS-Bench)",
            "nas-bench-201/nas_bench_201.npz",
            nas_bench_201.cell_space,
            nas_bench_201.string_of,
            _read_201(name),
        )
        for name in ("cifar10", "cifar100")
    },
    "nas-bench-macro": Benchmark(
        "6,561 chains trained on CIFAR-10 (NAS-Bench-Macro); it has test figures only",
        "nas-bench-macro/nas-bench-macro_cifar10.json",
        nas_bench_macro.chain_space,
        nas_bench_macro.string_of,
        _read_macro,
    ),
}


def benchmark(name: str) -> Benchmark:
    """Returns a benchmark by name.

    Raises:
        ConfigError: when there is none of that name.
    """
    if name not in BENCHMARKS:
        raise ConfigError(f"domain.dataset: {unknown('table', name, BENCHMARKS)}")
    return BENCHMARKS[name]


def load(name: str, data_root: Path, cache: Path) -> Table:
    """Returns a table, from the cache where its file was read before.

    Raises:
        ConfigError: when there is no table of that name.
        DataError: when its file is missing or damaged.
    """
    known = benchmark(name)
    file = data_root / known.file
    if not file.is_file():
        raise DataError(f"{name}: '{file}' is not there; put the benchmark's file there, or name --data-root")
    kept = cache / "tables" / f"{fingerprint([file], '1', name)}.npz"
    with contextlib.suppress(OSError, ValueError, KeyError, zipfile.BadZipFile), np.load(kept) as held:
        return _from_arrays({key: held[key] for key in held.files})
    table = known.read(file)
    write_cache(kept, lambda stream: np.savez(stream, allow_pickle=False, **_to_arrays(table)))
    return table


def _to_arrays(table: Table) -> dict[str, NDArray[np.generic]]:
    parts = {"validation": table.validation, "test": table.test, "further": table.further}
    arrays: dict[str, NDArray[np.generic]] = {"keys": np.array(list(table.rows))}
    for part, columns in parts.items():
        arrays[f"{part}-names"] = np.array(list(columns), dtype=np.str_)
        for index, column in enumerate(columns.values()):
            arrays[f"{part}-{index}"] = column
    return arrays


def _from_arrays(arrays: Mapping[str, NDArray[np.generic]]) -> Table:
    def columns(part: str) -> Columns:
        return {str(name): np.asarray(arrays[f"{part}-{i}"]) for i, name in enumerate(arrays[f"{part}-names"])}

    rows = {str(key): index for index, key in enumerate(arrays["keys"])}
    return Table(rows, columns("validation"), columns("test"), columns("further"))
