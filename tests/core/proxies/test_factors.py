from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from nichenas.core.config_schema import ProxiesSection
from nichenas.core.context import Environment
from nichenas.core.errors import ConfigError
from nichenas.core.fidelity import FULL
from nichenas.core.fidelity import STANDARD_FACTORS
from nichenas.core.fidelity import Factor
from nichenas.core.fidelity import Fidelity
from nichenas.core.proxies.factors import ProxySetting
from nichenas.core.proxies.factors import fidelity_of
from nichenas.core.testing.toy import ToyDomain
from nichenas.core.testing.toy import ToySettings


class Images(ToyDomain):
    """EcoNAS's full setting: 36 channels, 32 pixels, 600 epochs."""

    factors = ("epochs", "samples", "channels", "resolution")

    def resolve_fidelity(self, fidelity: Fidelity) -> Mapping[str, int]:
        return {
            "epochs": round(600 * fidelity["epochs"]),
            "samples": round(50000 * fidelity["samples"]),
            "channels": round(36 * fidelity["channels"]),
            "resolution": round(32 * fidelity["resolution"]),
        }


@pytest.fixture
def images(tmp_path: object) -> Images:
    return Images(ToySettings(), Environment(tmp_path, tmp_path))  # type: ignore[arg-type]


def test_anchors_of_econas(images: Images) -> None:
    full, reliable = fidelity_of("c0r0s0e600", {}, images), fidelity_of("c4r4s0e60", {}, images)
    assert full == FULL
    assert images.resolve_fidelity(full) == {"epochs": 600, "samples": 50000, "channels": 36, "resolution": 32}
    assert images.resolve_fidelity(reliable) == {"epochs": 60, "samples": 50000, "channels": 9, "resolution": 8}
    assert full.cost == 1
    assert reliable.cost == pytest.approx(1 / 2560)
    assert images.relative_cost(reliable) == pytest.approx(1 / 2560)


@pytest.mark.parametrize("factor", ["channels", "resolution", "samples"])
def test_a_level_halves_the_arithmetic(factor: str) -> None:
    costs = [Fidelity(**{factor: share}).cost for share in STANDARD_FACTORS[factor].levels]
    assert costs == pytest.approx([1, 1 / 2, 1 / 4, 1 / 8, 1 / 16])


@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.integers(1, 2000))
def test_names_are_read_as_they_are_written(c: int, r: int, s: int, e: int) -> None:
    setting = ProxySetting({"c": c, "r": r, "s": s}, e)
    assert ProxySetting.parse(str(setting)) == setting
    assert str(setting) == f"c{c}r{r}s{s}e{e}"
    assert str(ProxySetting({"c": 4, "r": 4}, 60)) == "c4r4s0e60"
    assert str(ProxySetting({"c": 1, "t": 2}, 60)) == "c1r0s0t2e60"


@pytest.mark.parametrize("name", ["", "c4r4s0", "c4r4s0e0", "c-1r0s0e5", "r4c4s0e60", "c4r4s0e60 ", "full"])
def test_other_words_are_no_settings(name: str) -> None:
    with pytest.raises(ConfigError, match="such as c2r0s0e10"):
        ProxySetting.parse(name)


def test_what_a_domain_does_not_have_is_refused(images: Images, tmp_path: object) -> None:
    with pytest.raises(ConfigError, match="no level 5 of channels; allowed: 0 to 4"):
        fidelity_of("c5r0s0e60", {}, images)
    with pytest.raises(ConfigError, match="more epochs than the full setting of this domain, 600"):
        fidelity_of("c0r0s0e601", {}, images)
    toy = ToyDomain(ToySettings(), Environment(tmp_path, tmp_path))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"reduces channels and resolution, which the domain does not.*: epochs$"):
        fidelity_of("c1r1s0e6", {}, toy)


@pytest.mark.parametrize("wrong", [(), (0.5,), (1.0, 1.0), (1.0, 0.5, 0.0)])
def test_levels_fall_from_one(wrong: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError, match="must begin with 1 and fall"):
        ProxiesSection(levels={"channels": wrong})


class Sequences(ToyDomain):
    """A domain with a factor of its own, whose cost rises with its square."""

    factors = ("epochs", "samples", Factor("tokens", "t", 2.0, (1.0, 0.5, 0.25)))

    def resolve_fidelity(self, fidelity: Fidelity) -> Mapping[str, int]:
        sizes = {"epochs": 100, "samples": 1000, "tokens": 512}
        return {name: round(size * fidelity[name]) for name, size in sizes.items()}


def test_a_factor_of_a_domain_s_own_has_a_letter() -> None:
    sequences = Sequences(ToySettings(), None)  # type: ignore[arg-type]
    setting = fidelity_of("c0r0s0t2e50", {}, sequences)
    assert sequences.resolve_fidelity(setting) == {"epochs": 50, "samples": 1000, "tokens": 128}
    assert sequences.relative_cost(setting) == pytest.approx(0.5 / 16)
    assert fidelity_of("c0r0s0t1e100", {"tokens": (1.0, 0.1)}, sequences)["tokens"] == 0.1
    with pytest.raises(ConfigError, match=r"no factor has the letter 'q'; allowed: .*t \(tokens\)"):
        fidelity_of("c0r0s0q1e50", {}, sequences)


def test_a_rounded_size_costs_what_it_is(images: Images) -> None:
    assert fidelity_of("c1r0s0e600", {}, images).cost == pytest.approx(0.5)
    assert images.relative_cost(fidelity_of("c1r0s0e600", {}, images)) == pytest.approx((25 / 36) ** 2)
