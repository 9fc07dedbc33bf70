"""What a domain whose networks can be exported must do.

See :class:`~nichenas.core.capabilities.exporting.Exporting`.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nichenas.core.capabilities.exporting import ExportedNetwork
from nichenas.core.capabilities.exporting import Exporting
from nichenas.core.context import Context
from nichenas.core.context import open_test_data
from nichenas.core.domain import Domain
from nichenas.core.domain_lookup import DomainRecipe
from nichenas.core.space import Architecture
from nichenas.core.testing.domain_fixtures import CapabilityContract


class ExportingContract(CapabilityContract):
    """The contract."""

    capability = Exporting

    @pytest.fixture(scope="class")
    @classmethod
    def trained(cls, domain: Domain, architecture: Architecture) -> dict[str, Tensor]:
        """Weights of a full training."""
        with open_test_data():
            return dict(domain.retrain(architecture, Context(0, keep_weights=True)).weights)

    @pytest.fixture
    def exported(self, domain: Domain, architecture: Architecture, trained: dict[str, Tensor]) -> ExportedNetwork:
        """The network with these weights."""
        assert isinstance(domain, Exporting)
        return domain.export(architecture, trained)

    def test_the_network_is_ready_to_be_used(self, exported: ExportedNetwork) -> None:
        """It is in evaluation mode, every part of it, and on the CPU."""
        assert not any(module.training for module in exported.network.modules())
        tensors = [*exported.network.parameters(), *exported.network.buffers(), exported.example]
        assert {tensor.device.type for tensor in tensors} == {"cpu"}

    @torch.no_grad()
    def test_the_batch_is_the_first_axis(self, exported: ExportedNetwork) -> None:
        """A sample's output has its place, and does not depend on the samples beside it."""
        batch = _batch(exported.example)
        outputs = exported.network(batch)
        assert len(outputs) == len(batch)
        for position in range(len(batch)):
            alone = exported.network(batch[position : position + 1])
            torch.testing.assert_close(alone[0], outputs[position], rtol=1e-3, atol=1e-4)

    @torch.no_grad()
    def test_the_weights_decide_the_outputs(
        self, exported: ExportedNetwork, recipe: DomainRecipe, architecture: Architecture, trained: dict[str, Tensor]
    ) -> None:
        """The same weights give the same outputs, called again and exported by another instance; they are finite."""
        batch, other = _batch(exported.example), recipe()
        assert isinstance(other, Exporting)
        outputs = exported.network(batch)
        assert bool(torch.isfinite(outputs).all())
        assert torch.equal(exported.network(batch), outputs)
        assert torch.equal(other.export(architecture, trained).network(batch), outputs)


def _batch(example: Tensor) -> Tensor:
    """Returns three samples of the example's kind that differ, where they are of real numbers."""
    shape = (3, *example.shape[1:])
    if not example.is_floating_point():
        return example[:1].expand(shape)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=example.dtype)
