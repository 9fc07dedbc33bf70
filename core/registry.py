"""One registry for every kind of named part: duplicates are refused, misses list what there is."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from typing import Generic
from typing import TypeVar

from nichenas.core.errors import ConfigError
from nichenas.core.errors import unknown

T = TypeVar("T")


class Registry(Generic[T]):
    """Names to parts of one kind.

    Args:
        kind: what the parts are, as it should read in an error ("strategy").
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._parts: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Returns a decorator that files a part under ``name``.

        Raises:
            ValueError: when the name is taken.
        """

        def add(part: T) -> T:
            if name in self._parts:
                raise ValueError(f"{self.kind} '{name}' is registered already")
            self._parts[name] = part
            return part

        return add

    def __getitem__(self, name: str) -> T:
        """Returns the part of that name; a miss raises :class:`ConfigError` with the names there are."""
        try:
            return self._parts[name]
        except KeyError:
            raise ConfigError(unknown(self.kind, name, self._parts)) from None

    def __contains__(self, name: object) -> bool:
        return name in self._parts

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._parts))
