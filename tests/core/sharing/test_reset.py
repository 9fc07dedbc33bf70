from __future__ import annotations

import numpy as np
import pytest

from nichenas.core.sharing.reset import CollapseMonitor
from nichenas.core.sharing.reset import LossWindow
from nichenas.core.sharing.reset import ResetSettings


def monitor(**settings: float) -> CollapseMonitor:
    return CollapseMonitor(ResetSettings(**settings), ("discriminator", "generator"), "generator")  # type: ignore[arg-type]


def test_constant_losses_fire_exactly_when_the_window_of_the_gate_is_full() -> None:
    watched = monitor()
    for step in range(1, 2500):
        losses = {"discriminator": 1.0} if step % 5 else {"discriminator": 1.0, "generator": 0.5}
        assert watched.push(losses) is None, step
    assert watched.push({"discriminator": 1.0, "generator": 0.5}) is not None  # the 500th loss of the generator


def test_noise_above_the_limit_never_fires() -> None:
    rng = np.random.default_rng(0)
    watched = monitor()
    for _ in range(5000):
        assert watched.push({"discriminator": rng.normal(0, 0.1), "generator": rng.normal(0, 0.1)}) is None


@pytest.mark.parametrize("collapsed", ["discriminator", "generator"])
def test_either_window_alone_is_enough(collapsed: str) -> None:
    rng = np.random.default_rng(0)
    watched = monitor(window=50)
    reasons = []
    for _ in range(50):
        losses = {name: rng.normal() for name in ("discriminator", "generator")}
        reasons.append(watched.push({**losses, collapsed: 0.0}))
    assert reasons[:-1] == [None] * 49
    assert reasons[-1] == f"{collapsed} hardly changes"


def test_windows_are_empty_after_firing() -> None:
    watched = monitor(window=10)
    fired = [watched.push({"discriminator": 0.0, "generator": 0.0}) is not None for _ in range(30)]
    assert [i for i, f in enumerate(fired) if f] == [9, 19, 29]


def test_a_loss_that_is_not_finite_fires_at_once() -> None:
    watched = monitor()
    assert watched.push({"discriminator": float("nan")}) == "discriminator is not finite"
    assert watched.windows["discriminator"].state() == []


def test_variance_is_that_of_the_population_and_windows_slide() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=35)
    window = LossWindow(10)
    for value in values:
        window.push(value)
    assert window.full
    assert window.variance() == pytest.approx(np.var(values[-10:]), rel=1e-12)
    assert window.state() == pytest.approx(values[-10:].tolist())


def test_state_goes_on() -> None:
    rng = np.random.default_rng(2)
    one = monitor(window=20, variance=0.9)
    other = monitor(window=20, variance=0.9)
    fired = []
    for step in range(200):
        losses = {"discriminator": rng.normal(), "generator": rng.normal()}
        if step == 33:
            other.load(one.state())
        reason = one.push(losses)
        fired.append(reason)
        if step >= 33:
            assert other.push(losses) == reason
    assert any(fired[33:])
