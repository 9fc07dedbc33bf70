"""What a trial search asks and tells."""

from __future__ import annotations

from typing import Protocol

from nichenas.core.trial import Proposal
from nichenas.core.trial import Trial


class Searcher(Protocol):
    """What a trial search asks and tells: a strategy, a scheduler over one, or a fixed list."""

    def ask(self, n: int = 1) -> list[Proposal]:
        """Returns up to ``n`` proposals; fewer only while trials are pending, or when there is nothing left."""
        ...

    def tell(self, trial: Trial) -> None:
        """Records a completed trial."""
        ...

    def score(self, trial: Trial) -> float:
        """Returns one number, larger is better, for trials of the same fidelity."""
        ...

    def diagnostics(self) -> dict[str, float]:
        """Returns figures worth a curve."""
        ...
