"""Data sets that a domain knows by name."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from nichenas.core.capabilities.base import Capability


class NamedDatasets(Capability):
    """A domain whose data sets ``nichenas list`` tells."""

    offers: ClassVar[str] = "data sets known by name"

    @classmethod
    @abstractmethod
    def datasets(cls) -> Mapping[str, str]:
        """Returns the data sets that are known by name, each with a line about it."""
