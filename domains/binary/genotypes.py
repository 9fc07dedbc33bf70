"""Cells as genotypes: which operation on which earlier node, and the published ones by name.

A cell has two input nodes, 0 and 1 (the outputs of the two cells before it), and intermediate nodes 2, 3, ...,
each the sum of some operations on earlier nodes. Its output is the concatenation of some of its nodes along
channels (DARTS, Liu et al. 2019, section 2.1).
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass

INPUTS = 2  # of a cell
PER_NODE = 2  # operations of an intermediate node


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        operations: (operation, node it is applied to), ``PER_NODE`` for every intermediate node in turn.
        concat: the nodes whose concatenation is the output.
    """

    operations: tuple[tuple[str, int], ...]
    concat: tuple[int, ...]

    def nodes(self) -> Iterator[tuple[int, tuple[tuple[str, int], ...]]]:
        """Yields every intermediate node's number with its operations."""
        for start in range(0, len(self.operations), PER_NODE):
            yield INPUTS + start // PER_NODE, self.operations[start : start + PER_NODE]


@dataclass(frozen=True)
class Genotype:
    """A normal cell, which keeps the resolution, and a reduction cell, which halves it and doubles the channels.

    Attributes:
        each: the cells of the network one by one, where those of a kind differ.
    """

    normal: Cell
    reduction: Cell
    each: tuple[Cell, ...] = ()

    def cell(self, position: int, reduction: bool) -> Cell:
        """Returns the cell at a position of the network."""
        if self.each:
            return self.each[position]
        return self.reduction if reduction else self.normal


def parse_cell(text: str, concat: tuple[int, ...]) -> Cell:
    """Returns the cell written as ``"operation:node operation:node ..."``."""
    pairs = [entry.split(":") for entry in text.split()]
    return Cell(tuple((name, int(node)) for name, node in pairs), concat)


_LAST_FOUR = (2, 3, 4, 5)

PUBLISHED: Mapping[str, Genotype] = {
    # DARTS, first order (the authors' repository, genotypes.py)
    "DARTS_V1": Genotype(
        parse_cell(
            "sep_conv_3x3:1 sep_conv_3x3:0 skip_connect:0 sep_conv_3x3:1 "
            "skip_connect:0 sep_conv_3x3:1 sep_conv_3x3:0 skip_connect:2",
            _LAST_FOUR,
        ),
        parse_cell(
            "max_pool_3x3:0 max_pool_3x3:1 skip_connect:2 max_pool_3x3:0 "
            "max_pool_3x3:0 skip_connect:2 skip_connect:2 avg_pool_3x3:0",
            _LAST_FOUR,
        ),
    ),
    # DARTS, second order
    "DARTS_V2": Genotype(
        parse_cell(
            "sep_conv_3x3:0 sep_conv_3x3:1 sep_conv_3x3:0 sep_conv_3x3:1 "
            "sep_conv_3x3:1 skip_connect:0 skip_connect:0 dil_conv_3x3:2",
            _LAST_FOUR,
        ),
        parse_cell(
            "max_pool_3x3:0 max_pool_3x3:1 skip_connect:2 max_pool_3x3:1 "
            "max_pool_3x3:0 skip_connect:2 skip_connect:2 max_pool_3x3:1",
            _LAST_FOUR,
        ),
    ),
    # NASNet-A (Zoph et al. 2018) as DARTS's repository writes it
    "NASNet": Genotype(
        parse_cell(
            "sep_conv_5x5:1 sep_conv_3x3:0 sep_conv_5x5:0 sep_conv_3x3:0 avg_pool_3x3:1 skip_connect:0 "
            "avg_pool_3x3:0 avg_pool_3x3:0 sep_conv_3x3:1 skip_connect:1",
            (2, 3, 4, 5, 6),
        ),
        parse_cell(
            "sep_conv_5x5:1 sep_conv_7x7:0 max_pool_3x3:1 sep_conv_7x7:0 avg_pool_3x3:1 sep_conv_5x5:0 "
            "skip_connect:3 avg_pool_3x3:2 sep_conv_3x3:2 max_pool_3x3:1",
            (4, 5, 6),
        ),
    ),
    # AmoebaNet-A (Real et al. 2019), likewise
    "AmoebaNet": Genotype(
        parse_cell(
            "avg_pool_3x3:0 max_pool_3x3:1 sep_conv_3x3:0 sep_conv_5x5:2 sep_conv_3x3:0 avg_pool_3x3:3 "
            "sep_conv_3x3:1 skip_connect:1 skip_connect:0 avg_pool_3x3:1",
            (4, 5, 6),
        ),
        parse_cell(
            "avg_pool_3x3:0 sep_conv_3x3:1 max_pool_3x3:0 sep_conv_7x7:2 sep_conv_7x7:0 avg_pool_3x3:1 "
            "max_pool_3x3:0 max_pool_3x3:1 conv_7x1_1x7:0 sep_conv_3x3:5",
            (3, 4, 6),
        ),
    ),
}
