"""The exact identities of cost assignment (Xie et al. 2021) on minimal cells of the real DARTS space, in float64.

A minimal cell has two intermediate nodes, 2 and 3; its edges are 0->2, 1->2, 0->3, 1->3 and 2->3, the last being
the only intermediate one. No reduction, no classifier bias.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nichenas.core.gradient.relaxations import Mix
from nichenas.core.gradient.steps import architecture_costs
from nichenas.core.gradient.wiring import sample_sums
from nichenas.domains.binary import operations
from nichenas.domains.binary.operations import DartsReal
from nichenas.domains.binary.supernet import CellSupernet
from nichenas.domains.binary.supernet import SearchCell

NAMES = ("none", "skip_connect", "max_pool_3x3", "avg_pool_3x3", "sep_conv_3x3", "dil_conv_3x3")
LAST = 4  # the intermediate edge
TOLERANCE = 1e-8


@pytest.fixture(autouse=True)
def _no_eps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The identities hold for normalisations without their small constant."""
    monkeypatch.setattr(operations, "EPS", 1e-14)


def costs_of(cells: int, last: str | None, seed: int = 0) -> tuple[Tensor, Tensor, float, Tensor]:
    """Returns edge costs ``(cells, edges)``, operation costs, L - H, and the mixture.

    Args:
        last: the only operation on the intermediate edge; none mixes all but skip.
    """
    torch.manual_seed(seed)
    net = CellSupernet(
        DartsReal(affine=False), 4, cells, 5, 3, NAMES, nodes=2, reductions=(), classifier_bias=False, plain=True
    ).double()
    batch = torch.randn(6, 3, 8, 8, dtype=torch.double), torch.randint(0, 5, (6,))
    mix = torch.softmax(torch.randn(5, len(NAMES), dtype=torch.double), 1)
    if last is None:
        mix[LAST, NAMES.index("skip_connect")] = 0.0
    else:
        mix[LAST] = 0.0
        mix[LAST, NAMES.index(last)] = 0.7
    result = architecture_costs(net, batch, Mix({"normal": mix}))
    costs = result.costs["normal"]
    sums = sample_sums(result.losses, result.outputs, batch[1]).sum(0)
    difference = float((sums[1] - sums[2]) / sums[0])
    return (costs * mix).sum(2), costs, difference, mix


@pytest.mark.parametrize("cells", [1, 2, 3])
@pytest.mark.parametrize("last", [None, "sep_conv_3x3", "max_pool_3x3", "none"])
def test_costs_sum_to_loss_minus_entropy_in_the_last_cell_and_to_zero_before(cells: int, last: str | None) -> None:
    edges, _, difference, _ = costs_of(cells, last)
    sums = edges.sum(1)
    assert abs(float(sums[-1]) - difference) < TOLERANCE
    assert abs(difference) > 1e-3
    assert all(abs(float(total)) < TOLERANCE for total in sums[:-1])


@pytest.mark.parametrize("last", ["sep_conv_3x3", "avg_pool_3x3", "skip_connect"])
def test_no_cost_passes_through_a_normalisation(last: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What node 3 costs and reaches node 2 through the last edge sums to zero over the edges into node 2, after BN.

    Node 2's own share of the cell's output is cut off, so that the last edge is the only way back to it. Through a
    plain skip the cost does pass: it is that of the edge itself.
    """
    plain = SearchCell._plain

    def cut(cell: SearchCell, states: list[Tensor], mix: Tensor) -> list[Tensor]:
        done = plain(cell, states, mix)
        return [*done[:2], done[2].detach(), *done[3:]]

    monkeypatch.setattr(SearchCell, "_plain", cut)
    edges, _, _, _ = costs_of(1, last)
    into_2 = float(edges[0, 0] + edges[0, 1])
    assert max(abs(float(edges[0, 0])), abs(float(edges[0, 1]))) > 1e-6
    assert abs(into_2 - (float(edges[0, LAST]) if last == "skip_connect" else 0.0)) < TOLERANCE


def test_a_plain_skip_counts_its_cost_twice() -> None:
    for cells in (1, 2):
        edges, _, difference, _ = costs_of(cells, "skip_connect")
        for cell in range(cells):
            wanted = (difference if cell == cells - 1 else 0.0) + float(edges[cell, LAST])
            assert abs(float(edges[cell].sum()) - wanted) < TOLERANCE
            assert abs(float(edges[cell, LAST])) > 1e-6


def test_none_costs_nothing() -> None:
    edges, costs, _, _ = costs_of(2, "none")
    assert torch.count_nonzero(costs[:, :, NAMES.index("none")]) == 0
    assert torch.count_nonzero(edges[:, LAST]) == 0


def test_cost_per_sample_is_cross_entropy_minus_entropy() -> None:
    """- z_y + sum_c p_c z_c, which the identity's right side means."""
    logits = torch.randn(7, 4, dtype=torch.double)
    targets = torch.randint(0, 4, (7,))
    losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    sums = sample_sums(losses, logits, targets).sum(0)
    p = torch.softmax(logits, 1)
    wanted = (-logits.gather(1, targets[:, None])[:, 0] + (p * logits).sum(1)).sum()
    torch.testing.assert_close(sums[1] - sums[2], wanted)
