"""The chosen network of a finished run, with its trained weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from nichenas.core.commands.sessions import check_data
from nichenas.core.commands.sessions import prepare_domain
from nichenas.core.commands.sessions import stored_config
from nichenas.core.domain import Domain
from nichenas.core.errors import RunFolderError
from nichenas.core.files import read_json
from nichenas.core.session.journal import Journal
from nichenas.core.sharing.homogeneous import read_tensors
from nichenas.core.space import Architecture


def best_network(run: Path, data: str | None = None) -> tuple[Domain, Architecture, Mapping[str, Tensor]]:
    """Returns the domain of a run, the chosen architecture, and the weights of its best seed.

    Args:
        data: the data root, if named.

    Raises:
        UserError: when the run was not retrained, or its data are others by now.
    """
    best = run / "best"
    if not (best / "weights.pt").exists():
        raise RunFolderError(f"'{run}' holds no trained network (no best/weights.pt); train it with: nichenas retrain")
    domain, _ = prepare_domain(stored_config(run), data)
    with Journal(run / "journal.sqlite", read_only=True) as journal:
        check_data(run, journal, domain)
    architecture = domain.space.architecture(read_json(best / "architecture.json")["architecture"])
    return domain, architecture, read_tensors(best / "weights.pt")
