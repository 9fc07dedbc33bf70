"""What a domain with reduced fidelity must do; see :class:`~nichenas.core.capabilities.fidelity.ReducedFidelity`."""

from __future__ import annotations

from pathlib import Path

import pytest

from nichenas.core.capabilities.fidelity import ReducedFidelity
from nichenas.core.capabilities.fidelity import factors_of
from nichenas.core.capabilities.fidelity import honoured
from nichenas.core.capabilities.fidelity import sizes
from nichenas.core.context import Context
from nichenas.core.domain import Domain
from nichenas.core.execution.jobs import EvaluationJob
from nichenas.core.execution.jobs import run_job
from nichenas.core.fidelity import FULL
from nichenas.core.fidelity import STANDARD_FACTORS
from nichenas.core.fidelity import Fidelity
from nichenas.core.gate import checked_measurement
from nichenas.core.space import Architecture
from nichenas.core.testing.domain_fixtures import CPU
from nichenas.core.testing.domain_fixtures import CapabilityContract
from nichenas.core.trial import Measurement
from nichenas.core.trial import Proposal


class FidelityContract(CapabilityContract):
    """The contract."""

    capability = ReducedFidelity

    def test_factors_are_declared(self, domain: Domain) -> None:
        """Every factor that is honoured has a size at the full setting, and no two factors have one letter."""
        assert honoured(domain) <= sizes(domain, FULL).keys()
        assert all(isinstance(size, int) and size >= 1 for size in sizes(domain, FULL).values())
        letters = [factor.letter for factor in factors_of(domain).values()]
        assert len(set(letters)) == len(letters)

    def test_reductions_are_honoured(self, domain: Domain, architecture: Architecture) -> None:
        """A reduced factor is no larger, leaves the others as they are, costs no more, and can be measured."""
        assert isinstance(domain, ReducedFidelity)
        full = sizes(domain, FULL)
        assert domain.relative_cost(FULL) == 1
        for factor in sorted(honoured(domain)):
            fidelity = Fidelity(**{factor: 0.5})
            half = sizes(domain, fidelity)
            assert 1 <= half[factor] <= full[factor]  # equal where settings are as small as they can be
            assert {name: half[name] for name in half if name != factor} == {n: full[n] for n in full if n != factor}
            assert 0 < domain.relative_cost(fidelity) <= 1
            measurement = domain.evaluate(Proposal(architecture, fidelity), Context(0))
            checked_measurement(measurement, domain.objectives)

    def test_other_factors_are_refused(self, domain: Domain, architecture: Architecture) -> None:
        """What the domain does not reduce is not measured as if it did."""
        for factor in ({*STANDARD_FACTORS, "no_such_factor"}) - honoured(domain):
            job = EvaluationJob(seed=0, first=0, proposals=(Proposal(architecture, Fidelity(**{factor: 0.5})),))
            with pytest.raises(ValueError, match=f"does not reduce {factor}"):
                run_job(domain, job, CPU)

    def test_settings_of_final_trainings_are_of_the_same_kind(self, domain: Domain) -> None:
        """Settings for a study's reference are settings of the domain, and their own reference."""
        assert isinstance(domain, ReducedFidelity)
        final = domain.final_training_settings(domain.settings)
        assert isinstance(final, domain.Settings)
        assert domain.final_training_settings(final) == final

    def test_a_training_in_parts_is_the_training_in_one_go(
        self, domain: Domain, architecture: Architecture, tmp_path: Path
    ) -> None:
        """Continuing from a checkpoint changes nothing: values, curve and epochs are those of one training."""
        assert isinstance(domain, ReducedFidelity)
        if not (domain.resumable and "epochs" in honoured(domain)):
            pytest.skip("the domain does not continue trainings")

        def run(proposal: Proposal) -> Measurement:
            job = EvaluationJob(seed=0, first=4, proposals=(proposal,), checkpoints=tmp_path)
            (result,) = run_job(domain, job, CPU)
            assert isinstance(result.outcome, Measurement), result.outcome
            return result.outcome

        whole = run(Proposal(architecture, horizon=1.0))
        begun = run(Proposal(architecture, Fidelity(epochs=0.5), horizon=1.0))
        ended = run(Proposal(architecture, FULL, parent=4, horizon=1.0, start=0.5))
        for objective in domain.objectives:
            assert ended.values[objective.name] == whole.values[objective.name]
        assert ended.curve == whole.curve[len(whole.curve) - len(ended.curve) :]
        if whole.epochs is not None:
            assert begun.epochs is not None
            assert ended.epochs is not None
            assert begun.epochs + ended.epochs == whole.epochs
