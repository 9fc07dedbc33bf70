"""Neural architecture search for binary networks, GANs and graph neural networks."""

__version__ = "0.1.0"
