"""Search methods: each is one object with its options, its needs, its run and its part of the report."""

from nichenas.core.methods.base import METHODS
from nichenas.core.methods.base import Method
from nichenas.core.methods.base import MethodSettings
from nichenas.core.methods.gradient import GradientSearch
from nichenas.core.methods.one_shot import OneShotSearch
from nichenas.core.methods.trial_search import TrialSearch

__all__ = ["METHODS", "GradientSearch", "Method", "MethodSettings", "OneShotSearch", "TrialSearch"]
