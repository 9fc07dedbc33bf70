"""Does a supernet rank architectures as training each alone does?

    python benchmarks/supernet_ranking.py binary/digits-study domain.space=darts domain.evaluation=null \
        --cost binary_macs 2.8e6 3.8e6

Random architectures are trained alone, twice each with other seeds, as candidates of a trial search are, and scored
one by one in supernets that were trained in three ways: by the configuration's own search; as a uniform mixture
(``step: none``); on single random architectures (one-shot). Spearman's correlation of either score with the mean of the
two trainings; validation data alone.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from collections.abc import Sequence

import numpy as np
import torch
from scipy.stats import spearmanr

from nichenas.core.capabilities.costing import Costing
from nichenas.core.commands.sessions import prepare_domain
from nichenas.core.config import ResolvedConfig
from nichenas.core.config import read_raw
from nichenas.core.context import Context
from nichenas.core.domain import Domain
from nichenas.core.gradient.supernet import DifferentiableSupernet
from nichenas.core.methods.gradient import GradientSearch
from nichenas.core.methods.gradient_loop import GradientLoop
from nichenas.core.seeds import derive_seed
from nichenas.core.session.session import Session
from nichenas.core.sharing.one_shot import SharedWeights
from nichenas.core.sharing.samplers import uniform
from nichenas.core.space import Architecture
from nichenas.core.trial import Proposal

Score = Callable[[Architecture], tuple[float, float]]  # score, of which more is better, and loss
SINGLE_PATHS = "single paths, {} epochs"


def drawn(domain: Domain, count: int, cost: Sequence[str] | None) -> list[Architecture]:
    """Returns random architectures, of about equal cost where a cost and its bounds are given."""
    rng = np.random.default_rng(0)
    found: list[Architecture] = []
    while len(found) < count:
        architecture = domain.space.sample(rng)
        if cost is not None:
            assert isinstance(domain, Costing)
            name, least, most = cost
            if not float(least) <= domain.architecture_costs(architecture)[name] <= float(most):
                continue
        found.append(architecture)
    return found


def trained_alone(domain: Domain, architectures: Sequence[Architecture], objective: str) -> np.ndarray:
    """Returns accuracies and losses, ``(figures, trainings, architectures)``."""
    runs = []
    for repeat in range(2):
        contexts = [Context(derive_seed(7, "alone", repeat), i) for i in range(len(architectures))]
        runs.append([domain.evaluate(Proposal(a), c).values for a, c in zip(architectures, contexts, strict=True)])
    return np.array([[[values[name] for values in run] for run in runs] for name in (objective, "loss")])


def of_mixture(resolved: ResolvedConfig, domain: Domain, epochs: int | None = None) -> Score:
    """Returns scores in a supernet that a gradient search has trained."""
    method = resolved.method
    assert isinstance(method, GradientSearch)
    effect = method.own.effect.model_copy(update={"random": 0})
    own = method.own.model_copy(update={"select": None, "resources": (), "effect": effect})
    if epochs is not None:
        own = own.model_copy(update={"step": "none"})
    loop = GradientLoop(Session(domain=domain, seed=resolved.config.seed), own, epochs or method.options.epochs)
    loop.run()
    loop.enter_last_epoch()

    def score(one: Architecture) -> tuple[float, float]:
        values = loop.scores(one)
        return values[loop.objective.name], values["loss[supernet]"]

    return score


def of_single_paths(domain: Domain, epochs: int, objective: str) -> Score:
    """Returns scores in shared weights that were trained on one random architecture a step."""
    assert isinstance(domain, SharedWeights)
    shared = domain.shared_training(Context(0))
    shared.begin_training(Context(0))
    steps = epochs * shared.steps_per_epoch
    for step, one in enumerate(uniform(domain.space, steps, np.random.default_rng(0))):
        shared.step([one], step / steps)

    def score(one: Architecture) -> tuple[float, float]:
        values = shared.score(one, Context(0))
        return values[objective], values["loss"]

    return score


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--architectures", type=int, default=20)
    parser.add_argument("--cost", nargs=3, metavar=("NAME", "LEAST", "MOST"))
    parser.add_argument("--uniform", type=int, nargs="*", default=[6], metavar="EPOCHS")
    parser.add_argument("--single-paths", type=int, nargs="*", default=[25], metavar="EPOCHS")
    parser.add_argument("--data-root")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    resolved = read_raw(arguments.config, arguments.overrides).resolve()
    domain, _ = prepare_domain(resolved, arguments.data_root)
    assert isinstance(domain, DifferentiableSupernet)
    objective = domain.objectives[0].name
    architectures = drawn(domain, arguments.architectures, arguments.cost)
    began = time.perf_counter()
    alone = trained_alone(domain, architectures, objective)
    each = (time.perf_counter() - began) / (2 * len(architectures))
    truth = alone.mean(1)
    again = [spearmanr(*figure).statistic for figure in alone]
    spread = f"{truth[0].mean():.3f} ± {truth[0].std(ddof=1):.3f}"
    print(f"{len(architectures)} architectures, {each:.0f} s a training; {objective} {spread}")
    print(f"two trainings of the same agree with {again[0]:.2f} by {objective}, {again[1]:.2f} by loss\n")
    print(f"{'supernet trained':30} {'seconds':>8} {'by ' + objective:>12} {'by loss':>8}")
    ways: list[tuple[str, Callable[[], Score]]] = [("as configured", lambda: of_mixture(resolved, domain))]
    for epochs in arguments.uniform:
        ways.append((f"uniform mixture, {epochs} epochs", lambda e=epochs: of_mixture(resolved, domain, e)))  # type: ignore[misc]
    for epochs in arguments.single_paths if isinstance(domain, SharedWeights) else ():
        ways.append((SINGLE_PATHS.format(epochs), lambda e=epochs: of_single_paths(domain, e, objective)))  # type: ignore[misc]
    for name, make in ways:
        began = time.perf_counter()
        score = make()
        seconds = time.perf_counter() - began
        found = np.array([score(one) for one in architectures]).T
        figures = [spearmanr(one, other).statistic for one, other in zip(found, truth, strict=True)]
        print(f"{name:30} {seconds:8.0f} {figures[0]:12.2f} {figures[1]:8.2f}", flush=True)


if __name__ == "__main__":
    main()
