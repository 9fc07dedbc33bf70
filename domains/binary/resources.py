"""What every operation of every edge costs in the network that is trained in full."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence

import torch

from nichenas.core.costs.macs import NetworkCosts
from nichenas.core.costs.macs import count_costs
from nichenas.core.gradient.supernet import EdgeGroup
from nichenas.core.gradient.supernet import ResourceTable
from nichenas.domains.binary.genotypes import INPUTS
from nichenas.domains.binary.genotypes import Genotype
from nichenas.domains.binary.model import reduction_positions
from nichenas.domains.binary.operations import NONE
from nichenas.domains.binary.operations import Family
from nichenas.domains.binary.space import KINDS
from nichenas.domains.binary.space import cell_names

COUNTED = ("binary_macs", "macs", "parameters")


def resource_tables(
    family: Family,
    groups: Sequence[EdgeGroup],
    channels: int,
    cells: int,
    size: int,
    whole: NetworkCosts,
    genotype: Genotype,
    per_cell: bool = False,
) -> Mapping[str, ResourceTable]:
    """Returns the tables of all kinds; nothing is computed, shapes alone are followed.

    Args:
        groups: of the search network.
        channels: of the first cells' nodes in the network that is trained in full.
        size: pixels a side of what the first cell reads.
        whole: costs of that network with ``genotype``, from which the rest of it is known.
    """
    positions = reduction_positions(cells)
    names = cell_names(cells)
    by_name = {group.name: group for group in groups}
    tables = {
        kind: {
            group.name: torch.zeros(len(group.edges), len(group.operations), dtype=torch.float64) for group in groups
        }
        for kind in COUNTED
    }
    counted: dict[tuple[str, int, int, int], NetworkCosts] = {}
    spent = dict.fromkeys(COUNTED, 0)
    for position in range(cells):
        reduction = position in positions
        channels *= 2 if reduction else 1
        after = size // 2 if reduction else size
        name = names[position] if per_cell else KINDS[reduction]
        # A kind that the search network has no cells of gets the cell of the other.
        group = by_name[name if name in by_name else next(iter(by_name))]

        def costs_of(
            operation: str, source: int, width: int = channels, sizes: tuple[int, int] = (size, after)
        ) -> NetworkCosts:
            outer = source < INPUTS  # a reduction cell halves what comes from its inputs
            key = (operation, width, sizes[0 if outer else 1], sizes[0] // sizes[1] if outer else 1)
            if key not in counted:
                counted[key] = _operation_costs(family, *key)
            return counted[key]

        for edge, (source, _) in enumerate(group.edges):
            for k, operation in enumerate(group.operations):
                costs = costs_of(operation, source)
                for kind in COUNTED:
                    tables[kind][group.name][edge, k] += getattr(costs, kind)
        cell = genotype.cell(position, reduction)
        for _, operations in cell.nodes():
            for operation, source in operations:
                for kind in COUNTED:
                    spent[kind] += getattr(costs_of(operation, source), kind)
        size = after
    return {kind: ResourceTable(tables[kind], float(getattr(whole, kind) - spent[kind])) for kind in COUNTED}


def _operation_costs(family: Family, name: str, channels: int, size: int, stride: int) -> NetworkCosts:
    if name == NONE:
        return NetworkCosts(0, 0, 0)
    with torch.device("meta"):
        return count_costs(family.operation(name, channels, stride), (channels, size, size))
