"""When a search ends, and what its trials have cost."""

from __future__ import annotations

from dataclasses import dataclass

from nichenas.core.capabilities.fidelity import sizes
from nichenas.core.capabilities.precomputed import simulates_time
from nichenas.core.domain import Domain
from nichenas.core.fidelity import Fidelity
from nichenas.core.trial import Measurement
from nichenas.core.trial import Proposal
from nichenas.core.trial import Trial


@dataclass(frozen=True)
class Budget:
    """When a search ends, whichever comes first.

    Attributes:
        units: of the method: trials, epochs of a supernet, scored architectures.
        seconds: nothing is begun after so many; of a domain that looks trainings up, those that they are said to take.
        epochs: so many are trained by all trials together; none is begun that might exceed them.
    """

    units: int | None = None
    seconds: float | None = None
    epochs: int | None = None


class BudgetTracker:
    """Counts epochs and seconds exactly, of trials in the order of completion.

    A trial is charged the epochs that it says it trained; one that failed, or does not say, those that it was to
    train. A trial that continues another is charged what it adds.

    Attributes:
        epochs: of all completed trials; 0 where the domain does not count them.
        seconds: that their measurements took; of a domain that looks trainings up and knows how long they took, these
            alone, so that they do not depend on the machine.
    """

    def __init__(self, domain: Domain) -> None:
        self._domain = domain
        self._simulated = simulates_time(domain)
        self.epochs = 0
        self.seconds = 0.0
        self._pending: dict[int, int] = {}  # planned epochs by number
        self._known: dict[Fidelity, int] = {}

    @property
    def reserved(self) -> int:
        """Epochs that pending trials may still take."""
        return sum(self._pending.values())

    def planned(self, proposal: Proposal) -> int:
        """Returns the epochs that a proposal is to be trained for."""
        end = self._epochs(proposal.fidelity)
        if proposal.parent is None:
            return end
        return end - (self._epochs(proposal.fidelity.replace(epochs=proposal.start)) if proposal.start else 0)

    def _epochs(self, fidelity: Fidelity) -> int:
        if fidelity not in self._known:
            self._known[fidelity] = sizes(self._domain, fidelity).get("epochs", 0)
        return self._known[fidelity]

    def reserve(self, number: int, proposal: Proposal) -> None:
        """Notes a proposal that is submitted."""
        self._pending[number] = self.planned(proposal)

    def charge(self, number: int, measurement: Measurement | None) -> int:
        """Returns the epochs that a pending trial is to be charged, now that it is finished."""
        counted = None if measurement is None else measurement.epochs
        return self._pending[number] if counted is None else counted

    def settle(self, trial: Trial) -> None:
        """Counts a completed trial."""
        del self._pending[trial.number]
        self.epochs += trial.epochs
        # A failed look-up has no training that could have taken any time.
        self.seconds += 0.0 if self._simulated and trial.failed else trial.training_seconds
