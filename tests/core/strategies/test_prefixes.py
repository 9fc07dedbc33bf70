"""What one-shot searches ask of strategies: prefixes, samples for shared weights, AutoGAN's controller."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from nichenas.core.objectives import Objective
from nichenas.core.space import Architecture
from nichenas.core.space import Choice
from nichenas.core.space import SearchSpace
from nichenas.core.strategies import STRATEGIES
from nichenas.core.trial import Measurement
from nichenas.core.trial import Trial

TOKENS = SearchSpace(
    [Choice("c", (0, 1)), Choice("n", (0, 1, 2)), Choice("u", (0, 1, 2)), Choice("s", (0, 1)), Choice("skip", (0, 1))]
)
AUTOGAN = {"tanh": None, "betas": (0.0, 0.9), "deduplicate": False, "baseline_decay": 0.9}


def bandit(steps: int, reward: Any, **options: Any) -> tuple[Any, list[float]]:
    """Trains AutoGAN's controller of the first stage (36 architectures) on a known reward."""
    cls = STRATEGIES["reinforce"]
    found = cls(TOKENS.first(4), (Objective("q"),), 0, cls.Options(**{**AUTOGAN, "entropy_weight": 1e-3, **options}))
    rewards = []
    for number in range(steps):
        proposal = found.ask(1)[0]
        rewards.append(reward(proposal.architecture))
        found.tell(Trial(number, proposal, Measurement({"q": rewards[-1]})))
    return found, rewards


@pytest.mark.parametrize("detach", [True, False])
def test_policy_reaches_a_separable_optimum_in_450_steps(detach: bool) -> None:
    best = {"c": 1, "n": 2, "u": 1, "s": 0}

    def reward(architecture: Architecture) -> float:
        return sum(architecture[name] == value for name, value in best.items()) / 4

    _, rewards = bandit(450, reward, entropy_detach=detach)
    assert np.mean(rewards[:20]) < 0.6
    assert np.mean(rewards[-50:]) > 0.85


def test_entropy_that_is_not_detached_pushes_itself_down() -> None:
    """Under a constant reward the released rule falls from 3.58 to about 0.6 nats in 300 steps; ours stays."""
    ends = {}
    for name, options in {
        "released": {"entropy_detach": False},
        "corrected": {},
        "none": {"entropy_weight": 0.0},
    }.items():
        found, _ = bandit(300, lambda _: 1.0, **options)
        ends[name] = found.diagnostics()["policy_entropy"]
    assert ends["released"] < 1.2
    assert ends["corrected"] > 2.8
    assert ends["none"] == pytest.approx(np.log(36), abs=0.02)


def test_baseline_is_kept_or_begins_again() -> None:
    for keep in (True, False):
        found, _ = bandit(5, lambda a: float(a["c"]), keep_baseline=keep)
        found.reset_history()
        assert (found._baseline is not None) == keep


def test_controller_sizes_are_autogan_s() -> None:
    choices = [*TOKENS.choices, Choice("skip2", (0, 1, 2, 3))]
    stage1 = TOKENS.extending([TOKENS.first(4).sample(np.random.default_rng(0))])
    stage2 = SearchSpace([*TOKENS.choices[:4], *(Choice(f"{c.name}'", c.options) for c in choices[:4]), choices[5]])
    stage2 = stage2.extending([stage2.first(4).sample(np.random.default_rng(0))])
    sizes = []
    for space in (TOKENS.first(4), stage1_space(), stage2):
        found = STRATEGIES["reinforce"](space, (Objective("q"),), 0)
        sizes.append(sum(p.numel() for p in found.controller.parameters()))  # type: ignore[attr-defined]
    assert sizes == [82_810, 83_212, 83_614]
    assert stage1.free == TOKENS.choices[4:]


def stage1_space() -> SearchSpace:
    later = [Choice(f"{c.name}'", c.options) for c in TOKENS.choices]
    space = SearchSpace([*TOKENS.choices[:4], *later])
    return space.extending([space.first(4).sample(np.random.default_rng(0))])


@pytest.mark.parametrize("extends", [False, True])
def test_sampling_at_once_has_the_policy_s_distribution(extends: bool) -> None:
    cls = STRATEGIES["reinforce"]
    space = SearchSpace([Choice("a", (0, 1)), Choice("b", (0, 1, 2), when={"a": (1,)}), Choice("d", (0, 1))])
    prefixes = [space.first(1).architecture({"a": v}) for v in (0, 1, 1)]
    if extends:
        space = space.extending(prefixes)
    found = cls(space, (Objective("q"),), 0, cls.Options(**AUTOGAN))
    if extends:
        draws = torch.Generator().manual_seed(0)
        states = [{n: torch.randn(1, 100, generator=draws) for n in ("hidden", "cell")} for _ in prefixes]
        found.import_state(states)
    with torch.no_grad():
        for parameter in found.controller.parameters():  # type: ignore[attr-defined]
            parameter *= 8  # a policy that is far from uniform
    count = 4000
    together = found.sample(count, seed=1)
    assert together == found.sample(count, seed=1)
    assert together != found.sample(count, seed=2)
    alone = [proposal.architecture for proposal in found.ask(count)]
    for key in {a.key for a in (*together, *alone)}:
        one, other = (sum(a.key == key for a in side) / count for side in (together, alone))
        assert abs(one - other) < 4 * (2 * max(one, other) / count) ** 0.5 + 0.002


def test_a_prefix_s_state_reaches_the_next_controller() -> None:
    cls = STRATEGIES["reinforce"]
    first, _ = bandit(30, lambda a: float(a["c"]))
    proposals = first.ask(3)
    memories = [first.export_state(proposal) for proposal in proposals]
    again = [first.export_state(proposal) for proposal in proposals]
    assert all(torch.equal(a["hidden"], b["hidden"]) for a, b in zip(memories, again, strict=True))
    space = TOKENS.extending([proposal.architecture for proposal in proposals])
    second = cls(space, (Objective("q"),), 1, cls.Options(**AUTOGAN))
    plain = cls(space, (Objective("q"),), 1, cls.Options(**AUTOGAN))
    second.import_state(memories)
    proposal = second.ask(1)[0]
    start = proposal.tag["prefix"]
    assert {n: v for n, v in proposal.architecture.items() if n != "skip"} == dict(space.prefixes[start])
    one = second._decide(proposal.architecture, start).log_probability  # type: ignore[attr-defined]
    other = plain._decide(proposal.architecture, start).log_probability  # type: ignore[attr-defined]
    assert float(one.detach()) != float(other.detach())
