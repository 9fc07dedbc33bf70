"""Cheap settings: what they are, how searches spend a budget over them, and whether they keep the ranking."""

from core.proxies import halving
from core.proxies import hierarchical
from core.proxies.schedule import SCHEDULES

__all__ = ["SCHEDULES", "halving", "hierarchical"]
