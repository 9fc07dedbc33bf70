"""What a domain that counts costs must do.

See :class:`~nichenas.core.capabilities.costing.Costing`.
"""

from __future__ import annotations

import math

from nichenas.core.capabilities.costing import Costing
from nichenas.core.domain import Domain
from nichenas.core.space import Architecture
from nichenas.core.testing.domain_fixtures import CapabilityContract
from nichenas.core.testing.domain_fixtures import samples


class CostingContract(CapabilityContract):
    """The contract."""

    capability = Costing

    def test_costs_are_known_by_name(self, domain: Domain) -> None:
        """Every architecture has all costs, finite and not negative."""
        assert isinstance(domain, Costing)
        assert domain.cost_names
        for architecture in samples(domain, 3):
            costs = domain.architecture_costs(architecture)
            assert tuple(costs) == domain.cost_names
            assert all(math.isfinite(cost) and cost >= 0 for cost in costs.values())

    def test_costs_are_the_same_at_every_call(self, domain: Domain, architecture: Architecture) -> None:
        """What is counted does not depend on chance."""
        assert isinstance(domain, Costing)
        assert domain.architecture_costs(architecture) == domain.architecture_costs(architecture)

    def test_deployment_is_measured(self, domain: Domain, architecture: Architecture) -> None:
        """What is measured is finite, and has other names than what is counted."""
        assert isinstance(domain, Costing)
        found = domain.deployment_costs(architecture)
        assert not set(found) & set(domain.cost_names)
        assert all(math.isfinite(value) and value > 0 for value in found.values())
