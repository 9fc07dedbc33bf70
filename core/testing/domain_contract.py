"""What every domain must do: space, objectives, settings, prepare, evaluate, retrain, draw.

Each capability that a domain mixes in has a contract beside this one, and a test class mixes in those that it needs;
one that is forgotten fails a test here.

Example:
    class TestMyDomain(DomainContract, FidelityContract, BaselinesContract):
        target = "my_package:MyDomain"
        settings = {"dataset": "tiny"}
"""

from __future__ import annotations

import dataclasses
import json
import pickle
from collections.abc import Mapping

import numpy as np
import pytest
import torch

from nichenas.core.capabilities.base import Capability
from nichenas.core.context import Context
from nichenas.core.context import Limits
from nichenas.core.context import open_test_data
from nichenas.core.domain import Domain
from nichenas.core.domain_lookup import DomainRecipe
from nichenas.core.errors import CandidateFailure
from nichenas.core.errors import ConfigError
from nichenas.core.errors import TestDataError
from nichenas.core.execution.jobs import EvaluationJob
from nichenas.core.execution.jobs import run_job
from nichenas.core.figures.drawing import to_svg
from nichenas.core.gate import checked_measurement
from nichenas.core.gate import checked_retrained
from nichenas.core.session.records import trial_from_json
from nichenas.core.session.records import trial_to_json
from nichenas.core.settings import Settings
from nichenas.core.space import Architecture
from nichenas.core.testing.domain_fixtures import CPU
from nichenas.core.testing.domain_fixtures import CapabilityContract
from nichenas.core.testing.domain_fixtures import DomainFixtures
from nichenas.core.testing.domain_fixtures import outcome
from nichenas.core.testing.domain_fixtures import samples
from nichenas.core.trial import Measurement
from nichenas.core.trial import Proposal
from nichenas.core.trial import Trial
from nichenas.core.validation import validated

# Where the contract of each of the core's capabilities is, by name of the capability's class. A capability from
# elsewhere comes with a subclass of CapabilityContract of its own.
CONTRACTS: Mapping[str, str] = {
    "Baselines": "baselines_contract.BaselinesContract",
    "Costing": "costing_contract.CostingContract",
    "BatchedEvaluation": "batching_contract.BatchingContract",
    "DataNotes": "notes_contract.NotesContract",
    "DifferentiableSupernet": "supernet_contract.SupernetContract",
    "Exporting": "exporting_contract.ExportingContract",
    "KnownArchitectures": "known_contract.KnownContract",
    "RankingCriterion": "criterion_contract.CriterionContract",
    "NamedDatasets": "datasets_contract.DatasetsContract",
    "Predicting": "predicting_contract.PredictingContract",
    "PrecomputedResults": "precomputed_contract.PrecomputedContract",
    "Probing": "probing_contract.ProbingContract",
    "ReducedFidelity": "fidelity_contract.FidelityContract",
    "SharedWeights": "one_shot_contract.OneShotContract",
    "WeightInheritance": "inheritance_contract.InheritanceContract",
}


def capabilities_of(domain: type[Domain]) -> list[type[Capability]]:
    """Returns the capabilities that a class of domains mixes in; what only helps to offer one is none."""
    return [
        cls
        for cls in domain.__mro__
        if issubclass(cls, Capability) and not issubclass(cls, Domain) and "offers" in vars(cls)
    ]


def missing_contracts(suite: type, domain: type[Domain]) -> list[str]:
    """Returns a line for every capability of a domain whose contract a test class does not mix in."""
    checked = [
        cls.capability for cls in suite.__mro__ if issubclass(cls, CapabilityContract) and "capability" in vars(cls)
    ]
    lines = []
    for capability in capabilities_of(domain):
        if capability not in checked:
            known = CONTRACTS.get(capability.__name__)
            where = f"nichenas.core.testing.{known}" if known else "a CapabilityContract of it"
            lines.append(f"{suite.__name__} does not check {domain.__name__}'s {capability.__name__}: mix in {where}")
    return lines


class DomainContract(DomainFixtures):
    """The contract."""

    def test_every_capability_has_its_contract(self, domain: Domain) -> None:
        """The test class mixes in the contract of every capability that the domain has."""
        missing = missing_contracts(type(self), type(domain))
        if missing:
            pytest.fail("; ".join(missing), pytrace=False)

    # Settings and space

    def test_recipe_travels_to_workers(self, recipe: DomainRecipe) -> None:
        """A worker makes the domain from a pickled recipe."""
        assert pickle.loads(pickle.dumps(recipe)) == recipe  # noqa: S301

    def test_settings_are_kept_and_checked(self, domain: Domain) -> None:
        """Settings come back from a run folder as they were, and a key that there is not is one line."""
        assert issubclass(domain.Settings, Settings)
        written = json.loads(json.dumps(domain.settings.model_dump(mode="json")))
        assert domain.Settings.model_validate(written) == domain.settings
        with pytest.raises(ConfigError, match=r"domain\.no_such_key: unknown key; allowed: ") as caught:
            validated(domain.Settings, {**written, "no_such_key": 1}, ("domain",))
        assert "\n" not in str(caught.value)

    def test_two_instances_are_the_same_domain(self, domain: Domain, recipe: DomainRecipe) -> None:
        """Space and objectives come from the settings and the data alone."""
        other = recipe()
        assert other.space.choices == domain.space.choices
        assert other.objectives == domain.objectives

    def test_objectives_are_named(self, domain: Domain) -> None:
        """There is a primary objective, and no two have one name."""
        names = [objective.name for objective in domain.objectives]
        assert names
        assert len(set(names)) == len(names)

    def test_architectures_are_in_the_space_and_survive_json(self, domain: Domain) -> None:
        """Random architectures are architectures of the space, before and after the journal."""
        for architecture in samples(domain, 20, seed=1):
            assert domain.space.architecture(json.loads(json.dumps(dict(architecture)))) == architecture

    def test_canonical_is_idempotent_and_inside_the_space(self, domain: Domain) -> None:
        """The canonical form of an architecture is an architecture, and its own canonical form."""
        for architecture in samples(domain, 20, seed=1):
            canonical = domain.space.canonical(architecture)
            assert domain.space.architecture(dict(canonical)) == canonical
            assert domain.space.canonical(canonical) == canonical

    # Evaluation

    def test_measurements_pass_the_gate(self, domain: Domain, measurement: Measurement) -> None:
        """A measurement has a finite value of every objective, and is kept by the journal as it is."""
        checked = checked_measurement(measurement, domain.objectives)
        for objective in domain.objectives:
            assert np.isfinite(checked.values[objective.name])
        trial = Trial(0, Proposal(domain.space.sample(np.random.default_rng(0))), checked)
        kept = trial_from_json(0, trial_to_json(trial)).measurement
        assert repr(kept) == repr(dataclasses.replace(checked, weights={}))  # figures that are no number are unequal

    def test_space_and_evaluate_agree(self, domain: Domain) -> None:
        """Random architectures are measured or fail as candidates; nothing else is raised."""
        for trial, architecture in enumerate(samples(domain, 3, seed=2)):
            try:
                domain.evaluate(Proposal(architecture), Context(0, trial, limits=Limits(memory_mb=100)))
            except CandidateFailure as failure:
                assert failure.reason

    def test_same_seed_same_measurement(self, domain: Domain, recipe: DomainRecipe, architecture: Architecture) -> None:
        """The context decides a measurement, in another instance too."""
        one, other = (of.evaluate(Proposal(architecture), Context(5, 3)) for of in (domain, recipe()))
        assert dict(one.values) == dict(other.values)
        assert one.curve == other.curve

    def test_global_randomness_plays_no_part(
        self, domain: Domain, architecture: Architecture, measurement: Measurement
    ) -> None:
        """Torch's global generator is neither read nor changed by an evaluation."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            before = torch.get_rng_state()
            assert dict(domain.evaluate(Proposal(architecture), Context(0)).values) == dict(measurement.values)
            assert torch.equal(before, torch.get_rng_state())

    def test_canonical_forms_measure_equal(
        self, domain: Domain, architecture: Architecture, measurement: Measurement
    ) -> None:
        """What the space calls the same network measures the same."""
        other = domain.evaluate(Proposal(domain.space.canonical(architecture)), Context(0))
        assert dict(other.values) == dict(measurement.values)

    def test_failure_becomes_a_failed_candidate(
        self, domain: Domain, architecture: Architecture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever an evaluation raises becomes a result with a reason."""

        def broken(*_: object) -> None:
            raise RuntimeError("broken on purpose")

        for name in ("evaluate", "evaluate_many"):
            monkeypatch.setattr(domain, name, broken, raising=False)
        results = run_job(domain, EvaluationJob(seed=0, first=0, proposals=(Proposal(architecture),) * 2), CPU)
        for result in results:
            assert isinstance(result.outcome, CandidateFailure)
            assert result.outcome.reason == "error"

    # Full training

    def test_test_data_is_read_by_full_trainings_alone(self, recipe: DomainRecipe, architecture: Architecture) -> None:
        """A fresh instance evaluates with the test data shut; a full training needs it open."""
        fresh = recipe()
        assert isinstance(outcome(fresh, Proposal(architecture), Context(0)), Measurement)
        with pytest.raises(TestDataError):
            fresh.retrain(architecture, Context(0))

    def test_same_seed_same_full_training(self, domain: Domain, architecture: Architecture) -> None:
        """The context decides the figures of a full training, and they pass the gate."""
        with open_test_data():
            one, other = (
                checked_retrained(domain.retrain(architecture, Context(7)), domain.objectives[0]) for _ in range(2)
            )
        assert one.validation == other.validation
        assert one.test == other.test

    def test_draws(self, domain: Domain, architecture: Architecture) -> None:
        """An architecture can be drawn."""
        assert "<svg" in to_svg(domain.draw(architecture))
