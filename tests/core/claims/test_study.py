"""Studies of claims: their file, the gate, runs and controls, what is decided, and what may not change."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from nichenas.core.claims.decisions import undecidable
from nichenas.core.claims.loading import load_study
from nichenas.core.claims.summary import ClaimsSummary
from nichenas.core.claims.summary import GateResult
from nichenas.core.cli import main
from nichenas.core.commands import study as study_command
from nichenas.core.commands.report import write_report
from nichenas.core.commands.sessions import RunOptions
from nichenas.core.commands.study import run_study
from nichenas.core.config_files import shipped_studies
from nichenas.core.errors import ConfigError
from nichenas.core.errors import Interrupted
from nichenas.core.errors import RunFolderError
from nichenas.core.session.journal import Journal
from nichenas.core.session.results import RunResult
from tests.conftest import toy_config

QUIET = RunOptions(quiet=True)
STUDY: dict[str, Any] = {
    "name": "made",
    "base": "base.yaml",
    "seeds": 7,
    "gate": {"architectures": 12},
    "arms": {
        "local": {"search": {"strategy": "local"}},
        "short": {"search": {"strategy": "random", "trials": 2}},
    },
    "controls": {
        "random": {"of": "local", "cost": "size", "within": 0.2},
        "odd": {"of": "local", "redraw": ["odd"]},
    },
    "claims": [
        {"arm": "local", "against": "random", "says": "the search does something"},
        {"arm": "local", "against": "odd"},
        {"arm": "short", "against": "local"},
    ],
}


def written(folder: Path, **changes: Any) -> str:
    raw = toy_config(domain={"choices": 6, "noise": 0.001}, search={"trials": 150}, retrain={"top": 1, "seeds": 2})
    (folder / "base.yaml").write_text(yaml.safe_dump(raw))
    (folder / "study.yaml").write_text(yaml.safe_dump({**STUDY, **changes}, sort_keys=False))
    return str(folder / "study.yaml")


def test_a_study_from_its_file_to_its_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = written(tmp_path), tmp_path / "out"
    assert main(["study", file, "--out", str(out), "--quiet"]) == 0
    printed = capsys.readouterr().out
    assert "Gate, local: 12 random architectures trained twice rank alike with Spearman" in printed
    assert "primary: local is better than random (the search does something): held; difference 0." in printed
    assert "short is better than local: the opposite held; difference -0." in printed
    assert "middle (baseline)" in printed
    summary = ClaimsSummary.read(out)
    assert [arm.name for arm in summary.arms] == ["local", "short", "random", "odd"]
    assert [arm.control for arm in summary.arms] == ["", "", "local", "local"]
    primary, *others = summary.claims
    assert primary.difference is not None
    assert primary.difference.n == 7
    assert primary.p == primary.least == 2 / 2**7
    assert primary.holm is None
    assert all(claim.holm is not None and claim.holm >= (claim.p or 0) for claim in others)
    assert all(claim.least == 2 * 2 / 2**7 for claim in others)
    assert primary.costs["size"] == pytest.approx(1, abs=0.2)
    assert set(primary.costs) == {"size", "bytes"}
    rows = list(csv.DictReader((out / "runs.csv").open()))
    assert len(rows) == 28
    assert {row["trainings"] for row in rows} == {"2"}
    assert all(row["bytes"] and row["size"] for row in rows)
    assert [row["seed"] for row in rows if row["arm"] == "odd"] == list("0123456")
    found, odd = (RunResult.read(out / f"{name}-3") for name in ("local", "odd"))
    assert all(odd.architecture[f"c{i}"] == found.architecture[f"c{i}"] for i in (0, 2, 4))
    assert odd.key != found.key
    assert odd.trials == 0
    with_baselines = [run.parent.name for run in out.glob("*/result.json") if RunResult.read(run.parent).baselines]
    assert with_baselines == ["local-0"]
    assert [(row.name, row.trainings) for row in summary.baselines] == [("middle", 2)]
    page = (out / "report.html").read_text()
    for text in (
        "the search does something",
        "the opposite held",
        "control of",
        'href="gate-local/report.html"',
        "noise: 0.001",
    ):
        assert text in page
    (out / "report.html").unlink()
    assert write_report(out) == out / "report.html"
    assert (out / "report.html").read_text() == page


def test_the_same_command_continues(tmp_path: Path) -> None:
    file, out = written(tmp_path, seeds=2), tmp_path / "out"
    first = run_study(load_study(file), out, QUIET)
    assert first.claims[0].verdict == "cannot be decided with 2 pairs"
    before = (out / "local-0" / "result.json").stat().st_mtime_ns
    (out / "odd-0" / "result.json").unlink()
    shutil.rmtree(out / "short-1")
    again = run_study(load_study(file), out, QUIET, jobs=3)
    assert (out / "local-0" / "result.json").stat().st_mtime_ns == before
    assert [arm.test for arm in first.arms] == [arm.test for arm in again.arms]
    (out / "claims.json").unlink()
    with pytest.raises(RunFolderError, match=r"the study in '.*out' is not finished; the command that began it"):
        write_report(out)


def test_what_is_compared_cannot_change_once_it_is_written_down(tmp_path: Path) -> None:
    out, fixed = tmp_path / "out", {"seeds": 1, "gate": None}
    run_study(load_study(written(tmp_path, **fixed)), out, QUIET)
    for changes, overrides, message in (
        ({"claims": [{"arm": "short", "against": "random"}]}, [], "claims was .* and is .* now; what is compared"),
        ({"seeds": 2}, [], "seeds was 1 and is 2 now"),
        ({}, ["domain.noise=0.5"], r"arms.local.domain.noise was 0.001 and is 0.5 now"),
        ({}, ["search.trials=40"], r"arms.local.search.trials was 150 and is 40 now"),
        ({}, ["retrain.seeds=9"], r"arms.local.retrain.seeds was 2 and is 9 now"),
        ({}, ["seed=9"], r"arms.local.seed was 0 and is 9 now"),
    ):
        loaded = load_study(written(tmp_path, **{**fixed, **changes}), overrides)
        with pytest.raises(RunFolderError, match=f"holds another study: {message}"):
            run_study(loaded, out, QUIET)
    (out / "study.yaml").write_text("- 1")
    with pytest.raises(RunFolderError, match=r"study.yaml: is not a mapping"):
        run_study(load_study(written(tmp_path, **fixed)), out, QUIET)


def test_an_override_lies_below_the_arms(tmp_path: Path) -> None:
    loaded = load_study(written(tmp_path), ["search.trials=40"])
    assert [getattr(loaded.resolved[arm].search, "trials") for arm in ("local", "short")] == [40, 2]  # noqa: B009


def test_folders_that_hold_something_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path, gate=None)
    for name, what in (("config.yaml", "a run"), ("comparison.json", "a comparison")):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text("{}")
        with pytest.raises(RunFolderError, match=f"holds {what}; name another folder"):
            run_study(load_study(file), tmp_path / name, QUIET)
    (tmp_path / "taken").write_text("")
    for out in (tmp_path / "taken", tmp_path / "taken" / "below"):
        assert main(["study", file, "--out", str(out), "--quiet"]) == 2
        assert "cannot be written" in capsys.readouterr().err
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "study.yaml").write_text("name: x")
    base = str(tmp_path / "base.yaml")
    for command in (["search", base], ["compare", base], ["proxies", base]):
        assert main([*command, "--out", str(tmp_path / "study"), "--quiet"]) == 2
        assert "holds a" in capsys.readouterr().err


def test_nothing_is_searched_where_trainings_cannot_rank(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = written(tmp_path), tmp_path / "out"
    assert main(["study", file, "domain.noise=5", "--out", str(out), "--quiet"]) == 1
    captured = capsys.readouterr()
    assert "not passed, 0.7 is needed" in captured.out
    assert "the gate is not passed, so nothing was searched" in captured.err
    assert not (out / "local-0").exists()
    summary = ClaimsSummary.read(out)
    assert not summary.gates_passed
    assert summary.arms == summary.claims == ()
    assert "Nothing was searched" in (out / "report.html").read_text()


def test_every_named_arm_has_a_gate(tmp_path: Path) -> None:
    arms = {"local": STUDY["arms"]["local"], "noisy": {"domain": {"noise": 5}}}
    claims = [{"arm": "local", "against": "noisy"}]
    gate = {"architectures": 12, "arms": ["local", "noisy"]}
    summary = run_study(
        load_study(written(tmp_path, arms=arms, controls={}, claims=claims, gate=gate)), tmp_path / "out", QUIET
    )
    assert [(one.arm, one.passed) for one in summary.gates] == [("local", True), ("noisy", False)]
    assert 'href="gate-noisy/report.html"' in (tmp_path / "out" / "report.html").read_text()
    assert (tmp_path / "out" / "gate-noisy" / "report.html").exists()
    assert summary.arms == ()
    file = written(tmp_path, arms=arms, controls={}, claims=claims, gate={**gate, "arms": ["noisy"]})
    run_study(load_study(file), tmp_path / "second", QUIET)
    assert 'href="gate-noisy/report.html"' in (tmp_path / "second" / "report.html").read_text()
    assert [one.name for one in (tmp_path / "second").glob("gate*")] == ["gate-noisy"]


def test_failed_runs_are_counted_and_decide_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arms = {"local": STUDY["arms"]["local"], "fails": {"domain": {"fail": 1.0}}}
    controls = {"random": {"of": "fails"}, "same": {"of": "local", "redraw": ["extra"]}}
    claims = [{"arm": "local", "against": "fails"}, {"arm": "local", "against": "same"}]
    file, out = written(tmp_path, arms=arms, controls=controls, claims=claims, gate=None, seeds=3), tmp_path / "out"
    for _ in range(2):  # the same again, and no error
        assert main(["study", file, "--out", str(out), "--quiet"]) == 0
        printed = capsys.readouterr().out
        assert "primary: local is better than fails: nothing to compare" in printed
        assert "note: fails, seed 2: the search measured no candidate" in printed
        assert "note: random, seed 1: the search measured no candidate" in printed
        assert "note: same, seed 0: none of 300 random architectures is another one" in printed
    summary = ClaimsSummary.read(out)
    assert [(arm.name, arm.runs) for arm in summary.arms] == [("local", 3), ("fails", 0), ("random", 0), ("same", 0)]
    assert [claim.lost for claim in summary.claims] == [3, 3]


def test_a_control_is_of_the_part_of_the_space_that_was_searched(tmp_path: Path) -> None:
    search = {"strategy": "local", "restrict": {"c0": [1], "c1": [0, 1]}}
    controls = {"random": {"of": "local"}}
    claims = [{"arm": "local", "against": "random"}]
    file = written(tmp_path, arms={"local": {"search": search}}, controls=controls, claims=claims, seeds=3)
    run_study(load_study(file), tmp_path / "out", QUIET)
    with Journal(tmp_path / "out" / "gate-local" / "journal.sqlite", read_only=True) as journal:
        drawn = [trial.proposal.architecture for trial in journal.trials()]
    drawn += [RunResult.read(tmp_path / "out" / f"random-{seed}").chosen for seed in range(3)]
    assert all(one["c0"] == 1 and one["c1"] in (0, 1) for one in drawn)


def test_an_interrupted_study_says_how_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_study(written(tmp_path, gate=None, seeds=1))

    def interrupted(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(study_command, "draw_control", interrupted)
    with pytest.raises(Interrupted) as caught:
        run_study(loaded, tmp_path / "out", QUIET)
    assert caught.value.advice == "the same command continues the study"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"claims": [{"arm": "local", "against": "randon"}]}, r"claims.0.against: .*'randon'.*did you mean 'random'"),
        ({"claims": []}, "claims"),
        ({"claims": [{"arm": "odd", "against": "odd"}]}, r"claims.0: a claim needs two arms"),
        (
            {"claims": [{"arm": "odd", "against": "short"}, {"arm": "short", "against": "odd"}]},
            "no pair can be claimed",
        ),
        ({"controls": {"random": {"of": "loca"}}}, r"controls.random.of: .*did you mean 'local'"),
        ({"controls": {"short": {"of": "local"}}}, "controls: there is an arm 'short' too"),
        ({"arms": {"gate": {}}}, "arms: 'gate': names that begin with 'gate' are the gates'"),
        ({"arms": {"a b": {}}}, "arms: 'a b' is no name; allowed: letters"),
        ({"name": "../x"}, r"name: '../x' is no name"),
        ({"arms": {"local": {"seed": 3}, "short": {}}}, "arms.local.seed: is the same for all arms"),
        ({"arms": {"local": {"search": {"strategy": "locla"}}, "short": {}}}, "arms.local.*did you mean"),
        ({"arms": {"local": {"retrain": {"seeds": 0}}, "short": {}}}, "retrain.seeds: without final trainings"),
        ({"arms": {"local": {}, "short": {"retrain": {"seeds": 3}}}}, "short.retrain.seeds: 3, another arm has 2"),
        ({"arms": {"local": {"retrain": {"top": 3}}, "short": {}}}, "local.retrain: 3 networks would be trained"),
        ({"arms": {"local": {}, "short": {"search": {"trials": 150}}}}, "arms.short: is the same as 'local'"),
        ({"gate": {"architectures": 2}}, "gate.architectures"),
        ({"gate": {"arms": ["sort"]}}, "gate.arms: .*did you mean 'short'"),
        ({"sedes": 3}, "did you mean 'seeds'"),
        ({"base": "bsae.yaml"}, r"study.yaml: base: 'bsae.yaml' is no shipped configuration"),
        ({"controls": {"random": {"of": "local", "cost": "macs"}, "odd": {"of": "short"}}}, "controls.random.cost"),
        ({"controls": {"random": {"of": "local", "within": 0.1}, "odd": {"of": "short"}}}, "controls.random.within"),
        ({"controls": {"random": {"of": "short"}, "odd": {"of": "short", "redraw": ["x"]}}}, "controls.odd.redraw"),
        ({"controls": {"random": {"of": "short"}, "odd": {"of": "short", "redraw": ["odd", "odd"]}}}, "a group twice"),
    ],
)
def test_mistakes_are_refused_before_anything_is_run(
    changes: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = written(tmp_path, **changes), tmp_path / "out"
    assert main(["study", file, "--out", str(out), "--quiet"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "study.yaml" in error
    with pytest.raises(ConfigError, match=message):
        run_study(load_study(file), out, QUIET)
    assert not out.exists()


def test_files_that_are_no_studies(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no study 'binary/bats-claim'.*did you mean 'binary/bats-claims'"):
        load_study("binary/bats-claim")
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(ConfigError, match="a study has keys such as name, base and claims"):
        load_study(str(tmp_path / "list.yaml"))


def test_damaged_summaries_are_one_line(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_study(load_study(written(tmp_path, seeds=1)), out, QUIET)
    whole = json.loads((out / "claims.json").read_text())
    for changes in (
        {"gates": [{**whole["gates"][0], "needed": None}]},
        {"arms": None},
        {"claims": [{}]},
        {"metric": 3},
    ):
        (out / "claims.json").write_text(json.dumps({**whole, **changes}))
        with pytest.raises(RunFolderError, match=r"claims.json: not the summary of a study"):
            write_report(out)


@pytest.mark.parametrize("name", shipped_studies())
def test_shipped_studies_can_decide_their_claims_with_a_pair_to_spare(name: str) -> None:
    study = load_study(name).study
    assert study.gate is not None
    assert not undecidable(len(study.claims), study.seeds - 1)


def test_a_gate_is_of_the_means_that_runs_have() -> None:
    gate = GateResult("bats", 8, 5, None, None, None, 2, 0.7)
    assert not gate.passed
    assert gate.sentence().startswith("Gate, bats: 8 random architectures trained twice (5 of them without a failure)")
    for trainings, rho, of_means, passed in ((1, 0.7, 0.7, True), (1, 0.69, 0.69, False), (4, -0.2, -0.2, False)):
        gate = GateResult("bats", 8, 8, rho, 0.1, 0.9, trainings, 0.7)
        assert (gate.of_means, gate.passed) == (of_means, passed)
    gate = GateResult("bats", 8, 8, 0.5, 0.1, 0.9, 3, 0.7)
    assert gate.of_means == pytest.approx(0.75)
    assert (
        "Spearman 0.50 (95% interval 0.10 to 0.90), so means of 3 trainings with about 0.75: passed." in gate.sentence()
    )
