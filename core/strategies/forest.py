"""Bayesian optimisation with a random forest (SMAC; Hutter, Hoos and Leyton-Brown 2011).

The forest predicts the score of an architecture from its choices; the spread of its trees says how sure that is. What
is proposed has the highest upper confidence bound among architectures near the best ones and random ones. The weight of
the spread is drawn for each proposal, so that several can be asked for at once (Hutter, Hoos and Leyton-Brown
2012, section 3). A share of the proposals is random, whatever the forest says.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from nichenas.core.settings import Settings
from nichenas.core.space import Architecture
from nichenas.core.strategies.base import STRATEGIES
from nichenas.core.strategies.encoding import ChoiceEncoding
from nichenas.core.strategies.one_shot import OneShotStrategy
from nichenas.core.trial import Proposal
from nichenas.core.trial import Trial

FRESH_TRIES = 1000  # uniform draws that may be known before a known one is proposed
MOST_CHANGES = 3  # of a variant
REFIT = 1.02  # the forest is grown again once so many times more trials are known


class ForestOptions(Settings):
    """Options of the search with a random forest.

    Attributes:
        trees: of the forest.
        features: the share of the encoding that a split may look at.
        random: the share of proposals that are uniform draws.
        parents: how many of the best architectures are varied.
        pool: how many variants of them are looked at for each proposal, and how many random architectures.
        exploration: mean of the weight of the spread of the trees, which is drawn from an exponential distribution.
        first: trials that must be known before a forest is grown; proposals are random until then.
        deduplicate: never propose a known architecture again (canonical forms are compared).
    """

    trees: int = Field(30, ge=2)
    features: float = Field(0.5, gt=0, le=1)
    random: float = Field(0.1, ge=0, le=1)
    parents: int = Field(10, ge=1)
    pool: int = Field(200, ge=1)
    exploration: float = Field(3.0, ge=0)
    first: int = Field(10, ge=2)
    deduplicate: bool = True


@STRATEGIES.register("forest")
class ForestSearch(OneShotStrategy):
    """Proposes what a random forest thinks best."""

    Options = ForestOptions
    random_starts = 10
    summary = "Bayesian optimisation with a random forest (SMAC, Hutter et al. 2011)"
    options: ForestOptions

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.encoding = ChoiceEncoding(self.space)
        self._seen: set[str] = set()
        self._told: list[Architecture] = []
        self._inputs: list[NDArray[np.float32]] = []
        self._whole: list[bool] = []  # whether a trial came to its end, so that it can be a parent
        self._past: list[float] = []  # of trials before the last reset, ranked among each other
        self._scores: list[float] = []  # of the trials since then
        self._trees: list[Any] = []
        self._grown = 0  # trials that the trees were grown from
        self._best: list[Architecture] = []

    def ask(self, n: int = 1) -> list[Proposal]:
        """Returns what has the best upper confidence bound; random architectures while little is known."""
        return [Proposal(self._remember(self._propose())) for _ in range(n)]

    def tell(self, trial: Trial) -> None:
        """Adds a trial to those that the forest is grown from; a failure has the lowest score."""
        self._told.append(trial.proposal.architecture)
        architecture = trial.proposal.architecture
        self._inputs.append(self._row(architecture, self.space.canonical(architecture)))
        self._scores.append(self.score(trial))
        self._whole.append(trial.measurement is not None and not trial.measurement.stopped)

    def observe(self, trial: Trial) -> None:
        """Learns from a start too; it is not proposed again."""
        self._remember(trial.proposal.architecture)
        self.tell(trial)

    def reset_history(self) -> None:
        """Lets everything be proposed again; of the scores so far only their order counts from now on."""
        self._seen.clear()
        self._past.extend(normal_scores(np.array(self._scores)))
        self._scores.clear()

    def _propose(self) -> Architecture:
        if len(self._told) < self.options.first or self.rng.random() < self.options.random:
            return self._fresh()
        if not self._trees or len(self._told) >= max(self._grown + 1, self._grown * REFIT):
            self._grow()
        pool, inputs = self._pool()
        return pool[int(np.argmax(self._bounds(inputs)))] if pool else self._fresh()

    def _grow(self) -> None:
        """Grows trees, each from a bootstrap sample of the trials.

        They are built one by one: the classes for whole forests spend most of their time on copying parameters.
        """
        from sklearn.tree import DecisionTreeRegressor  # a second of import that other strategies need not pay

        inputs = np.stack(self._inputs)
        targets = np.concatenate([np.array(self._past), normal_scores(np.array(self._scores))])
        count = len(targets)
        self._trees = []
        for _ in range(self.options.trees):
            rows = self.rng.integers(count, size=count)
            tree = DecisionTreeRegressor(max_features=self.options.features, random_state=int(self.rng.integers(2**31)))
            self._trees.append(tree.fit(inputs[rows], targets[rows], check_input=False).tree_)
        self._grown = count
        order = [int(i) for i in np.argsort(-targets, kind="stable") if self._whole[i]]
        self._best = [self._told[i] for i in order[: self.options.parents]]

    def _pool(self) -> tuple[list[Architecture], NDArray[np.float32]]:
        """Returns unknown architectures and their encodings: random ones, and variants of the best ones."""
        found: dict[str, tuple[Architecture, NDArray[np.float32]]] = {}

        def add(candidate: Architecture) -> None:
            canonical = self.space.canonical(candidate)
            if canonical.key not in found and not (self.options.deduplicate and canonical.key in self._seen):
                found[canonical.key] = candidate, self._row(candidate, canonical)

        for _ in range(self.options.pool):
            add(self.space.sample(self.rng))
            if self._best:
                parent = self._best[int(self.rng.integers(len(self._best)))]
                add(self.space.mutate(parent, self.rng, 1 + int(self.rng.integers(MOST_CHANGES))))
        pool, rows = zip(*found.values(), strict=True) if found else ((), ())
        return list(pool), np.array(rows)

    def _bounds(self, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """Returns upper confidence bounds, ``(architectures,)``."""
        weight = self.options.exploration * float(self.rng.exponential())
        trees = np.stack([tree.predict(inputs).reshape(-1) for tree in self._trees])
        return np.asarray(trees.mean(0) + weight * trees.std(0))

    def _row(self, architecture: Architecture, canonical: Architecture) -> NDArray[np.float32]:
        """Returns the encoding of the canonical form, or of the architecture where a restricted space lacks it."""
        try:
            return self.encoding.encode(canonical)
        except KeyError:
            return self.encoding.encode(architecture)

    def _fresh(self) -> Architecture:
        used_up = len(self._seen) >= self.space.size
        for _ in range(FRESH_TRIES if self.options.deduplicate and not used_up else 1):
            drawn = self.space.sample(self.rng)
            if self.space.canonical(drawn).key not in self._seen:
                break
        return drawn

    def _remember(self, architecture: Architecture) -> Architecture:
        self._seen.add(self.space.canonical(architecture).key)
        return architecture


def normal_scores(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the normal quantiles of the ranks of scores, ``(n,)``: equal ones share their mean rank.

    Scores of any distribution, with failures at minus infinity, become targets that a squared error suits
    (Salinas, Shen and Perrone 2020, section 4).
    """
    from scipy.stats import norm
    from scipy.stats import rankdata

    return np.asarray(norm.ppf((rankdata(scores) - 0.5) / max(len(scores), 1)))
