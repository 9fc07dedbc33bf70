"""Operators and layers against plain PyG, in float64: outputs and gradients."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional
from torch_geometric.nn import GATConv
from torch_geometric.nn import GCNConv
from torch_geometric.nn import SAGEConv

from nichenas.core.seeds import torch_generator
from nichenas.domains.gnn import maximum
from nichenas.domains.gnn.features import DenseFeatures
from nichenas.domains.gnn.features import SparseFeatures
from nichenas.domains.gnn.features import features_of
from nichenas.domains.gnn.graph import Graph
from nichenas.domains.gnn.maximum import row_max
from nichenas.domains.gnn.maximum import row_max_by_degree
from nichenas.domains.gnn.maximum import row_max_by_gather
from nichenas.domains.gnn.maximum import row_max_by_kernel
from nichenas.domains.gnn.model import AGNN
from nichenas.domains.gnn.model import Noise
from nichenas.domains.gnn.operations import dropout
from nichenas.domains.gnn.operations import edge_dot
from nichenas.domains.gnn.operations import edge_sum
from nichenas.domains.gnn.operations import edge_tanh_dot
from nichenas.domains.gnn.operations import elu
from nichenas.domains.gnn.operations import keep_mask
from nichenas.domains.gnn.operations import row_softmax
from nichenas.domains.gnn.operations import softplus
from nichenas.domains.gnn.operations import sparse_matmul
from nichenas.domains.gnn.patterns import Pattern
from nichenas.domains.gnn.patterns import row_starts
from nichenas.domains.gnn.reference import ReferenceAGNN
from nichenas.domains.gnn.space import ACTIVATIONS
from nichenas.domains.gnn.space import AGGREGATORS
from nichenas.domains.gnn.space import ATTENTIONS
from nichenas.domains.gnn.space import COMBINERS
from nichenas.domains.gnn.space import FIXED_ATTENTIONS
from nichenas.domains.gnn.space import LayerSpec

NODES, WIDTH, CLASSES = 30, 11, 3


@pytest.fixture(autouse=True)
def _float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def graph(seed: int = 0) -> Graph:
    """A directed graph, so that nothing can pass by symmetry, with an isolated node and double edges."""
    edges = torch.randint(0, NODES - 1, (2, 90), generator=torch.Generator().manual_seed(seed))
    return Graph(torch.cat([edges, edges[:, :5]], 1), NODES, torch.float64)


def features(density: float = 0.2) -> Tensor:
    return draw(NODES, WIDTH) * (
        draw(NODES, WIDTH, seed=1) < torch.distributions.Normal(0, 1).icdf(torch.tensor(density))
    )


def spec(inputs: int, outputs: int, last: bool, **parts: str | int) -> LayerSpec:
    kind = {"heads": 2, "attention": "gat", "aggregate": "sum", "combine": "identity", "activation": "elu", **parts}
    return LayerSpec(inputs=inputs, outputs=outputs, last=last, **kind)  # type: ignore[arg-type]


def network(skip: bool = False, batch_norm: bool = False, **parts: str | int) -> AGNN:
    first = spec(WIDTH, 4, False, **parts)
    return AGNN([first, spec(first.width, CLASSES, True, **parts)], torch_generator(0, "weights"), batch_norm, skip)


def assert_same_function(net: AGNN, of: Graph, x: Tensor, targets: Tensor, prune: bool = True) -> None:
    field = of.receptive_field(targets, len(net.layers), prune)
    found = net(field, features_of(x, field.inputs))
    wanted = ReferenceAGNN(net)(x, of.edge_index)[field.targets]
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-8)
    direction = draw(*found.shape, seed=9)
    parameters = dict(net.named_parameters())
    ours = torch.autograd.grad((found * direction).sum(), list(parameters.values()))
    theirs = torch.autograd.grad((wanted * direction).sum(), list(parameters.values()))
    for name, one, other in zip(parameters, ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-8, msg=name)
        assert other.any(), f"{name} has no gradient: the comparison would be empty"


@pytest.mark.parametrize(
    ("attention", "aggregate", "combine"), list(itertools.product(ATTENTIONS, AGGREGATORS, COMBINERS))
)
def test_every_attention_and_aggregator_equals_pyg(attention: str, aggregate: str, combine: str) -> None:
    net = network(attention=attention, aggregate=aggregate, combine=combine)
    assert_same_function(net, graph(), features(), torch.tensor([2, 3, 5, 17, 29]))


@pytest.mark.parametrize(
    ("attention", "aggregate", "combine"), list(itertools.product(ATTENTIONS, AGGREGATORS, COMBINERS))
)
def test_every_repaired_operation_equals_pyg(attention: str, aggregate: str, combine: str) -> None:
    net = network(attention=attention, aggregate=aggregate, combine=combine, operations="repaired")
    assert_same_function(net, graph(), features(), torch.tensor([2, 3, 5, 17, 29]))


def outputs_of(net: AGNN) -> Tensor:
    """Returns the outputs of a network that has the weights that all of its shape have here."""
    of, x = graph(), features()
    field = of.receptive_field(torch.arange(NODES), 2)
    result: Tensor = net(field, features_of(x, field.inputs)).detach()
    return result


def test_a_repaired_mean_is_weighted_by_attention_once() -> None:
    for attention in ATTENTIONS:
        repaired, published, added = (
            outputs_of(network(attention=attention, aggregate=aggregate, operations=operations))
            for aggregate, operations in (("mean", "repaired"), ("mean", "published"), ("sum", "published"))
        )
        assert torch.equal(repaired, added) == (attention not in FIXED_ATTENTIONS)
        assert torch.allclose(repaired, published, atol=1e-12) == (attention == "const")


def test_a_repaired_maximum_of_uniform_attention_is_the_plain_one() -> None:
    uniform = network(attention="gat", aggregate="max", operations="repaired")
    plain = network(attention="const", aggregate="max")
    with torch.no_grad():
        for ours, theirs in zip(uniform.layers, plain.layers, strict=True):
            for vector in ours.attention.values():
                vector.zero_()
            theirs.weight.copy_(ours.weight)
    torch.testing.assert_close(outputs_of(uniform), outputs_of(plain), rtol=0, atol=1e-12)


def test_a_repaired_combiner_is_residual() -> None:
    perceptron = network(combine="mlp", operations="repaired")
    plain = network()
    with torch.no_grad():
        for ours, theirs in zip(perceptron.layers, plain.layers, strict=True):
            ours.mlp_out.zero_()
            theirs.weight.copy_(ours.weight)
            for name, vector in ours.attention.items():
                theirs.attention[name].copy_(vector)
    assert torch.equal(outputs_of(perceptron), outputs_of(plain))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("heads", [1, 4])
def test_every_activation_and_head_count_equals_pyg(activation: str, heads: int) -> None:
    assert_same_function(network(activation=activation, heads=heads), graph(1), features(), torch.arange(NODES))


@pytest.mark.parametrize("density", [0.05, 0.9])
def test_sparse_and_dense_features_are_the_same_function(density: float) -> None:
    x = features(density)
    kind = SparseFeatures if density < 0.25 else DenseFeatures
    assert isinstance(features_of(x, torch.arange(NODES)), kind)
    assert_same_function(network(), graph(), x, torch.tensor([0, 7]))


def test_skips_equal_pyg() -> None:
    assert_same_function(network(skip=True, attention="cos"), graph(), features(), torch.tensor([4, 8]))


def test_batch_norm_sees_the_whole_graph() -> None:
    net = network(batch_norm=True)
    of, x = graph(), features()
    field = of.receptive_field(torch.tensor([1, 2]), 2, prune=False)
    wanted = ReferenceAGNN(net)(x, of.edge_index)[field.targets]
    found = net(field, features_of(x, field.inputs))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-8)


def test_three_layers_on_a_batch_of_fields() -> None:
    specs = [spec(WIDTH, 4, False), spec(8, 5, False, attention="sym-gat"), spec(10, CLASSES, True, aggregate="max")]
    assert_same_function(AGNN(specs, torch_generator(0, "w")), graph(3), features(), torch.tensor([0, 1, 28]))


def test_special_cases_equal_pygs_own_layers() -> None:
    of, x = graph(), features()
    field = of.receptive_field(torch.arange(NODES), 1)
    edge_index = of.edge_index

    gat = AGNN([spec(WIDTH, 4, False, heads=3, activation="linear")], torch_generator(0, "w"))
    layer = gat.layers[0]
    theirs = GATConv(WIDTH, 4, heads=3, add_self_loops=False)
    with torch.no_grad():
        theirs.lin.weight.copy_(layer.weight.t())
        theirs.att_dst.copy_(layer.attention["left"])
        theirs.att_src.copy_(layer.attention["right"])
    torch.testing.assert_close(gat(field, features_of(x, field.inputs)), theirs(x, edge_index))

    gcn = AGNN([spec(WIDTH, 4, False, heads=1, attention="gcn", activation="linear")], torch_generator(0, "w"))
    plain = GCNConv(WIDTH, 4, add_self_loops=False, bias=False)
    symmetric = Graph(torch.cat([edge_index, edge_index.flip(0)], 1), NODES, torch.float64)
    with torch.no_grad():
        plain.lin.weight.copy_(gcn.layers[0].weight.t())
    field = symmetric.receptive_field(torch.arange(NODES), 1)
    torch.testing.assert_close(gcn(field, features_of(x, field.inputs)), plain(x, symmetric.edge_index))

    mean = AGNN(
        [spec(WIDTH, 4, False, heads=1, attention="const", aggregate="mean", activation="linear")],
        torch_generator(0, "w"),
    )
    sage = SAGEConv(WIDTH, 4, root_weight=False, bias=False)
    with torch.no_grad():
        sage.lin_l.weight.copy_(mean.layers[0].weight.t())
    field = of.receptive_field(torch.arange(NODES), 1)
    torch.testing.assert_close(mean(field, features_of(x, field.inputs)), sage(x, edge_index))


def patterns() -> tuple[Pattern, Pattern]:
    block = graph().receptive_field(torch.tensor([1, 4, 6]), 1).blocks[0]
    return block.pattern, block.pattern.heads(3)


def leaf(*shape: int, seed: int = 0) -> Tensor:
    return draw(*shape, seed=seed).requires_grad_()


def test_operators_have_the_gradients_of_their_values() -> None:
    single, heads = patterns()
    values, dense = leaf(heads.entries), leaf(heads.columns, 4, seed=1)
    rows, left, right = leaf(heads.rows, 4, seed=2), leaf(single.rows, 3, 4, seed=3), leaf(single.columns, 3, 4, seed=4)
    checks: list[tuple[Callable[..., Tensor], tuple[Tensor, ...]]] = [
        (lambda v, d: sparse_matmul(heads, v, d), (values, dense)),
        (lambda v, d: row_max(heads, v, d), (values, dense)),
        (lambda v: row_softmax(heads, v), (values,)),
        (lambda r, d: edge_dot(heads, r, d), (rows, dense)),
        (lambda a, b: edge_sum(heads, a, b), (leaf(heads.rows), leaf(heads.columns, seed=5))),
        (lambda a, b, w: single.to_heads(edge_tanh_dot(single, a, b, w)), (left, right, leaf(3, 4, seed=6))),
        (elu, (leaf(20),)),
        (softplus, (leaf(20),)),
        (lambda x: dropout(x, 0.4, torch.Generator().manual_seed(1)), (leaf(20),)),
    ]
    for function, arguments in checks:
        assert torch.autograd.gradcheck(function, arguments)


def test_softmax_rows_sum_to_one_and_survive_large_scores() -> None:
    _, heads = patterns()
    result = row_softmax(heads, draw(heads.entries) * 1e4)
    sums = torch.zeros(heads.rows).index_add(0, heads.row, result)
    torch.testing.assert_close(sums, torch.ones(heads.rows))


def plain_row_max(pattern: Pattern, values: Tensor, dense: Tensor) -> tuple[Tensor, Tensor]:
    """Row by row; of entries that tie, the first."""
    found = []
    for start, end in itertools.pairwise(pattern.crow.tolist()):
        messages = values[start:end, None] * dense[pattern.col[start:end]]
        found.append((messages.amax(0), (messages == messages.amax(0)).int().argmax(0) + start))
    result, winner = (torch.stack(parts) for parts in zip(*found, strict=True))
    return result, winner


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("form", [row_max_by_kernel, row_max_by_degree, row_max_by_gather])
def test_every_form_of_the_maximum_equals_the_plain_one(
    form: Callable[..., tuple[Tensor, Tensor]], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maximum, "_CHUNK", 50)  # so that rows of one size are taken in several parts
    for pattern in patterns():
        values, dense = draw(pattern.entries).to(dtype), draw(pattern.columns, 4, seed=1).to(dtype)
        dropped = values * (draw(pattern.entries, seed=2) > 0)  # messages of 0 tie with each other
        for one, other in ((values, dense), (dropped, dense), (dropped, dense.round()), (values, 0 * dense)):
            result, winner = form(pattern, one, other)
            wanted, first = plain_row_max(pattern, one, other)
            assert torch.equal(result, wanted)
            assert torch.equal(winner, first)


def test_large_graphs_have_the_gradient_of_the_maximum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maximum, "_WIDE", 1)
    for pattern in patterns():
        gradients = []
        for worth in (0, 1 << 60):
            monkeypatch.setattr(maximum, "_WORTH", worth)
            values, dense = leaf(pattern.entries), leaf(pattern.columns, 4, seed=1)
            found = row_max(pattern, values, dense)
            gradients.append(torch.autograd.grad((found * draw(*found.shape, seed=3)).sum(), (values, dense)))
        assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))
        assert all(gradient.any() for gradient in gradients[0])
        monkeypatch.setattr(maximum, "_WORTH", 0)
        assert torch.autograd.gradcheck(lambda v, d, of=pattern: row_max(of, v, d), (values, dense))


def test_winners_that_are_not_numbers_are_entries_of_their_row() -> None:
    _, heads = patterns()
    dense = draw(heads.columns, 4)
    dense[::2] = torch.nan
    dense[1::4] = torch.inf
    for form in (row_max_by_kernel, row_max_by_degree):
        result, winner = form(heads, torch.ones(heads.entries), dense)
        assert result.isnan().any()
        assert ((winner >= 0) & (winner < heads.entries)).all()
        assert (heads.row[winner] == torch.arange(heads.rows)[:, None]).all()


@given(st.lists(st.floats(-700, 700), min_size=1, max_size=30))
@settings(max_examples=100, deadline=None)
def test_activations_equal_torchs(values: list[float]) -> None:
    x = torch.tensor(values, dtype=torch.float64)
    torch.testing.assert_close(elu(x), functional.elu(x), rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(softplus(x), functional.softplus(x, threshold=1000), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.6])
def test_masks_have_the_right_share_and_keep_the_mean(p: float) -> None:
    mask, factor = keep_mask((400, 1001), p, torch.Generator().manual_seed(0))
    kept = mask.double().mean().item()
    assert abs(kept - (1 - p)) < 4 * (p * (1 - p) / mask.numel()) ** 0.5
    assert abs(factor * (1 - p) - 1) < 1e-4
    neighbours = (mask[:, :-1] == mask[:, 1:]).double().mean().item()
    assert abs(neighbours - (p * p + (1 - p) ** 2)) < 0.005  # neighbouring draws are independent
    again, _ = keep_mask((400, 1001), p, torch.Generator().manual_seed(0))
    assert torch.equal(mask, again)


def test_dropout_on_sparse_features_drops_stored_values_alone() -> None:
    x = features(0.1)
    found = features_of(x, torch.arange(NODES))
    kept = found.project(torch.eye(WIDTH), 0.5, torch.Generator().manual_seed(0))
    assert ((kept == 0) | torch.isclose(kept, 2 * x)).all()
    assert 0 < (kept != 0).sum() < (x != 0).sum()


def test_a_pruned_field_holds_just_what_the_targets_need() -> None:
    of = Graph(torch.tensor([[0, 1, 2, 3], [1, 2, 3, 4]]), 6)
    field = of.receptive_field(torch.tensor([3]), 2)
    assert field.inputs.tolist() == [1, 2, 3]
    assert [block.pattern.rows for block in field.blocks] == [2, 1]
    assert [block.pattern.entries for block in field.blocks] == [4, 2]


def test_graphs_add_loops_once_and_merge_double_edges() -> None:
    of = Graph(torch.tensor([[0, 0, 1, 1], [1, 1, 1, 0]]), 3)
    assert of.edge_index.t().tolist() == [[0, 0], [1, 0], [0, 1], [1, 1], [2, 2]]
    assert of.degree.tolist() == [2, 2, 1]
    assert row_starts(torch.tensor([0, 0, 2]), 3).tolist() == [0, 2, 2, 3]


def test_noise_makes_training_differ_from_evaluation() -> None:
    net, of, x = network(), graph(), features()
    field = of.receptive_field(torch.tensor([1]), 2)
    noise = Noise(0.5, torch.Generator().manual_seed(0), torch.Generator().manual_seed(1))
    quiet, noisy = net(field, features_of(x, field.inputs)), net(field, features_of(x, field.inputs), noise)
    assert not torch.allclose(quiet, noisy)
