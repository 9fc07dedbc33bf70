"""What a domain with a criterion of its own for ranking must do.

See :class:`~nichenas.core.capabilities.criterion.RankingCriterion`.
"""

from __future__ import annotations

import math

from nichenas.core.capabilities.criterion import RankingCriterion
from nichenas.core.context import Context
from nichenas.core.context import open_test_data
from nichenas.core.domain import Domain
from nichenas.core.space import Architecture
from nichenas.core.testing.domain_fixtures import CPU
from nichenas.core.testing.domain_fixtures import CapabilityContract
from nichenas.core.trial import Proposal


class CriterionContract(CapabilityContract):
    """The contract."""

    capability = RankingCriterion

    def test_the_criterion_is_measured_wherever_it_ranks(self, domain: Domain, architecture: Architecture) -> None:
        """Measurements have it, and so have validation figures of full trainings."""
        assert isinstance(domain, RankingCriterion)
        if domain.criterion is None:
            return
        name = domain.criterion.name
        assert name != domain.objectives[0].name
        assert math.isfinite(domain.evaluate(Proposal(architecture), Context(0, device=CPU)).values[name])
        with open_test_data():
            assert math.isfinite(domain.retrain(architecture, Context(0, device=CPU)).validation[name])
