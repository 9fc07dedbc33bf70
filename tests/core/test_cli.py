"""The command line as a user meets it: exit codes, one line on stderr, nothing written on a mistake."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from nichenas.core.cli import main
from nichenas.core.context import Context
from nichenas.core.errors import CandidateFailure
from nichenas.core.session.journal import Journal
from nichenas.core.session.run_folder import RunFolder
from nichenas.core.space import Architecture
from nichenas.core.testing.toy import ToyDomain
from nichenas.core.trial import Retrained
from tests.conftest import toy_config


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    file = tmp_path / "toy.yaml"
    file.write_text(yaml.safe_dump(toy_config()))
    return file


def fails(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 2) -> str:
    assert main(list(arguments)) == code
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("nichenas: ")
    return lines[0]


def test_a_search_from_start_to_end(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", str(config), "search.trials=12", "run.tensorboard=true", "--seed", "3"]) == 0
    out = capsys.readouterr()
    assert "12 trials, 0 failed" in out.out
    assert "(chosen)" in out.out
    assert "middle (baseline)" in out.out
    assert "12/12 trials" in out.err
    folder = Path("runs/toy")
    result = json.loads((folder / "result.json").read_text())
    assert result["trials"] == 12
    assert set(result["test"]["quality"]) == {"mean", "std", "n"}
    assert result["test"]["quality"]["n"] == 2
    for key in ("architecture", "validation", "failed", "seconds", "device", "config_hash"):
        assert key in result
    assert yaml.safe_load((folder / "config.yaml").read_text())["seed"] == 3
    assert torch.__version__.startswith(json.loads((folder / "environment.json").read_text())["packages"]["torch"])
    assert json.loads((folder / "best/architecture.json").read_text())["architecture"] == result["architecture"]
    assert set(torch.load(folder / "best/weights.pt", weights_only=True)) == {"w"}
    assert list((folder / "tensorboard").glob("events*"))
    assert (folder / "report.html").stat().st_size > 10_000


def test_the_chosen_architecture_has_the_best_mean_validation(config: Path) -> None:
    assert main(["search", str(config), "retrain.top=4", "retrain.seeds=3", "--quiet"]) == 0
    result = json.loads(Path("runs/toy/result.json").read_text())
    means = {entry["label"]: entry["validation"]["quality"]["mean"] for entry in result["retrained"]}
    assert len(means) == 4
    assert means[result["key"]] == max(means.values())


def test_existing_runs_are_not_touched(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", str(config), "--quiet"]) == 0
    before = Path("runs/toy/result.json").read_text()
    assert "--resume" in fails(capsys, "search", str(config))
    assert Path("runs/toy/result.json").read_text() == before


def test_resume_extends_a_budget_and_refuses_a_changed_configuration(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", str(config), "--quiet"]) == 0
    assert main(["search", str(config), "search.trials=25", "--resume", "--quiet"]) == 0
    assert json.loads(Path("runs/toy/result.json").read_text())["trials"] == 25
    message = fails(capsys, "search", str(config), "domain.noise=0.5", "--resume")
    assert "domain.noise was 0.01 and is 0.5 now" in message


def test_retrain_adds_seeds_and_trains_a_given_architecture(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", str(config), "--quiet"]) == 0
    assert main(["retrain", "runs/toy", "--seeds", "5", "--top", "1", "--quiet"]) == 0
    result = json.loads(Path("runs/toy/result.json").read_text())
    assert result["test"]["quality"]["n"] == 5
    file = Path("mine.json")
    file.write_text(json.dumps({"c0": 2, "c1": 1, "c2": 0, "c3": 3}))
    arguments = ["retrain", "runs/toy", "--architecture", str(file), "--out", "mine", "--seeds", "2", "--quiet"]
    assert main(arguments) == 0
    assert json.loads(Path("mine/result.json").read_text())["architecture"]["c0"] == 2
    capsys.readouterr()
    file.write_text(json.dumps({"c0": 9}))
    assert "option of 'c0'" in fails(capsys, "retrain", "runs/toy", "--architecture", str(file), "--out", "x")
    assert "cannot be read" in fails(capsys, "retrain", "runs/toy", "--architecture", "none.json")
    assert "holds no run" in fails(capsys, "retrain", "runs/none")


def test_a_given_architecture_is_never_mixed_up_with_another_run(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It took the trainings of another run from the folder, and wrote over a search's result (once)."""
    assert main(["search", str(config), "--quiet"]) == 0
    assert main(["search", str(config), "--quiet", "domain.noise=3.0", "--out", "noisy"]) == 0
    file = Path("mine.json")
    file.write_text(json.dumps({"c0": 2, "c1": 1, "c2": 0, "c3": 3}))
    command = ["--architecture", str(file), "--seeds", "2", "--quiet", "--out"]
    assert main(["retrain", "runs/toy", *command, "mine"]) == 0
    first = Path("mine/result.json").read_text()
    assert "domain.noise was 0.01 and is 3.0 now" in fails(capsys, "retrain", "noisy", *command, "mine")
    before = {name: Path("runs/toy", name).read_text() for name in ("config.yaml", "result.json")}
    assert "'runs/toy' holds a search" in fails(capsys, "retrain", "runs/toy", *command, "runs/toy")
    assert {name: Path("runs/toy", name).read_text() for name in before} == before
    other = Path("other.json")
    other.write_text(json.dumps({"c0": 2, "c1": 0, "c2": 0, "c3": 3}))
    wrong = ["retrain", "runs/toy", "--architecture", str(other), "--out", "mine"]
    assert "holds the retraining of architecture" in fails(capsys, *wrong)
    assert Path("mine/result.json").read_text() == first
    assert main(["retrain", "runs/toy", *command[:3], "4", "--quiet", "--out", "mine"]) == 0  # more seeds
    assert json.loads(Path("mine/result.json").read_text())["test"]["quality"]["n"] == 4


def test_weights_belong_to_the_architecture_beside_them(config: Path) -> None:
    """A resumed search may choose another architecture without training it; old weights stayed beside it (once)."""
    assert main(["search", str(config), "search.trials=3", "--quiet"]) == 0
    best = Path("runs/toy/best")
    chosen = (best / "architecture.json").read_text()
    assert (best / "weights.pt").exists()
    assert main(["search", str(config), "search.trials=40", "retrain.seeds=0", "--resume", "--quiet"]) == 0
    assert (best / "architecture.json").read_text() != chosen
    assert not (best / "weights.pt").exists()
    assert main(["search", str(config), "search.trials=40", "retrain.seeds=2", "--resume", "--quiet"]) == 0
    assert (best / "weights.pt").exists()


def test_resuming_adds_to_the_provenance_and_replaces_nothing(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["search", str(config), "search.trials=3", "--quiet"]) == 0
    file = Path("runs/toy/environment.json")
    first = json.loads(file.read_text())
    assert main(["search", str(config), "search.trials=4", "--resume", "--quiet"]) == 0
    assert json.loads(file.read_text()) == first
    monkeypatch.setattr("nichenas.core.execution.provenance.cpu_count", lambda: 77)
    assert main(["search", str(config), "search.trials=5", "--resume", "--quiet"]) == 0
    held = json.loads(file.read_text())
    (session,) = held.pop("resumed")
    assert held == first
    assert session["cores"] == 77
    assert "packages" not in session


def test_a_changed_search_space_is_not_resumed(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", str(config), "search.trials=3", "--quiet"]) == 0
    with Journal(Path("runs/toy/journal.sqlite")) as journal:
        journal.set_meta("space", "another")
    assert "the search space is another one" in fails(capsys, "search", str(config), "--resume")


def test_keys_that_the_method_does_not_use_are_refused(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for word, message in (
        ("search.epochs=5", "search.epochs: the method 'trial' does not use it; it belongs to: gradient"),
        ("search.one_shot={iterations: [1]}", "search.one_shot: the method 'trial' does not use it"),
        ("domain.trials=5", "domain.trials: unknown key (did you mean 'search.trials'?)"),
        ("domain.top=5", "domain.top: unknown key (did you mean 'retrain.top'?)"),
        ("search.trials=true", "search.trials: input should be a number (got True)"),
        ("search.trails=5", "search.trails: unknown key (did you mean 'trials'?); allowed: batch"),
        ("search.method=trail", "search.method: unknown method 'trail' (did you mean 'trial'?)"),
        ("search.method=gradient", "search.method: the domain"),
        ("search.strategy=gradient", "has no supernet; methods that it can be searched with: trial"),
        ("search.strategy=no.such.Thing", "search.strategy: the strategy 'no.such:Thing' cannot be imported"),
        ("search.strategy=json:loads", "search.strategy: 'json:loads' is not a subclass of Strategy"),
        ("run.executor=proceses", "run.executor: unknown executor 'proceses' (did you mean 'processes'?)"),
    ):
        assert message in fails(capsys, "search", str(config), word)
    assert list(Path.cwd().iterdir()) == []


def test_exit_code_when_no_final_training_succeeds(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: ToyDomain, architecture: Architecture, context: Context) -> Retrained:
        raise CandidateFailure("diverged", "at full length")

    monkeypatch.setattr(ToyDomain, "retrain", fail)
    assert "no final training of a found architecture" in fails(capsys, "search", str(config), "--quiet", code=1)
    assert main(["retrain", "runs/toy", "--quiet"]) == 1
    assert "2 final trainings failed, the first: diverged: at full length" in capsys.readouterr().out
    assert Path("runs/toy/report.html").exists()


def test_report_of_a_run_beside_a_baseline(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", str(config), "--quiet"]) == 0
    assert main(["search", str(config), "--quiet", "search.strategy=random", "seed=1", "--out", "other"]) == 0
    assert main(["report", "runs/toy", "--baseline", "other"]) == 0
    assert "random search" in Path("runs/toy/report.html").read_text()
    assert "holds no run" in fails(capsys, "report", "nothing")


def test_compare_is_finished_by_the_same_command(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["compare", str(config), "search.trials=8", "--strategies", "local,random", "--seeds", "2", "--quiet"]
    assert main(arguments) == 0
    folder = Path("runs/compare-toy")
    first = json.loads((folder / "comparison.json").read_text())
    assert [s["name"] for s in first["strategies"]] == ["local", "random"]
    assert 0 < first["pairs"][0]["p_best"] <= 1
    (folder / "random-1" / "result.json").unlink()
    kept = (folder / "local-0" / "result.json").stat().st_mtime_ns
    assert main(arguments) == 0
    assert json.loads((folder / "comparison.json").read_text()) | {"strategies": 0} == first | {"strategies": 0}
    assert (folder / "local-0" / "result.json").stat().st_mtime_ns == kept
    out = capsys.readouterr().out
    assert "local against random" in out
    assert "paired sign-flip test on the mean difference; with 2 runs an arm it cannot be below 0.5" in out
    assert "unknown strategy" in fails(capsys, "compare", str(config), "--strategies", "loacl")
    assert "name each strategy once" in fails(capsys, "compare", str(config), "--strategies", "random,random")


def test_compare_takes_schedules(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["compare", str(config), "search.trials=6", "--strategies", "random", "--quiet", "--seeds", "1"]
    assert main([*arguments, "--schedules", "full:c0r0s0e6,halving"]) == 0
    summary = json.loads(Path("runs/compare-toy/comparison.json").read_text())
    assert [s["name"] for s in summary["strategies"]] == ["random-full-c0r0s0e6", "random-halving"]
    assert summary["budget"] == "72 epochs"
    assert Path("runs/compare-toy/random-full-c0r0s0e6-0/result.json").exists()
    page = Path("runs/compare-toy/report.html").read_text()
    assert "Equal budget for all: 72 epochs a run" in page
    Path("runs/compare-toy/report.html").unlink()
    assert main(["report", "runs/compare-toy"]) == 0
    assert Path("runs/compare-toy/report.html").read_text() == page
    assert "a comparison, which has no baseline" in fails(capsys, "report", "runs/compare-toy", "--baseline", "x")
    Path("runs/compare-toy/random-halving-0/result.json").rename("kept.json")
    assert "random-halving-0' is not finished" in fails(capsys, "report", "runs/compare-toy")
    first = summary["strategies"][0]
    for damage, message in (({"name": "../other"}, "is not the name of an arm"), ({"name": 1}, "no journal.sqlite")):
        damaged = {**summary, "strategies": [{**first, **damage}]}
        Path("runs/compare-toy/comparison.json").write_text(json.dumps(damaged))
        assert message in fails(capsys, "report", "runs/compare-toy")
    Path("runs/compare-toy/comparison.json").write_text(json.dumps({**summary, "strategies": [{"spent": [1]}]}))
    assert "not the summary of a comparison" in fails(capsys, "report", "runs/compare-toy")
    assert "(did you mean 'halving'?)" in fails(capsys, *arguments, "--schedules", "halfing")
    assert "c9r0s0e6': there is no level 9" in fails(capsys, *arguments, "--schedules", "full:c9r0s0e6,full")


def test_what_a_later_arm_cannot_do_is_refused_before_the_first_one_runs(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["compare", str(config), "search.total_epochs=72", "--strategies", "random", "--quiet", "--schedules"]
    assert "c9r0s0e6': there is no level 9" in fails(capsys, *arguments, "full,full:c9r0s0e6")
    assert list(Path.cwd().iterdir()) == []


def test_proxies_from_the_command_line(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["proxies", str(config), "--settings", "c0r0s0e6,c0r0s0e2", "--quiet", "--architectures"]
    assert main([*command, "5"]) == 0
    out = capsys.readouterr().out
    assert "c0r0s0e6" in out
    assert "least arithmetic with a correlation of 0.8 or more" in out
    page = Path("runs/proxies-toy/report.html").read_text()
    assert main(["report", "runs/proxies-toy"]) == 0
    assert Path("runs/proxies-toy/report.html").read_text() == page
    assert "has no baseline" in fails(capsys, "report", "runs/proxies-toy", "--baseline", "runs/proxies-toy")
    again = [*command, "5", "--min-correlation"]
    assert main([*again, "0.05"]) == 0  # what is required may change between sessions
    assert "with a correlation of 0.05 or more" in capsys.readouterr().out
    assert "proxies.min_correlation: input should be less than or equal to 1" in fails(capsys, *again, "2")
    assert "proxies.architectures: input should be greater than or equal to 4" in fails(capsys, *command, "3")
    assert "such as c2r0s0e10" in fails(capsys, "proxies", str(config), "--settings", "e6")


def test_options_of_proxies_have_their_former_names_too(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ["--settings", "c0r0s0e6", "--quiet"]
    assert main(["proxies", str(config), *settings, "--zoo", "4", "--wanted", "0.3"]) == 0
    assert "with a correlation of 0.3 or more" in capsys.readouterr().out
    assert json.loads(Path("runs/proxies-toy/consistency.json").read_text())["architectures"] == 4
    assert main(["proxies", str(config), *settings, "proxies.zoo=5", "proxies.wanted=0.4"]) == 0
    assert json.loads(Path("runs/proxies-toy/consistency.json").read_text())["architectures"] == 5
    capsys.readouterr()
    assert main(["proxies", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "--min-correlation" in shown
    assert "--zoo" not in shown
    assert "--wanted" not in shown


def test_lists_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    for word in ("gnn", "digits-knn", "conservative", "optuna", "gnn/cora"):
        assert word in out


def test_help_reads_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for word in ("search", "retrain", "report", "compare", "list", "demo"):
        assert word in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serach"], "did you mean|No such command"),
        (["search"], "(?i)missing"),
        (["search", "CONFIG", "--fooo"], "--fooo"),
        (["search", "nothing/here"], "no configuration 'nothing/here'"),
        (["search", "gnn/coar"], "did you mean 'gnn/cora'"),
        (["search", "CONFIG", "search.trials=x"], "search.trials"),
        (["search", "CONFIG", "--data-root", "/no/such/folder"], "--data-root: '/no/such/folder' is not a folder"),
        (["search", "CONFIG", "--device", "tpu"], "run.device"),
        (["search", "CONFIG", "--resume"], "there is no run"),
        (["search", "CONFIG", "--out", "/dev/null/x"], "cannot be written"),
        (["search", "CONFIG", "search.weights={speed: 1}"], "unknown objective 'speed'"),
        (["search", "gnn/digits-knn", "domain.dataset=Coora"], "did you mean 'Cora'"),
        (["search", "gnn/digits-knn", "domain.dataset=torch.nn.Linear"], "not a PyG InMemoryDataset"),
        (["search", "gnn/digits-knn", "domain.dataset=no.such.Data"], "cannot be imported"),
    ],
)
def test_mistakes_exit_with_2_and_write_nothing(
    config: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import re

    given = [str(config) if word == "CONFIG" else word for word in arguments]
    assert re.search(message, fails(capsys, *given))
    assert list(Path.cwd().iterdir()) == []


def test_a_folder_in_use_is_refused(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", str(config), "--quiet"]) == 0
    with RunFolder(Path("runs/toy"), resume=True):
        message = fails(capsys, "search", str(config), "--resume")
    assert f"being used by another nichenas (process {os.getpid()})" in message


def test_a_journal_of_another_version_is_refused(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", str(config), "--quiet"]) == 0
    with Journal(Path("runs/toy/journal.sqlite")) as journal:
        journal.set_meta("version", 99)
    assert "written by journal version 99" in fails(capsys, "search", str(config), "--resume")


def test_a_search_in_which_everything_fails_says_so(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = fails(capsys, "search", str(config), "domain.fail=1.0", "--quiet", code=1)
    assert "none of 20 candidates could be measured; the most frequent reason: diverged" in message


def test_ctrl_c_where_nothing_catches_it_exits_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nichenas.core.commands.listing.print_parts", interrupted)
    assert main(["list"]) == 130
    assert capsys.readouterr().err.startswith("nichenas: interrupted; what is finished is kept")


def test_ctrl_c_exits_with_130_and_can_be_resumed(config: Path) -> None:
    command = [sys.executable, "-m", "nichenas.core.cli", "search", str(config), "domain.sleep=0.2", "--quiet"]
    # A shell's background jobs ignore the signal, and their children inherit that.
    heed = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heed)
    journal = Path("runs/toy/journal.sqlite")
    deadline = time.monotonic() + 60
    while not journal.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 130
    assert error.count("\n") == 1
    assert "continue with --resume" in error
    assert main(["search", str(config), "domain.sleep=0.2", "--resume", "--quiet"]) == 0


def test_fields_of_the_domain_are_options(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", str(config), "--choices", "2", "--noise=0.5", "search.trials=3", "--quiet"]) == 0
    written = Path("runs/toy/config.yaml").read_text()
    assert "choices: 2" in written
    assert "noise: 0.5" in written
    message = fails(capsys, "search", str(config), "--nois", "0.5")
    assert "domain.nois: unknown key (did you mean 'noise'?)" in message
    assert "--noise: no such option, or its value is missing" in fails(capsys, "search", str(config), "--noise")
    assert "-x: no such option" in fails(capsys, "search", str(config), "-x")


@pytest.mark.parametrize("words", [("--noise", "-1"), ("--noise=-1",), ("--noise", "-1e-3"), ("--noise", "-.5")])
def test_values_of_own_fields_may_be_negative(
    config: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    value = words[-1].removeprefix("--noise=")
    found = fails(capsys, "search", str(config), *words, "search.trials=3")
    assert "domain.noise: input should be greater than or equal to 0" in found
    assert value.lstrip("-0.") in found


@pytest.mark.parametrize("words", [("--noise", "--choices", "2"), ("--noise", "-x"), ("--noise", "--"), ("--noise",)])
def test_an_option_is_no_value_of_an_own_field(
    config: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    assert "--noise: no such option, or its value is missing" in fails(capsys, "search", str(config), *words)
    assert "-1: no such option" in fails(capsys, "search", str(config), "-1")
