"""The study of proxies as a command: rows, resumption, executors, untrained networks, mistakes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from nichenas.core.capabilities.probing import Probe
from nichenas.core.capabilities.probing import Probing
from nichenas.core.commands.proxies import run_proxies
from nichenas.core.commands.report import write_report
from nichenas.core.commands.sessions import RunOptions
from nichenas.core.config import load_config
from nichenas.core.config import resolve
from nichenas.core.context import Context
from nichenas.core.errors import ConfigError
from nichenas.core.errors import Interrupted
from nichenas.core.errors import RunFolderError
from nichenas.core.fidelity import FULL
from nichenas.core.fidelity import Factor
from nichenas.core.fidelity import Fidelity
from nichenas.core.objectives import Objective
from nichenas.core.proxies.sample import StudyPlan
from nichenas.core.proxies.sample import sample_architectures
from nichenas.core.proxies.study import Measured
from nichenas.core.proxies.study import StudyDesign
from nichenas.core.proxies.study import analyse
from nichenas.core.proxies.study_settings import default_settings
from nichenas.core.proxies.study_settings import quarter_level
from nichenas.core.proxies.study_summary import Study
from nichenas.core.proxies.study_summary import StudySummary
from nichenas.core.proxies.untrained import UntrainedScores
from nichenas.core.session.journal import Journal
from nichenas.core.space import Architecture
from nichenas.core.space import Choice
from nichenas.core.space import SearchSpace
from nichenas.core.testing.toy import ToyDomain
from nichenas.core.testing.toy import ToySettings
from nichenas.core.trial import Measurement
from nichenas.core.trial import Proposal
from nichenas.core.trial import Trial
from tests.conftest import toy_config

ASSETS = Path(__file__).parent / "assets"
QUIET = RunOptions(quiet=True)


def study(folder: Path, architectures: int = 8, **sections: Any) -> StudySummary:
    proxies = {"settings": ["c0r0s0e6", "c0r0s0e3"], **sections.pop("proxies", {}), "architectures": architectures}
    raw = toy_config(proxies=proxies, **sections)
    raw["domain"].setdefault("choices", 6)
    return run_proxies(resolve(raw, "toy.yaml"), folder, QUIET)


def outline(trial: Trial) -> tuple[Any, ...]:
    values = trial.failure if trial.measurement is None else trial.measurement.values
    return trial.number, trial.proposal.architecture.key, dict(trial.proposal.fidelity), values


def measured(folder: Path) -> list[tuple[Any, ...]]:
    with Journal(folder / "journal.sqlite", read_only=True) as journal:
        return [outline(trial) for trial in journal.trials()]


def test_every_architecture_is_trained_at_every_setting(tmp_path: Path) -> None:
    summary = study(tmp_path / "study")
    assert summary.full == "c0r0s0e12"
    assert {name: own["epochs"] for name, own in summary.sizes.items()} == {
        "c0r0s0e12": 12, "c0r0s0e6": 6, "c0r0s0e3": 3, "full repeated": 12
    }  # fmt: skip
    assert summary.cost == {"c0r0s0e6": 0.5, "c0r0s0e3": 0.25}
    lines = (tmp_path / "study" / "consistency.csv").read_text().splitlines()
    assert lines[0] == "member,key,c0r0s0e12,c0r0s0e6,c0r0s0e3,full repeated"
    assert len(lines) == 9
    keys = {line.split(",")[1] for line in lines[1:]}
    assert len(keys) == 8
    # The toy's quality at e epochs is proportional to that of the full setting, up to little noise.
    half, quarter = summary.proxies["c0r0s0e6"], summary.proxies["c0r0s0e3"]
    assert half is not None
    assert quarter is not None
    assert half.spearman.value > 0.6
    assert summary.cheapest in (None, "c0r0s0e6", "c0r0s0e3")
    (pair,) = summary.differences
    assert (pair.one, pair.other) == ("c0r0s0e6", "c0r0s0e3")
    assert pair.gap.value == pytest.approx(half.spearman.value - quarter.spearman.value)
    page = (tmp_path / "study" / "report.html").read_text()
    assert "which proxy keeps the ranking" in page
    assert "Settings that differ significantly" in page
    assert "<svg" in page


def test_noise_is_different_in_every_training(tmp_path: Path) -> None:
    study(tmp_path / "study", domain={"noise": 0.05})
    values = [[float(cell) for cell in line.split(",")[2:]] for line in _rows(tmp_path / "study")]
    full, repeated = np.array(values)[:, 0], np.array(values)[:, 3]
    assert (full != repeated).all()


def _rows(folder: Path) -> list[str]:
    return (folder / "consistency.csv").read_text().splitlines()[1:]


def test_an_interrupted_or_shorter_study_is_continued(tmp_path: Path) -> None:
    study(tmp_path / "whole")
    study(tmp_path / "parts", 4)
    before = measured(tmp_path / "parts")
    study(tmp_path / "parts")
    assert measured(tmp_path / "parts")[: len(before)] == before
    assert measured(tmp_path / "parts") == measured(tmp_path / "whole")
    assert _rows(tmp_path / "parts") == _rows(tmp_path / "whole")
    # A smaller one looks at its own part of the folder and leaves the rest.
    assert study(tmp_path / "whole", 4).architectures == 4
    assert measured(tmp_path / "parts") == measured(tmp_path / "whole")


def test_workers_change_nothing(tmp_path: Path) -> None:
    study(tmp_path / "one")
    study(tmp_path / "two", run={"executor": "processes", "workers": 2})
    assert measured(tmp_path / "one") == measured(tmp_path / "two")


def test_failures_are_left_out(tmp_path: Path) -> None:
    summary = study(tmp_path / "study", 20, domain={"fail": 0.3})
    half = summary.proxies["c0r0s0e6"]
    assert half is not None
    assert 4 <= summary.measured < 20
    assert half.count < summary.measured


def test_mistakes(tmp_path: Path) -> None:
    study(tmp_path / "study", 4)
    with pytest.raises(RunFolderError, match=r"proxies.settings was"):
        study(tmp_path / "study", 4, proxies={"settings": ["c0r0s0e4"]})
    with pytest.raises(ConfigError, match=r"^toy.yaml: proxies.settings: 'c1r0s0e4' reduces channels, which the dom"):
        study(tmp_path / "other", proxies={"settings": ["c1r0s0e4"]})
    with pytest.raises(ConfigError, match=r"proxies.settings: 'e4' is not the name of a setting"):
        study(tmp_path / "other", proxies={"settings": ["e4"]})
    with pytest.raises(ConfigError, match=r"unknown zero-cost proxy 'snp' \(did you mean 'snip'\?\)"):
        resolve(toy_config(proxies={"zero_cost": ["snp"]}), "toy.yaml")
    assert not (tmp_path / "other").exists()


def test_default_settings_reduce_one_factor_at_a_time_and_some_together() -> None:
    toy = ToyDomain(ToySettings(epochs=100), None)  # type: ignore[arg-type]
    assert default_settings(toy) == ("c0r0s0e25",)

    class Images(ToyDomain):
        factors = ("epochs", "samples", "channels", "resolution")

    assert default_settings(Images(ToySettings(epochs=100), None)) == (  # type: ignore[arg-type]
        "c2r0s0e100", "c0r2s0e100", "c0r0s2e100", "c0r0s0e25", "c2r0s0e25", "c0r2s0e25", "c2r2s0e25"
    )  # fmt: skip


def test_default_settings_reduce_a_domain_s_own_factors() -> None:
    tokens, bands = Factor("tokens", "t", 2.0, (1.0, 0.5, 0.25)), Factor("bands", "b", 1.0, (1.0, 0.6, 0.3, 0.1))

    class Sequences(ToyDomain):
        factors = ("epochs", "samples", tokens, bands)

    assert default_settings(Sequences(ToySettings(epochs=100), None)) == (  # type: ignore[arg-type]
        "c0r0s2e100", "c0r0s0t1e100", "c0r0s0b2e100", "c0r0s0e25"
    )  # fmt: skip
    assert quarter_level(Factor("nothing", "n", 1.0, (1.0,))) == 0  # which is not a reduction, so not a setting


def test_a_domain_s_own_factor_is_studied(tmp_path: Path) -> None:
    domain = {"kind": "tests.core.proxies.test_study:Patched"}
    summary = study(tmp_path / "study", 4, domain=domain, proxies={"settings": None})
    assert list(summary.sizes) == ["c0r0s0e12", "c0r0s0p2e12", "c0r0s0e3", "full repeated"]
    assert summary.sizes["c0r0s0p2e12"] == {"epochs": 12, "patches": 4}
    assert summary.cost == {"c0r0s0p2e12": 0.25, "c0r0s0e3": 0.25}
    page = (tmp_path / "study" / "report.html").read_text()
    assert '<th class="n">patches</th><th class="n">epochs</th>' in page


class Patched(ToyDomain):
    """A domain with a factor of its own."""

    factors = ("epochs", Factor("patches", "p"))

    def resolve_fidelity(self, fidelity: Fidelity) -> Mapping[str, int]:
        return {**super().resolve_fidelity(fidelity), "patches": round(16 * fidelity["patches"])}


def test_a_sample_has_no_twins_and_grows_from_the_same_ones() -> None:
    space = SearchSpace([Choice("a", (0, 1, 2)), Choice("b", (0, 1))])
    assert len(sample_architectures(space, 4, 0)) == 4
    assert len({a.key for a in sample_architectures(space, 100, 0)}) == 6
    assert sample_architectures(space, 3, 0) == sample_architectures(space, 5, 0)[:3]


def test_a_plan_measures_one_architecture_after_another() -> None:
    toy = ToyDomain(ToySettings(), None)  # type: ignore[arg-type]
    sample = sample_architectures(toy.space, 3, 0)
    plan = StudyPlan(sample, {"full": FULL, "half": Fidelity(epochs=0.5)}, toy.objectives[0])
    assert len(plan) == 6
    asked = [*plan.ask(), *plan.ask(4)]
    assert [(p.tag["member"], p.tag["setting"]) for p in asked] == [
        (0, "full"), (0, "half"), (1, "full"), (1, "half"), (2, "full")
    ]  # fmt: skip
    assert (len(plan), len(plan.ask(9)), plan.ask()) == (1, 1, [])


class Probed(ToyDomain, Probing):
    """Networks whose width is a choice; some cannot be built, and some not be scored."""

    probed: ClassVar[list[str]] = []
    broken: ClassVar[bool] = True

    def probe(self, architecture: Architecture, context: Context) -> Probe:
        self.probed.append(architecture.key)
        if architecture["c1"] == 0 and self.broken:
            raise ZeroDivisionError("no width")
        with context.seeded("weights"):
            network = nn.Sequential(nn.Linear(3, 1 + int(str(architecture["c2"]))), nn.ReLU())
        inputs = torch.ones(2, 3) if architecture["c1"] != 1 or not self.broken else torch.ones(2, 5)
        return Probe(network, inputs, network, lambda outputs: outputs.square().mean())


@pytest.fixture
def probed(monkeypatch: pytest.MonkeyPatch) -> type[Probed]:
    monkeypatch.setattr(Probed, "probed", [])
    monkeypatch.setattr(Probed, "broken", True)
    return Probed


def probing_study(folder: Path, zero_cost: tuple[str, ...] = ("parameters", "snip")) -> StudySummary:
    domain = {"kind": "tests.core.proxies.test_study:Probed"}
    return study(folder, 16, domain=domain, proxies={"zero_cost": list(zero_cost)})


def test_a_failed_probe_is_a_missing_score(tmp_path: Path, probed: type[Probed]) -> None:
    """One exception of a probe lost the summary, after all trainings (once)."""
    summary = probing_study(tmp_path / "study")
    assert summary.failed_probes is not None
    assert 0 < summary.failed_probes.count < 16
    assert summary.measured == 16
    rows = Study.read(tmp_path / "study").rows
    sample = sample_architectures(ToyDomain(ToySettings(choices=6), None).space, 16, 0)  # type: ignore[arg-type]
    for row, architecture in zip(rows, sample, strict=True):
        assert (row.values["parameters"] is None) == (architecture["c1"] == 0)  # no network
        assert (row.values["snip"] is None) == (architecture["c1"] in (0, 1))  # nothing that it can look at
    failing = [architecture for architecture in sample if architecture["c1"] in (0, 1)]
    assert summary.failed_probes.count == len(failing)
    reason = "ZeroDivisionError: no width" if failing[0]["c1"] == 0 else "snip: RuntimeError"
    assert reason in summary.failed_probes.first
    page = (tmp_path / "study" / "report.html").read_text()
    assert f"Scores are missing for {len(failing)} of 16 architectures" in page
    written = json.loads((tmp_path / "study" / "consistency.json").read_text())
    assert written["failed_probes"] == {"count": len(failing), "first": summary.failed_probes.first}


def test_scores_are_kept_and_only_what_is_missing_is_computed(tmp_path: Path, probed: type[Probed]) -> None:
    first = probing_study(tmp_path / "study")
    assert len(probed.probed) == 16
    probed.probed.clear()
    again = probing_study(tmp_path / "study")  # failures are tried again, everything else is there
    assert first.failed_probes is not None
    assert len(probed.probed) == first.failed_probes.count
    assert again == first
    probed.probed.clear()
    probed.broken = False
    whole = probing_study(tmp_path / "study")
    assert whole.failed_probes is None
    assert len(probed.probed) == first.failed_probes.count
    probed.probed.clear()
    assert set(probing_study(tmp_path / "study", ("parameters",)).zero_cost) == {"parameters"}
    assert probed.probed == []
    assert probing_study(tmp_path / "study", ("parameters", "grad_norm")).zero_cost["grad_norm"] is not None
    assert len(probed.probed) == 16  # for the new score
    # A score belongs to an architecture; what was kept of another one at its place is not taken.
    probed.probed.clear()
    with Journal(tmp_path / "study" / "journal.sqlite") as journal:
        held = journal.meta("untrained 3")
        journal.set_meta("untrained 3", {**held, "architecture": "another"})
    probing_study(tmp_path / "study", ("parameters", "grad_norm"))
    assert len(probed.probed) == 1


def test_an_interrupt_while_scoring_loses_nothing(
    tmp_path: Path, probed: type[Probed], monkeypatch: pytest.MonkeyPatch
) -> None:
    probed.broken = False
    whole = probing_study(tmp_path / "whole")
    probed.probed.clear()
    build = Probed.probe

    def stops(self: Probed, architecture: Architecture, context: Context) -> Probe:
        if len(probed.probed) == 5:
            raise KeyboardInterrupt
        return build(self, architecture, context)

    monkeypatch.setattr(Probed, "probe", stops)
    with pytest.raises(Interrupted, match="after 5 untrained networks") as caught:
        probing_study(tmp_path / "parts")
    assert caught.value.advice == "the same command continues the study"
    monkeypatch.setattr(Probed, "probe", build)
    probed.probed.clear()
    found = probing_study(tmp_path / "parts")
    assert len(probed.probed) == 11
    assert found.zero_cost == whole.zero_cost
    assert _rows(tmp_path / "parts") == _rows(tmp_path / "whole")


def test_scores_of_untrained_networks_stand_beside(tmp_path: Path) -> None:
    overrides = ["domain.epochs=8", "proxies.settings=[c0r0s0e4]", "proxies.zoo=8", "run.limits.memory_mb=40"]
    summary = run_proxies(load_config("gnn/digits-knn", overrides), tmp_path / "study", QUIET)
    assert set(summary.zero_cost) == {
        "grad_norm", "jacob_cov", "macs", "naswot", "parameters", "snip", "synflow"
    }  # fmt: skip
    snip = summary.zero_cost["snip"]
    assert snip is not None
    assert snip.count == summary.measured
    assert set(summary.zero_cost_seconds) == set(summary.zero_cost)
    assert summary.failed_probes is None
    assert Study.read(tmp_path / "study").summary == summary


def test_studies_of_older_versions_are_read(tmp_path: Path) -> None:
    old = Study.read(ASSETS / "study-zoo")
    assert (old.summary.architectures, old.summary.min_correlation) == (6, 0.8)
    assert list(old.summary.proxies) == ["c0r0s0e6", "c0r0s0e3", "full repeated"]
    assert old.summary.repeated is not None
    assert old.summary.repeated.spearman.value == pytest.approx(0.942857142857)
    assert old.summary.sizes["full repeated"] == {"epochs": 12}
    assert old.summary.failed_probes is None
    assert old.rows[0].values["full repeated"] == 0.17265943102512707
    old.write(tmp_path)
    assert Study.read(tmp_path) == old


@pytest.mark.parametrize("damage", ["no wanted", "list", "cell", "no rows"])
def test_damaged_studies_are_refused(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "study"
    shutil.copytree(ASSETS / "study-zoo", folder)
    summary, rows = folder / "consistency.json", folder / "consistency.csv"
    if damage == "no wanted":
        summary.write_text(summary.read_text().replace('"wanted"', '"wnated"'))
    elif damage == "list":
        summary.write_text("[1, 2]")
    elif damage == "cell":
        rows.write_text(rows.read_text().replace("0.1667801397606129", "many"))
    else:
        rows.unlink()
    message = {"cell": "not the figures of a study", "no rows": "cannot be read"}
    with pytest.raises(RunFolderError, match=message.get(damage, "not the summary of a study")):
        write_report(folder)


def made_trials(names: Mapping[str, Fidelity], count: int) -> list[Trial]:
    toy = ToyDomain(ToySettings(), None)  # type: ignore[arg-type]
    rng, trials = np.random.default_rng(0), []
    for member, architecture in enumerate(sample_architectures(toy.space, count, 0)):
        for name, fidelity in names.items():
            proposal = Proposal(architecture, fidelity, tag={"member": member, "setting": name})
            value = Measurement({"quality": member + float(rng.normal())})
            trials.append(Trial(len(trials), proposal, value, seconds=1.0))
    return trials


def test_trials_of_older_versions_are_known_by_their_setting() -> None:
    toy = ToyDomain(ToySettings(), None)  # type: ignore[arg-type]
    found = []
    for repeated in ("full again", "full repeated"):
        trials = made_trials({"c0r0s0e12": FULL, repeated: FULL}, 9)
        settings = {"c0r0s0e12": FULL, "full repeated": FULL}
        quality = Objective("quality")
        design = StudyDesign(
            name="made", seed=0, settings=settings, objective=quality, min_correlation=0.8, device="cpu"
        )
        found.append(analyse(toy, design, Measured(trials, 8), UntrainedScores()))
    assert found[0] == found[1]
    assert found[0].summary.architectures == 8
    assert found[0].summary.repeated is not None
    assert found[0].summary.repeated.count == 8


def test_the_reference_is_the_full_training(tmp_path: Path) -> None:
    config = load_config("binary/digits")
    full = config.domain.final_training_settings(config.settings)  # type: ignore[attr-defined]
    assert full.evaluation is None
    gan = load_config("gan/digits")
    shown = gan.domain.final_training_settings(gan.settings)  # type: ignore[attr-defined]
    assert shown.evaluation == gan.settings.training  # type: ignore[attr-defined]
