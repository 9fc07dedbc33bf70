"""Relaxations, temperature, regularisers, discretisation, schedules."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from pydantic import ValidationError

from nichenas.core.gradient.annealing import Annealing
from nichenas.core.gradient.discretisation import Discretisation
from nichenas.core.gradient.discretisation import one_hot
from nichenas.core.gradient.optimizers import OptimizerSettings
from nichenas.core.gradient.options import GradientOptions
from nichenas.core.gradient.regularisers import Regulariser
from nichenas.core.gradient.regularisers import entropies
from nichenas.core.gradient.relaxations import RELAXATIONS
from nichenas.core.gradient.relaxations import Softmax
from nichenas.core.gradient.supernet import EdgeGroup
from nichenas.core.gradient.supernet import dense_edges

GROUP = EdgeGroup(
    "normal", dense_edges(2), ("none", "skip", "conv"), none="none", skip="skip", parameter_free=frozenset({"skip"})
)


@given(st.lists(st.floats(-3, 3), min_size=2, max_size=6, unique=True))
@settings(max_examples=50, deadline=None)
def test_temperature(values: list[float]) -> None:
    """T -> 0 gives one-hot, T -> infinity uniform, and the margin falls as T rises."""
    alpha = {"g": torch.tensor([values], dtype=torch.float64)}
    margins = []
    for temperature in (0.05, 0.3, 1.0, 3.0, 30.0):
        top = Softmax().expected(alpha, temperature)["g"][0].topk(2).values
        margins.append(float(top[0] - top[1]))
    assert all(a >= b - 1e-12 for a, b in itertools.pairwise(margins))
    flat = Softmax().expected(alpha, 1e6)["g"]
    torch.testing.assert_close(flat, torch.full_like(flat, 1 / len(values)), rtol=0, atol=1e-5)
    ordered = sorted(values)
    if ordered[-1] - ordered[-2] > 1e-3:
        assert float(Softmax().expected(alpha, 1e-5)["g"].max()) == pytest.approx(1.0)


def test_softmax_gradient_has_the_factor_of_the_temperature() -> None:
    """d p_k / d a_j = (1/T) p_k (delta_kj - p_j)."""
    a = torch.randn(1, 4, dtype=torch.float64, requires_grad=True)
    p = Softmax().expected({"g": a}, 0.25)["g"]
    (gradient,) = torch.autograd.grad(p[0, 1], [a])
    wanted = p[0, 1] / 0.25 * (torch.eye(4, dtype=torch.float64)[1] - p[0])
    torch.testing.assert_close(gradient[0], wanted.detach())


def test_gumbel_draws_follow_the_probabilities() -> None:
    alpha = {"g": torch.tensor([[0.0, 1.0, 2.0]]).expand(4000, 3)}
    for name in ("gumbel", "single-path"):
        mix = RELAXATIONS[name]().mix(alpha, 1.0, torch.Generator().manual_seed(0))
        shares = torch.nn.functional.one_hot(mix.values["g"].argmax(1), 3).double().mean(0)
        torch.testing.assert_close(shares, torch.softmax(alpha["g"][0], 0).double(), rtol=0, atol=0.03)
        again = RELAXATIONS[name]().mix(alpha, 1.0, torch.Generator().manual_seed(0))
        assert torch.equal(mix.values["g"], again.values["g"])


def test_schedules() -> None:
    assert Annealing(kind="linear", start=1, end=0.2).at(0.5) == pytest.approx(0.6)
    assert Annealing(kind="exponential", start=4, end=1).at(0.5) == pytest.approx(2)
    assert Annealing(kind="cosine", start=1, end=0.5).at(1.0) == pytest.approx(0.5)
    assert Annealing(start=3).at(0.9) == 3
    with pytest.raises(ValidationError, match="needs an end"):
        Annealing(kind="linear", start=1)
    with pytest.raises(ValidationError, match="no other end"):
        Annealing(start=1, end=2)


def test_entropy_and_regularisers() -> None:
    uniform = torch.full((3, 4), 0.25)
    assert entropies(uniform).tolist() == pytest.approx([math.log(4)] * 3)
    assert entropies(torch.eye(4)).tolist() == pytest.approx([0.0] * 4, abs=1e-6)
    mixtures = {"a": uniform, "b": torch.eye(4)[:1]}
    mean = math.log(4) * 3 / 4
    assert float(Regulariser(kind="entropy", weight=2).term(mixtures, 5)) == pytest.approx(2 * mean)
    diversity = Regulariser(kind="diversity", weight=1, decay=7.7)
    assert float(diversity.term(mixtures, 7)) == pytest.approx(-math.exp(-7 / 7.7) * mean)
    assert float(Regulariser(kind="zero-one").term({"a": torch.tensor([[0.0, 1.0]])}, 0)) == pytest.approx(-0.25)


def test_top_edges_rule_of_darts() -> None:
    # Edges: 0->2, 1->2, 0->3, 1->3, 2->3. 'none' is strongest everywhere and never kept.
    mixture = {
        "normal": torch.tensor(
            [[0.9, 0.06, 0.04], [0.8, 0.05, 0.15], [0.7, 0.1, 0.2], [0.6, 0.3, 0.1], [0.5, 0.25, 0.25]]
        )
    }
    kept = Discretisation().kept(mixture, (GROUP,))
    assert kept["normal"] == ((0, "skip"), (1, "conv"), (3, "skip"), (4, "skip"))
    table = one_hot(kept, (GROUP,), mixture)["normal"]
    assert table.sum() == 4
    assert table[4].tolist() == [0.0, 1.0, 0.0]


def test_ties_go_to_the_lower_edge_and_operation() -> None:
    kept = Discretisation().kept({"normal": torch.full((5, 3), 1 / 3)}, (GROUP,))
    assert kept["normal"] == ((0, "skip"), (1, "skip"), (2, "skip"), (3, "skip"))


def test_none_may_be_kept() -> None:
    mixture = {"normal": torch.tensor([[0.6, 0.3, 0.1]] * 5)}
    assert {o for _, o in Discretisation(keep_none=True).kept(mixture, (GROUP,))["normal"]} == {"none"}
    assert {o for _, o in Discretisation(keep_none=True, none_factor=3).kept(mixture, (GROUP,))["normal"]} == {"skip"}
    assert Discretisation(rule="all-edges").kept(mixture, (GROUP,))["normal"] == ()


def test_partial_settings_keep_dartss_defaults() -> None:
    options = GradientOptions.model_validate({"architecture": {"lr": 0.1}, "weights": {"kind": "adam", "lr": 0.01}})
    assert options.architecture.betas == (0.5, 0.999)
    assert options.architecture.weight_decay == 1e-3
    assert options.weights.weight_decay == 0.0
    assert options.weights.clip == 5.0
    with pytest.raises(ValidationError, match="did you mean 'softmax'"):
        GradientOptions(relaxation="sotfmax")


def test_scales_and_slopes_are_not_decayed() -> None:
    module = torch.nn.Sequential(torch.nn.Conv2d(2, 2, 3), torch.nn.PReLU(2), torch.nn.BatchNorm2d(2))
    optimizer = OptimizerSettings(kind="sgd", lr=0.1, weight_decay=0.5).make(module.parameters())
    for group in optimizer.param_groups:
        assert {p.dim() > 1 for p in group["params"]} == {group["weight_decay"] > 0}
