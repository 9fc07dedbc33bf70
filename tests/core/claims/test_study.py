"""Studies of claims: their file, the gate, runs and controls, what is decided, and what may not change."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from nichenas.core.claims.settings import ClaimSettings
from nichenas.core.claims.summary import ClaimsSummary
from nichenas.core.claims.summary import GateResult
from nichenas.core.claims.summary import RunRow
from nichenas.core.claims.summary import decide_claims
from nichenas.core.cli import main
from nichenas.core.commands.report import write_report
from nichenas.core.commands.sessions import RunOptions
from nichenas.core.commands.study import load_study
from nichenas.core.commands.study import run_study
from nichenas.core.config_files import shipped_studies
from nichenas.core.errors import ConfigError
from nichenas.core.errors import RunFolderError
from nichenas.core.objectives import Objective
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
    assert "Gate: 12 random architectures trained twice rank alike with Spearman" in printed
    assert "primary: local is better than random: held (+0." in printed
    assert "short is better than local: the opposite held (-0." in printed
    summary = ClaimsSummary.read(out)
    assert [arm.name for arm in summary.arms] == ["local", "short", "random", "odd"]
    assert [arm.control for arm in summary.arms] == ["", "", "local", "local"]
    primary, *others = summary.claims
    assert primary.difference is not None
    assert primary.difference.n == 7
    assert primary.p == primary.least == 2 / 2**7
    assert primary.holm is None
    assert all(claim.holm is not None and claim.holm >= (claim.p or 0) for claim in others)
    assert primary.costs["size"] == pytest.approx(1, abs=0.2)
    rows = list(csv.DictReader((out / "claims.csv").open()))
    assert len(rows) == 28
    assert {row["trainings"] for row in rows} == {"2"}
    assert [row["seed"] for row in rows if row["arm"] == "odd"] == list("0123456")
    found, odd = (RunResult.read(out / f"{name}-3") for name in ("local", "odd"))
    assert all(odd.architecture[f"c{i}"] == found.architecture[f"c{i}"] for i in (0, 2, 4))
    assert odd.key != found.key
    assert odd.trials == 0
    assert (
        sum(bool(RunResult.read(out / f"{name}-{seed}").baselines) for name in STUDY["arms"] for seed in range(6)) == 1
    )
    page = (out / "report.html").read_text()
    for text in ("the search does something", "the opposite held", "control of", "gate/report.html"):
        assert text in page
    (out / "report.html").unlink()
    assert write_report(out) == out / "report.html"
    assert (out / "report.html").read_text() == page


def test_the_same_command_continues_and_adds_seeds(tmp_path: Path) -> None:
    file, out = written(tmp_path, seeds=1), tmp_path / "out"
    first = run_study(load_study(file), out, QUIET)
    assert first.claims[0].verdict == "cannot be decided with 1 pairs"
    before = (out / "local-0" / "result.json").stat().st_mtime_ns
    (out / "odd-0" / "result.json").unlink()
    again = run_study(load_study(file, seeds=2), out, QUIET, jobs=2)
    assert (out / "local-0" / "result.json").stat().st_mtime_ns == before
    assert all(arm.test is not None and arm.test.n == 2 for arm in again.arms)
    whole = run_study(load_study(file, seeds=2), tmp_path / "other", QUIET)
    assert [arm.test for arm in whole.arms] == [arm.test for arm in again.arms]


def test_what_is_compared_cannot_change_once_it_is_written_down(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_study(load_study(written(tmp_path, seeds=1, gate=None)), out, QUIET)
    claims = [{"arm": "short", "against": "random"}]
    with pytest.raises(RunFolderError, match=r"holds another study \(its claims differ\); what is compared is written"):
        run_study(load_study(written(tmp_path, seeds=1, gate=None, claims=claims)), out, QUIET)
    with pytest.raises(RunFolderError, match=r"cannot resume .*domain.noise"):
        run_study(load_study(written(tmp_path, seeds=1, gate=None), ["domain.noise=0.5"]), out, QUIET)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("name: x")
    with pytest.raises(RunFolderError, match="holds a run; name another folder"):
        run_study(load_study(written(tmp_path, gate=None)), tmp_path / "run", QUIET)


def test_nothing_is_searched_where_trainings_cannot_rank(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = written(tmp_path), tmp_path / "out"
    assert main(["study", file, "domain.noise=5", "--out", str(out), "--quiet"]) == 1
    captured = capsys.readouterr()
    assert "not passed, 0.7 is needed" in captured.out
    assert "the gate is not passed, so nothing was searched" in captured.err
    assert not (out / "local-0").exists()
    summary = ClaimsSummary.read(out)
    assert summary.gate is not None
    assert not summary.gate.passed
    assert summary.arms == summary.claims == ()
    assert "Nothing was searched" in (out / "report.html").read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"claims": [{"arm": "local", "against": "randon"}]}, r"'randon'.*did you mean 'random'"),
        ({"claims": []}, "claims"),
        ({"claims": [{"arm": "odd", "against": "odd"}]}, r"claims.0: needs two arms"),
        ({"claims": [{"arm": "odd", "against": "short"}, {"arm": "short", "against": "odd"}]}, "no pair twice"),
        ({"controls": {"random": {"of": "loca"}}}, r"controls.random.of: .*did you mean 'local'"),
        ({"controls": {"short": {"of": "local"}}}, "names of their own"),
        ({"arms": {"gate": {}}}, "and not 'gate'"),
        ({"arms": {"local": {"seed": 3}, "short": {}}}, "arms.local: changes sections"),
        ({"arms": {"local": {"search": {"strategy": "locla"}}, "short": {}}}, "arms.local.*did you mean"),
        ({"arms": {"local": {"retrain": {"seeds": 0}}, "short": {}}}, "retrain.seeds: without final trainings"),
        ({"gate": {"architectures": 2}}, "gate.architectures"),
        ({"sedes": 3}, "did you mean 'seeds'"),
        ({"base": "bsae.yaml"}, r"study.yaml: arms.local: base: 'bsae.yaml' is no shipped configuration"),
        ({"controls": {"random": {"of": "local", "cost": "macs"}, "odd": {"of": "short"}}}, "controls.random.cost"),
        ({"controls": {"random": {"of": "short"}, "odd": {"of": "short", "redraw": ["x"]}}}, "controls.odd.redraw"),
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
    (tmp_path / "claims.json").write_text(json.dumps({"name": "x"}))
    with pytest.raises(RunFolderError, match="not the summary of a study"):
        write_report(tmp_path)


@pytest.mark.parametrize("name", shipped_studies())
def test_shipped_studies_are_valid(name: str) -> None:
    loaded = load_study(name)
    assert loaded.study.gate is not None
    assert len({resolved.hash for resolved in loaded.resolved.values()}) == len(loaded.study.arms)


def row(arm: str, seed: int, test: float | None, cost: float = 1.0) -> RunRow:
    return RunRow(arm, seed, "k", validation=test, test=test, trainings=1, seconds=0.0, costs={"size": cost})


def test_claims_are_decided_by_pairs() -> None:
    rows = {
        "a": [row("a", i, 0.9 + 0.001 * i, 2.0) for i in range(6)],
        "b": [row("b", i, 0.8 + 0.002 * i) for i in range(6)],
        "c": [row("c", i, 0.9 + 0.001 * i + (0.01 if i % 2 else -0.01)) for i in range(6)],
        "d": [row("d", i, None) for i in range(6)],
    }
    claims = [ClaimSettings(arm=one, against=two) for one, two in ("ab", "ba", "ac", "ad")]
    ab, ba, ac, ad = decide_claims(claims, rows, Objective("accuracy"))
    # .03125 twice by Holm's rule: six pairs are enough for one claim, not for two.
    assert (ab.verdict, ba.verdict) == ("held", "cannot be decided with 6 pairs")
    assert ba.holm == ba.least == 2 * 0.03125
    assert ac.p == 1
    (alone,) = decide_claims([claims[2]], rows, Objective("accuracy"))
    assert alone.verdict == "not distinguished from chance"
    assert (ad.verdict, ad.p, ad.difference) == ("nothing to compare", None, None)
    assert ab.costs == {"size": 2.0}
    assert ab.difference is not None
    assert ab.difference.mean == pytest.approx(0.0975)
    (less,) = decide_claims(claims[:1], rows, Objective("loss", "minimize"))
    assert less.verdict == "the opposite held"


def test_a_gate_without_a_correlation_is_not_passed() -> None:
    gate = GateResult(8, None, None, None, 0.7)
    assert not gate.passed
    assert "have no rank correlation" in gate.sentence()
    assert GateResult(8, 0.7, 0.1, 0.9, 0.7).passed
    assert not GateResult(8, 0.69, 0.1, 0.9, 0.7).passed


@pytest.mark.parametrize("name", shipped_studies())
def test_shipped_studies_have_seeds_enough_to_decide_their_claims(name: str) -> None:
    study = load_study(name).study
    assert (len(study.claims) - 1) * 2 / 2**study.seeds <= 0.05
