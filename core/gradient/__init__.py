"""Differentiable architecture search: a supernet's operations are mixed, and the mixture is learned by gradients."""
