"""What every strategy under every scheduler proposes on a table, as recorded before the search methods were rebuilt.

The record does not depend on the machine. A difference is a change of what searches compute: a bug, or something that
the changelog must tell.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nichenas.core.context import Environment
from nichenas.core.fidelity import FULL
from nichenas.core.methods.trial_loop import TrialLoop
from nichenas.core.schedulers import SCHEDULERS
from nichenas.core.session.budget import Budget
from nichenas.core.session.session import Session
from nichenas.core.strategies import STRATEGIES
from nichenas.domains.tabular.domain import TabularDomain
from nichenas.domains.tabular.domain import TabularSettings
from nichenas.domains.tabular.learning_curves import EPOCHS

RECORD = json.loads((Path(__file__).parent / "assets" / "proposals.json").read_text())
SEED = 3
OPTIONS = {
    "evolution": {"population": 10, "tournament": 3},
    "hierarchical": {"initial": 4, "parents": [2, 1, 1], "promotions": [2, 1]},
}


@pytest.fixture(scope="module")
def table() -> TabularDomain:
    made = TabularDomain(TabularSettings(dataset="learning-curves"), Environment(Path("none"), Path("none")))
    made.prepare()
    return made


def test_the_record_has_every_combination() -> None:
    """But those of ``forest``: its trees, and so its proposals, may differ between versions of scikit-learn."""
    recorded = set(STRATEGIES) - {"forest"}
    assert set(RECORD["proposals"]) == {f"{one} {other}" for one in recorded for other in SCHEDULERS}


@pytest.mark.parametrize("name", sorted(RECORD["proposals"]))
def test_proposals_are_those_of_the_record(name: str, table: TabularDomain) -> None:
    strategy, scheduler = name.split()
    if strategy == "optuna" and pytest.importorskip("optuna").__version__ != RECORD["optuna"]:
        pytest.skip(f"recorded with optuna {RECORD['optuna']}")
    cls = STRATEGIES[strategy]
    options = cls.Options.model_validate(OPTIONS.get(strategy, {}))
    searcher = cls(table.space, table.objectives, SEED, options)
    over = SCHEDULERS[scheduler]
    scheduled = over(searcher, FULL, EPOCHS, SEED, options=over.Options.model_validate(OPTIONS.get(scheduler, {})))
    session = Session(domain=table, seed=SEED)
    TrialLoop(session, scheduled, Budget(60), resumable=over.resumes_trials).run()
    found = []
    for trial in session.journal.trials():
        proposal = trial.proposal
        architecture = "".join(str(value) for value in proposal.architecture.values())
        epochs, parent = round(EPOCHS * proposal.fidelity["epochs"]), proposal.parent
        found.append(f"{architecture} {epochs} {'-' if parent is None else parent}")
    assert found == RECORD["proposals"][name].split(";")
