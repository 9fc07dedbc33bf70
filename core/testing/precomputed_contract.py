"""What a domain that looks its measurements up must do.

See :class:`~nichenas.core.capabilities.precomputed.PrecomputedResults`.
"""

from __future__ import annotations

import math

import pytest

from nichenas.core.capabilities.fidelity import honoured
from nichenas.core.capabilities.precomputed import PrecomputedResults
from nichenas.core.context import Context
from nichenas.core.domain import Domain
from nichenas.core.errors import CandidateFailure
from nichenas.core.fidelity import Fidelity
from nichenas.core.space import Architecture
from nichenas.core.testing.domain_fixtures import CapabilityContract
from nichenas.core.testing.domain_fixtures import outcome
from nichenas.core.testing.domain_fixtures import samples
from nichenas.core.trial import Measurement
from nichenas.core.trial import Proposal

SAMPLES = 200  # look-ups are cheap


class PrecomputedContract(CapabilityContract):
    """The contract."""

    capability = PrecomputedResults

    def test_measurements_have_seconds_where_the_table_tells_them(
        self, domain: Domain, architecture: Architecture
    ) -> None:
        """Simulated seconds are there exactly where the domain says so, and a shorter training takes no longer."""
        assert isinstance(domain, PrecomputedResults)
        fidelities = [Fidelity(), Fidelity(epochs=0.5)] if "epochs" in honoured(domain) else [Fidelity()]
        found = [domain.evaluate(Proposal(architecture, f), Context(0)).simulated_seconds for f in fidelities]
        if not domain.simulated_time:
            assert found == [None] * len(found)
            return
        seconds = [value for value in found if value is not None]
        assert len(seconds) == len(found)
        assert all(math.isfinite(value) and value >= 0 for value in seconds)
        assert seconds == sorted(seconds, reverse=True)

    def test_scores_have_values_and_seconds(self, domain: Domain) -> None:
        """Scores of untrained networks are finite or none, and cost a finite time."""
        assert isinstance(domain, PrecomputedResults)
        for architecture in samples(domain, SAMPLES):
            try:
                scores = domain.precomputed_scores(architecture)
            except CandidateFailure:
                continue
            for name, score in scores.items():
                assert score.value is None or math.isfinite(score.value), name
                assert math.isfinite(score.seconds), name
                assert score.seconds >= 0, name

    def test_nothing_is_better_than_the_best_known(self, domain: Domain) -> None:
        """No architecture is measured above the best value of the whole space."""
        assert isinstance(domain, PrecomputedResults)
        best, objective = domain.best_known(), domain.objectives[0]
        if best is None:
            pytest.skip("the best value of the space is not known")
        assert math.isfinite(best)
        for trial, architecture in enumerate(samples(domain, SAMPLES)):
            found = outcome(domain, Proposal(architecture), Context(0, trial))
            if isinstance(found, Measurement):
                assert objective.sign * found.values[objective.name] <= objective.sign * best
