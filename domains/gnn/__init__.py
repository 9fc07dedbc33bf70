"""Graph neural networks for node classification: AGNN's space and training."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)  # PyG scripts a class at import, which newer torch warns of
    from nichenas.domains.gnn.domain import GNNDomain

# torch says once a process that sparse CSR is in beta; what is used of it here is tested against plain PyG.
warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")

DOMAIN = GNNDomain

__all__ = ["DOMAIN", "GNNDomain"]
