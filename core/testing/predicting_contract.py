"""What a domain whose networks predict for all of its data must do.

See :class:`~nichenas.core.capabilities.predicting.Predicting`.
"""

from __future__ import annotations

import torch

from nichenas.core.capabilities.predicting import Predicting
from nichenas.core.context import Context
from nichenas.core.context import open_test_data
from nichenas.core.domain import Domain
from nichenas.core.domain_lookup import DomainRecipe
from nichenas.core.space import Architecture
from nichenas.core.testing.domain_fixtures import CapabilityContract


class PredictingContract(CapabilityContract):
    """The contract."""

    capability = Predicting

    def test_predictions_are_probabilities_of_named_items(
        self, domain: Domain, recipe: DomainRecipe, architecture: Architecture
    ) -> None:
        """They are of every item, follow from the weights alone, and read no test data."""
        assert isinstance(domain, Predicting)
        with open_test_data():
            weights = dict(domain.retrain(architecture, Context(0, keep_weights=True)).weights)
        found = domain.predict(architecture, weights)
        assert found.probabilities.shape == (len(found.items), len(found.classes))
        assert len(set(found.items)) == len(found.items) > 0
        assert len(set(found.classes)) == len(found.classes)
        assert bool(((found.probabilities >= 0) & (found.probabilities <= 1)).all())
        if found.exclusive:
            torch.testing.assert_close(found.probabilities.sum(1), torch.ones(len(found.items)))
        other = recipe()
        assert isinstance(other, Predicting)
        assert torch.equal(other.predict(architecture, weights).probabilities, found.probabilities)
