"""How long a network takes."""

from __future__ import annotations

import statistics
import time

import torch
from torch import Tensor
from torch import nn

from nichenas.core.threads import single_thread

WARM_UP = 3
REPEATS = 21


@torch.inference_mode()
def median_seconds(network: nn.Module, inputs: Tensor, repeats: int = REPEATS) -> float:
    """Returns the median seconds of a forward pass with one thread, after a warm-up.

    On CUDA every pass is waited for.
    """
    found = []
    with single_thread():
        for repeat in range(WARM_UP + repeats):
            began = time.perf_counter()
            network(inputs)
            if inputs.is_cuda:
                torch.cuda.synchronize(inputs.device)
            if repeat >= WARM_UP:
                found.append(time.perf_counter() - began)
    return statistics.median(found)
