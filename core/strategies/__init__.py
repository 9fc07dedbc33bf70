"""Search strategies: ask/tell controllers, one published method a file."""

from core.strategies.base import STRATEGIES
from core.strategies.base import Strategy
from core.strategies.conservative import Conservative
from core.strategies.evolution import Evolution
from core.strategies.local import LocalSearch
from core.strategies.optuna_sampler import OptunaSampler
from core.strategies.random_search import RandomSearch
from core.strategies.reinforce import Reinforce

__all__ = [
    "STRATEGIES",
    "Conservative",
    "Evolution",
    "LocalSearch",
    "OptunaSampler",
    "RandomSearch",
    "Reinforce",
    "Strategy",
]
