"""Wiring diagnostics: what is recorded, and the three patterns."""

from __future__ import annotations

import json

import pytest
import torch

from nichenas.core.gradient.relaxations import Softmax
from nichenas.core.gradient.steps import architecture_costs
from nichenas.core.gradient.supernet import EdgeGroup
from nichenas.core.gradient.supernet import dense_edges
from nichenas.core.gradient.wiring import WiringRecorder
from nichenas.core.gradient.wiring import alive
from nichenas.core.gradient.wiring import depth
from nichenas.core.gradient.wiring import patterns
from nichenas.core.gradient.wiring import statements
from nichenas.core.gradient.wiring import width
from tests.core.gradient.toy import toy

GROUP = EdgeGroup("normal", dense_edges(2), ("none", "conv"), none="none")
ON, OFF = [0.1, 0.9], [0.9, 0.1]


def row(*living: int) -> list[list[float]]:
    return [ON if on else OFF for on in living]


def test_records_means_and_starts_anew() -> None:
    supernet, alpha, one, two = toy()
    mix = Softmax().mix(alpha, 1.0, torch.Generator())
    recorder = WiringRecorder(supernet.groups)
    results = [architecture_costs(supernet, batch, mix) for batch in (one, two)]
    for batch, result in zip((one, two), results, strict=True):
        recorder.record("held-out", result, batch[1], mix.values)
    report = recorder.epoch()
    mean = sum(result.costs["cell"] for result in results) / 2
    torch.testing.assert_close(torch.tensor(report["costs"]["cell"]), mean.sum(0).float(), rtol=1e-4, atol=1e-6)
    edges = (mean * mix.values["cell"].detach()).sum(2).float()
    torch.testing.assert_close(torch.tensor(report["edge_costs"]["cell"]), edges, rtol=1e-4, atol=1e-6)
    everything = report["samples"]["held-out"]["all"]
    assert everything["n"] == 16
    assert everything["difference"] == pytest.approx(everything["loss"] - everything["entropy"], abs=2e-6)
    losses = torch.cat([result.losses for result in results])
    assert everything["loss"] == pytest.approx(float(losses.mean()), abs=1e-5)
    counts = [report["samples"]["held-out"].get(part, {}).get("n", 0) for part in ("right", "wrong")]
    assert sum(counts) == 16
    assert recorder.epoch() == {"costs": {}, "edge_costs": {}, "samples": {}}


def test_width_and_depth() -> None:
    assert GROUP.edges == ((0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
    assert alive(GROUP, row(1, 0, 1, 0, 1)) == [True, False, True, False, True]
    assert width(GROUP, [True, False, True, False, True]) == 2
    assert depth(GROUP, [True, False, False, False, True]) == 2
    assert depth(GROUP, [False, False, True, False, True]) == 1, "node 2 is dead, so 2->3 leads nowhere"
    assert depth(GROUP, [False] * 5) == 0


def test_groups_survive_the_journal() -> None:
    assert EdgeGroup.from_dict(json.loads(json.dumps(GROUP.to_dict()))) == GROUP


def test_growing() -> None:
    found = patterns(GROUP, [row(1, 1, 1, 1, 1), row(0, 0, 1, 1, 0), row(1, 0, 1, 1, 0)])
    assert found is not None
    assert (found.growing, found.pruning, found.catastrophic) == (True, False, False)
    assert found.dropped == ((1, 0), (1, 1), (1, 4))
    assert found.grown == ((2, 0),)
    assert found.width_bias == pytest.approx(9 / 12 - 1 / 3)
    words = statements(GROUP, found)
    assert words[0].startswith("growing")
    assert words[1].startswith("width over depth")
    assert "3 of 5" in words[2]


def test_pruning_and_catastrophe() -> None:
    found = patterns(GROUP, [row(1, 1, 1, 1, 1), row(0, 0, 1, 1, 1), row(0, 0, 0, 0, 0)])
    assert found is not None
    assert (found.growing, found.pruning, found.catastrophic) == (False, True, True)
    assert "catastrophic" in statements(GROUP, found)[2]


def test_neither() -> None:
    found = patterns(GROUP, [row(1, 1, 1, 1, 1)] * 3)
    assert found is not None
    assert not found.growing
    assert not found.pruning
    assert statements(GROUP, found)[0].startswith("neither")
    assert patterns(EdgeGroup("g", GROUP.edges, ("conv", "skip")), [row(1, 1, 1, 1, 1)]) is None
