"""The folder of a run: who may use it, and where its files are."""

from __future__ import annotations

import os
from pathlib import Path

from nichenas.core.errors import RunFolderError

try:
    import fcntl
except ImportError:  # not on Windows; there a second process is not noticed
    fcntl = None  # type: ignore[assignment]


FOREIGN = {"comparison.json": "a comparison", "study.yaml": "a study"}  # what is no run, by the file that tells


class RunFolder:
    """A run folder, locked for this process until it is closed.

    Args:
        path: of the folder; made if it is new.
        resume: whether it must hold a run already; otherwise it must not.

    Raises:
        RunFolderError: when it cannot be made or written, is in use, or does (not) hold a run.
    """

    def __init__(self, path: Path, resume: bool = False) -> None:
        self.path = path
        exists = (path / "config.yaml").exists()
        for file, what in FOREIGN.items():
            if (path / file).exists():
                raise RunFolderError(f"'{path}' holds {what}; name another folder (--out)")
        if resume and not exists:
            raise RunFolderError(f"--resume: there is no run in '{path}'; start one without --resume")
        if exists and not resume:
            raise RunFolderError(
                f"'{path}' holds a run already; continue it (--resume), or name another folder (--out)"
            )
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = (path / "lock").open("a+")
        except OSError as error:
            raise RunFolderError(f"'{path}' cannot be written ({error.strerror}); name another folder") from None
        if fcntl is not None:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                self._lock.seek(0)
                owner = self._lock.read().strip()
                self._lock.close()
                who = f" (process {owner})" if owner else ""
                raise RunFolderError(
                    f"'{path}' is being used by another nichenas{who}; wait for it, or name another folder (--out)"
                ) from None
        if (path / "config.yaml").exists() != exists:  # another process was faster, and is done already
            self._lock.close()
            raise RunFolderError(f"'{path}' has just been used by another nichenas; give the command again")
        self._lock.truncate(0)
        self._lock.write(str(os.getpid()))
        self._lock.flush()

    @property
    def journal(self) -> Path:
        """The journal's file."""
        return self.path / "journal.sqlite"

    @property
    def checkpoints(self) -> Path:
        """The folder of weights."""
        return self.path / "checkpoints"

    @property
    def artifacts(self) -> Path:
        """The folder of what full trainings leave to be looked at."""
        return self.path / "artifacts"

    @property
    def best(self) -> Path:
        """The folder of the chosen architecture."""
        return self.path / "best"

    def close(self) -> None:
        """Lets others use the folder."""
        self._lock.close()  # the file stays: removing it could take the lock from under another process

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
