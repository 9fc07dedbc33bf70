"""What a domain whose candidates inherit weights must do.

See :class:`~nichenas.core.capabilities.inheritance.WeightInheritance`.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nichenas.core.capabilities.inheritance import WeightInheritance
from nichenas.core.context import Context
from nichenas.core.domain import Domain
from nichenas.core.sharing.homogeneous import HomogeneousStore
from nichenas.core.space import Architecture
from nichenas.core.testing.domain_fixtures import CapabilityContract
from nichenas.core.trial import Measurement
from nichenas.core.trial import Proposal


class InheritanceContract(CapabilityContract):
    """The contract."""

    capability = WeightInheritance

    def test_rules_name_attributes_of_keys(self, domain: WeightInheritance, architecture: Architecture) -> None:
        """There is a rule, keys are the same whenever they are asked for, and have what the rules compare."""
        keys = domain.share_keys(architecture)
        assert keys
        assert domain.share_keys(architecture) == keys
        assert domain.sharing_rules
        for rule in domain.sharing_rules.values():
            for key in keys.values():
                assert set(rule) <= set(key.attributes)

    @pytest.fixture(scope="class")
    @classmethod
    def kept(cls, domain: Domain, architecture: Architecture) -> dict[str, Tensor]:
        """Tensors that the architecture ends with."""
        return dict(domain.evaluate(Proposal(architecture), Context(0, keep_weights=True)).weights)

    def test_share_keys_name_the_tensors(
        self, domain: WeightInheritance, architecture: Architecture, measurement: Measurement, kept: dict[str, Tensor]
    ) -> None:
        """Kept tensors have keys of their shape; without being asked for, none are kept."""
        keys = domain.share_keys(architecture)
        assert kept
        for name, tensor in kept.items():
            assert keys[name].shape == tuple(tensor.shape)
        assert not measurement.weights

    def test_every_rule_lets_weights_be_inherited(
        self, domain: WeightInheritance, architecture: Architecture, kept: dict[str, Tensor]
    ) -> None:
        """An architecture may start from what the same one left in a store."""
        keys = domain.share_keys(architecture)
        for rule in domain.sharing_rules.values():
            store = HomogeneousStore(rule)
            store.update(0, 1.0, keys, kept)
            inherited = store.inherit(keys)
            assert inherited
            assert all(torch.equal(tensor, kept[name]) for name, tensor in inherited.items())

    def test_inherited_weights_are_used(
        self, domain: Domain, architecture: Architecture, kept: dict[str, Tensor]
    ) -> None:
        """A candidate that starts from weights does not end as it does without them."""
        assert isinstance(domain, WeightInheritance)
        found = [
            domain.evaluate(Proposal(architecture), Context(0, 1, inherited=inherited, keep_weights=True))
            for inherited in ({}, kept)
        ]
        assert not _same(*found)


def _same(one: Measurement, other: Measurement) -> bool:
    weights = all(torch.equal(tensor, other.weights[name]) for name, tensor in one.weights.items())
    return weights and dict(one.values) == dict(other.values)
