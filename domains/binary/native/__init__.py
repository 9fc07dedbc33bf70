"""Kernels in C++, built once by torch's own loader where there is a compiler; without one, plain torch is used."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

_SOURCE = Path(__file__).with_name("kernels.cpp")
_FLAGS = ["-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno"]


@functools.cache
def kernels() -> Any:
    """Returns the module of kernels, or None where they cannot be built or ``NICHENAS_NATIVE=0`` forbids them.

    The first call on a machine takes about a minute; the build is kept in torch's folder of extensions, by
    source, flags and version of torch.
    """
    if os.environ.get("NICHENAS_NATIVE") == "0" or not (shutil.which("c++") or shutil.which("g++")):
        return None
    text = _SOURCE.read_text(encoding="utf-8")
    identity = hashlib.sha256(f"{text}{_FLAGS}{torch.__version__}{_cpu()}".encode()).hexdigest()[:12]
    try:
        with _building():
            from torch.utils.cpp_extension import load

            return load(f"nichenas_binary_{identity}", [str(_SOURCE)], extra_cflags=_FLAGS, verbose=False)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        print(f"nichenas: C++ kernels cannot be built ({reason}); plain torch is used, slower", file=sys.stderr)
        return None


@contextlib.contextmanager
def _building() -> Iterator[None]:
    """Puts the environment's own programs on the path (ninja is beside python), and keeps remarks about CUDA quiet."""
    before = os.environ.get("PATH", "")
    log = logging.getLogger("torch.utils.cpp_extension")
    level = log.level
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{before}"
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        os.environ["PATH"] = before
        log.setLevel(level)


def _cpu() -> str:
    """Returns what tells processors apart: a build for one may not run on another that shares the home folder."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""
    return next((line for line in text.splitlines() if line.startswith("flags")), "")
