"""Controls: what of a found architecture they keep, and what is drawn at random."""

from __future__ import annotations

import numpy as np
import pytest

from nichenas.core.capabilities.costing import Costing
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
    found = domain.space.architecture({f"c{i}": i % 4 for i in range(1, 6)} | {"c0": 1})
    wanted = domain.architecture_costs(found)["size"]
    near = ControlSettings(of="x", cost="size", within=0.1)
    sizes = {domain.architecture_costs(draw_control("r", near, domain, found, rng(seed)))["size"] for seed in range(40)}
    assert sizes == {wanted}  # 9 of at most 18 in whole steps: a tenth is none
    free = {
        domain.architecture_costs(draw_control("r", ControlSettings(of="x"), domain, found, rng(seed)))["size"]
        for seed in range(40)
    }
    assert len(free) > 4
    assert draw_control("r", near, domain, found, rng(3)) == draw_control("r", near, domain, found, rng(3))
    kept = ControlSettings(of="x", redraw=("extra",))  # nothing else is drawn, and it is not active
    with pytest.raises(ConfigError, match=r"controls.r: none of 1000 random architectures is another one$"):
        draw_control("r", kept, domain, found, rng())
    least = domain.space.architecture({**{f"c{i}": 0 for i in range(6)}, "c5": 1, "extra": "a"})
    only = ControlSettings(of="x", redraw=("even",), cost="size")
    with pytest.raises(ConfigError, match=r"controls.r: none of 1000 .* another one with size within 5% of 1$"):
        draw_control("r", only, domain, domain.space.architecture({**least, "extra": "b"} | {"c0": 0}), rng())


def test_what_a_domain_does_not_have_is_refused(domain: ToyDomain) -> None:
    check_control("r", ControlSettings(of="x", redraw=("even", "extra"), cost="size"), domain)
    with pytest.raises(ConfigError, match=r"group of choices 'evne' .*did you mean 'even'") as caught:
        check_control("r", ControlSettings(of="x", redraw=("evne",)), domain)
    assert caught.value.key == "controls.r.redraw"
    with pytest.raises(ConfigError, match=r"unknown cost 'sise' .*did you mean 'size'") as caught:
        check_control("r", ControlSettings(of="x", cost="sise"), domain)
    assert caught.value.key == "controls.r.cost"

    class Plain(ToyDomain):
        pass

    plain = Domain.__new__(type("NoCosts", (Domain,), {**dict(vars(ToyDomain)), "__abstractmethods__": frozenset()}))
    assert not isinstance(plain, Costing)
    plain.settings = domain.settings
    with pytest.raises(ConfigError, match="the domain has no costs of its networks"):
        check_control("r", ControlSettings(of="x", cost="size"), plain)


def test_an_architecture_is_drawn(domain: ToyDomain) -> None:
    assert isinstance(redrawn(domain.space, domain.space.sample(rng()), None, rng()), Architecture)
