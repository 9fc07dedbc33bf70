"""What contract suites of domains share: the domain that is checked, made once a class, and an architecture of it.

Fixtures of a class are class methods: pytest gives every test an instance of its own, and a fixture that is made once
for all of them cannot belong to one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from typing import ClassVar

import numpy as np
import pytest
import torch

from nichenas.core.capabilities.base import Capability
from nichenas.core.context import Context
from nichenas.core.context import Environment
from nichenas.core.data.root import cache_folder
from nichenas.core.data.root import data_root
from nichenas.core.domain import Domain
from nichenas.core.domain_lookup import DomainRecipe
from nichenas.core.domain_lookup import load_target
from nichenas.core.errors import CandidateFailure
from nichenas.core.space import Architecture
from nichenas.core.trial import Measurement
from nichenas.core.trial import Proposal
from nichenas.core.trial import as_failure

CPU = torch.device("cpu")


class DomainFixtures:
    """Base of every contract of a domain.

    Attributes:
        target: ``module:Class`` of the domain.
        settings: of a configuration that evaluates in seconds; keep it small.
        data: the data root, where the settings need one.
    """

    target: ClassVar[str]
    settings: ClassVar[dict[str, Any]] = {}
    data: ClassVar[Path | None] = None

    @pytest.fixture(scope="class")
    @classmethod
    def recipe(cls) -> DomainRecipe:
        """How to make the domain."""
        settings = load_target(cls.target).Settings.model_validate(cls.settings)
        return DomainRecipe(cls.target, settings, Environment(cls.data or data_root(None), cache_folder()))

    @pytest.fixture(scope="class")
    @classmethod
    def domain(cls, recipe: DomainRecipe) -> Domain:
        """The domain, prepared."""
        return recipe()

    @pytest.fixture(scope="class")
    @classmethod
    def architecture(cls, domain: Domain) -> Architecture:
        """An architecture that can be measured."""
        for candidate in samples(domain, 20):
            if isinstance(outcome(domain, Proposal(candidate), Context(0)), Measurement):
                return candidate
        raise AssertionError("none of 20 random architectures could be measured")

    @pytest.fixture(scope="class")
    @classmethod
    def measurement(cls, domain: Domain, architecture: Architecture) -> Measurement:
        """What the domain measures of the architecture as trial 0 of seed 0."""
        return domain.evaluate(Proposal(architecture), Context(0))


class CapabilityContract(DomainFixtures):
    """Base of the contract of a capability.

    Attributes:
        capability: the class that a domain mixes in.
    """

    capability: ClassVar[type[Capability]]

    def test_the_domain_has_the_capability(self, domain: Domain) -> None:
        """The domain's class says that it can do what is checked."""
        assert isinstance(domain, self.capability), f"{type(domain).__name__} does not mix in {self.capability}"


def samples(domain: Domain, count: int, seed: int = 0) -> list[Architecture]:
    """Returns random architectures."""
    rng = np.random.default_rng(seed)
    return [domain.space.sample(rng) for _ in range(count)]


def outcome(domain: Domain, proposal: Proposal, context: Context) -> Measurement | CandidateFailure:
    """Returns a measurement, or the failure of the candidate.

    Raises:
        TestDataError: when the evaluation read test data.
    """
    try:
        return domain.evaluate(proposal, context)
    except Exception as error:
        return as_failure(error)
