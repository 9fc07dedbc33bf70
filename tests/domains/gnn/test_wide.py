"""The wide space: every network equal to PyG's own layers, and to the paper's formula where PyG has none."""

from __future__ import annotations

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch import nn

from nichenas.core.seeds import torch_generator
from nichenas.core.space import Architecture
from nichenas.domains.gnn.consistency import disagreement
from nichenas.domains.gnn.data import LabelledNodes
from nichenas.domains.gnn.graph import Graph
from nichenas.domains.gnn.network import Noise
from nichenas.domains.gnn.training import SpaceTraining
from nichenas.domains.gnn.training import TrainSettings
from nichenas.domains.gnn.training import node_loss
from nichenas.domains.gnn.wide import WideFamily
from nichenas.domains.gnn.wide_model import WideNetwork
from nichenas.domains.gnn.wide_reference import ReferenceWide
from nichenas.domains.gnn.wide_space import known_wide
from nichenas.domains.gnn.wide_space import wide_consistency
from nichenas.domains.gnn.wide_space import wide_rates
from nichenas.domains.gnn.wide_space import wide_space
from nichenas.domains.gnn.wide_space import wide_spec

NODES, FEATURES, CLASSES = 40, 9, 4
SPACE = wide_space()


@pytest.fixture(scope="module")
def part() -> LabelledNodes:
    """A directed graph with isolated nodes, some of its nodes labelled, in float64."""
    rng = np.random.default_rng(0)
    edges = torch.from_numpy(rng.integers(0, NODES - 4, (2, 110)))
    x = torch.from_numpy(rng.random((NODES, FEATURES)) * (rng.random((NODES, FEATURES)) < 0.2))
    nodes = torch.tensor([0, 3, 7, 21, 38])
    return LabelledNodes(Graph(edges, NODES, torch.float64), x, nodes, torch.tensor([0, 1, 2, 3, 0]))


def of(propagation: str, **values: object) -> Architecture:
    """Returns an architecture without dropout and with few layers, where nothing else is said."""
    zeros = {choice.name: 0.0 for choice in SPACE.choices if choice.name.endswith("dropout")}
    wanted = {**zeros, "propagation": propagation, "hidden": 16, **values}
    return SPACE.complete(wanted, lambda choice: choice.options[0])  # type: ignore[arg-type]


def made(architecture: Architecture) -> tuple[WideFamily, WideNetwork]:
    family = WideFamily(FEATURES, CLASSES, TrainSettings())
    network = family.network(architecture, torch_generator(0, "weights")).double()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):  # zeros at first, which would hide a bias that is left out
                parameter.uniform_(-0.5, 0.5)
    return family, network


def outputs(architecture: Architecture, part: LabelledNodes) -> tuple[WideNetwork, Tensor]:
    family, network = made(architecture)
    network.eval()
    piece = family.piece(part, architecture)
    return network, network(piece.field, piece.features)


def plain(network: WideNetwork, part: LabelledNodes) -> Tensor:
    """Returns what PyG's layers give for the labelled nodes."""
    twin = ReferenceWide(network).double().eval()
    result: Tensor = twin(part.x, part.graph.edge_index)
    return result[part.nodes]


@pytest.mark.parametrize("readout", ["convolution", "linear", "sum", "max", "concat"])
@pytest.mark.parametrize("residual", ["none", "linear", "initial"])
@pytest.mark.parametrize("propagation", ["gcn", "gat", "sage"])
def test_layers_equal_pyg(propagation: str, residual: str, readout: str, part: LabelledNodes) -> None:
    for norm, layers, activation in (("none", 2, "relu"), ("layer", 3, "elu"), ("batch", 4, "relu")):
        values = {"norm": norm, "layers": layers, "activation": activation, "heads": 4}
        network, found = outputs(of(propagation, readout=readout, residual=residual, **values), part)
        torch.testing.assert_close(found, plain(network, part), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("readout", ["convolution", "linear", "concat"])
@pytest.mark.parametrize("propagation", ["gcn", "gcnii"])
def test_batch_statistics_are_of_the_whole_graph(propagation: str, readout: str, part: LabelledNodes) -> None:
    architecture = of(propagation, readout=readout, norm="batch", layers=3)
    family, network = made(architecture)
    piece = family.piece(part, architecture)
    found = network.train()(piece.field, piece.features)
    twin = ReferenceWide(network).double().train()
    torch.testing.assert_close(found, twin(part.x, part.graph.edge_index)[part.nodes], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("propagation", ["gcn", "gat", "sage", "gcnii", "ssgc", "appnp", "gpr", "dagnn", "grand"])
def test_a_used_network_and_graph_can_be_copied_and_take_half_precision(propagation: str, part: LabelledNodes) -> None:
    architecture = of(propagation, layers=2, depth=4, steps=3)
    family, network = made(architecture)
    piece = family.piece(part, architecture)
    network(piece.field, piece.features).sum().backward()
    twin, field = copy.deepcopy(network), copy.deepcopy(piece.field)
    expected = network.eval()(piece.field, piece.features)
    torch.testing.assert_close(twin.eval()(field, piece.features), expected)

    single = dataclasses.replace(part, graph=Graph(part.graph.edge_index, NODES, torch.bfloat16), x=part.x.bfloat16())
    half = family.piece(single, architecture)
    found = network.bfloat16()(half.field, half.features)
    found.sum().backward()
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), expected, rtol=0.1, atol=0.05)


def test_deep_networks_share_the_edges_that_do_not_change(part: LabelledNodes) -> None:
    """Isolated nodes are never reached."""
    field = part.graph.receptive_field(part.nodes, 40)
    assert field.blocks[0].pattern.rows < NODES
    assert len({id(block) for block in field.blocks}) < 12


def dense_gcn(part: LabelledNodes) -> Tensor:
    """Returns the symmetrically normalised adjacency with self loops."""
    matrix = torch.zeros(NODES, NODES, dtype=torch.float64)
    matrix[part.graph.row, part.graph.col] = 1.0
    degree = matrix.sum(1)
    return matrix / (degree[:, None] * degree[None, :]).sqrt()


@pytest.mark.parametrize("propagation", ["appnp", "gpr", "dagnn", "grand", "gcnii", "sgc", "ssgc"])
def test_other_propagations_equal_pyg(propagation: str, part: LabelledNodes) -> None:
    for own in ({}, {"steps": 5, "teleport": 0.2, "perceptron": 3, "depth": 8, "gcnii_lambda": 1.0, "norm": "layer"}):
        network, found = outputs(of(propagation, **own), part)
        torch.testing.assert_close(found, plain(network, part), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("propagation", ["gpr", "dagnn", "grand"])
def test_what_pyg_has_no_layer_for_equals_its_paper(propagation: str, part: LabelledNodes) -> None:
    """GPRGNN, equation 4; DAGNN, equations 8 to 10; GRAND, equation 3: from powers of the dense adjacency."""
    network, found = outputs(of(propagation, steps=5, perceptron=3), part)
    x, matrix = part.x, dense_gcn(part)
    if propagation == "grand":
        x = sum(torch.linalg.matrix_power(matrix, k) @ x for k in range(6)) / 6
    x = network.input(x)
    for layer in network.inner:
        x = layer(torch.relu(x))
    hops = torch.stack([torch.linalg.matrix_power(matrix, k) @ x for k in range(6)], 1)
    if propagation == "grand":
        expected = x
    elif propagation == "gpr":
        expected = (network.gammas[None, :, None] * hops).sum(1)
    else:
        scores = torch.sigmoid(hops @ network.gate.weight + network.gate.bias)
        expected = (scores.transpose(1, 2) @ hops).squeeze(1)
    torch.testing.assert_close(found, expected[part.nodes], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", list(known_wide()))
def test_gradients_equal_the_numerical_ones(name: str, part: LabelledNodes) -> None:
    """By finite differences along a random direction of all parameters together."""
    smaller = {"hidden": 16, "depth": 4, "layers": 3}
    architecture = SPACE.complete({**known_wide()[name], **smaller}, lambda choice: choice.options[0])
    family, network = made(architecture)
    piece = family.piece(part, architecture)

    def loss() -> Tensor:
        return nn.functional.cross_entropy(network(piece.field, piece.features), part.labels)

    parameters = list(network.parameters())
    gradients = torch.autograd.grad(loss(), parameters)
    direction = [torch.randn(p.shape, dtype=p.dtype, generator=torch_generator(1, "direction")) for p in parameters]
    expected = sum(float((g * d).sum()) for g, d in zip(gradients, direction, strict=True))
    sides = []
    for step in (1e-6, -2e-6):
        with torch.no_grad():
            for parameter, d in zip(parameters, direction, strict=True):
                parameter.add_(d, alpha=step)
        sides.append(float(loss()))
    assert (sides[0] - sides[1]) / 2e-6 == pytest.approx(expected, rel=1e-4, abs=1e-7)


def test_dropout_keeps_the_mean_and_reaches_every_place(part: LabelledNodes) -> None:
    for propagation, places in (
        ("gcn", ("feature_dropout", "dropout", "edge_dropout")),
        ("gat", ("feature_dropout", "dropout", "attention_dropout")),
        ("sgc", ("feature_dropout",)),
        ("appnp", ("feature_dropout", "dropout", "node_dropout", "edge_dropout")),
        ("grand", ("feature_dropout", "dropout", "node_dropout", "edge_dropout")),
        ("gcnii", ("feature_dropout", "dropout", "edge_dropout")),
    ):
        for place in places:
            rate = next(option for option in SPACE[place].options if option)
            architecture = of(propagation, **{place: rate}, perceptron=2)
            family, network = made(architecture)
            piece = family.piece(part, architecture)
            noises = [Noise(0.0, torch_generator(s, "features"), torch_generator(s, "inner")) for s in (1, 1, 2)]
            first, same, other = (network(piece.field, piece.features, noise) for noise in noises)
            assert torch.equal(first, same)
            assert not torch.equal(first, other), (propagation, place)
    architecture = of("sgc", feature_dropout=0.5)
    family, network = made(architecture)
    piece = family.piece(part, architecture)
    noise = Noise(0.0, torch_generator(0, "features"), torch_generator(0, "inner"))
    mean = torch.stack([network(piece.field, piece.features, noise) for _ in range(4000)]).mean(0)
    torch.testing.assert_close(mean, network(piece.field, piece.features), rtol=0.05, atol=0.02)


@pytest.mark.parametrize("propagation", ["appnp", "gpr", "dagnn", "grand"])
def test_augmentations_are_passes_of_their_own_masks(propagation: str, part: LabelledNodes) -> None:
    """Without dropout each equals a pass alone; with it, they differ, and their mean is that of passes alone."""
    family, network = made(of(propagation, steps=3))
    piece = family.piece(part, of(propagation, steps=3))
    noise = Noise(0.0, torch_generator(0, "features"), torch_generator(0, "inner"), augmentations=3)
    found = network(piece.field.everywhere(), piece.features, noise)
    alone = network(piece.field, piece.features)
    assert found.shape == (NODES, 3, CLASSES)
    torch.testing.assert_close(found[part.nodes], alone[:, None].expand(-1, 3, -1), rtol=1e-12, atol=1e-12)
    for place in ("feature_dropout", "node_dropout", "dropout"):
        _, network = made(of(propagation, steps=3, **{place: 0.2}))
        found = network(piece.field, piece.features, noise)
        assert not torch.equal(found[:, 0], found[:, 1])
        assert not torch.equal(found[:, 1], found[:, 2])


def test_a_dropped_node_has_no_features_at_all(part: LabelledNodes) -> None:
    """Networks that are linear in the features show which nodes are left; evaluation has the mean (GRAND's code)."""
    _, network = made(of("appnp", node_dropout=0.5))
    noise = Noise(0.0, torch_generator(0, "features"), torch_generator(0, "inner"))
    piece = WideFamily(FEATURES, CLASSES, TrainSettings()).piece(part, of("appnp"))
    whole, kept = network._mapped_nodes(piece.features, None), network._mapped_nodes(piece.features, noise)
    with_features = whole.abs().sum(1) > 0
    ratio = (kept / whole)[with_features]
    assert ((ratio == 0).all(1) | ((ratio - 2).abs() < 1e-9).all(1)).all()
    assert 0.2 < float((ratio[:, 0] == 0).double().mean()) < 0.8
    torch.testing.assert_close(whole, 0.5 * piece.features.project(network.input.weight, 0.0, None))


def test_disagreement_equals_the_formula() -> None:
    outputs = torch.randn(5, 3, CLASSES, dtype=torch.float64, generator=torch_generator(0, "outputs")).requires_grad_()
    found = disagreement(outputs, 0.5)
    expected = torch.zeros((), dtype=torch.float64)
    for node in range(5):
        p = [torch.exp(one[node]) / torch.exp(one[node]).sum() for one in outputs.unbind(1)]
        mean = sum(p) / 3
        sharp = (mean**2 / (mean**2).sum()).detach()
        expected = expected + sum(((one - sharp) ** 2).sum() for one in p) / 15
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(*(torch.autograd.grad(one, outputs)[0] for one in (found, expected)))
    same = outputs[:, :1].expand(-1, 4, -1)
    assert float(disagreement(same, 1.0)) == pytest.approx(0.0, abs=1e-20)
    two = torch.randn(5, 3, 1, dtype=torch.float64, generator=torch_generator(1, "outputs"))
    as_classes = torch.cat([two, torch.zeros_like(two)], -1)
    torch.testing.assert_close(disagreement(two, 0.3, multilabel=True), disagreement(as_classes, 0.3))


@pytest.mark.parametrize("multilabel", [False, True])
def test_the_loss_of_consistency_training_equals_the_papers(multilabel: bool, part: LabelledNodes) -> None:
    """A port of the authors' step: the mean over draws of the loss of labelled nodes, and lambda times the disagreement
    of all nodes (Feng et al. 2020, algorithm 2).
    """
    labels = part.labels
    if multilabel:
        labels = (torch.rand(len(part.nodes), CLASSES, generator=torch_generator(3, "labels")) < 0.5).double()
    rates = {"node_dropout": 0.5, "dropout": 0.5, "augmentations": 4, "consistency": 0.7, "temperature": 0.3}
    architecture = of("grand", steps=3, **rates)
    family, network = made(architecture)
    piece = dataclasses.replace(family.piece(part, architecture), labels=labels)

    def noise() -> Noise:
        return Noise(0.0, torch_generator(1, "features"), torch_generator(1, "inner"))

    parts = (network, noise(), [piece], [piece], family.train_settings(architecture))
    found = SpaceTraining(*parts, consistency=family.consistency(architecture))._loss(piece)
    same = noise()
    same.augmentations = 4
    draws = network(piece.field.everywhere(), piece.features, same).unbind(1)
    assert not torch.equal(draws[0], draws[1])
    expected = torch.zeros((), dtype=torch.float64)
    for draw in draws:
        for node, label in zip(part.nodes, labels, strict=True):
            expected = expected + node_loss(draw[node][None], label[None]) / len(labels) / 4
    if multilabel:
        probabilities = [torch.stack([draw.sigmoid(), 1 - draw.sigmoid()], -1) for draw in draws]
    else:
        probabilities = [draw.softmax(-1) for draw in draws]
    sharp = (torch.stack(probabilities).mean(0) ** (1 / 0.3)).detach()
    sharp = sharp / sharp.sum(-1, keepdim=True)
    for one in probabilities:
        expected = expected + 0.7 * ((one - sharp) ** 2).sum(-1).mean() / 4
    torch.testing.assert_close(found, expected)
    gradients = (torch.autograd.grad(loss, list(network.parameters())) for loss in (found, expected))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_the_space_has_no_choice_that_is_not_read(part: LabelledNodes) -> None:
    """Any change of a choice changes the network, its dropout, or its training."""
    rng = np.random.default_rng(0)
    for _ in range(150):
        architecture = SPACE.sample(rng)
        for other in (SPACE.mutate(architecture, rng) for _ in range(3)):
            one, two = ((wide_spec(a), wide_rates(a), wide_consistency(a)) for a in (architecture, other))
            assert one != two, (architecture, other)


def test_known_networks_have_the_published_sizes() -> None:
    """On Cora: GCN of 16 units, GAT of 8 x 8 (its output layer has a bias a class), APPNP's perceptron of 64 units."""
    known = known_wide()
    assert len({architecture.key for architecture in known.values()}) == len(known) >= 12

    def parameters(name: str) -> int:
        network = WideFamily(1433, 7, TrainSettings()).network(known[name], torch_generator(0, "weights"))
        return sum(parameter.numel() for parameter in network.parameters())

    assert parameters("GCN") == 1433 * 16 + 16 + 16 * 7 + 7
    assert parameters("GAT") == 92_373
    assert parameters("APPNP") == 1433 * 64 + 64 + 64 * 7 + 7
    assert parameters("SGC") == 1433 * 7 + 7
    assert parameters("GCNII") == 1433 * 64 + 64 + 16 * 64 * 64 + 64 * 7 + 7
    assert parameters("GRAND") == 1433 * 32 + 32 + 32 * 7 + 7
    assert parameters("GPRGNN") == parameters("APPNP") + 11
    assert parameters("DAGNN") == parameters("APPNP") + 8


def test_weight_decay_is_that_of_the_place() -> None:
    family = WideFamily(FEATURES, CLASSES, TrainSettings())
    network = family.network(known_wide()["GCNII"], torch_generator(0, "weights"))
    groups = {group["weight_decay"]: len(group["params"]) for group in network.parameter_groups(5e-4)}
    assert groups == {5e-4: 4, 0.01: 16}
    network = family.network(known_wide()["GPRGNN"], torch_generator(0, "weights"))
    groups = {group["weight_decay"]: len(group["params"]) for group in network.parameter_groups(5e-4)}
    assert groups == {5e-4: 4, 0.0: 1}
    settings = family.train_settings(known_wide()["GAT"])
    assert (settings.learning_rate, settings.weight_decay) == (0.005, 5e-4)


def test_a_share_of_the_units_keeps_the_heads() -> None:
    gat = known_wide()["GAT"]
    assert [wide_spec(gat, share).hidden for share in (1.0, 0.5, 0.25, 0.01)] == [64, 32, 16, 8]
    assert math.isclose(wide_spec(known_wide()["GCN"], 0.5).hidden, 8)
