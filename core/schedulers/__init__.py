"""Schedulers: at which fidelity proposals are measured, and which train longer; one published method a file."""

from nichenas.core.schedulers import halving
from nichenas.core.schedulers import hierarchical
from nichenas.core.schedulers.base import SCHEDULERS
from nichenas.core.schedulers.base import Scheduler

__all__ = ["SCHEDULERS", "Scheduler", "halving", "hierarchical"]
