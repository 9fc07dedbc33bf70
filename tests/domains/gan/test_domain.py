from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from nichenas.core.cli import main
from nichenas.core.commands.export import export_onnx
from nichenas.core.commands.search import run_search
from nichenas.core.commands.sessions import RunOptions
from nichenas.core.config import resolve
from nichenas.core.context import Context
from nichenas.core.context import Environment
from nichenas.core.context import open_test_data
from nichenas.core.errors import CandidateFailure
from nichenas.core.errors import ConfigError
from nichenas.core.errors import DataError
from nichenas.core.session.journal import Journal
from nichenas.core.testing.baselines_contract import BaselinesContract
from nichenas.core.testing.datasets_contract import DatasetsContract
from nichenas.core.testing.domain_contract import DomainContract
from nichenas.core.testing.exporting_contract import ExportingContract
from nichenas.core.testing.fidelity_contract import FidelityContract
from nichenas.core.testing.notes_contract import NotesContract
from nichenas.core.testing.one_shot_contract import OneShotContract
from nichenas.core.testing.probing_contract import ProbingContract
from nichenas.core.trial import Proposal
from nichenas.domains.gan.domain import GanDomain
from nichenas.domains.gan.genotypes import PUBLISHED
from nichenas.domains.gan.pictures import grid
from nichenas.domains.gan.settings import GanSettings
from nichenas.domains.gan.shared import SharedGan
from nichenas.domains.gan.space import genotype_of
from nichenas.domains.gan.training import GanTraining
from tests.core.methods.test_kill_and_resume import kill_in_the_middle
from tests.core.methods.test_kill_and_resume import outline
from tests.core.methods.test_kill_and_resume import told

NETWORKS = {
    "channels": 4,
    "discriminator_channels": 4,
    "batch": 16,
    "generator_batch": 16,
    "critic_steps": 2,
    "lr": 1e-3,
}
SHARED = {**NETWORKS, "samples": 100, "splits": 1}
TRAINING = {**SHARED, "steps": 6, "validate_every": 2, "show_every": 4, "ema": 0.9}
SETTINGS: dict[str, Any] = {
    "dataset": "digits",
    "validation": 0.2,
    "bottom_width": 2,
    "cells": 2,
    "latent": 8,
    "extractor": "classifier",
    "shared": SHARED,
    "training": TRAINING,
    "evaluation": {**TRAINING, "steps": 4},
    "baselines": ["default"],
}
QUIET = RunOptions(quiet=True)
ONE_SHOT = {"iterations": [2, 2], "shared_steps": 12, "scored": 3, "candidates": 3, "beam": 2, "reset": {"window": 5}}


def make(**changes: Any) -> GanDomain:
    settings = GanSettings.model_validate({**SETTINGS, **changes})
    domain = GanDomain(settings, Environment(Path(), Path(os.environ["NICHENAS_CACHE"])))
    domain.prepare()
    return domain


def configuration(**sections: Any) -> dict[str, Any]:
    raw: dict[str, Any] = {
        "name": "gan",
        "domain": {"kind": "gan", **SETTINGS},
        "search": {
            "strategy": "reinforce",
            "sharing": "supernet",
            "one_shot": ONE_SHOT,
            "options": {"reinforce": {"tanh": None, "deduplicate": False}},
        },
        "retrain": {"top": 1, "seeds": 1},
        "run": {"tensorboard": False},
    }
    for name, values in sections.items():
        raw[name] = {**raw[name], **values}
    return raw


class TestContract(
    DomainContract,
    OneShotContract,
    FidelityContract,
    BaselinesContract,
    ProbingContract,
    ExportingContract,
    DatasetsContract,
    NotesContract,
):
    target = "nichenas.domains.gan:GanDomain"
    settings = SETTINGS


class TestShared:
    def test_weights_of_trained_cells_are_unchanged_across_the_growth(self) -> None:
        domain = make()
        shared = domain.shared_training(Context(0))
        rng = np.random.default_rng(0)
        space = domain.space.first(4)
        shared.begin_training(Context(0))
        fresh = {n: t.clone() for n, t in shared.adversaries.generator.state_dict().items()}
        for _ in range(6):
            losses = shared.step([space.sample(rng)], 0.0)
            assert "discriminator" in losses
        trained = {n: t.clone() for n, t in shared.adversaries.generator.state_dict().items()}
        critic = {n: t.clone() for n, t in shared.adversaries.discriminator.state_dict().items()}
        shared.begin_stage(1)
        assert all(torch.equal(trained[n], t) for n, t in shared.adversaries.generator.state_dict().items())
        assert all(torch.equal(critic[n], t) for n, t in shared.adversaries.discriminator.state_dict().items())
        # The new cell begins from its initial values: nothing has trained it.
        assert all(torch.equal(fresh[n], trained[n]) for n in fresh if n.startswith("cells.1."))
        assert any(not torch.equal(fresh[n], trained[n]) for n in fresh if n.startswith("cells.0."))
        assert shared._train_images.pixels.shape[-1] == 8

    def test_the_generator_is_stepped_every_few_steps(self) -> None:
        shared = make().shared_training(Context(0))
        shared.begin_training(Context(0))
        architecture = make().space.first(4).sample(np.random.default_rng(0))
        assert ["generator" in shared.step([architecture], 0.0) for _ in range(6)] == [True, False] * 3

    def test_recalibration_scores_as_the_networks_own_statistics_would(self) -> None:
        """The score does not depend on what other genotypes left in the running statistics."""
        for recalibrated in (True, False):
            domain = make(shared={**SHARED, "bn_recalibration": recalibrated})
            shared = domain.shared_training(Context(0))
            architecture = domain.space.first(4).sample(np.random.default_rng(1))
            one = shared.score(architecture, Context(0))
            shared.adversaries.generator.norm.running_mean.fill_(3.0)  # type: ignore[union-attr]
            assert (shared.score(architecture, Context(0)) == one) == recalibrated

    def test_reinitialising_draws_other_weights_and_keeps_the_stage(self) -> None:
        shared = make().shared_training(Context(0))
        shared.begin_stage(1)
        before = shared.adversaries.generator.state_dict()["project.weight"].clone()
        shared.reinitialise(Context(0, 1))
        assert not torch.equal(before, shared.adversaries.generator.state_dict()["project.weight"])
        assert shared.adversaries.stage == 1

    def test_diverged_weights_fail_the_candidate(self) -> None:
        shared = make().shared_training(Context(0))
        assert isinstance(shared, SharedGan)
        with torch.no_grad():
            shared.adversaries.generator.to_image.weight.fill_(float("nan"))
        architecture = make().space.first(4).sample(np.random.default_rng(0))
        with pytest.raises(CandidateFailure, match="generated images are not finite"):
            shared.score(architecture, Context(0))


class TestTraining:
    def run(self, folder: Path | None, artifacts: Path | None = None, **changes: Any) -> Any:
        domain = make(training={**TRAINING, **changes})
        genotype = genotype_of(domain.space.sample(np.random.default_rng(3)))
        context = Context(0, checkpoints=folder, artifacts=artifacts)
        return domain._train(genotype, domain.settings.training, context, domain.task.train)

    def test_keeps_the_step_that_was_best_on_validation_data(self) -> None:
        training = self.run(None)
        curve = dict(training.history.curves["FID[digits-cnn]"])
        assert list(curve) == [2, 4, 6]
        assert training.history.unit == min(curve, key=lambda step: curve[step])
        assert training.history.values["FID[digits-cnn]"] == min(curve.values())
        # The weights are those that were measured.
        again = training.measure(training.real, "validation noise")
        assert again["FID[digits-cnn]"] == pytest.approx(training.history.values["FID[digits-cnn]"], rel=1e-9)

    def test_the_average_follows_the_weights(self) -> None:
        domain = make()
        genotype = genotype_of(domain.space.sample(np.random.default_rng(3)))
        context = Context(0)
        settings = domain.settings.training
        both = domain.adversaries(genotype, settings, context)
        training = GanTraining(
            both,
            domain._images(domain.task.train, 1),
            domain._real(1, "validation"),
            domain.extractor,
            settings=settings,
            context=context,
        )
        expected = {n: p.detach().clone() for n, p in both.generator.named_parameters()}
        for _ in range(3):
            training.advance()
            for name, parameter in both.generator.named_parameters():
                expected[name] = 0.9 * expected[name] + 0.1 * parameter.detach()
        for name, parameter in training.average.named_parameters():
            torch.testing.assert_close(parameter, expected[name], rtol=1e-5, atol=1e-7)
        for one, other in zip(training.average.buffers(), both.generator.buffers(), strict=True):
            assert torch.equal(one, other)

    def test_goes_on_from_its_checkpoint_to_the_same(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = self.run(None)
        validate = GanTraining.validate

        def stop(self: GanTraining) -> dict[str, float]:
            if self.done == 4:
                raise KeyboardInterrupt
            return validate(self)

        monkeypatch.setattr(GanTraining, "validate", stop)
        with pytest.raises(KeyboardInterrupt):
            self.run(tmp_path / "kept")
        monkeypatch.undo()
        assert (tmp_path / "kept" / "training.pt").exists()
        resumed = self.run(tmp_path / "kept")
        assert resumed.history.curves == whole.history.curves
        assert resumed.history.trained == 4
        expected = whole.average.state_dict()
        assert all(torch.equal(expected[n], t) for n, t in resumed.average.state_dict().items())

    def test_leaves_pictures_and_curves(self, tmp_path: Path) -> None:
        self.run(None, tmp_path / "shown")
        files = sorted(f.name for f in (tmp_path / "shown").iterdir())
        assert files == ["curves.json", "interpolation.png", "samples-000004.png", "samples.png"]
        with Image.open(tmp_path / "shown" / "samples.png") as picture:
            assert picture.size[0] == picture.size[1] > 200
        curves = json.loads((tmp_path / "shown" / "curves.json").read_text())["step"]
        assert [step for step, _ in curves["FID[digits-cnn]"]] == [2, 4, 6]

    def test_divergence_is_a_failed_candidate(self) -> None:
        with pytest.raises(CandidateFailure, match="diverged"):
            self.run(None, lr=1e30, steps=8)

    def test_grid_lays_pictures_row_by_row(self) -> None:
        pixels = torch.arange(6, dtype=torch.uint8).view(6, 1, 1, 1).expand(6, 1, 2, 2)
        picture = grid(pixels, 3)
        assert picture.shape == (1, 5, 8)
        assert picture[0, 0].tolist() == [0, 0, 255, 1, 1, 255, 2, 2]
        assert picture[0, 3].tolist() == [3, 3, 255, 4, 4, 255, 5, 5]


class TestRuns:
    def test_search_report_export(self, tmp_path: Path) -> None:
        result = run_search(resolve(configuration(), "gan.yaml"), tmp_path / "run", QUIET)
        assert result.metric == "FID[digits-cnn]"
        assert list(result.validation) == ["IS[digits-cnn, supernet]", "FID[digits-cnn, supernet]"]
        assert set(result.test) == {"FID[digits-cnn]", "IS[digits-cnn]", "KID[digits-cnn]"}
        trained = result.retrained[0].validation
        assert {"FID[digits-cnn, training images]", "parameters", "macs", "step", "accuracy of digits-cnn"} <= set(
            trained
        )
        assert [entry.label for entry in result.baselines] == ["default"]
        page = (tmp_path / "run" / "report.html").read_text()
        for words in ("Entropy of the policy", "data:image/png;base64", "Samples of the final trainings", "skip, "):
            assert words in page
        assert "IS[digits-cnn, supernet]" in page
        pytest.importorskip("onnxruntime")
        file, difference = export_onnx(tmp_path / "run")
        assert file.exists()
        assert difference < 1e-3

    def test_alone_and_with_another_strategy(self, tmp_path: Path) -> None:
        raw = {**configuration(retrain={"seeds": 0}), "search": {"strategy": "evolution", "trials": 3}}
        result = run_search(resolve(raw, "g"), tmp_path / "a", QUIET)
        assert result.trials == 3
        assert next(iter(result.validation)) == "FID[digits-cnn]"
        raw = configuration(search={"strategy": "random"}, retrain={"seeds": 0})
        result = run_search(resolve(raw, "g"), tmp_path / "b", QUIET)
        assert result.trials == 4 * 3 + 2 * 3

    @pytest.mark.parametrize("after", [4, 10, 16])  # in both stages, and among the last candidates
    def test_killed_and_resumed(self, after: int, tmp_path: Path) -> None:
        raw = configuration(retrain={"baselines": False})
        raw["search"]["one_shot"] = {**ONE_SHOT, "shared_steps": 200, "reset": {"window": 500}}
        file = tmp_path / "gan.yaml"
        file.write_text(yaml.safe_dump(raw))
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "nichenas.core.cli", "search", str(file), "--quiet", "--out"]
        subprocess.run([*command, str(tmp_path / "whole")], check=True, env=environment, stdout=subprocess.DEVNULL)
        # Rows reach the disk in batches, so more of them may be there than were waited for.
        assert kill_in_the_middle(file, tmp_path / "killed", after) >= after
        resumed = [*command, str(tmp_path / "killed"), "--resume"]
        subprocess.run(resumed, check=True, env=environment, stdout=subprocess.DEVNULL)
        assert outline(tmp_path / "killed") == outline(tmp_path / "whole")
        assert told(tmp_path / "killed") == told(tmp_path / "whole")

    def test_faithful_switches_run(self, tmp_path: Path) -> None:
        raw = configuration(retrain={"seeds": 0})
        raw["domain"].update(
            {"skip_tap": "after", "skip_position": "first", "shared": {**SHARED, "bn_recalibration": False}}
        )
        raw["search"]["one_shot"] = {**ONE_SHOT, "reset_before_controller": False, "distinct": False}
        raw["search"]["options"] = {"reinforce": {"entropy_detach": False, "keep_baseline": False, "tanh": None}}
        result = run_search(resolve(raw, "g"), tmp_path / "run", QUIET)
        assert list(result.architecture)[4] == "cell2.skip"
        with Journal(tmp_path / "run" / "journal.sqlite") as journal:
            assert len(list(journal.trials())) == 18

    def test_fid_as_reward(self, tmp_path: Path) -> None:
        raw = configuration(retrain={"seeds": 0}, domain={"reward": "FID"})
        result = run_search(resolve(raw, "g"), tmp_path / "run", QUIET)
        assert next(iter(result.validation)) == "FID[digits-cnn, supernet]"


class TestErrors:
    def test_missing_inception_weights(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        raw = configuration(domain={"extractor": "inception"})
        file = tmp_path / "gan.yaml"
        file.write_text(yaml.safe_dump(raw))
        assert main(["search", str(file), "--out", str(tmp_path / "run")]) == 2
        message = capsys.readouterr().err
        assert message.count("\n") == 1
        assert "pt_inception-2015-12-05-6726825d.pth" in message
        assert "--inception-weights" in message
        assert not (tmp_path / "run").exists()
        missing = str(tmp_path / "none.pth")
        assert main(["search", str(file), "--inception-weights", missing]) == 2
        assert f"'{missing}' is not there" in capsys.readouterr().err

    def test_baselines(self) -> None:
        with pytest.raises(ConfigError, match="'AutoGAN-A' has 3 cells; the space has 2"):
            make(baselines=["AutoGAN-A"])
        with pytest.raises(ConfigError, match="'sgan' is neither default, sngan, random-N nor a genotype"):
            resolve(configuration(domain={"baselines": ["sgan"]}), "g")
        domain = make(baselines=["random-3", "0 0 0 0 | 1 1 1 1 1"])
        assert domain.baselines == ("random 1", "random 2", "random 3", "0 0 0 0 | 1 1 1 1 1")
        settings = GanSettings.model_validate({**SETTINGS, "cells": 3, "baselines": ["AutoGAN-A"]})
        assert GanDomain(settings, Environment(Path(), Path()))._baselines == {"AutoGAN-A": PUBLISHED["AutoGAN-A"]}

    def test_a_classifier_needs_labels(self, tmp_path: Path) -> None:
        (tmp_path / "flat").mkdir()
        rng = np.random.default_rng(0)
        for i in range(20):
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(tmp_path / "flat" / f"{i}.png")
        settings = GanSettings.model_validate({**SETTINGS, "dataset": str(tmp_path / "flat")})
        domain = GanDomain(settings, Environment(Path(), tmp_path))
        with pytest.raises(DataError, match="sub-folders; wanted: one a class"):
            domain.prepare()
        with pytest.raises(ConfigError, match="a classifier cannot be trained on images without labels"):
            make(unlabelled=True)

    def test_test_data_stays_shut(self) -> None:
        domain = make()
        architecture = domain.space.sample(np.random.default_rng(0))
        domain.evaluate(Proposal(architecture), Context(0))
        with open_test_data():
            retrained = domain.retrain(architecture, Context(0, keep_weights=True))
        assert retrained.weights
        assert retrained.test["FID[digits-cnn]"] != retrained.validation["FID[digits-cnn]"]


def test_real_images_of_cifar10(data: Path, tmp_path: Path) -> None:
    files = sorted((data / "cifar10").glob("*.npz"))
    if not files:
        pytest.skip("no CIFAR-10 npz in the folder of real data")
    changes = {"dataset": str(files[0]), "limit": 300, "bottom_width": 2, "cells": 2}
    settings = GanSettings.model_validate({**SETTINGS, **changes})
    domain = GanDomain(settings, Environment(data, tmp_path))
    domain.prepare()
    name = domain.extractor.name
    assert name.endswith("-300-cnn")
    assert domain.task.channels == 3
    with open_test_data():
        found = domain.retrain(domain.space.sample(np.random.default_rng(0)), Context(0, artifacts=tmp_path / "shown"))
    assert np.isfinite(found.test[f"FID[{name}]"])
    with Image.open(tmp_path / "shown" / "samples.png") as picture:
        assert picture.mode == "RGB"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="mixed precision needs CUDA")
def test_mixed_precision_is_near_full_precision() -> None:
    losses = []
    for half in (False, True):
        domain = make()
        settings = domain.settings.training.model_copy(update={"mixed_precision": half})
        genotype = genotype_of(domain.space.sample(np.random.default_rng(0)))
        both = domain.adversaries(genotype, settings, Context(0, device="cuda"))
        draws = torch.Generator("cuda").manual_seed(0)
        real = torch.rand(16, 1, 8, 8, device="cuda", generator=draws)
        z = torch.randn(16, 8, device="cuda", generator=draws)
        losses.append([float(both.discriminator_step(real, z)), float(both.generator_step(z))])
    assert losses[0] == pytest.approx(losses[1], rel=2e-2, abs=2e-2)
