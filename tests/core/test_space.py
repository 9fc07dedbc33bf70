from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from nichenas.core.space import Architecture
from nichenas.core.space import Choice
from nichenas.core.space import SearchSpace
from nichenas.core.space import SpaceError


@st.composite
def spaces(draw: st.DrawFn) -> SearchSpace:
    choices: list[Choice] = []
    for number in range(draw(st.integers(1, 5))):
        options = tuple(range(draw(st.integers(1, 3))))
        when = {}
        if choices and draw(st.booleans()):
            parent = draw(st.sampled_from(choices))
            when[parent.name] = tuple(draw(st.sets(st.sampled_from(parent.options), min_size=1)))
        choices.append(Choice(f"c{number}", options, when, group=draw(st.sampled_from(["x", "y"]))))
    return SearchSpace(choices)


def everything(space: SearchSpace) -> set[Architecture]:
    """Every architecture, by brute force over all assignments."""
    found = set()
    for values in itertools.product(*(choice.options for choice in space.choices)):
        wanted = dict(zip([choice.name for choice in space.choices], values, strict=True))
        found.add(space.complete(wanted, lambda choice: choice.options[0]))
    return found


@given(spaces())
@settings(max_examples=60, deadline=None)
def test_size_counts_conditions(space: SearchSpace) -> None:
    assert space.size == len(everything(space))


@given(spaces(), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_encodings_and_json_round_trip(space: SearchSpace, seed: int) -> None:
    architecture = space.sample(np.random.default_rng(seed))
    assert space.from_indices(space.to_indices(architecture)) == architecture
    encoding, indices = space.to_one_hot(architecture), space.to_indices(architecture)
    parts = np.split(encoding, np.cumsum([len(choice.options) for choice in space.choices])[:-1])
    assert [int(part.argmax()) if part.any() else -1 for part in parts] == indices.tolist()
    assert space.from_json(architecture.to_json()) == architecture
    assert space.to_one_hot(architecture).sum() == len(architecture)


@given(spaces(), st.integers(0, 1000), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_mutation_changes_that_many_choices(space: SearchSpace, seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    parent = space.sample(rng)
    child = space.mutate(parent, rng, count)
    assert space.architecture(dict(child)) == child
    movable = [name for name in parent if len(space[name].options) > 1]
    changed = [name for name in parent if name in child and child[name] != parent[name]]
    gone = [name for name in parent if name not in child]
    assert len(changed) <= min(count, len(movable)) <= len(changed) + len(gone)


@given(spaces(), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_neighbours_are_all_single_changes(space: SearchSpace, seed: int) -> None:
    architecture = space.sample(np.random.default_rng(seed))
    neighbours = space.neighbours(architecture)
    assert len(set(neighbours)) == len(neighbours)
    assert architecture not in neighbours
    assert set(neighbours) <= everything(space)
    assert len(neighbours) == sum(len(space[name].options) - 1 for name in architecture)


def test_keys_are_stable_across_versions() -> None:
    assert Architecture({"a": 1, "b": "x", "c": None, "d": 0.5, "e": True}).key == "dae2cba341d18fea"
    assert Architecture({"op": "conv", "width": 8}).key == Architecture({"op": "conv", "width": 8}).key
    assert Architecture({"a": 1}).key != Architecture({"a": 1.0}).key


def test_options_of_equal_value_and_other_type_are_told_apart() -> None:
    space = SearchSpace([Choice("a", (1, True, 1.0))])
    assert space.size == 3
    for option in (1, True, 1.0):
        found = space.architecture({"a": option})["a"]
        assert type(found) is type(option)


def test_an_option_of_another_type_is_refused_as_such() -> None:
    space = SearchSpace([Choice("hidden", (32, 64))])
    with pytest.raises(SpaceError, match=r"^option of 'hidden': '64' is text; allowed: 32, 64$"):
        space.architecture({"hidden": "64"})
    with pytest.raises(SpaceError, match=r"^unknown option of 'hidden': '63'; allowed: 32, 64$"):
        space.architecture({"hidden": 63})


def test_canonical_forms_are_duplicates() -> None:
    def canonical(architecture: Architecture) -> Architecture:
        return Architecture({**architecture, "unused": 0})

    space = SearchSpace([Choice("used", (0, 1)), Choice("unused", (0, 1, 2))], canonical)
    one, other = space.architecture({"used": 1, "unused": 0}), space.architecture({"used": 1, "unused": 2})
    assert one != other
    assert space.canonical(one) == space.canonical(other)
    assert [dict(n) for n in space.neighbours(one)] == [{"used": 0, "unused": 0}]


def test_samples_are_uniform() -> None:
    space = SearchSpace([Choice("a", (0, 1, 2))])
    rng = np.random.default_rng(0)
    counts = np.bincount([int(str(space.sample(rng)["a"])) for _ in range(3000)])
    assert np.abs(counts - 1000).max() < 4 * math.sqrt(3000 * 2 / 9)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ([Choice("a", (1,)), Choice("a", (1,))], "twice"),
        ([Choice("a", (1,), when={"b": (1,)})], "not declared before"),
        ([Choice("a", (1,)), Choice("b", (1,), when={"a": (2,)})], "option"),
    ],
)
def test_wrong_declarations_are_refused(choices: list[Choice], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        SearchSpace(choices)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "JSON object"),
        ("{", "not an architecture"),
        ('{"op": "conv"}', "no value"),
        ('{"op": "pool", "kernel": 3}', "not active"),
        ('{"op": "pol"}', "did you mean 'pool'"),
        ('{"oop": "pool"}', "did you mean 'op'"),
    ],
)
def test_wrong_architectures_are_refused(text: str, message: str) -> None:
    space = SearchSpace([Choice("op", ("conv", "pool")), Choice("kernel", (1, 3), when={"op": ("conv",)})])
    with pytest.raises(SpaceError, match=message):
        space.from_json(text)


class TestPrefixes:
    space = SearchSpace(
        [Choice("a", (0, 1)), Choice("b", (0, 1, 2), when={"a": (1,)}), Choice("c", (0, 1)), Choice("d", (0, 1, 2))]
    )

    def test_every_operation_leaves_the_prefix_alone(self) -> None:
        prefixes = [self.space.first(2).architecture(v) for v in ({"a": 0}, {"a": 1, "b": 2})]
        part = self.space.extending(prefixes)
        assert [c.name for c in part.free] == ["c", "d"]
        assert set(part.groups) == {"c", "d"}
        rng = np.random.default_rng(0)
        seen = set()
        for _ in range(200):
            parent = part.sample(rng)
            for found in (parent, part.mutate(parent, rng, 3), *part.neighbours(parent)):
                prefix = Architecture({n: v for n, v in found.items() if n in ("a", "b")})
                assert prefix in prefixes
                assert prefix == Architecture({n: v for n, v in parent.items() if n in ("a", "b")})
                seen.add(found.key)
            assert len(part.neighbours(parent)) == 1 + 2
        assert len(seen) == part.size == 2 * 6

    def test_size_counts_different_prefixes_once(self) -> None:
        one = self.space.first(1).architecture({"a": 1})
        assert self.space.size == 6 + 18
        assert self.space.extending([one, one]).size == 18

    def test_one_that_stands_twice_is_drawn_twice_as_often(self) -> None:
        one, other = (self.space.first(1).architecture({"a": v}) for v in (0, 1))
        part = self.space.extending([one, other, other])
        rng = np.random.default_rng(0)
        assert np.mean([part.sample(rng)["a"] for _ in range(3000)]) == pytest.approx(2 / 3, abs=0.03)

    def test_what_is_no_prefix_is_refused(self) -> None:
        with pytest.raises(SpaceError, match="no value for choice 'b'"):
            self.space.extending([Architecture({"a": 1, "c": 0})])

    def test_without_prefixes_draws_are_as_before(self) -> None:
        same = SearchSpace(self.space.choices)
        one, other = np.random.default_rng(0), np.random.default_rng(0)
        assert self.space.sample(one) == same.complete({}, lambda c: c.options[int(other.integers(len(c.options)))])
