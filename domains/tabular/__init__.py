"""Tabular benchmarks: searches on thousands of trained architectures in seconds."""

from nichenas.domains.tabular.domain import TabularDomain

DOMAIN = TabularDomain

__all__ = ["DOMAIN", "TabularDomain"]
