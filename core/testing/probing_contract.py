"""What a domain whose untrained networks can be scored must do.

See :class:`~nichenas.core.capabilities.probing.Probing`.
"""

from __future__ import annotations

import torch

from nichenas.core.capabilities.probing import Probing
from nichenas.core.context import Context
from nichenas.core.proxies.zero_cost import ZERO_COST
from nichenas.core.proxies.zero_cost import score_all
from nichenas.core.space import Architecture
from nichenas.core.testing.domain_fixtures import CapabilityContract


class ProbingContract(CapabilityContract):
    """The contract."""

    capability = Probing

    def test_a_probe_is_a_network_in_training_with_a_batch(self, domain: Probing, architecture: Architecture) -> None:
        """Outputs have the batch's samples, and the loss is a finite scalar that weights have gradients of."""
        probe = domain.probe(architecture, Context(3, 1))
        assert probe.network.training
        assert len(probe.inputs) > 0
        assert probe.macs is None or probe.macs > 0
        loss = probe.loss(probe.forward(probe.inputs))
        assert loss.shape == ()
        assert torch.isfinite(loss)
        loss.backward()  # type: ignore[no-untyped-call]
        assert any(p.grad is not None and bool(p.grad.any()) for p in probe.network.parameters())

    def test_the_context_decides_the_scores(self, domain: Probing, architecture: Architecture) -> None:
        """Scores without training are the same for the same context, and finite or none."""
        found, repeated = (
            {
                name: score.value
                for name, score in score_all(domain.probe(architecture, Context(3, 1)), list(ZERO_COST)).items()
            }
            for _ in range(2)
        )
        assert found == repeated
        assert found["parameters"] is not None
        assert found["grad_norm"] is not None
