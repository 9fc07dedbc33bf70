"""What trials have cost, and what those that are out may cost: epochs and seconds of training."""

from __future__ import annotations

import dataclasses

from nichenas.core.domain import Domain
from nichenas.core.domain import Fidelity
from nichenas.core.domain import Measurement
from nichenas.core.domain import Proposal
from nichenas.core.domain import Trial


class Ledger:
    """Counts epochs and seconds exactly, of trials in the order of telling.

    A trial is charged the epochs that it says it trained; one that failed, or does not say, those that it was to
    train. A trial that continues another is charged what it adds.

    Attributes:
        epochs: of all told trials; 0 where the domain does not count them.
        seconds: that their measurements took, or would have taken.
    """

    def __init__(self, domain: Domain) -> None:
        self._domain = domain
        self.epochs = 0
        self.seconds = 0.0
        self._out: dict[int, int] = {}  # planned epochs by number

    @property
    def reserved(self) -> int:
        """Epochs that trials which are out may still take."""
        return sum(self._out.values())

    def planned(self, proposal: Proposal) -> int:
        """Returns the epochs that a proposal is to be trained for."""
        end = self._epochs(proposal.fidelity)
        if proposal.continues is None:
            return end
        return end - self._epochs(dataclasses.replace(proposal.fidelity, epochs=proposal.begins))

    def _epochs(self, fidelity: Fidelity) -> int:
        return self._domain.setting(fidelity).get("epochs", 0)

    def reserve(self, number: int, proposal: Proposal) -> None:
        """Takes in a proposal that goes out."""
        self._out[number] = self.planned(proposal)

    def charge(self, number: int, measurement: Measurement | None) -> int:
        """Returns the epochs that a trial which is out is to be charged, now that it is finished."""
        counted = None if measurement is None else measurement.epochs
        return self._out[number] if counted is None else counted

    def settle(self, trial: Trial) -> None:
        """Takes in a told trial."""
        del self._out[trial.number]
        self.epochs += trial.epochs
        self.seconds += trial.seconds
