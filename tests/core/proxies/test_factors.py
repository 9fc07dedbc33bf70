from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from nichenas.core.context import Environment
from nichenas.core.domain import Domain
from nichenas.core.errors import ConfigError
from nichenas.core.fidelity import FULL
from nichenas.core.fidelity import Fidelity
from nichenas.core.proxies.factors import Levels
from nichenas.core.proxies.factors import ProxySetting
from nichenas.core.proxies.factors import fidelity_of
from nichenas.core.testing.toy import ToyDomain
from nichenas.core.testing.toy import ToySettings


class Images(ToyDomain):
    """EcoNAS's full setting: 36 channels, 32 pixels, 600 epochs."""

    reductions = frozenset({"epochs", "samples", "channels", "resolution"})

    def resolve_fidelity(self, fidelity: Fidelity) -> Mapping[str, int]:
        return {
            "epochs": round(600 * fidelity["epochs"]),
            "samples": round(50000 * fidelity["samples"]),
            "channels": round(36 * fidelity["channels"]),
            "resolution": round(32 * fidelity["resolution"]),
        }


@pytest.fixture
def images(tmp_path: object) -> Domain:
    return Images(ToySettings(), Environment(tmp_path, tmp_path))  # type: ignore[arg-type]


def test_anchors_of_econas(images: Domain) -> None:
    full, reliable = fidelity_of("c0r0s0e600", Levels(), images), fidelity_of("c4r4s0e60", Levels(), images)
    assert full == FULL
    assert images.resolve_fidelity(full) == {"epochs": 600, "samples": 50000, "channels": 36, "resolution": 32}
    assert images.resolve_fidelity(reliable) == {"epochs": 60, "samples": 50000, "channels": 9, "resolution": 8}
    assert full.cost == 1
    assert reliable.cost == pytest.approx(1 / 2560)
    assert images.cost(reliable) == pytest.approx(1 / 2560)


@pytest.mark.parametrize("factor", ["channels", "resolution", "samples"])
def test_a_level_halves_the_arithmetic(factor: str) -> None:
    costs = [Fidelity(**{factor: share}).cost for share in getattr(Levels(), factor)]
    assert costs == pytest.approx([1, 1 / 2, 1 / 4, 1 / 8, 1 / 16])


@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.integers(1, 2000))
def test_names_are_read_as_they_are_written(c: int, r: int, s: int, e: int) -> None:
    setting = ProxySetting(c, r, s, e)
    assert ProxySetting.parse(str(setting)) == setting
    assert str(ProxySetting(4, 4, 0, 60)) == "c4r4s0e60"


@pytest.mark.parametrize("name", ["", "c4r4s0", "c4r4s0e0", "c-1r0s0e5", "r4c4s0e60", "c4r4s0e60 ", "full"])
def test_other_words_are_no_settings(name: str) -> None:
    with pytest.raises(ConfigError, match="such as c2r0s0e10"):
        ProxySetting.parse(name)


def test_what_a_domain_does_not_have_is_refused(images: Domain, tmp_path: object) -> None:
    with pytest.raises(ConfigError, match="no level 5 of channels; allowed: 0 to 4"):
        fidelity_of("c5r0s0e60", Levels(), images)
    with pytest.raises(ConfigError, match="more epochs than the full setting of this domain, 600"):
        fidelity_of("c0r0s0e601", Levels(), images)
    toy = ToyDomain(ToySettings(), Environment(tmp_path, tmp_path))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"reduces channels and resolution, which the domain does not.*: epochs$"):
        fidelity_of("c1r1s0e6", Levels(), toy)


@pytest.mark.parametrize("wrong", [(), (0.5,), (1.0, 1.0), (1.0, 0.5, 0.0)])
def test_levels_fall_from_one(wrong: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError, match="must begin with 1 and fall"):
        Levels(channels=wrong)


def test_a_rounded_size_costs_what_it_is(images: Domain) -> None:
    assert fidelity_of("c1r0s0e600", Levels(), images).cost == pytest.approx(0.5)
    assert images.cost(fidelity_of("c1r0s0e600", Levels(), images)) == pytest.approx((25 / 36) ** 2)
