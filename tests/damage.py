"""Damages copies of data files, one at a time, and loads them; run as a process of its own, since loaders may crash.

    python -m tests.damage FOLDER SEED JOB=TRIES ...

Every job has its files in a folder of its name. Prints a line before every try, so that the last one names what
crashed, and one with what came of it.
"""

from __future__ import annotations

import random
import resource
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nichenas.core.context import Environment
from nichenas.core.data.array_files import check_sparse_parts
from nichenas.core.data.image_sources import load_images
from nichenas.core.errors import DataError
from nichenas.domains.gnn.data import load_task
from nichenas.domains.tabular.tables import load

MEMORY = 12 * 2**30  # bytes of addresses: a damaged size must not take the machine down


def graph(dataset: str, **options: Any) -> Callable[[Environment], object]:
    return lambda place: load_task(dataset, options, None, place)


def images(dataset: str, **options: Any) -> Callable[[Environment], object]:
    return lambda place: load_images(dataset, place, validation=0.25, **options)


def table(name: str) -> Callable[[Environment], object]:
    return lambda place: load(name, place.data_root, place.cache)


def sparse(place: Environment) -> None:
    for file in place.data_root.rglob("*.npz"):
        check_sparse_parts(file)


JOBS: dict[str, Callable[[Environment], object]] = {
    "cora": graph("Cora"),
    "citeseer": graph("CiteSeer"),
    "ppi": graph("PPI"),
    "amazon": graph("torch_geometric.datasets.Amazon", name="computers"),
    "sparse": sparse,
    "npz": images("images.npz"),
    "folder": images("folder"),
    "sized-folder": images("folder", size=5),
    "idx": images("FashionMNIST"),
    "bench": table("nas-bench-graph-cora"),
    "macro": table("nas-bench-macro"),
    "201": table("nas-bench-201-cifar10"),
    "zero-cost": table("zero-cost-nas-bench-201-cifar10"),
}


def damaged(content: bytes, rng: random.Random) -> tuple[str, bytes]:
    """Returns what was done and the damaged content."""
    held = bytearray(content)
    ends = min(len(held), 400)
    ranges = [(0, min(len(held), 16)), (0, ends), (len(held) - ends, len(held)), (0, len(held)), (0, len(held))]
    low, high = rng.choice(ranges)
    at = rng.randrange(low, high) if high > low else 0
    kind = rng.choice(("flip", "flip", "byte", "byte", "bytes", "cut", "insert", "zeros"))
    if kind == "flip" and held:
        held[at] ^= 1 << rng.randrange(8)
    elif kind == "byte" and held:
        held[at] = rng.randrange(256)
    elif kind == "bytes":
        held[at : at + 4] = rng.randbytes(4)
    elif kind == "cut":
        del held[at:]
    elif kind == "insert":
        held[at:at] = rng.randbytes(rng.randint(1, 8))
    else:
        held[at : at + 64] = bytes(64)
    return f"{kind} at {at} of {len(content)}", bytes(held)


def damaged_arrays(file: Path, rng: random.Random) -> str:
    """Writes an archive with one array damaged, which its checksums do not show; returns what was done."""
    with np.load(file) as held:
        arrays = {name: held[name] for name in held.files}
    name = rng.choice(list(arrays))
    array = arrays[name]
    kind = rng.choice(("bytes", "bytes", "bytes", "type", "shape", "cut", "missing"))
    if kind == "bytes":
        raw = bytearray(array.tobytes())
        for _ in range(rng.randint(1, 3)):
            raw[rng.randrange(len(raw))] = rng.randrange(256)
        arrays[name] = np.frombuffer(bytes(raw), array.dtype).reshape(array.shape)
    elif kind == "type":
        arrays[name] = np.zeros(array.shape, rng.choice(("U8", "f4", "u1", "i8", "u8", "c16", "M8[s]", "?", "i4,f8")))
    elif kind == "shape":
        arrays[name] = rng.choice((array.reshape(-1), array.reshape(1, *array.shape), array.reshape(-1)[0]))
    elif kind == "cut":
        arrays[name] = array[: rng.randrange(len(array))] if array.ndim else array
    else:
        del arrays[name]
    np.savez(file, **arrays)
    return f"{kind} of {name}"


def main(folder: Path, seed: int, jobs: dict[str, int]) -> None:
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for job, tries in jobs.items():
        rng = random.Random(f"{job} {seed}")
        files = sorted(file for file in (folder / job).rglob("*") if file.is_file())
        for number in range(tries):
            attempt(f"{job} {number}", folder / job, rng.choice(files), rng)


def attempt(name: str, root: Path, file: Path, rng: random.Random) -> None:
    """Damages a file, loads the data, and puts the file back."""
    content = file.read_bytes()
    try:
        if file.suffix == ".npz" and rng.random() < 0.6:
            done = damaged_arrays(file, rng)
        else:
            done, held = damaged(content, rng)
            file.write_bytes(held)
        print(f"{name}: {file.relative_to(root)}: {done}", flush=True)
        with tempfile.TemporaryDirectory() as cache:
            print(f"{name}: {outcome(JOBS[name.split()[0]], Environment(root, Path(cache)))}", flush=True)
    finally:
        file.write_bytes(content)


def outcome(loader: Callable[[Environment], object], place: Environment) -> str:
    try:
        loader(place)
    except DataError as error:
        message = str(error)
        good = "\n" not in message and str(place.data_root) in message
        return f"refused: {message}" if good else f"WRONG: not one line that names a file: {message}"
    except BaseException:
        return f"WRONG: {traceback.format_exc()}"
    return "read"


if __name__ == "__main__":
    pairs = (argument.partition("=") for argument in sys.argv[3:])
    main(Path(sys.argv[1]), int(sys.argv[2]), {job: int(tries) for job, _, tries in pairs})
