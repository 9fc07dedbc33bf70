"""What candidates are estimated to take, and what is kept of their pieces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from nichenas.core.context import Context
from nichenas.core.context import Environment
from nichenas.core.context import Limits
from nichenas.core.data.root import cache_folder
from nichenas.core.errors import CandidateFailure
from nichenas.core.space import Architecture
from nichenas.core.trial import Proposal
from nichenas.domains.gnn import GNNDomain
from nichenas.domains.gnn.features import DenseFeatures
from nichenas.domains.gnn.features import feature_bytes
from nichenas.domains.gnn.features import features_of
from nichenas.domains.gnn.graph import Graph
from nichenas.domains.gnn.pieces import KEPT_BYTES
from nichenas.domains.gnn.pieces import KeptPieces
from nichenas.domains.gnn.pieces import held_bytes
from nichenas.domains.gnn.settings import GNNSettings
from nichenas.domains.gnn.training import Piece
from tests.conftest import real_data


def domain(dataset: str = "digits-knn", **settings: object) -> GNNDomain:
    given = {"dataset": dataset, "epochs": 1, "patience": None, **settings}
    made = GNNDomain(GNNSettings.model_validate(given), Environment(real_data() or Path("none"), cache_folder()))
    made.prepare()
    return made


def architectures(of: GNNDomain, drawn: int) -> list[Architecture]:
    rng = np.random.default_rng(0)
    return [*of.known.values(), *(of.space.sample(rng) for _ in range(drawn))]


@pytest.mark.parametrize("settings", [{"space": "wide"}, {"layers": 3}, {"layers": 3, "batch_norm": True}])
def test_fields_are_counted_as_they_are_built(settings: dict[str, object]) -> None:
    of = domain(**settings)
    counted = set()
    for architecture in architectures(of, 40):
        if of.family.layout(architecture) in counted:
            continue
        counted.add(of.family.layout(architecture))
        for part in (*of.task.train, *of.task.validation):
            extent, field = of.family.extent(part, architecture), of.family.piece(part, architecture).field
            built = [(block.pattern.rows, block.pattern.columns, block.pattern.entries) for block in field.blocks]
            assert [(layer.rows, layer.columns, layer.entries) for layer in extent.layers] == built
            assert extent.targets == len(field.targets)
            if built:  # the field of a linear network is that of its targets alone
                assert len(extent.blocks) == len({id(block) for block in field.blocks})
                assert extent.inputs == len(field.inputs)
    assert len(counted) > 15 or "layers" in settings


@pytest.mark.parametrize("name", ["GCN", "GAT", "GraphSAGE", "APPNP", "GCNII", "GCN, 12 layers"])
def test_pieces_take_what_was_estimated(name: str) -> None:
    of = domain(space="wide")
    architecture = of.known[name]
    parts = (*of.task.train, *of.task.validation)
    expected = of.family.shared_memory(architecture, [of.family.extent(part, architecture) for part in parts])
    of.evaluate(Proposal(architecture), Context(0))  # which makes patterns of heads, and matrices
    held = held_bytes([of.pieces(architecture, part) for part in ("train", "validation")])
    assert 0.65 * expected < held < 1.05 * expected


@pytest.mark.parametrize("density", [0.02, 0.6])
def test_features_take_what_was_estimated(density: float) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(300, 200, generator=generator) * (torch.rand(300, 200, generator=generator) < density)
    features = features_of(x, torch.arange(250))
    assert isinstance(features, DenseFeatures) == (density > 0.5)
    found = float((x[:250] != 0).float().mean())
    assert held_bytes(features) == pytest.approx(feature_bytes(found, 250, 200), rel=0.01)


def test_a_candidate_that_is_too_large_is_refused_before_anything_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    of = domain(space="wide")

    def built(*_: object, **__: object) -> None:
        raise AssertionError("a field was built")

    for name in ("receptive_field", "whole_field", "_block"):
        monkeypatch.setattr(Graph, name, built)
    for architecture in of.known.values():
        with pytest.raises(CandidateFailure, match="limit:memory"):
            of.evaluate(Proposal(architecture), Context(0, limits=Limits(memory_mb=0.01)))


def test_indices_count_beyond_what_is_kept_anyway(monkeypatch: pytest.MonkeyPatch) -> None:
    of = domain(space="wide")
    gat = of.known["GAT"]
    alone = of.memory(gat)
    parts = (*of.task.train, *of.task.validation)
    shared = of.family.shared_memory(gat, [of.family.extent(part, gat) for part in parts])
    monkeypatch.setattr("nichenas.domains.gnn.domain.KEPT_BYTES", shared - 1000)
    assert of.memory(gat) == alone + 1000
    pieces = [piece for part in ("train", "validation") for piece in of.pieces(gat, part)]
    entries = sum(block.pattern.entries for piece in pieces for block in piece.field.blocks)
    assert shared > 8 * 40 * entries  # five numbers of 8 bytes for each edge and head


@pytest.mark.skipif(real_data() is None, reason="no real data: name its folder in NICHENAS_TEST_DATA")
@pytest.mark.parametrize("dataset", ["Cora", "CiteSeer"])
def test_on_citation_graphs_limits_are_those_of_training_alone(dataset: str) -> None:
    of = domain(dataset, space="wide")
    parts = (*of.task.train, *of.task.validation)
    for architecture in architectures(of, 100):
        extents = [of.family.extent(part, architecture) for part in parts]
        assert of.memory(architecture) == of.family.memory(architecture, extents)


def piece(size: int) -> list[Piece]:
    """Pieces of so many bytes."""
    graph = Graph(torch.empty(2, 0, dtype=torch.int64), 1)
    labels = torch.zeros(size - held_bytes(graph.receptive_field(torch.tensor([0]), 0)), dtype=torch.uint8)
    return [Piece(graph.receptive_field(torch.tensor([0]), 0), DenseFeatures(torch.empty(0)), labels)]


def test_the_least_recently_used_pieces_are_given_up_for_others() -> None:
    kept = KeptPieces(budget=1000)
    first, second = kept.get("a", lambda: piece(400)), kept.get("b", lambda: piece(400))
    assert kept.get("a", lambda: piece(1)) is first
    kept.get("c", lambda: piece(400))  # over the budget: b goes, which was used before a
    assert len(kept) == 2
    assert kept.get("a", lambda: piece(1)) is first
    assert kept.get("b", lambda: piece(400)) is not second
    kept.get("d", lambda: piece(5000))
    assert len(kept) == 2  # a candidate's two pieces stay, however large they are
    for number in range(20):
        kept.get(number, lambda: piece(40))
    assert len(kept) == 20


def test_memory_that_is_shared_counts_once() -> None:
    x = torch.zeros(100)
    assert held_bytes([x, {"view": x[:10]}, (x, x.view(10, 10))]) == 400
    matrix = torch.sparse_csr_tensor(torch.arange(5), torch.arange(4), torch.ones(4), size=(4, 4))
    assert held_bytes(matrix) == 5 * 8 + 4 * 8 + 4 * 4
    assert KEPT_BYTES > 0
