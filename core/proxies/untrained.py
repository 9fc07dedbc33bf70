"""Scores of the untrained networks of a study, kept as they are computed; what fails is a missing score."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import Protocol

import torch

from nichenas.core.capabilities.precomputed import PrecomputedResults
from nichenas.core.capabilities.precomputed import UntrainedScore
from nichenas.core.capabilities.probing import Probe
from nichenas.core.capabilities.probing import Probing
from nichenas.core.context import Context
from nichenas.core.domain import Domain
from nichenas.core.proxies.zero_cost import score_all
from nichenas.core.space import Architecture
from nichenas.core.trial import as_failure

log = logging.getLogger(__name__)
Scores = dict[str, UntrainedScore]


class ScoreStore(Protocol):
    """Where scores are kept between two sessions of a study: the meta of its journal."""

    def meta(self, key: str, default: Any = None) -> Any:
        """Returns a value kept before."""
        ...

    def set_meta(self, key: str, value: Any) -> None:
        """Keeps a JSON value."""
        ...


@dataclass(frozen=True)
class FailedProbes:
    """Architectures of which a score could not be computed.

    Attributes:
        first: the reason of the first one.
    """

    count: int
    first: str


@dataclass
class UntrainedScores:
    """Scores of the untrained networks of a study.

    Attributes:
        by_member: by the architecture's place in the sample, then by name; what failed is not there.
        failures: reasons by place, the first one of each architecture.
    """

    by_member: dict[int, Scores] = field(default_factory=dict)
    failures: dict[int, str] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The scores that any architecture has, in the order of their first one."""
        return list(dict.fromkeys(name for scores in self.by_member.values() for name in scores))

    @property
    def failed(self) -> FailedProbes | None:
        """How many failed and why; none where none did."""
        return FailedProbes(len(self.failures), next(iter(self.failures.values()))) if self.failures else None


class UntrainedScoring:
    """Computes scores of untrained networks, or takes them from where an earlier session kept them.

    Args:
        names: of the scores.
        seed: of the study.
        store: where they are kept.
    """

    def __init__(
        self, domain: Domain, names: Sequence[str], *, seed: int, device: torch.device, store: ScoreStore
    ) -> None:
        self.domain, self.names = domain, names
        self.seed, self.device, self.store = seed, device, store
        self.found = UntrainedScores()

    def add(self, member: int, architecture: Architecture, known: bool) -> None:
        """Adds the scores of an architecture to those that were found.

        Args:
            member: its place in the sample.
            known: whether a table of trained architectures has it; its scores are looked up then.
        """
        scores: Scores = {}
        if known and isinstance(self.domain, PrecomputedResults):
            scores.update(self.domain.precomputed_scores(architecture))
        if isinstance(self.domain, Probing) and self.names:
            scores.update(self._computed(self.domain, member, architecture))
        self.found.by_member[member] = scores

    def _computed(self, domain: Probing, member: int, architecture: Architecture) -> Scores:
        key = f"untrained {member}"
        held = _read(self.store.meta(key), architecture)
        missing = [name for name in self.names if name not in held]
        if missing:
            held = {**held, **self._compute(domain, member, architecture, missing)}
            self.store.set_meta(key, _written(held, architecture))
        return {name: held[name] for name in self.names if name in held}

    def _compute(self, domain: Probing, member: int, architecture: Architecture, names: Sequence[str]) -> Scores:
        """Returns what could be computed; the next session tries the rest again."""
        try:
            probe = domain.probe(architecture, Context(self.seed, member, self.device))
        except Exception as error:
            self._note(member, error)
            return {}
        scores: Scores = {}
        for name in names:
            scores.update(self._score(member, probe, name))
        return scores

    def _score(self, member: int, probe: Probe, name: str) -> Scores:
        try:
            return score_all(probe, [name])
        except Exception as error:
            self._note(member, error, f"{name}: ")
            return {}

    def _note(self, member: int, error: Exception, of: str = "") -> None:
        """Notes a failure.

        Raises:
            TestDataError: when test data was read; that ends the study.
        """
        failure = as_failure(error)
        reason = of + (failure.detail if failure.reason == "error" else str(failure))
        log.info("untrained network of architecture %d: %s", member, reason)
        self.found.failures.setdefault(member, reason)


def _written(scores: Mapping[str, UntrainedScore], architecture: Architecture) -> dict[str, Any]:
    rows = {name: [score.value, score.seconds] for name, score in scores.items()}
    return {"architecture": architecture.key, "scores": rows}


def _read(held: Any, architecture: Architecture) -> Scores:
    """Returns what :func:`_written` made; nothing where it is of another architecture."""
    if not isinstance(held, Mapping) or held.get("architecture") != architecture.key:
        return {}
    return {name: UntrainedScore(value, seconds) for name, (value, seconds) in held["scores"].items()}
