"""Controls: what of a found architecture they keep, and what is drawn at random."""

from __future__ import annotations

import numpy as np
import pytest

from nichenas.core.capabilities.costing import Costing
from nichenas.core.claims.controls import DrawnControl
from nichenas.core.claims.controls import check_control
from nichenas.core.claims.controls import draw_control
from nichenas.core.claims.controls import redrawn
from nichenas.core.claims.settings import ControlSettings
from nichenas.core.context import Environment
from nichenas.core.domain import Domain
from nichenas.core.errors import ConfigError
from nichenas.core.space import Architecture
from nichenas.core.testing.toy import ToyDomain
from nichenas.core.testing.toy import ToySettings


@pytest.fixture
def domain(tmp_path: object) -> ToyDomain:
    made = ToyDomain(ToySettings(choices=6), Environment(None, None))  # type: ignore[arg-type]
    made.prepare()
    return made


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_groups_that_are_not_drawn_stay(domain: ToyDomain) -> None:
    found = domain.space.architecture({f"c{i}": 1 for i in range(6)})
    drawn = [redrawn(domain.space, found, ["odd"], rng(seed)) for seed in range(40)]
    assert all(one[f"c{i}"] == 1 for one in drawn for i in (0, 2, 4))
    assert {one["c1"] for one in drawn} == {0, 1, 2, 3}
    assert all("extra" not in one for one in drawn)  # c0 is 1
    whole = [redrawn(domain.space, found, None, rng(seed)) for seed in range(40)]
    assert {one["c0"] for one in whole} == {0, 1, 2, 3}
    assert all(("extra" in one) == (one["c0"] == 0) for one in whole)


def test_a_control_costs_what_was_found_and_is_another_one(domain: ToyDomain) -> None:
    space = domain.space
    found = space.architecture({f"c{i}": i % 4 for i in range(1, 6)} | {"c0": 1})

    def drawn(control: ControlSettings, of: Architecture = found, seed: int = 0) -> DrawnControl:
        return draw_control(control, domain, space, of, rng(seed))

    def sizes(control: ControlSettings) -> set[float]:
        every = [drawn(control, seed=seed) for seed in range(40)]
        assert all(one.note == "" and one.architecture != found for one in every)
        return {domain.architecture_costs(one.architecture)["size"] for one in every if one.architecture is not None}

    near = ControlSettings(of="x", cost="size")
    assert sizes(near) == {domain.architecture_costs(found)["size"]}  # 8 in whole steps: a twentieth of it is none
    assert len(sizes(ControlSettings(of="x", cost="size", within=0.3))) == 5
    assert len(sizes(ControlSettings(of="x"))) > 5
    assert drawn(near, seed=3) == drawn(near, seed=3)
    nothing = drawn(ControlSettings(of="x", redraw=("extra",)))  # it is not active
    assert nothing == DrawnControl(None, "none of 300 random architectures is another one than the found one")


def test_where_none_costs_as_much_the_nearest_is_taken_and_told(domain: ToyDomain) -> None:
    least = domain.space.architecture({**{f"c{i}": 0 for i in range(6)}, "extra": "a"})
    control = ControlSettings(of="x", redraw=("even",), cost="size")
    drawn = draw_control(control, domain, domain.space, least, rng())
    assert drawn.architecture is not None
    assert domain.architecture_costs(drawn.architecture) == {"size": 1.0}
    assert drawn.note == "size differ by 1, the nearest of 300"
    two = domain.space.architecture({**{f"c{i}": 3 for i in range(6)}})
    most = draw_control(control, domain, domain.space, two, rng())
    assert most.note == "size differ by 6%, the nearest of 300"


def test_a_part_of_the_space_is_drawn_from(domain: ToyDomain) -> None:
    part = domain.space.restricted({"c0": (1, 2), "c1": (3,)})
    found = part.sample(rng())
    every = [draw_control(ControlSettings(of="x"), domain, part, found, rng(seed)).architecture for seed in range(30)]
    assert all(one is not None and part.holds(one) for one in every)


def test_what_a_domain_does_not_have_is_refused(domain: ToyDomain) -> None:
    check_control("r", ControlSettings(of="x", redraw=("even", "extra"), cost="size"), domain)
    with pytest.raises(ConfigError, match=r"group of choices 'evne' .*did you mean 'even'") as caught:
        check_control("r", ControlSettings(of="x", redraw=("evne",)), domain)
    assert caught.value.key == "controls.r.redraw"
    with pytest.raises(ConfigError, match=r"unknown cost 'sise' .*did you mean 'size'") as caught:
        check_control("r", ControlSettings(of="x", cost="sise"), domain)
    assert caught.value.key == "controls.r.cost"

    plain = Domain.__new__(type("NoCosts", (Domain,), {**dict(vars(ToyDomain)), "__abstractmethods__": frozenset()}))
    assert not isinstance(plain, Costing)
    plain.settings = domain.settings
    with pytest.raises(ConfigError, match="the domain has no costs of its networks"):
        check_control("r", ControlSettings(of="x", cost="size"), plain)
