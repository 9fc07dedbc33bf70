"""What a domain that knows data sets by name must do.

See :class:`~nichenas.core.capabilities.datasets.NamedDatasets`.
"""

from __future__ import annotations

from nichenas.core.capabilities.datasets import NamedDatasets
from nichenas.core.domain import Domain
from nichenas.core.testing.domain_fixtures import CapabilityContract


class DatasetsContract(CapabilityContract):
    """The contract."""

    capability = NamedDatasets

    def test_names_are_known_before_any_data_is_loaded(self, domain: Domain) -> None:
        """The class lists its data sets, each with a line about it; no two names differ by capitals alone."""
        cls = type(domain)
        assert issubclass(cls, NamedDatasets)
        known = cls.datasets()
        assert known
        assert len({name.lower() for name in known}) == len(known)
        for name, about in known.items():
            assert name.strip() == name != ""
            assert about.strip()
            assert "\n" not in about
