"""Proxy settings: what they are, and whether they keep the ranking of full training."""
