"""Code in C++, built once by torch's own loader where there is a compiler; without one, plain torch is used."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

FLAGS = ("-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno")


def build(name: str, source: Path, *, flags: Sequence[str] = FLAGS, extension: bool = True) -> Any:
    """Returns the code of a file, or None where it cannot be built or ``NICHENAS_NATIVE=0`` forbids it.

    The build is kept in torch's folder of extensions, by source, flags and version of torch.

    Args:
        name: of the part that the code belongs to.
        flags: of the compiler.
        extension: whether it is a Python extension with torch's headers, which takes about a minute, and is returned as
            a module; otherwise a plain library, in seconds, of which the path is returned.
    """
    if os.environ.get("NICHENAS_NATIVE") == "0" or not (shutil.which("c++") or shutil.which("g++")):
        return None
    text = source.read_text(encoding="utf-8")
    identity = hashlib.sha256(f"{text}{flags}{torch.__version__}{_cpu()}".encode()).hexdigest()[:12]
    # OpenMP belongs to linking too.
    linked = [flag for flag in flags if flag == "-fopenmp"]
    try:
        with _building():
            from torch.utils.cpp_extension import load

            return load(
                f"nichenas_{name}_{identity}",
                [str(source)],
                extra_cflags=list(flags),
                extra_ldflags=linked,
                is_python_module=extension,
            )
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
    """Returns what distinguishes processors: a build for one may not run on another that shares the home folder."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    telling = ("flags", "Features", "CPU part")
    found = sorted({line for line in text.splitlines() if line.startswith(telling)})
    return "".join(found) or f"{platform.machine()} {platform.node()}"
