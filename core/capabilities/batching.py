"""Measuring several architectures together, for domains that are faster so."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from nichenas.core.capabilities.base import Capability
from nichenas.core.context import Context
from nichenas.core.errors import CandidateFailure
from nichenas.core.trial import Measurement
from nichenas.core.trial import Proposal


class BatchedEvaluation(Capability):
    """A domain that can train candidates side by side; used with ``search.batch``."""

    offers: ClassVar[str] = "batched evaluation"

    @abstractmethod
    def evaluate_many(
        self, proposals: Sequence[Proposal], contexts: Sequence[Context]
    ) -> list[Measurement | CandidateFailure]:
        """Measures several architectures.

        The measurements must equal those of ``evaluate`` up to rounding. Failures are returned in the candidate's
        place, so that one failure costs no other candidate its measurement.
        """
