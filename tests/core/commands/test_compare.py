"""Comparisons: what the arms have of a configuration, arms of different search methods, pairing by seed."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nichenas.core.commands.compare import ComparisonDesign
from nichenas.core.commands.compare import arm_sections
from nichenas.core.commands.compare import make_arms
from nichenas.core.commands.compare import run_compare
from nichenas.core.commands.report import write_report
from nichenas.core.commands.sessions import RunOptions
from nichenas.core.config import RawConfig
from nichenas.core.config import read_raw
from nichenas.core.context import Context
from nichenas.core.errors import ConfigError
from nichenas.core.errors import Interrupted
from nichenas.core.gradient.supernet import DifferentiableSupernet
from nichenas.core.gradient.supernet import Kept
from nichenas.core.gradient.supernet import SearchData
from nichenas.core.gradient.supernet import Supernet
from nichenas.core.report.comparison_summary import ComparisonSummary
from nichenas.core.report.terminal import print_comparison
from nichenas.core.space import Architecture
from nichenas.core.testing.toy import ToyDomain
from nichenas.core.testing.toy_supernet import ToySupernet
from tests.conftest import toy_config

QUIET = RunOptions(quiet=True)


def raw(**search: Any) -> RawConfig:
    return RawConfig({"domain": {"kind": "binary"}, "search": search}, "made.yaml")


def sections(of: RawConfig, *strategies: str, schedules: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    return arm_sections(of, make_arms(ComparisonDesign(strategies, schedules=schedules)))


def test_an_arm_has_what_its_method_uses() -> None:
    options = {"gradient": {"step": "second-order"}}
    given = raw(method="gradient", epochs=3, trials=7, seconds=9.0, schedule="halving", options=options)
    gradient, random, local = sections(given, "gradient", "random", "local")
    assert gradient == {"strategy": "gradient", "epochs": 3, "seconds": 9.0, "options": options}
    assert random == {"strategy": "random", "trials": 7, "seconds": 9.0, "schedule": "halving", "options": options}
    assert local == {**random, "strategy": "local"}
    one_shot = raw(strategy="reinforce", sharing="supernet", one_shot={"iterations": [2]})
    assert sections(one_shot, "random") == [
        {"strategy": "random", "sharing": "supernet", "one_shot": {"iterations": [2]}}
    ]


def test_an_arm_may_begin_with_no_known_architecture() -> None:
    names = ("random", "random:no-known", "random:known")
    own, without, with_known = make_arms(ComparisonDesign(names))
    assert [arm.name for arm in (own, without, with_known)] == ["random", "random-no-known", "random-known"]
    given = raw(trials=7, start={"known": False, "random": 3})
    assert [section["start"] for section in sections(given, *names)] == [
        {"known": False, "random": 3},
        {"known": False, "random": 3},
        {"known": True, "random": 3},
    ]
    assert sections(raw(trials=7), "random:no-known")[0]["start"] == {"known": False}
    (nameless,) = make_arms(ComparisonDesign((":known",)))
    assert nameless.changes == {"strategy": ":known"}  # no strategy's name, and refused as such
    (dotted,) = make_arms(ComparisonDesign(("package.module:Strategy",)))
    assert dotted.changes == {"strategy": "package.module:Strategy"}
    with pytest.raises(ConfigError, match=r"--strategies: 'gradient-known': the method 'gradient' has no starts"):
        sections(raw(epochs=3), "gradient:known")


def test_an_arm_has_its_schedule_and_the_configurations_proxy() -> None:
    given = raw(strategy="random", trials=7, schedule="asha", proxy="c0r0s0e5")
    own, other = sections(given, "local", schedules=("full:c0r0s0e7", "halving"))
    assert own == {"strategy": "local", "trials": 7, "schedule": "full", "proxy": "c0r0s0e7"}
    assert other == {"strategy": "local", "trials": 7, "schedule": "halving", "proxy": "c0r0s0e5"}


@pytest.mark.parametrize(
    ("search", "strategies", "key"),
    [
        ({"strategy": "random", "trials": 7, "epochs": 3}, ("random", "local"), "epochs"),
        ({"strategy": "gradient", "epochs": 3, "trials": 7}, ("gradient",), "trials"),
        ({"strategy": "random", "trials": 7, "one_shot": {}}, ("random", "gradient"), "one_shot"),
    ],
)
def test_a_key_that_no_arm_uses_is_refused(search: dict[str, Any], strategies: tuple[str, ...], key: str) -> None:
    with pytest.raises(ConfigError, match="no arm of the comparison uses it; it belongs to: ") as caught:
        sections(raw(**search), *strategies)
    assert caught.value.key == f"search.{key}"
    assert "\n" not in str(caught.value)


def test_keys_of_the_method_that_the_arms_replace_are_left_out() -> None:
    """As they are in a search that is told another strategy; but what the user gives beside the file is not."""
    given = read_raw("binary/digits", ["search.trials=5"])
    (random,) = sections(given, "random")
    assert set(random) == {"strategy", "trials", "options"}
    with pytest.raises(ConfigError, match=r"^search.epochs: no arm of the comparison uses it"):
        sections(read_raw("binary/digits", ["search.epochs=5"]), "random")


def test_mistakes_in_arms() -> None:
    with pytest.raises(ConfigError, match="search: must hold keys"):
        arm_sections(RawConfig({"domain": {}, "search": 5}, "made.yaml"), make_arms(ComparisonDesign(["random"])))
    with pytest.raises(ConfigError, match="'gradient-halving': the method 'gradient' has no schedules; allowed wi"):
        sections(raw(epochs=1), "random", "gradient", schedules=("full", "halving"))
    assert len(sections(raw(epochs=1), "random", "gradient", schedules=("full",))) == 2
    for wrong in ([], ["random", "random"]):
        with pytest.raises(ConfigError, match="--strategies: name each strategy once"):
            make_arms(ComparisonDesign(wrong))
    with pytest.raises(ConfigError, match="--schedules: name each schedule once"):
        make_arms(ComparisonDesign(["random"], schedules=["full", "full"]))
    with pytest.raises(ConfigError, match="--sharing: name each rule once"):
        make_arms(ComparisonDesign(["random"], sharing=["none", "none"]))

    # A key that no method has is answered by the schema.
    (own,) = sections(raw(strategy="random", trails=7), "random")
    with pytest.raises(ConfigError, match=r"search.trails: unknown key \(did you mean 'trials'\?\)"):
        RawConfig({"domain": {"kind": "binary"}, "search": own}, "made.yaml").resolve()


class Relaxed(ToyDomain, DifferentiableSupernet):
    """A toy with a supernet: its two edges decide two of the choices."""

    def supernet(self, context: Context, activation_checkpointing: bool = False) -> Supernet:
        with context.seeded("weights"):
            return ToySupernet()

    def search_data(self, context: Context, batch: int, held_out: float) -> SearchData:
        generator = torch.Generator().manual_seed(0)
        inputs = torch.randn(12, 3, dtype=torch.float64, generator=generator)
        part = Batch(inputs, torch.randint(0, 4, (12,), generator=generator))
        return SearchData(part, part, part)

    def derived(self, kept: Kept) -> Architecture:
        operations = dict(kept["cell"])
        numbers = [("none", "skip", "a", "b").index(operations.get(edge, "none")) for edge in range(2)]
        return self.space.architecture({"c0": numbers[0], "c1": numbers[1], "c2": 0, "c3": 0})

    def kept(self, architecture: Architecture) -> Kept:
        names = ("none", "skip", "a", "b")
        return {"cell": tuple((edge, names[int(str(architecture[f"c{edge}"]))]) for edge in range(2))}


@dataclass
class Batch:
    """All samples in one batch."""

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return 1

    def train_batches(self, rng: np.random.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        yield self.inputs, self.targets

    def eval_batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        yield self.inputs, self.targets


def test_gradient_and_random_search_side_by_side(tmp_path: Path) -> None:
    kind = "tests.core.commands.test_compare:Relaxed"
    given = RawConfig(toy_config(domain={"kind": kind}, search={"epochs": 1, "trials": 2}), "toy.yaml")
    summary = run_compare(given, ComparisonDesign(["gradient", "random"], 2), tmp_path / "cmp", QUIET)
    gradient, random = summary.arms
    assert (gradient.measures, random.measures) == ("quality[supernet]", "quality")
    assert (gradient.budget, random.budget) == ("1 epoch", "2 trials")
    assert summary.unequal
    assert (summary.trials, summary.epochs, summary.ranked_by) == (2, 1, "test")
    # Nothing else is the same for both: the seconds of training.
    assert summary.unit == "seconds"
    assert all(spent > 0 for arm in summary.arms for spent in arm.spent)
    (pair,) = summary.pairs
    assert set(pair.tests) == {"test"}
    assert pair.tests["test"].plain >= 0.5
    rows = (tmp_path / "cmp" / "comparison.csv").read_text().splitlines()
    assert [row.split(",")[1:6] for row in rows[1:]] == [
        [*parts, "none", seed] for parts in (["gradient", "", ""], ["random", "full", ""]) for seed in "01"
    ]
    page = (tmp_path / "cmp" / "report.html").read_text()
    assert "Budget of a run: gradient: 1 epoch; random: 2 trials. These budgets are not equal" in page
    assert ComparisonSummary.read(tmp_path / "cmp") == summary
    write_report(tmp_path / "cmp")
    assert (tmp_path / "cmp" / "report.html").read_text() == page


def test_runs_are_paired_by_their_seed(tmp_path: Path) -> None:
    given = RawConfig(toy_config(seed=3, search={"trials": 4}), "toy.yaml")
    summary = run_compare(given, ComparisonDesign(["random", "local"], 3), tmp_path / "cmp", QUIET)
    for arm in summary.arms:
        seeds = [_seed(tmp_path / "cmp" / f"{arm.name}-{index}") for index in range(3)]
        assert seeds == [3, 4, 5]
        results = [json.loads((tmp_path / "cmp" / f"{arm.name}-{i}" / "result.json").read_text()) for i in range(3)]
        tested = tuple(result["test"]["quality"]["mean"] for result in results)
        assert arm.test is not None
        assert arm.test.values == tested
    # Baselines are trained once, for all.
    with_baselines = [
        bool(_result(tmp_path / "cmp" / name)["baselines"]) for name in ("random-0", "random-1", "local-0")
    ]
    assert with_baselines == [True, False, False]


def _seed(run: Path) -> int:
    return json.loads((run / "environment.json").read_text())["seed"]


def _result(run: Path) -> dict[str, Any]:
    return json.loads((run / "result.json").read_text())


def test_an_interrupted_comparison_is_continued_by_the_same_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = RawConfig(toy_config(search={"trials": 6}), "toy.yaml")
    design = ComparisonDesign(["random", "local"], 2)
    whole = run_compare(given, design, tmp_path / "whole", QUIET)
    evaluate, calls = ToyDomain.evaluate, []

    def stops(self: ToyDomain, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 9:  # in the second run: the same seed of the other arm
            raise KeyboardInterrupt
        return evaluate(self, *arguments)

    monkeypatch.setattr(ToyDomain, "evaluate", stops)
    with pytest.raises(Interrupted) as caught:
        run_compare(given, design, tmp_path / "parts", QUIET)
    assert caught.value.advice == "the same command continues the comparison"
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == ["local-0", "random-0"]
    monkeypatch.setattr(ToyDomain, "evaluate", evaluate)
    shutil.copytree(tmp_path / "parts", tmp_path / "jobs")
    for folder, jobs in (("parts", 1), ("jobs", 2)):
        found = run_compare(given, design, tmp_path / folder, QUIET, jobs=jobs)
        assert found.pairs == whole.pairs
        assert [arm.best_validation for arm in found.arms] == [arm.best_validation for arm in whole.arms]
        assert [arm.test for arm in found.arms] == [arm.test for arm in whole.arms]


def test_runs_side_by_side_come_out_as_one_after_the_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = RawConfig(toy_config(search={"trials": 4}), "toy.yaml")
    design = ComparisonDesign(["random", "local"], 2)
    whole = run_compare(given, design, tmp_path / "whole", QUIET)
    found = run_compare(given, design, tmp_path / "parallel", dataclasses.replace(QUIET, quiet=False), jobs=3)
    assert found.pairs == whole.pairs
    assert [arm.best_validation for arm in found.arms] == [arm.best_validation for arm in whole.arms]
    assert [arm.test for arm in found.arms] == [arm.test for arm in whole.arms]
    assert capsys.readouterr().out.count("is finished") == 4
    for wrong in (0, True, 1.5):
        with pytest.raises(ConfigError, match="--jobs: a whole number"):
            run_compare(given, design, tmp_path / "x", QUIET, jobs=wrong)  # type: ignore[arg-type]


def test_starts_that_all_arms_share_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kind = "tests.core.methods.test_starts_and_confirmation:KnownToy"
    design = ComparisonDesign(["random", "local"], 2)
    for start, count in (({}, 2), ({"start": {"known": False}}, 0)):
        given = RawConfig(toy_config(domain={"kind": kind}, search={"trials": 5, "confirm": 1, **start}), "toy.yaml")
        folder = tmp_path / str(count)
        summary = run_compare(given, design, folder, QUIET)
        assert summary.known_starts == count
        assert ComparisonSummary.read(folder) == summary
        print_comparison(summary, folder)
        text = "begins with the same 2 well-known architectures"
        assert (text in capsys.readouterr().out) == (text in (folder / "report.html").read_text()) == bool(count)


def test_sharing_is_an_axis() -> None:
    arms = make_arms(ComparisonDesign(["local", "random"], schedules=["full"], sharing=["none", "homogeneous"]))
    assert [arm.name for arm in arms] == [
        "local-full-none",
        "local-full-homogeneous",
        "random-full-none",
        "random-full-homogeneous",
    ]
    own, other = arm_sections(raw(trials=5), make_arms(ComparisonDesign(["local"], sharing=["none", "homogeneous"])))
    assert (own["sharing"], other["sharing"]) == ("none", "homogeneous")
    wrong = ComparisonDesign(["local"], sharing=["none", "homogenous"])
    with pytest.raises(ConfigError, match="unknown rule 'homogenous'"):
        run_compare(raw(trials=5), wrong, Path("nowhere"), QUIET)
    assert not Path("nowhere").exists()


def test_runs_in_the_table_are_told_apart_by_their_sharing(tmp_path: Path) -> None:
    given = RawConfig(toy_config(search={"trials": 3}), "toy.yaml")
    run_compare(given, ComparisonDesign(["random"], 1, sharing=["none", "homogeneous"]), tmp_path / "c", QUIET)
    with (tmp_path / "c" / "comparison.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["sharing"] for row in rows] == ["none", "homogeneous"]
    assert [row["arm"] for row in rows] == ["random-none", "random-homogeneous"]
