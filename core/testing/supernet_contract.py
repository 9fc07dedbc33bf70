"""What a domain with a supernet must do; see :class:`~nichenas.core.gradient.supernet.DifferentiableSupernet`."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from nichenas.core.context import Context
from nichenas.core.domain import Domain
from nichenas.core.gradient.discretisation import Discretisation
from nichenas.core.gradient.discretisation import one_hot
from nichenas.core.gradient.relaxations import Mix
from nichenas.core.gradient.relaxations import Softmax
from nichenas.core.gradient.steps import architecture_costs
from nichenas.core.gradient.steps import copies
from nichenas.core.gradient.steps import weight_gradients
from nichenas.core.gradient.supernet import DifferentiableSupernet
from nichenas.core.gradient.supernet import Supernet
from nichenas.core.testing.domain_fixtures import CapabilityContract
from nichenas.core.trial import Proposal


class SupernetContract(CapabilityContract):
    """The contract.

    Attributes:
        discretisation: a rule whose outcome is in the domain's space.
    """

    capability = DifferentiableSupernet
    discretisation: ClassVar[Discretisation] = Discretisation()

    @pytest.fixture
    def supernet(self, domain: DifferentiableSupernet) -> Supernet:
        """A fresh supernet, in training."""
        return domain.supernet(Context(0)).train()

    def _mix(self, supernet: Supernet, seed: int = 0) -> Mix:
        generator = torch.Generator().manual_seed(seed)
        alphas = {
            group.name: torch.randn(len(group.edges), len(group.operations), generator=generator)
            for group in supernet.groups
        }
        return Softmax().mix(alphas, 1.0, generator)

    def _batch(self, domain: DifferentiableSupernet) -> tuple[object, Tensor]:
        data = domain.search_data(Context(0), 16, 0.5)
        return next(iter(data.weights.train_batches(np.random.default_rng(0))))

    def test_costs_have_the_form_of_the_groups(self, domain: DifferentiableSupernet, supernet: Supernet) -> None:
        """Where a domain counts costs of operations: one an operation and edge, none is negative, ``none`` is free."""
        for kind, table in domain.resources().items():
            assert table.rest >= 0, kind
            for group in supernet.groups:
                costs = table.operations[group.name]
                assert costs.shape == (len(group.edges), len(group.operations)), kind
                assert bool((costs >= 0).all()), kind
                if group.none is not None and group.none in group.operations:
                    assert not bool(costs[:, group.operations.index(group.none)].any()), kind

    def test_groups_are_well_formed(self, supernet: Supernet) -> None:
        """Edges lead forward and are sorted; operations that are named exist."""
        for group in supernet.groups:
            assert list(group.edges) == sorted(group.edges, key=lambda edge: (edge[1], edge[0]))
            assert all(source < target for source, target in group.edges)
            assert {group.none, group.skip, *group.parameter_free} - {None} <= {
                *group.operations,
                group.none,
                group.skip,
            }
            assert group.instances > 0

    def test_every_operation_that_runs_has_a_cost(self, domain: DifferentiableSupernet, supernet: Supernet) -> None:
        """Outputs are differentiable by every entry of the mixture but those of ``none``."""
        result = architecture_costs(supernet, self._batch(domain), self._mix(supernet))
        for group in supernet.groups:
            cost = result.costs[group.name]
            assert cost.shape == (group.instances, len(group.edges), len(group.operations))
            for k, name in enumerate(group.operations):
                assert (torch.count_nonzero(cost[:, :, k]) == 0) == (name == group.none), name

    def test_weights_get_gradients(self, domain: DifferentiableSupernet, supernet: Supernet) -> None:
        """All weights of a mixture are trained."""
        weight_gradients(supernet, self._batch(domain), self._mix(supernet))
        assert all(p.grad is not None for p in supernet.parameters() if p.requires_grad)

    def test_active_operations_alone_run(self, domain: DifferentiableSupernet, supernet: Supernet) -> None:
        """A one-hot mixture gives the same outputs whether the other operations run or not."""
        inputs, _ = self._batch(domain)
        kept = self.discretisation.kept(dict(self._mix(supernet).values), supernet.groups)
        table = one_hot(kept, supernet.groups, dict(self._mix(supernet).values))
        mixes = copies(supernet, Mix(table), differentiable=False)
        with torch.no_grad():
            everything = supernet(inputs, mixes)
            alone = supernet(inputs, mixes, {name: values > 0 for name, values in table.items()})
        torch.testing.assert_close(alone, everything, rtol=1e-3, atol=1e-4)

    def test_recomputing_changes_nothing(self, domain: DifferentiableSupernet) -> None:
        """The gradients are the same where activations are computed again."""
        batch, found = self._batch(domain), []
        for activation_checkpointing in (False, True):
            supernet = domain.supernet(Context(0), activation_checkpointing).train()
            weight_gradients(supernet, batch, self._mix(supernet))
            found.append([p.grad for p in supernet.parameters()])
        for one, other in zip(*found, strict=True):
            torch.testing.assert_close(one, other)

    def test_same_seed_same_supernet(self, domain: DifferentiableSupernet) -> None:
        """The context decides the initial weights."""
        one, other = (domain.supernet(Context(3)).state_dict() for _ in range(2))
        assert all(torch.equal(one[name], other[name]) for name in one)
        different = domain.supernet(Context(4)).state_dict()
        assert any(not torch.equal(one[name], different[name]) for name in one)

    def test_what_is_kept_is_an_architecture(self, domain: Domain, supernet: Supernet) -> None:
        """Random mixtures are derived to architectures of the space, which can be measured."""
        assert isinstance(domain, DifferentiableSupernet)
        for seed in range(5):
            kept = self.discretisation.kept(dict(self._mix(supernet, seed).values), supernet.groups)
            architecture = domain.derived(kept)
            assert domain.space.architecture(dict(architecture)) == architecture
        domain.evaluate(Proposal(architecture), Context(0))

    def test_an_architecture_is_what_is_derived_from_what_it_keeps(self, domain: Domain) -> None:
        """Architectures of the space have their edges and operations."""
        assert isinstance(domain, DifferentiableSupernet)
        rng = np.random.default_rng(0)
        for _ in range(5):
            architecture = domain.space.sample(rng)
            assert domain.derived(domain.kept(architecture)) == architecture

    def test_every_sample_has_a_loss_and_a_score(self, domain: DifferentiableSupernet, supernet: Supernet) -> None:
        """Losses and scores are finite, one a sample."""
        inputs, targets = self._batch(domain)
        with torch.no_grad():
            outputs = supernet(inputs, copies(supernet, self._mix(supernet), differentiable=False))
            for values in (supernet.sample_losses(outputs, targets), supernet.sample_scores(outputs, targets)):
                assert values.shape == (len(targets),)
                assert bool(torch.isfinite(values).all())

    def test_the_generator_decides_the_batches(self, domain: DifferentiableSupernet) -> None:
        """An epoch of training is the same for the same generator; what is validated never changes."""
        data = domain.search_data(Context(0), 16, 0.5)
        for draw in (lambda: data.weights.train_batches(np.random.default_rng(1)), data.validation.eval_batches):
            for (one, labels), (other, same) in zip(draw(), draw(), strict=True):
                assert torch.equal(one, other)
                assert torch.equal(labels, same)

    def test_parts_of_the_data(self, domain: DifferentiableSupernet) -> None:
        """Without a held-out share there is one part more of the training data for the weights."""
        halves, whole = (domain.search_data(Context(0), 8, share) for share in (0.5, 0.0))
        assert halves.architecture is not None
        assert whole.architecture is None
        assert len(whole.weights) > len(halves.weights)
