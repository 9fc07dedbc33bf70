"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO
from typing import Any


def write_whole(file: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Writes a file under another name, syncs and renames it; makes the folder if it is missing.

    Args:
        write: is handed the open file.

    Raises:
        OSError: when it cannot be written; nothing is left behind then, nor after any other exception.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, file)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def write_cache(file: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Writes a derived file as :func:`write_whole` does; a cache that cannot be written is no error."""
    with contextlib.suppress(OSError):
        write_whole(file, write)
