"""Graphs in a folder of CSV files.

``edges.csv`` names two nodes a line; ``features.csv``, ``labels.csv`` and, where there is one, ``split.csv`` a node
first. All have a line of headings.
"""

from __future__ import annotations

import csv
from collections.abc import Container
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch_geometric.data import Data

from nichenas.core.data.array_files import reason_of
from nichenas.core.errors import DataError
from nichenas.domains.gnn.checks import MASKS
from nichenas.domains.gnn.labels import labels_of

EDGES, FEATURES, LABELS, SPLIT = "edges.csv", "features.csv", "labels.csv", "split.csv"
PARTS = {
    "train": "train_mask",
    "training": "train_mask",
    "val": "val_mask",
    "valid": "val_mask",
    "validation": "val_mask",
    "test": "test_mask",
}


def load_csv(path: Path) -> Data:
    """Returns the graph of a folder, with masks where it has a split.

    Raises:
        DataError: with the first line that does not fit.
    """
    nodes, x = _features(path / FEATURES)

    def number(file: Path, line: int, name: str) -> int:
        if name not in nodes:
            raise DataError(f"{file}: line {line}: the node '{name[:50]}' is not among those of {FEATURES}")
        return nodes[name]

    edges = path / EDGES
    pairs = [[number(edges, line, name) for name in row[:2]] for line, row in _lines(edges, nodes, 2)]
    labels = np.full(len(nodes), "", object)
    for node, value in _by_node(path / LABELS, nodes, number).items():
        labels[node] = value
    y, classes = labels_of(str(path / LABELS), labels.astype(str))
    edge_index = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).t().contiguous()
    data = Data(x=torch.from_numpy(x), edge_index=edge_index, y=y, classes=classes, names=list(nodes))
    if (path / SPLIT).is_file():
        for mask in MASKS:
            data[mask] = torch.zeros(len(nodes), dtype=torch.bool)
        for node, part in _by_node(path / SPLIT, nodes, number).items():
            if part.lower() not in PARTS:
                raise DataError(f"{path / SPLIT}: '{part[:50]}' is not one of {', '.join(PARTS)}")
            data[PARTS[part.lower()]][node] = True
    return data


def _features(file: Path) -> tuple[dict[str, int], np.ndarray[tuple[int, int], np.dtype[np.float32]]]:
    nodes: dict[str, int] = {}
    rows = []
    for line, (name, *values) in _lines(file, (), 2):
        if name in nodes:
            raise DataError(f"{file}: line {line}: the node '{name[:50]}' stands there twice")
        nodes[name] = len(nodes)
        try:
            rows.append(np.array(values, np.float32))
        except ValueError:
            raise DataError(f"{file}: line {line}: not all features of '{name[:50]}' are numbers") from None
    if not rows:
        raise DataError(f"{file}: names no node")
    return nodes, np.stack(rows)


def _by_node(file: Path, nodes: dict[str, int], number: object) -> dict[int, str]:
    """Returns the second column by node."""
    assert callable(number)
    found: dict[int, str] = {}
    for line, row in _lines(file, nodes, 2):
        node = number(file, line, row[0])
        if node in found:
            raise DataError(f"{file}: line {line}: the node '{row[0][:50]}' stands there twice")
        found[node] = row[1]
    return found


def _lines(file: Path, nodes: Container[str], least: int) -> Iterator[tuple[int, list[str]]]:
    """Yields number and cells of the lines below the headings; all have as many cells as these, ``least`` or more."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as opened:
            reader = csv.reader(opened)
            heading = [cell.strip() for cell in next(reader, [])]
            if len(heading) < least:
                raise DataError(f"{file}: a line of {least} or more headings is wanted first, with commas between them")
            if heading[0] in nodes or all(_is_number(cell) for cell in heading[1:]):
                raise DataError(f"{file}: the first line must be headings, not values ('{','.join(heading)[:50]}')")
            for row in reader:
                if row:
                    if len(row) != len(heading):
                        raise DataError(f"{file}: line {reader.line_num} has {len(row)} columns, not {len(heading)}")
                    yield reader.line_num, [cell.strip() for cell in row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: cannot be read ({reason_of(error)})") from None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
