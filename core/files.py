"""Atomic writes: a file is there completely or not at all; and reading what was written."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import tempfile
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import IO
from typing import Any

import yaml

from nichenas.core.errors import RunFolderError
from nichenas.core.plain_yaml import parse_yaml


def atomic_write(file: Path, write: Callable[[IO[bytes]], Any]) -> None:
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
    """Writes a derived file as :func:`atomic_write` does; a cache that cannot be written is no error."""
    with contextlib.suppress(OSError):
        atomic_write(file, write)


def write_text(file: Path, text: str) -> None:
    """Writes text atomically."""
    atomic_write(file, lambda stream: stream.write(text.encode()))


def write_json(file: Path, value: Any) -> None:
    """Writes a value as indented JSON."""
    write_text(file, json.dumps(value, indent=2) + "\n")


def write_csv(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes rows as CSV, the first one's keys as columns; what is missing, or none, is left empty."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(file, stream.getvalue())


def write_yaml(file: Path, value: Mapping[str, Any]) -> None:
    """Writes a mapping as YAML, keys in their order."""
    write_text(file, yaml.safe_dump(dict(value), sort_keys=False, allow_unicode=True))


def read_json(file: Path) -> Any:
    """Reads a JSON file.

    Raises:
        RunFolderError: when it is missing or not JSON.
    """
    return _read(file, json.loads, "JSON")


def read_yaml(file: Path) -> Any:
    """Reads a YAML file; nothing in it is executed.

    Raises:
        RunFolderError: when it is missing or not valid YAML.
    """
    return _read(file, parse_yaml, "YAML")


def _read(file: Path, parse: Callable[[str], Any], kind: str) -> Any:
    try:
        return parse(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunFolderError(f"{file}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise RunFolderError(f"{file}: cannot be read as {kind} ({error})") from None
