"""Search spaces: named choices with options, conditions and groups, and the architectures they span.

A space is a tuple of :class:`Choice`; an :class:`Architecture` assigns an option to every choice that is
*active*. A choice with ``when={"op": ("conv", "pool")}`` is active only where the earlier choice ``op`` is
active and has one of these options. All randomness comes from the generator that the caller passes in.

A space can be searched in stages: :meth:`SearchSpace.first` is that of the leading choices, and
:meth:`SearchSpace.extending` the part of a space whose leading choices are made already, in one of a few ways.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nichenas.core.errors import NichenasError
from nichenas.core.errors import unknown_name_message

Option = str | int | float | bool | None


class SpaceError(NichenasError):
    """A space that is declared wrongly, or an architecture that is not in the space."""


@dataclass(frozen=True)
class Choice:
    """A named decision.

    Attributes:
        name: unique within the space.
        options: the values it can take, all distinct as JSON.
        when: earlier choices and the options under which this one is active; empty means always.
        group: the action class that this choice belongs to (AGNN, section on the space); by default its name.
    """

    name: str
    options: tuple[Option, ...]
    when: Mapping[str, tuple[Option, ...]] | None = None
    group: str = ""
    _positions: Mapping[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", tuple(self.options))
        object.__setattr__(self, "when", dict(self.when or {}))
        object.__setattr__(self, "group", self.group or self.name)
        if not self.options:
            raise SpaceError(f"choice '{self.name}' has no options")
        object.__setattr__(self, "_positions", {json.dumps(option): i for i, option in enumerate(self.options)})
        if len(self._positions) != len(self.options):
            raise SpaceError(f"choice '{self.name}' has an option twice: {self.options}")

    def index(self, option: Option) -> int:
        """Returns the position of an option, distinguishing ``1``, ``1.0`` and ``True`` by their JSON."""
        position = self._positions.get(json.dumps(option))
        if position is None:
            names = [str(one) for one in self.options]
            if str(option) in names:
                kind = "text" if isinstance(option, str) else f"a {type(option).__name__}"
                raise SpaceError(f"option of '{self.name}': {option!r} is {kind}; allowed: {', '.join(names)}")
            raise SpaceError(unknown_name_message(f"option of '{self.name}':", str(option), names))
        return position


class Architecture(Mapping[str, Option]):
    """An immutable, hashable assignment of options to the active choices of a space.

    Behaves as a mapping from the name of a choice to its option, in the order of the space.
    """

    __slots__ = ("_values", "key")

    def __init__(self, values: Mapping[str, Option]) -> None:
        self._values = dict(values)
        #: Stable identity: 16 hexadecimal digits, the same in every process and version.
        self.key: str = hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def __getitem__(self, name: str) -> Option:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Architecture) and self.key == other.key

    def __str__(self) -> str:
        return " ".join(f"{name}={value}" for name, value in self._values.items())

    def __repr__(self) -> str:
        return f"Architecture({self})"

    def __reduce__(self) -> tuple[type[Architecture], tuple[dict[str, Option]]]:
        return Architecture, (self._values,)

    def to_json(self) -> str:
        """Returns the assignment as one line of JSON."""
        return json.dumps(self._values, separators=(",", ":"))


class SearchSpace:
    """A declared set of architectures.

    Args:
        choices: in an order in which every condition refers to earlier choices only.
        canonical: maps an architecture to the representative of those that are the same network; must be
            idempotent. Two architectures are duplicates when their canonical forms are equal.
        prefixes: ways in which the leading choices are made already; see :meth:`extending`.

    Attributes:
        free: the choices that are still to be made; all of them where there are no prefixes.

    Raises:
        SpaceError: for a name used twice or a condition on an unknown choice or option.
    """

    def __init__(
        self,
        choices: Sequence[Choice],
        canonical: Callable[[Architecture], Architecture] | None = None,
        prefixes: Sequence[Architecture] = (),
    ) -> None:
        self.choices = tuple(choices)
        self._canonical = canonical
        self.prefixes = tuple(prefixes)
        self._by_name: dict[str, Choice] = {}
        for choice in self.choices:
            if choice.name in self._by_name:
                raise SpaceError(f"choice '{choice.name}' is declared twice")
            for parent, options in (choice.when or {}).items():
                if parent not in self._by_name:
                    raise SpaceError(f"choice '{choice.name}' depends on '{parent}', which is not declared before it")
                for option in options:
                    self._by_name[parent].index(option)
            self._by_name[choice.name] = choice
        made = {name for prefix in self.prefixes for name in prefix}
        last = max((i for i, choice in enumerate(self.choices) if choice.name in made), default=-1)
        self.free = self.choices[last + 1 :]
        self._free = {choice.name for choice in self.free}

    def __getitem__(self, name: str) -> Choice:
        return self._by_name[name]

    def first(self, count: int) -> SearchSpace:
        """Returns the space of the first ``count`` choices; its architectures are prefixes of this space's."""
        return self if count == len(self.choices) else SearchSpace(self.choices[:count])

    def restricted(self, allowed: Mapping[str, Sequence[Option]]) -> SearchSpace:
        """Returns the part of this space in which some choices have fewer options; its architectures are of this space.

        Choices that nothing can make active any more are left out.

        Raises:
            SpaceError: for an unknown choice or option, or a choice without any.
        """
        for name in allowed:
            if name not in self._by_name:
                raise SpaceError(unknown_name_message("choice", name, self._by_name))
        kept: dict[str, Choice] = {}
        for choice in self.choices:
            wanted = allowed.get(choice.name, choice.options)
            positions = {choice.index(option) for option in wanted}
            options = tuple(option for position, option in enumerate(choice.options) if position in positions)
            when = {
                parent: tuple(o for o in options_ if parent in kept and any(_same(o, k) for k in kept[parent].options))
                for parent, options_ in (choice.when or {}).items()
            }
            if all(when.values()):
                kept[choice.name] = Choice(choice.name, options, when, choice.group)
        return SearchSpace(list(kept.values()), self._canonical, self.prefixes)

    def holds(self, architecture: Mapping[str, Option]) -> bool:
        """Returns whether an architecture is in this space."""
        try:
            self.architecture(architecture)
        except SpaceError:
            return False
        return True

    def extending(self, prefixes: Sequence[Architecture]) -> SearchSpace:
        """Returns the part of this space that begins with one of these prefixes.

        Every operation below leaves the prefix of an architecture alone; :meth:`sample` draws one uniformly, so
        one that stands in the list twice is drawn twice as often.

        Raises:
            SpaceError: when a prefix does not make the leading choices, or not with their options.
        """
        for prefix in prefixes:
            self.first(1 + max(i for i, c in enumerate(self.choices) if c.name in prefix)).architecture(prefix)
        return SearchSpace(self.choices, self._canonical, prefixes)

    @cached_property
    def groups(self) -> dict[str, tuple[Choice, ...]]:
        """The free choices of every group, in the order in which groups first appear."""
        groups: dict[str, tuple[Choice, ...]] = {}
        for choice in self.free:
            groups[choice.group] = (*groups.get(choice.group, ()), choice)
        return groups

    def is_active(self, choice: Choice, values: Mapping[str, Option]) -> bool:
        """Returns whether a choice is to be made, given the values of the choices before it."""
        return all(
            parent in values and any(_same(values[parent], option) for option in options)
            for parent, options in (choice.when or {}).items()
        )

    def complete(self, wanted: Mapping[str, Option], otherwise: Callable[[Choice], Option]) -> Architecture:
        """Returns the architecture with the wanted values where they are active.

        Values of inactive choices are dropped; an active choice without a wanted value gets
        ``otherwise(choice)``. This is how every operation below keeps conditions true.
        """
        values: dict[str, Option] = {}
        for choice in self.choices:
            if self.is_active(choice, values):
                value = wanted[choice.name] if choice.name in wanted else otherwise(choice)
                values[choice.name] = choice.options[choice.index(value)]
        return Architecture(values)

    def architecture(self, values: Mapping[str, Option]) -> Architecture:
        """Returns the architecture with exactly these values.

        Raises:
            SpaceError: when a choice is missing, unknown or inactive, or an option is not allowed.
        """

        def missing(choice: Choice) -> Option:
            raise SpaceError(f"no value for choice '{choice.name}'; allowed: {list(choice.options)}")

        for name in values:
            if name not in self._by_name:
                raise SpaceError(unknown_name_message("choice", name, self._by_name))
        result = self.complete(values, missing)
        extra = set(values) - set(result)
        if extra:
            raise SpaceError(f"choice '{min(extra)}' is not active in this architecture")
        return result

    def from_json(self, text: str) -> Architecture:
        """Returns the architecture written by :meth:`Architecture.to_json`.

        Raises:
            SpaceError: when the text is no JSON object or not an architecture of this space.
        """
        try:
            values: Any = json.loads(text)
        except json.JSONDecodeError as error:
            raise SpaceError(f"not an architecture: {error}") from None
        if not isinstance(values, dict):
            raise SpaceError("not an architecture: a JSON object of choices is wanted")
        return self.architecture(values)

    def canonical(self, architecture: Architecture) -> Architecture:
        """Returns the representative of all architectures that are the same network as this one."""
        return self._canonical(architecture) if self._canonical else architecture

    def unread(self, architecture: Architecture) -> frozenset[str]:
        """Returns the active choices whose change alone never changes the network."""
        if self._canonical is None:
            return frozenset()
        same = self.canonical(architecture).key

        def changes(name: str, option: Option) -> bool:
            other = self.complete({**architecture, name: option}, lambda choice: choice.options[0])
            return self.canonical(other).key != same

        return frozenset(
            name for name in architecture if not any(changes(name, option) for option in self._by_name[name].options)
        )

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Returns an architecture with every free active choice drawn uniformly."""
        prefix = self.prefixes[int(rng.integers(len(self.prefixes)))] if self.prefixes else {}
        return self.complete(prefix, lambda choice: choice.options[int(rng.integers(len(choice.options)))])

    def mutate(self, parent: Architecture, rng: np.random.Generator, choices: int = 1) -> Architecture:
        """Returns the parent with ``choices`` of its free active choices set to another option each.

        Choices that become active through this are drawn uniformly. Choices with a single option cannot
        change; where fewer than ``choices`` can, all that can do.
        """
        movable = [name for name in parent if name in self._free and len(self._by_name[name].options) > 1]
        picked = rng.permutation(len(movable))[:choices]
        names = {movable[int(i)] for i in picked}

        def draw(choice: Choice) -> Option:
            options = choice.options
            if choice.name in names:
                options = tuple(option for option in options if not _same(option, parent[choice.name]))
            return options[int(rng.integers(len(options)))]

        return self.complete({n: v for n, v in parent.items() if n not in names}, draw)

    def neighbours(self, architecture: Architecture) -> list[Architecture]:
        """Returns all architectures that differ in one free choice, in a fixed order, without duplicates.

        Choices that become active through the change take their first option. Neighbours that are
        canonically equal to the architecture or to each other are listed once or not at all.
        """
        seen = {self.canonical(architecture).key}
        result = []
        for name, value in architecture.items():
            for option in self._by_name[name].options if name in self._free else ():
                if _same(option, value):
                    continue
                other = self.complete({**architecture, name: option}, lambda choice: choice.options[0])
                key = self.canonical(other).key
                if key not in seen:
                    seen.add(key)
                    result.append(other)
        return result

    @cached_property
    def size(self) -> int:
        """The exact number of architectures, with conditions counted and duplicates not merged.

        Choices that no condition refers to multiply; the others are enumerated. Different prefixes add up.
        """
        if self.prefixes:
            plain = SearchSpace(self.choices)
            return sum(plain._count(dict(prefix)) for prefix in dict.fromkeys(self.prefixes))
        return self._count({})

    def _count(self, made: dict[str, Option]) -> int:
        """Returns the number of architectures that agree with the leading choices made."""
        parents = {parent for choice in self.choices for parent in (choice.when or {})}

        def count(position: int, values: dict[str, Option]) -> int:
            if position == len(linked):
                return 1
            choice = linked[position]
            if choice.name in made:
                return count(position + 1, {**values, choice.name: made[choice.name]})
            if not self.is_active(choice, values):
                return count(position + 1, values)
            if choice.name not in parents:
                return len(choice.options) * count(position + 1, values)
            return sum(count(position + 1, {**values, choice.name: option}) for option in choice.options)

        linked = [choice for choice in self.choices if choice.when or choice.name in parents]
        single = [c for c in self.choices if not (c.when or c.name in parents) and c.name not in made]
        return math.prod(len(choice.options) for choice in single) * count(0, {})

    def to_indices(self, architecture: Architecture) -> NDArray[np.int64]:
        """Returns the option index of every choice, ``(choices,)``; -1 where a choice is inactive."""
        return np.array(
            [c.index(architecture[c.name]) if c.name in architecture else -1 for c in self.choices], dtype=np.int64
        )

    def from_indices(self, indices: Sequence[int] | NDArray[np.int64]) -> Architecture:
        """Returns the architecture of an index encoding, the inverse of :meth:`to_indices`.

        Raises:
            SpaceError: when the length is wrong, an index out of range, or an inactive choice has a value.
        """
        if len(indices) != len(self.choices):
            raise SpaceError(f"{len(indices)} indices for {len(self.choices)} choices")
        values: dict[str, Option] = {}
        for choice, index in zip(self.choices, indices, strict=True):
            if index >= len(choice.options):
                raise SpaceError(f"index {index} of '{choice.name}' is out of range; it has {len(choice.options)}")
            if index >= 0:
                values[choice.name] = choice.options[int(index)]
        return self.architecture(values)

    def to_one_hot(self, architecture: Architecture) -> NDArray[np.float32]:
        """Returns one 0/1 entry an option, ``(sum of option counts,)``; all 0 for an inactive choice."""
        widths = [len(choice.options) for choice in self.choices]
        result = np.zeros(sum(widths), dtype=np.float32)
        starts = np.cumsum([0, *widths[:-1]])
        indices = self.to_indices(architecture)
        result[(starts + indices)[indices >= 0]] = 1.0
        return result

    @cached_property
    def signature(self) -> str:
        """A stable identity of the declaration: 16 hexadecimal digits."""
        text = json.dumps([[c.name, c.options, sorted((c.when or {}).items()), c.group] for c in self.choices])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _same(one: Option, other: Option) -> bool:
    return type(one) is type(other) and one == other
