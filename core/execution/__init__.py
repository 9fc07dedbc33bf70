"""Where jobs are done: in this process, in others, on a Ray cluster."""

from nichenas.core.execution import processes
from nichenas.core.execution import ray_executor
from nichenas.core.execution.executors import EXECUTORS
from nichenas.core.execution.executors import Executor

__all__ = ["EXECUTORS", "Executor", "processes", "ray_executor"]
