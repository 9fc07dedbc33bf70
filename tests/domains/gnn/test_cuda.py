"""The same networks on CUDA: outputs and gradients as on the CPU, trainings that learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from nichenas.core.context import Context
from nichenas.core.context import Environment
from nichenas.core.context import open_test_data
from nichenas.core.data.root import cache_folder
from nichenas.core.seeds import torch_generator
from nichenas.core.trial import Proposal
from nichenas.domains.gnn.domain import GNNDomain
from nichenas.domains.gnn.network import Noise
from nichenas.domains.gnn.settings import GNNSettings
from nichenas.domains.gnn.training import node_loss
from nichenas.domains.gnn.wide_space import known_wide

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")


def domain(device: str, **settings: object) -> GNNDomain:
    given = {"dataset": "digits-knn", "space": "wide", "epochs": 60, "patience": None, **settings}
    made = GNNDomain(GNNSettings.model_validate(given), Environment(Path("none"), cache_folder(), torch.device(device)))
    made.prepare()
    return made


@pytest.fixture(scope="module")
def both() -> tuple[GNNDomain, GNNDomain]:
    return domain("cpu"), domain("cuda")


@pytest.mark.parametrize("name", list(known_wide()))
def test_outputs_and_gradients_equal_those_of_the_cpu(name: str, both: tuple[GNNDomain, GNNDomain]) -> None:
    architecture, found = known_wide()[name], []
    for of in both:
        network = of.family.network(architecture, torch_generator(0, "weights")).to(of.environment.device)
        (piece,) = of.pieces(architecture, "train")
        if architecture.get("norm") == "batch":  # statistics of rounded sums differ, layer upon layer
            network.eval()
        outputs = network(piece.field, piece.features)
        node_loss(outputs, piece.labels).backward()
        found.append([outputs.detach(), *(parameter.grad for parameter in network.parameters())])
    for expected, got in zip(*found, strict=True):
        assert expected is not None
        assert got is not None
        torch.testing.assert_close(got.cpu(), expected, rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("name", ["GCN", "GAT", "APPNP", "GRAND", "SSGC"])
def test_trainings_learn_as_on_the_cpu(name: str, both: tuple[GNNDomain, GNNDomain]) -> None:
    """Masks are drawn by another generator, so trainings differ as those of two seeds do."""
    means = []
    for of in both:
        device = str(of.environment.device)
        with open_test_data():
            runs = [of.retrain(known_wide()[name], Context(seed, device=device)) for seed in range(3)]
        means.append(np.mean([run.test["accuracy"] for run in runs]))
    assert means[0] == pytest.approx(means[1], abs=0.02)


def test_dropout_masks_have_their_rate() -> None:
    noise = Noise(0.0, *(torch_generator(0, name, device="cuda") for name in ("features", "inner")))
    from nichenas.domains.gnn.operations import dropout

    values = dropout(torch.ones(100_000, device="cuda"), 0.3, noise.inner)
    assert float((values == 0).double().mean()) == pytest.approx(0.3, abs=0.01)
    assert float(values.mean()) == pytest.approx(1.0, abs=0.01)


def test_a_trial_on_cuda_is_repeatable(both: tuple[GNNDomain, GNNDomain]) -> None:
    _, of = both
    scores = [of.evaluate(Proposal(known_wide()["GRAND"]), Context(0, device="cuda")).values for _ in range(2)]
    assert scores[0]["accuracy"] == pytest.approx(scores[1]["accuracy"], abs=0.02)


@pytest.mark.parametrize("space", ["agnn", "wide"])
def test_random_members_train(space: str) -> None:
    of = domain("cuda", space=space, epochs=3)
    rng = np.random.default_rng(0)
    for _ in range(8):
        assert of.evaluate(Proposal(of.space.sample(rng)), Context(0, device="cuda")).values
