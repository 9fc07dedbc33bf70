"""What a domain that measures candidates together must do.

See :class:`~nichenas.core.capabilities.batching.BatchedEvaluation`.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any
from typing import ClassVar

import numpy as np
import pytest

from nichenas.core.capabilities.batching import BatchedEvaluation
from nichenas.core.capabilities.fidelity import honoured
from nichenas.core.context import Context
from nichenas.core.context import Limits
from nichenas.core.domain import Domain
from nichenas.core.errors import CandidateFailure
from nichenas.core.fidelity import Fidelity
from nichenas.core.gate import checked_measurement
from nichenas.core.space import Architecture
from nichenas.core.testing.domain_fixtures import CapabilityContract
from nichenas.core.testing.domain_fixtures import outcome
from nichenas.core.trial import Measurement
from nichenas.core.trial import Proposal

LIMITS = Limits(memory_mb=100)


class BrokenContext(Context):
    """A context that cannot be drawn from, for a candidate that breaks in the middle of its batch."""

    def numpy(self, *_: Any, **__: Any) -> Any:
        """Raises."""
        raise MemoryError("broken on purpose")

    def torch(self, *_: Any, **__: Any) -> Any:
        """Raises."""
        raise MemoryError("broken on purpose")


class BatchingContract(CapabilityContract):
    """The contract.

    Attributes:
        rounding: how far ``evaluate_many`` may be from ``evaluate``, in the primary objective.
    """

    capability = BatchedEvaluation
    rounding: ClassVar[float] = 0.02

    def check(self, domain: Domain, proposals: Sequence[Proposal], context: Callable[[int], Context]) -> None:
        """Measures proposals together, and each alone; both must come out the same.

        Args:
            context: makes that of a proposal from its position.
        """
        assert isinstance(domain, BatchedEvaluation)
        together = domain.evaluate_many(proposals, [context(position) for position in range(len(proposals))])
        assert len(together) == len(proposals)
        name = domain.objectives[0].name
        for position, (proposal, found) in enumerate(zip(proposals, together, strict=True)):
            expected = outcome(domain, proposal, context(position))
            if isinstance(expected, CandidateFailure):
                assert isinstance(found, CandidateFailure), f"candidate {position} fails alone, and was measured"
                assert found.reason == expected.reason
            else:
                assert isinstance(found, Measurement), f"candidate {position} is measured alone, and failed: {found}"
                checked = checked_measurement(found, domain.objectives)
                assert abs(expected.values[name] - checked.values[name]) <= self.rounding

    def test_together_is_as_alone(self, domain: Domain, architecture: Architecture) -> None:
        """Measuring together changes nothing but the rounding, and results are in the order of the proposals."""
        mutant = domain.space.mutate(architecture, np.random.default_rng(3))
        self.check(domain, [Proposal(architecture), Proposal(mutant)], lambda trial: Context(0, trial, limits=LIMITS))

    def test_each_has_its_own_fidelity(self, domain: Domain, architecture: Architecture) -> None:
        """Candidates of one batch may be measured at different fidelities."""
        fidelities = [Fidelity(**{name: share}) for name in sorted(honoured(domain)) for share in (0.5, 0.25)]
        if not fidelities:
            pytest.skip("the domain reduces nothing")
        proposals = [Proposal(architecture, fidelity) for fidelity in fidelities]
        self.check(domain, proposals[::2] if len(proposals) > 2 else proposals, lambda trial: Context(0, trial))

    @pytest.mark.parametrize("broken", ["without memory", "breaks"])
    def test_a_broken_candidate_costs_no_other_its_measurement(
        self, domain: Domain, architecture: Architecture, broken: str
    ) -> None:
        """A candidate without memory, or one whose evaluation breaks, fails in its place; the others are measured."""

        def context(trial: int) -> Context:
            if trial > 0:
                return Context(0, trial, limits=LIMITS)
            return BrokenContext(0, trial) if broken == "breaks" else Context(0, trial, limits=Limits(memory_mb=1e-6))

        self.check(domain, [Proposal(architecture)] * 2, context)
