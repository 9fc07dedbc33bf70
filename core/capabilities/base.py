"""The base of all capabilities."""

from __future__ import annotations

from abc import ABC
from typing import Any
from typing import ClassVar


class Capability(ABC):
    """Something optional that a domain offers; mixed into the domain's class, so that it is known before data is.

    Attributes:
        offers: what a domain with it has, as it reads after "the domain has no ...".
        settings: of the domain, whose class sets them.
    """

    offers: ClassVar[str]
    settings: Any
