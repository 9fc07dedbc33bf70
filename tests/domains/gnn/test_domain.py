from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from nichenas.core.context import Context
from nichenas.core.context import Environment
from nichenas.core.context import Limits
from nichenas.core.context import open_test_data
from nichenas.core.errors import CandidateFailure
from nichenas.core.sharing.homogeneous import HomogeneousStore
from nichenas.core.space import Architecture
from nichenas.core.testing.baselines_contract import BaselinesContract
from nichenas.core.testing.criterion_contract import CriterionContract
from nichenas.core.testing.datasets_contract import DatasetsContract
from nichenas.core.testing.domain_contract import DomainContract
from nichenas.core.testing.fidelity_contract import FidelityContract
from nichenas.core.testing.inheritance_contract import InheritanceContract
from nichenas.core.testing.known_contract import KnownContract
from nichenas.core.testing.notes_contract import NotesContract
from nichenas.core.testing.predicting_contract import PredictingContract
from nichenas.core.testing.probing_contract import ProbingContract
from nichenas.core.trial import Proposal
from nichenas.domains.gnn import GNNDomain
from nichenas.domains.gnn.settings import GNNSettings
from nichenas.domains.gnn.space import CLASSES
from nichenas.domains.gnn.space import agnn_space
from nichenas.domains.gnn.space import layer_specs
from tests.conftest import real_data


class GNNContract(
    DomainContract,
    FidelityContract,
    InheritanceContract,
    KnownContract,
    CriterionContract,
    NotesContract,
    PredictingContract,
    BaselinesContract,
    ProbingContract,
    DatasetsContract,
):
    target = "nichenas.domains.gnn:GNNDomain"

    @pytest.fixture(scope="class")
    @classmethod
    def architecture(cls, domain: GNNDomain) -> Architecture:
        """A small one, which takes little time."""
        rng = np.random.default_rng(0)
        while domain.memory(found := domain.space.sample(rng)) > 15 * 2**20:
            pass
        return found


class TestDigits(GNNContract):
    settings = {"dataset": "digits-knn", "epochs": 10, "patience": None}
    data = Path(".")


class TestDigitsWide(GNNContract):
    settings = {
        "dataset": "digits-knn",
        "epochs": 10,
        "patience": None,
        "space": "wide",
        "criterion": "calibrated_brier",
    }
    data = Path(".")


class TestDigitsRepaired(GNNContract):
    settings = {"dataset": "digits-knn", "epochs": 10, "patience": None, "operations": "repaired"}
    data = Path(".")


class TestDigitsThreeLayersBatchNormSkip(GNNContract):
    settings = {"dataset": "digits-knn", "epochs": 8, "layers": 3, "batch_norm": True, "skip": True}
    data = Path(".")


@pytest.mark.skipif(real_data() is None, reason="no real data: name its folder in NICHENAS_TEST_DATA")
class TestCora(GNNContract):
    settings = {"dataset": "Cora", "epochs": 10, "patience": None, "objectives": ["score", "parameters"]}
    data = real_data()


def domain(dataset: str = "digits-knn", data: Path | None = None, **settings: object) -> GNNDomain:
    made = GNNDomain(
        GNNSettings.model_validate({"dataset": dataset, **settings}),
        Environment(data or Path("."), Path(__import__("os").environ["NICHENAS_CACHE"])),
    )
    made.prepare()
    return made


def architecture(*layers: tuple[object, ...]) -> Architecture:
    values = {
        f"layer{number}.{name}": value
        for number, layer in enumerate(layers, 1)
        for name, value in zip(CLASSES, layer, strict=True)
    }
    return agnn_space(len(layers)).architecture(values)  # type: ignore[arg-type]


GAT = architecture((8, "gat", 8, "sum", "identity", "elu"), (4, "gat", 1, "sum", "identity", "linear"))


def test_sizes_of_the_space() -> None:
    assert agnn_space(1).size == 11_760
    assert agnn_space(2).size == 138_297_600
    assert agnn_space(3).size == 11_760**3
    assert list(agnn_space(2).groups) == list(CLASSES)


def test_equal_networks_of_repaired_operations_are_one() -> None:
    mean = architecture((8, "gat", 8, "mean", "identity", "elu"), (4, "gcn", 1, "mean", "identity", "linear"))
    assert agnn_space(2).canonical(mean) == mean
    merged = agnn_space(2, "repaired").canonical(mean)
    assert {key for key in mean if mean[key] != merged[key]} == {"layer1.aggregate"}
    assert merged["layer1.aggregate"] == "sum"
    assert agnn_space(2, "repaired").size == agnn_space(2).size


def test_repaired_operations_train_where_published_ones_do_not() -> None:
    """A GAT whose messages are averaged: dividing twice leaves a signal too small to learn from."""
    mean = architecture((8, "gat", 8, "mean", "identity", "elu"), (4, "gat", 1, "mean", "identity", "linear"))
    losses = {}
    for operations in ("published", "repaired"):
        measured = domain(operations=operations, epochs=40, patience=None).evaluate(Proposal(mean), Context(0))
        losses[operations] = measured.values["loss"]
    assert losses["repaired"] < 0.5 * losses["published"]


def test_the_last_layers_width_is_not_read() -> None:
    space = agnn_space(2)
    other = space.architecture({**GAT, "layer2.hidden": 256})
    assert space.canonical(other) == space.canonical(GAT)
    assert layer_specs(other, 10, 3) == layer_specs(GAT, 10, 3)
    assert space.size // 7 == 19_756_800


@pytest.mark.parametrize(
    ("features", "classes", "heads", "expected"), [(1433, 7, 1, 92_373), (3703, 6, 1, 237_586), (500, 3, 8, 33_779)]
)
def test_parameter_counts_of_gat(features: int, classes: int, heads: int, expected: int) -> None:
    from nichenas.core.seeds import torch_generator
    from nichenas.domains.gnn.model import AGNN

    layers = ((8, "gat", 8, "sum", "identity", "elu"), (4, "gat", heads, "sum", "identity", "linear"))
    network = AGNN(layer_specs(architecture(*layers), features, classes), torch_generator(0, "w"))
    assert sum(parameter.numel() for parameter in network.parameters()) == expected


def test_mixed_fidelities_train_for_their_own_epochs() -> None:
    from nichenas.core.fidelity import Fidelity

    of = domain(epochs=20, patience=None)
    found = [of.evaluate(Proposal(GAT, Fidelity(epochs=share)), Context(0)) for share in (1.0, 0.5, 0.1)]
    assert [measured.curve[-1][0] for measured in found] == [20, 10, 2]


def test_limits_cut_candidates_off() -> None:
    of = domain(epochs=200)
    wide = architecture((256, "gat", 16, "sum", "mlp", "elu"), (4, "gat", 1, "sum", "identity", "linear"))
    with pytest.raises(CandidateFailure, match="limit:memory"):
        of.evaluate(Proposal(wide), Context(0, limits=Limits(memory_mb=50)))
    with pytest.raises(CandidateFailure, match="limit:seconds"):
        of.evaluate(Proposal(wide), Context(0, limits=Limits(seconds=0.01)))


def test_keys_that_the_space_chooses_are_refused() -> None:
    for name, value in (("learning_rate", 0.1), ("layers", 3), ("operations", "repaired")):
        with pytest.raises(ValidationError, match=f"{name} has no effect with space: wide"):
            GNNSettings.model_validate({"dataset": "Cora", "space": "wide", name: value})
        GNNSettings.model_validate({"dataset": "Cora", "space": "agnn", name: value})


def test_divergence_is_a_failure() -> None:
    of = domain(epochs=30, learning_rate=1e30)
    with pytest.raises(CandidateFailure, match="diverged"):
        of.evaluate(Proposal(GAT), Context(0))


def test_inherited_weights_are_used_and_only_where_they_may_be() -> None:
    of = domain(epochs=3, batch_norm=True, skip=True)
    first = of.evaluate(Proposal(GAT), Context(0, keep_weights=True))
    store = HomogeneousStore(of.sharing_rules["homogeneous"])
    store.update(0, 0.5, of.share_keys(GAT), first.weights)
    found = store.inherit(of.share_keys(GAT))
    assert not any("batch_norm" in name or "skip" in name for name in found)
    assert {"layers.0.weight", "layers.0.attention.left", "layers.1.bias"} <= set(found)
    network = of._training(GAT, Context(7, inherited=found)).network
    for name, tensor in found.items():
        assert torch.equal(network.state_dict()[name], first.weights[name])
        assert torch.equal(tensor, first.weights[name])
    changed = architecture((8, "gat", 8, "sum", "identity", "tanh"), (4, "gat", 1, "mean", "identity", "linear"))
    names = set(store.inherit(of.share_keys(changed)))
    assert not any(name.startswith("layers.0") for name in names)  # another activation
    assert "layers.1.weight" in names  # another aggregator only


def test_baselines_of_pyg_layers_are_as_good() -> None:
    """Initial weights have one distribution, dropout another order of draws; both compute the same."""
    for name in ("GCN", "APPNP"):
        scores = {}
        for pyg in (False, True):
            of = domain(epochs=60, pyg_baselines=pyg)
            with open_test_data():
                scores[pyg] = np.mean([of.train_baseline(name, Context(seed)).test["accuracy"] for seed in range(3)])
        assert abs(scores[True] - scores[False]) < 0.02
        assert scores[True] > 0.9


def test_baselines_of_pyg_layers_have_the_criterion() -> None:
    for pyg in (False, True):
        of = domain(epochs=60, pyg_baselines=pyg, space="wide", criterion="calibrated_brier")
        with open_test_data():
            found = of.train_baseline("GCN", Context(0)).validation
        assert 0 < found["calibrated_brier"] < 0.2


def test_sharing_saves_training() -> None:
    of = domain(epochs=60, patience=None)
    scratch = of.evaluate(Proposal(GAT), Context(0, keep_weights=True))
    warm = of.evaluate(Proposal(GAT), Context(0, 1, inherited=dict(scratch.weights)))
    assert (len(scratch.curve), len(warm.curve)) == (60, 20)
    assert warm.curve[0][1] > scratch.curve[0][1] + 0.2
    without = {name: tensor for name, tensor in scratch.weights.items() if not name.startswith("layers.0")}
    late = of.evaluate(Proposal(GAT), Context(0, 1, inherited=without))
    assert len(late.curve) == 60  # nearly all of the weights are fresh: it needs a training of full length


def test_validation_and_test_nodes_have_no_label_in_training() -> None:
    task = domain().task
    train, validation = set(task.train[0].nodes.tolist()), set(task.validation[0].nodes.tolist())
    with open_test_data():
        test = set(task.test.read()[0].nodes.tolist())
    assert len(train) == 100
    assert len(train | validation | test) == 1797 == len(train) + len(validation) + len(test)


def test_cora_gat_reaches_the_literature(data: Path) -> None:
    """GAT is published at 83.0 on Cora; a single seed of ours must come near."""
    of = domain("Cora", data, epochs=200)
    with open_test_data():
        result = of.retrain(GAT, Context(0))
    assert result.test["accuracy"] > 0.80


@pytest.mark.parametrize(("dataset", "layers", "least"), [
    ("Cora", ((128, "const", 2, "sum", "identity", "relu6"), (4, "gat", 2, "sum", "identity", "linear")), 0.79),
    ("CiteSeer", ((128, "gat", 4, "sum", "identity", "linear"), (4, "linear", 8, "sum", "identity", "elu")), 0.69),
])  # fmt: skip
def test_graphnas_released_architectures(
    dataset: str, layers: tuple[tuple[object, ...], ...], least: float, data: Path
) -> None:
    of = domain(dataset, data, epochs=200)
    with open_test_data():
        result = of.retrain(architecture(*layers), Context(1))
    assert result.test["accuracy"] >= least


def test_drawing_shows_every_layer() -> None:
    of = domain()
    drawing = of.draw(GAT)
    assert list(drawing.nodes) == ["input", "layer1", "layer2", "output"]
    assert "gat attention, sum" in drawing.nodes["layer1"]
