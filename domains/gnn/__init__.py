"""Graph neural networks for node classification: AGNN's space and training."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)  # PyG scripts a class at import, which newer torch warns of
    from domains.gnn.domain import GNNDomain

DOMAIN = GNNDomain

__all__ = ["DOMAIN", "GNNDomain"]
