"""What a domain that names well-known architectures must do.

See :class:`~nichenas.core.capabilities.known.KnownArchitectures`.
"""

from __future__ import annotations

from nichenas.core.capabilities.known import KnownArchitectures
from nichenas.core.domain import Domain
from nichenas.core.testing.domain_fixtures import CapabilityContract


class KnownContract(CapabilityContract):
    """The contract."""

    capability = KnownArchitectures

    def test_known_architectures_are_of_the_space(self, domain: Domain) -> None:
        """Every one is an architecture of the space, and no two are the same network."""
        assert isinstance(domain, KnownArchitectures)
        assert domain.known
        for name, architecture in domain.known.items():
            assert name.strip() == name != ""
            assert domain.space.architecture(dict(architecture)) == architecture
        canonical = {domain.space.canonical(architecture).key for architecture in domain.known.values()}
        assert len(canonical) == len(domain.known)

    def test_known_architectures_are_the_same_at_every_call(self, domain: Domain) -> None:
        """A resumed search must begin with the same ones in the same order."""
        assert isinstance(domain, KnownArchitectures)
        assert list(domain.known.items()) == list(domain.known.items())
