"""One registry for every kind of named part: built in, installed by another package, or named by its dotted path."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import traceback
from collections.abc import Callable
from collections.abc import Iterator
from functools import cached_property
from typing import Generic
from typing import TypeVar
from typing import cast

from nichenas.core.errors import ConfigError
from nichenas.core.errors import shortened
from nichenas.core.errors import unknown_name_message

T = TypeVar("T")
_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")


class Registry(Generic[T]):
    """Names to parts of one kind.

    A name is looked up among those registered, then among the entry points of the registry's group; a name of the form
    ``module:attribute`` or ``package.module.attribute`` is imported.

    Args:
        kind: what the parts are, as it should read in an error ("strategy").
        base: class that a part must be a subclass of; none where parts are functions.

    Attributes:
        group: of the entry points, ``nichenas.<plural>``.
    """

    def __init__(self, kind: str, group: str, base: type | None = None) -> None:
        self.kind, self.group = kind, group
        self._base = base
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

    @cached_property
    def _installed(self) -> dict[str, str]:
        return {point.name: point.value for point in importlib.metadata.entry_points(group=self.group)}

    def __getitem__(self, name: str) -> T:
        """Returns the part of that name.

        Raises:
            ConfigError: when there is none, with the names there are; or when a path cannot be imported.
        """
        if name in self._parts:
            return self._parts[name]
        target = self._installed.get(name) or as_target(name)
        if target is None:
            raise ConfigError(unknown_name_message(self.kind, name, self))
        found = import_target(target, self.kind)
        shown = shortened(target)
        if self._base is not None and not (isinstance(found, type) and issubclass(found, self._base)):
            raise ConfigError(f"'{shown}' is not a subclass of {self._base.__name__}, so not a {self.kind}")
        if self._base is None and not callable(found):
            raise ConfigError(f"'{shown}' is not a function, so not a {self.kind}")
        return cast(T, found)

    def __contains__(self, name: object) -> bool:
        return name in self._parts or name in self._installed

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self._parts, *self._installed}))


def as_target(name: str) -> str | None:
    """Returns ``module:attribute`` for a name of that form or a dotted path; none for any other name."""
    if _PATH.fullmatch(name):
        return name
    return ":".join(name.rsplit(".", 1)) if _DOTTED.fullmatch(name) else None


def import_target(target: str, kind: str) -> object:
    """Returns what stands at ``module:attribute``.

    Args:
        kind: what it should be, as it reads in an error.

    Raises:
        ConfigError: when it cannot be imported.
    """
    module, _, attribute = target.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (Exception, SystemExit) as error:  # a module runs when it is imported, and can do anything
        reason = str(error) if isinstance(error, (ImportError, AttributeError)) else _located(error)
        shown = f"the {kind} '{shortened(target)}' cannot be imported"
        raise ConfigError(f"{shown} ({shortened(reason, 300)})") from None


def _located(error: BaseException) -> str:
    """Returns an error with the place where it was raised, for somebody's own module that has a mistake."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    at = "" if isinstance(error, SyntaxError) else f" at {place.filename}:{place.lineno}"
    return f"{type(error).__name__}: {error}{at}"
