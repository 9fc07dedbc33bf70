"""Search strategies: ask/tell controllers, one published method a file."""

from nichenas.core.strategies.base import STRATEGIES
from nichenas.core.strategies.base import ProducesOffspring
from nichenas.core.strategies.base import Strategy
from nichenas.core.strategies.conservative import Conservative
from nichenas.core.strategies.evolution import Evolution
from nichenas.core.strategies.forest import ForestSearch
from nichenas.core.strategies.local import LocalSearch
from nichenas.core.strategies.one_shot import OneShotStrategy
from nichenas.core.strategies.optuna_sampler import OptunaSampler
from nichenas.core.strategies.random_search import RandomSearch
from nichenas.core.strategies.reinforce import Reinforce

__all__ = [
    "STRATEGIES",
    "Conservative",
    "Evolution",
    "ForestSearch",
    "LocalSearch",
    "OneShotStrategy",
    "OptunaSampler",
    "ProducesOffspring",
    "RandomSearch",
    "Reinforce",
    "Strategy",
]
