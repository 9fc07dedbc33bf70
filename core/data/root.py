"""The data root and the cache: where data sets are looked for, and where derived files go."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nichenas.core.errors import DataError


def data_root(given: str | os.PathLike[str] | None) -> Path:
    """Returns the folder of the data sets: the one given, else ``$NICHENAS_DATA``, else ``data``.

    Raises:
        DataError: when a folder was named and is not there.
    """
    named = given or os.environ.get("NICHENAS_DATA")
    root = Path(named or "data").expanduser()
    if named and not root.is_dir():
        source = "--data-root" if given else "NICHENAS_DATA"
        raise DataError(f"{source}: '{root}' is not a folder; name the folder that holds the data sets")
    return root.resolve()


def cache_folder() -> Path:
    """Returns the folder for derived files: ``$NICHENAS_CACHE``, else the user's cache folder."""
    named = os.environ.get("NICHENAS_CACHE")
    if named:
        return Path(named).expanduser().resolve()
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return (Path(home).expanduser() / "nichenas").resolve()


def fingerprint(files: Iterable[Path], *more: str) -> str:
    """Returns 16 hexadecimal digits that change when a file is replaced, or any of the further words does.

    Files are distinguished by path, size and time of change; they are not read.

    Raises:
        DataError: when one of them is not there, such as the target of a link.
    """
    parts = list(more)
    for file in files:
        try:
            state = file.stat()
        except OSError as error:
            raise DataError(f"{file}: cannot be read ({error.strerror})") from None
        parts.append(f"{file}:{state.st_size}:{state.st_mtime_ns}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def content_identity(arrays: Iterable[NDArray[Any]]) -> str:
    """Returns 16 hexadecimal digits that change with the contents, types or shapes of arrays."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]
