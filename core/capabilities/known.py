"""Architectures that people use, so that a search can begin with them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from nichenas.core.capabilities.base import Capability
from nichenas.core.space import Architecture


class KnownArchitectures(Capability):
    """A domain that names well-known architectures of its space."""

    offers: ClassVar[str] = "well-known architectures"

    @property
    @abstractmethod
    def known(self) -> Mapping[str, Architecture]:
        """Architectures of the space by the name that they are known by, no two of them the same network."""


def known_of(domain: object) -> Mapping[str, Architecture]:
    """Returns a domain's well-known architectures; none where it names none."""
    return domain.known if isinstance(domain, KnownArchitectures) else {}
