"""What every domain must do; subclass :class:`DomainContract` in a pytest module.

Example:
    class TestMyDomain(DomainContract):
        target = "my_package:MyDomain"
        settings = {"dataset": "tiny"}
"""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any
from typing import ClassVar

import numpy as np
import pytest

from nichenas.core.context import Context
from nichenas.core.context import Environment
from nichenas.core.context import Limits
from nichenas.core.context import open_test_data
from nichenas.core.data.root import cache_folder
from nichenas.core.data.root import data_root
from nichenas.core.domain import Domain
from nichenas.core.domain_lookup import DomainRecipe
from nichenas.core.domain_lookup import load_target
from nichenas.core.errors import CandidateFailure
from nichenas.core.errors import TestDataError
from nichenas.core.execution.jobs import EvaluationJob
from nichenas.core.execution.jobs import run_job
from nichenas.core.fidelity import FULL
from nichenas.core.fidelity import Fidelity
from nichenas.core.figures.drawing import to_svg
from nichenas.core.proxies.zero_cost import ZERO_COST
from nichenas.core.proxies.zero_cost import score_all
from nichenas.core.space import Architecture
from nichenas.core.trial import Measurement
from nichenas.core.trial import Proposal


class DomainContract:
    """The contract.

    Attributes:
        target: ``module:Class`` of the domain.
        settings: of a configuration that evaluates in seconds; keep it small.
        data: the data root, where the settings need one.
        rounding: how far ``evaluate_many`` may be from ``evaluate``, in the primary objective.
    """

    target: ClassVar[str]
    settings: ClassVar[dict[str, Any]] = {}
    data: ClassVar[Path | None] = None
    rounding: ClassVar[float] = 0.02

    @pytest.fixture(scope="class")
    def recipe(self) -> DomainRecipe:
        """How to make the domain."""
        cls = load_target(self.target)
        root = self.data or data_root(None)
        return DomainRecipe(self.target, cls.Settings.model_validate(self.settings), Environment(root, cache_folder()))

    @pytest.fixture(scope="class")
    def domain(self, recipe: DomainRecipe) -> Domain:
        """The domain, prepared."""
        return recipe()

    @pytest.fixture(scope="class")
    def architecture(self, domain: Domain) -> Architecture:
        """An architecture that can be measured."""
        rng = np.random.default_rng(0)
        for _ in range(20):
            candidate = domain.space.sample(rng)
            try:
                domain.evaluate(Proposal(candidate), Context(0))
            except CandidateFailure:
                continue
            return candidate
        raise AssertionError("none of 20 random architectures could be measured")

    def test_recipe_travels_to_workers(self, recipe: DomainRecipe) -> None:
        """A worker makes the domain from a pickled recipe."""
        assert pickle.loads(pickle.dumps(recipe)) == recipe  # noqa: S301

    def test_canonical_is_idempotent_and_inside_the_space(self, domain: Domain) -> None:
        """The canonical form of an architecture is an architecture, and its own canonical form."""
        rng = np.random.default_rng(1)
        for _ in range(20):
            canonical = domain.space.canonical(domain.space.sample(rng))
            assert domain.space.architecture(dict(canonical)) == canonical
            assert domain.space.canonical(canonical) == canonical

    def test_measures_every_objective(self, domain: Domain, architecture: Architecture) -> None:
        """A measurement has a finite value of every objective and survives the journal's JSON."""
        measurement = domain.evaluate(Proposal(architecture), Context(0))
        assert measurement.seconds >= 0
        for objective in domain.objectives:
            assert np.isfinite(measurement.values[objective.name])
        json.dumps([dict(measurement.values), measurement.curve, dict(measurement.diagnostics)])

    def test_space_and_evaluate_agree(self, domain: Domain) -> None:
        """Random architectures are measured or fail as candidates; nothing else is raised."""
        rng = np.random.default_rng(2)
        for trial in range(3):
            try:
                domain.evaluate(Proposal(domain.space.sample(rng)), Context(0, trial, limits=Limits(memory_mb=100)))
            except CandidateFailure as failure:
                assert failure.reason

    def test_same_seed_same_measurement(self, domain: Domain, recipe: DomainRecipe, architecture: Architecture) -> None:
        """The context decides a measurement, in another instance too; other trials draw otherwise."""
        proposal = Proposal(architecture)
        one = domain.evaluate(proposal, Context(5, 3))
        assert dict(one.values) == dict(recipe().evaluate(proposal, Context(5, 3)).values)
        assert one.curve == domain.evaluate(proposal, Context(5, 3)).curve

    def test_canonical_forms_measure_equal(self, domain: Domain, architecture: Architecture) -> None:
        """What the space calls the same network measures the same."""
        one = domain.evaluate(Proposal(architecture), Context(0))
        other = domain.evaluate(Proposal(domain.space.canonical(architecture)), Context(0))
        assert dict(one.values) == dict(other.values)

    def test_evaluate_many_equals_evaluate(self, domain: Domain, architecture: Architecture) -> None:
        """Measuring together changes nothing but the rounding."""
        rng = np.random.default_rng(3)
        proposals = [Proposal(architecture), Proposal(domain.space.mutate(architecture, rng))]
        contexts = [Context(0, trial, limits=Limits(memory_mb=100)) for trial in range(2)]
        together = domain.evaluate_many(proposals, contexts)
        assert len(together) == 2
        name = domain.objectives[0].name
        for trial, (proposal, found) in enumerate(zip(proposals, together, strict=True)):
            try:
                alone = domain.evaluate(proposal, Context(0, trial, limits=Limits(memory_mb=100)))
            except CandidateFailure as failure:
                assert isinstance(found, CandidateFailure)
                assert found.reason == failure.reason
                continue
            assert isinstance(found, Measurement)
            assert abs(alone.values[name] - found.values[name]) <= self.rounding

    def test_failure_becomes_a_failed_candidate(
        self, domain: Domain, architecture: Architecture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever an evaluation raises becomes a result with a reason."""

        def broken(*_: object) -> None:
            raise RuntimeError("broken on purpose")

        monkeypatch.setattr(domain, "evaluate", broken)
        monkeypatch.setattr(domain, "evaluate_many", broken)
        results = run_job(domain, EvaluationJob(0, 0, (Proposal(architecture),) * 2), Context(0).device)
        assert [isinstance(result, CandidateFailure) for result in results] == [True, True]

    def test_evaluate_never_reads_test_data(
        self, domain: Domain, recipe: DomainRecipe, architecture: Architecture
    ) -> None:
        """A fresh instance evaluates with the test data shut, and retraining opens it."""
        fresh = recipe()
        fresh.evaluate(Proposal(architecture), Context(0))
        with pytest.raises(TestDataError):
            fresh.retrain(architecture, Context(0))
        with open_test_data():
            retrained = fresh.retrain(architecture, Context(0))
        for objective in domain.objectives[:1]:
            assert np.isfinite(retrained.validation[objective.name])
            assert np.isfinite(retrained.test[objective.name])

    def test_baselines_train(self, domain: Domain) -> None:
        """Every baseline has the metrics of an architecture."""
        with open_test_data():
            for name in domain.baselines:
                assert domain.objectives[0].name in domain.train_baseline(name, Context(0)).test

    def test_draws(self, domain: Domain, architecture: Architecture) -> None:
        """An architecture can be drawn."""
        assert "<svg" in to_svg(domain.draw(architecture))

    def test_reductions_are_honoured(self, domain: Domain, architecture: Architecture) -> None:
        """A reduced fidelity that the domain claims to honour is no larger, and is measured; another is refused."""
        for factor in sorted(domain.reductions):
            fidelity = Fidelity(**{factor: 0.5})
            full, half = domain.resolve_fidelity(FULL), domain.resolve_fidelity(fidelity)
            assert half[factor] <= full[factor]  # equal where settings are as small as they can be
            assert {name: half[name] for name in half if name != factor} == {n: full[n] for n in full if n != factor}
            domain.evaluate(Proposal(architecture, fidelity), Context(0))
        for factor in {"epochs", "samples", "channels", "resolution"} - domain.reductions:
            job = EvaluationJob(0, 0, (Proposal(architecture, Fidelity(**{factor: 0.5})),))
            with pytest.raises(ValueError, match=f"does not reduce {factor}"):
                run_job(domain, job, Context(0).device)

    def test_full_setting_is_of_the_same_kind(self, domain: Domain) -> None:
        """Settings for a study's reference are settings of the domain, and their own reference."""
        full = domain.final_training_settings(domain.settings)
        assert isinstance(full, domain.Settings)
        assert domain.final_training_settings(full) == full

    def test_a_training_in_parts_is_the_training_in_one_go(
        self, domain: Domain, architecture: Architecture, tmp_path: Path
    ) -> None:
        """Going on from a checkpoint changes nothing: values, curve and epochs are those of one training."""
        if not (domain.continues and "epochs" in domain.reductions):
            pytest.skip("the domain does not continue trainings")
        job = EvaluationJob(0, 4, (Proposal(architecture, horizon=1.0),), checkpoints=tmp_path)
        (whole,) = run_job(domain, job, Context(0).device)
        half = Fidelity(epochs=0.5)
        first = EvaluationJob(0, 4, (Proposal(architecture, half, horizon=1.0),), checkpoints=tmp_path)
        (begun,) = run_job(domain, first, Context(0).device)
        rest = Proposal(architecture, FULL, parent=4, horizon=1.0, start=0.5)
        (ended,) = run_job(domain, EvaluationJob(0, 4, (rest,), checkpoints=tmp_path), Context(0).device)
        assert isinstance(whole, Measurement)
        assert isinstance(begun, Measurement)
        assert isinstance(ended, Measurement)
        name = domain.objectives[0].name
        assert ended.values[name] == whole.values[name]
        if whole.epochs is not None:
            assert begun.epochs is not None
            assert ended.epochs is not None
            assert begun.epochs + ended.epochs == whole.epochs

    def test_a_network_can_be_looked_at_untrained(self, domain: Domain, architecture: Architecture) -> None:
        """Scores without training are the same for the same context, and finite or none."""
        probe = domain.probe(architecture, Context(3, 1))
        if probe is None:
            pytest.skip("the domain builds no networks to look at")
        again = domain.probe(architecture, Context(3, 1))
        assert again is not None
        found, repeated = (
            {name: score.value for name, score in score_all(one, list(ZERO_COST)).items()} for one in (probe, again)
        )
        assert found == repeated
        assert found["parameters"] is not None
        assert found["grad_norm"] is not None

    def test_share_keys_name_the_tensors(self, domain: Domain, architecture: Architecture) -> None:
        """Where a domain shares weights, kept tensors have keys of their shape and can be inherited."""
        if not domain.sharing_rules:
            pytest.skip("the domain shares no weights")
        keys = domain.share_keys(architecture)
        measurement = domain.evaluate(Proposal(architecture), Context(0, keep_weights=True))
        assert measurement.weights
        for name, tensor in measurement.weights.items():
            assert keys[name].shape == tuple(tensor.shape)
        for rule in domain.sharing_rules.values():
            for key in keys.values():
                assert set(rule) <= set(key.attributes)
        again = Context(0, 1, inherited=dict(measurement.weights))
        domain.evaluate(Proposal(architecture), again)
