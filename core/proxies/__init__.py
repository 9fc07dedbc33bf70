"""Cheap settings: what they are, how searches spend a budget over them, and whether they keep the ranking."""

from nichenas.core.proxies import halving
from nichenas.core.proxies import hierarchical
from nichenas.core.proxies.schedule import SCHEDULES

__all__ = ["SCHEDULES", "halving", "hierarchical"]
