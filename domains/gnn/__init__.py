"""Graph neural networks for node classification: AGNN's space and training."""

from domains.gnn.domain import GNNDomain

DOMAIN = GNNDomain

__all__ = ["DOMAIN", "GNNDomain"]
