"""What users should know of their data as a domain uses them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from nichenas.core.capabilities.base import Capability


class DataNotes(Capability):
    """A domain that tells what it did with the data: a split that it made, what it left out."""

    offers: ClassVar[str] = "notes on its data"

    @property
    @abstractmethod
    def notes(self) -> Sequence[str]:
        """Returns a sentence each, known once the domain is prepared; none where data are used as they are."""

    @property
    def data_identity(self) -> str:
        """Returns what changes when the data do, known once the domain is prepared; empty where that is not known."""
        return ""


def notes_of(domain: object) -> tuple[str, ...]:
    """Returns a domain's notes; none where it has none."""
    return tuple(domain.notes) if isinstance(domain, DataNotes) else ()


def data_identity_of(domain: object) -> str:
    """Returns the identity of a domain's data; empty where it has none."""
    return domain.data_identity if isinstance(domain, DataNotes) else ""
