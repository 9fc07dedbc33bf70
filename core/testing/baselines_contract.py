"""What a domain with baselines must do; see :class:`~nichenas.core.capabilities.baselines.Baselines`."""

from __future__ import annotations

import pytest

from nichenas.core.capabilities.baselines import Baselines
from nichenas.core.context import Context
from nichenas.core.domain import Domain
from nichenas.core.domain_lookup import DomainRecipe
from nichenas.core.errors import TestDataError
from nichenas.core.execution.jobs import RetrainingJob
from nichenas.core.execution.jobs import run_job
from nichenas.core.testing.domain_fixtures import CPU
from nichenas.core.testing.domain_fixtures import CapabilityContract
from nichenas.core.trial import Retrained


class BaselinesContract(CapabilityContract):
    """The contract."""

    capability = Baselines

    def test_baselines_have_names_of_their_own(self, domain: Domain) -> None:
        """No two baselines have one name, and their names can be those of files."""
        assert isinstance(domain, Baselines)
        assert len(set(domain.baselines)) == len(domain.baselines)
        assert all(name and "/" not in name and "\n" not in name for name in domain.baselines)

    def test_what_is_tuned_is_a_part_of_the_space(self, domain: Domain) -> None:
        """Where a baseline can be tuned, its choices are of the space, and something is left to choose."""
        assert isinstance(domain, Baselines)
        for name in domain.baselines:
            allowed = domain.baseline_choices(name)
            if allowed:
                assert domain.space.restricted(allowed).size > 1

    def test_baselines_train(self, domain: Domain) -> None:
        """Every baseline has the metrics of an architecture and passes the gate; the seed decides them."""
        assert isinstance(domain, Baselines)
        figures: dict[str, object] = {}
        for name in [*domain.baselines, *domain.baselines[:1]]:  # the first one twice
            (result,) = run_job(domain, RetrainingJob(seed=0, subject=name), CPU)
            assert isinstance(result.outcome, Retrained), f"{name}: {result.outcome}"
            found = (result.outcome.validation, result.outcome.test)
            assert figures.setdefault(name, found) == found

    def test_baselines_read_the_guarded_test_data(self, recipe: DomainRecipe) -> None:
        """A baseline needs the test data that only a full training opens."""
        fresh = recipe()
        assert isinstance(fresh, Baselines)
        for name in fresh.baselines[:1]:
            with pytest.raises(TestDataError):
                fresh.train_baseline(name, Context(0))
