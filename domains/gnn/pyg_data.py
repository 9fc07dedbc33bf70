"""PyG data sets whose raw files are in the data root, and whose processed files are in the cache."""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch_geometric.data import InMemoryDataset

from nichenas.core.data.array_files import reason_of
from nichenas.core.data.root import fingerprint
from nichenas.core.errors import ConfigError
from nichenas.core.errors import DataError
from nichenas.domains.gnn.raw_files import check_present


@dataclass(frozen=True)
class Source:
    """A PyG data set with the arguments that make it.

    Attributes:
        name: of its folder in the cache, and in messages.
        raw: folder of its raw files.
        arguments: of the class.
        files: raw files that there must be; PyG downloads them where there is no raw folder. The processed files are
            the same for every ``split``. If empty, PyG decides.
        check: of the raw files, before PyG reads them.
    """

    cls: type[InMemoryDataset]
    name: str
    raw: Path
    arguments: Mapping[str, Any]
    files: Sequence[Path] = ()
    check: Callable[[], None] = lambda: None

    def load(self, cache: Path) -> InMemoryDataset:
        """Returns the data set; its processed files are written to the cache atomically.

        Raises:
            ConfigError: when the class does not take its arguments.
            DataError: when raw files are missing, damaged, or cannot be downloaded, or the cache cannot be written.
        """
        if self.files:
            if not self.raw.is_dir():
                self._download()
            check_present(self.name, self.raw, self.files)
        kept = self._folder(cache)
        if kept.is_dir():
            with contextlib.suppress(DataError):
                return self._make(kept)
            shutil.rmtree(kept, ignore_errors=True)  # damaged, so it is made again
        self.check()
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix=".making-", dir=kept.parent))
        except OSError as error:
            raise DataError(
                f"the cache {cache} cannot be written ({error.strerror}); set NICHENAS_CACHE to a folder that can"
            ) from None
        try:
            self._make(folder)
            kept = self._folder(cache)  # raw files may have been downloaded
            with contextlib.suppress(OSError):  # another process was faster
                folder.rename(kept)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return self._make(kept)

    def _folder(self, cache: Path) -> Path:
        files = self.files or sorted(file for file in self.raw.parent.rglob("*") if file.is_file())
        own = sorted((key, value) for key, value in self.arguments.items() if key != "split" or self.files == ())
        return cache / "gnn" / f"{self.name}-{fingerprint(files, repr(own))}"

    def _make(self, folder: Path) -> InMemoryDataset:
        """Returns the data set, its processed files in a folder."""
        name, cls = self.cls.__name__, self.cls
        subclass = type(name, (cls,), {"processed_dir": property(lambda self: str(folder))})
        try:
            with _quiet():
                made = subclass(**self.arguments)
        except (ConfigError, DataError):
            raise
        except Exception as error:
            # Classes check their arguments by assertions; a call with unknown ones is a TypeError.
            if isinstance(error, AssertionError) or (isinstance(error, TypeError) and "argument" in str(error)):
                message = f"domain.dataset_options: {self.name} does not take these ({reason_of(error)})"
                raise ConfigError(message) from None
            raise DataError(
                f"{self.name}: not under {self.raw.parent} and not to be downloaded, or damaged ({reason_of(error)}); "
                f"put its original raw files into {self.raw}"
            ) from None
        assert isinstance(made, InMemoryDataset)
        return made

    def _download(self) -> None:
        """Lets PyG download the raw files; leaves nothing behind when that fails."""
        existed = self.raw.parent.exists()
        try:
            with _quiet():
                self.cls(**self.arguments)
        except Exception as error:
            if not existed:
                shutil.rmtree(self.raw.parent, ignore_errors=True)
            names = ", ".join(file.name for file in self.files)
            raise DataError(
                f"{self.name}: not under {self.raw.parent.parent} and not to be downloaded ({type(error).__name__}); "
                f"name another folder with --data-root, or put these files into {self.raw}: {names}"
            ) from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        yield
