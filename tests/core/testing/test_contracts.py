"""The shipped contracts: complete, effective, and without what the next pytest refuses."""

from __future__ import annotations

import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from typing import ClassVar

import pytest

import nichenas.core
from nichenas.core.capabilities.base import Capability
from nichenas.core.domain import Domain
from nichenas.core.testing.baselines_contract import BaselinesContract
from nichenas.core.testing.costing_contract import CostingContract
from nichenas.core.testing.domain_contract import CONTRACTS
from nichenas.core.testing.domain_contract import DomainContract
from nichenas.core.testing.domain_fixtures import CapabilityContract
from nichenas.core.testing.fidelity_contract import FidelityContract
from nichenas.core.testing.inheritance_contract import InheritanceContract
from nichenas.core.testing.one_shot_contract import OneShotContract
from nichenas.core.testing.supernet_contract import SupernetContract

ROOT = Path(__file__).resolve().parents[3]


class ToyContract(DomainContract, FidelityContract, InheritanceContract, BaselinesContract, CostingContract):
    target = "nichenas.core.testing.toy:ToyDomain"
    data = Path()


class TestToy(ToyContract):
    settings: ClassVar[dict[str, Any]] = {"size_objective": True}


class TestToyOneShot(ToyContract, OneShotContract):
    target = "nichenas.core.testing.toy_one_shot:ToyOneShotDomain"
    settings: ClassVar[dict[str, Any]] = {"stage_ends": (2, 4, 5)}


class TestToySupernet(ToyContract, SupernetContract):
    target = "nichenas.core.testing.toy_supernet:ToySupernetDomain"


def capabilities() -> list[type[Capability]]:
    """All of the core's capabilities, whichever module they are in."""
    for module in pkgutil.walk_packages(nichenas.core.__path__, "nichenas.core."):
        if ".commands" not in module.name and "ray" not in module.name:
            importlib.import_module(module.name)
    found, waiting = [], [Capability]
    while waiting:
        subclasses = waiting.pop().__subclasses__()
        waiting += subclasses
        found += [cls for cls in subclasses if cls.__module__.startswith("nichenas.core.")]
    return [cls for cls in found if not issubclass(cls, Domain)]


def test_every_capability_of_the_core_has_a_contract() -> None:
    assert {capability.__name__ for capability in capabilities()} == set(CONTRACTS)
    for capability in capabilities():
        module, _, name = CONTRACTS[capability.__name__].partition(".")
        contract = getattr(importlib.import_module(f"nichenas.core.testing.{module}"), name)
        assert issubclass(contract, CapabilityContract)
        assert contract.capability is capability


def run(*arguments: str) -> str:
    """Runs pytest in a process of its own, with this repository's settings; returns what it prints."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rfE", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def broken() -> str:
    """What pytest prints of the suites with defects."""
    return run("tests/core/testing/broken.py", "--tb=short")


def test_defects_are_found(broken: str) -> None:
    found: dict[str, set[str]] = {}
    for suite, test in re.findall(r"^(?:FAILED|ERROR) \S+::(\w+)::(\w+)", broken, re.MULTILINE):
        found.setdefault(suite, set()).add(test)
    expected = {
        "TestGlobalRandomness": {"test_same_seed_same_measurement", "test_global_randomness_plays_no_part"},
        "TestLacksObjective": {"test_measurements_pass_the_gate"},
        "TestUnguardedTestData": {"test_test_data_is_read_by_full_trainings_alone"},
        "TestForgetsItsState": {"test_a_training_in_parts_is_the_training_in_one_go"},
        "TestIgnoresWeights": {"test_inherited_weights_are_used"},
        "TestForgetsAContract": {"test_every_capability_has_its_contract"},
        "TestLosesFailures": {"test_a_broken_candidate_costs_no_other_its_measurement"},
        "TestUnknownSeconds": {
            "test_measurements_have_seconds_where_the_table_tells_them",
            "test_nothing_is_better_than_the_best_known",
        },
        "TestExportsInTraining": {"test_the_network_is_ready_to_be_used"},
        "TestProbesDiffer": {"test_the_context_decides_the_scores"},
        "TestWrongGate": {"test_losses_have_their_names"},
        "TestUnseeded": {"test_same_seed_same_proposals"},
        "TestMinimises": {"test_scores_follow_the_objective"},
        "TestForgetsOffspring": {"test_every_part_has_its_contract"},
        "TestParents": {"test_a_child_for_every_parent"},
        "TestGivesUpAll": {"test_same_seed_same_proposals_over_any_strategy"},
        "TestRestarts": {"test_same_seed_same_proposals_over_any_strategy"},
        "TestLosesSetting": {"test_a_reduced_setting_is_reduced_in_every_part"},
    }
    assert found.keys() == expected.keys(), broken
    for suite, tests in expected.items():
        assert tests <= found[suite], suite


def test_what_is_forgotten_is_named_in_one_line(broken: str) -> None:
    line = "TestForgetsAContract does not check ToyDomain's Baselines: mix in nichenas.core.testing.baselines_contract"
    assert f"{line}.BaselinesContract\n" in broken
    line = "TestForgetsOffspring does not check that Evolution is a ProducesOffspring: mix in nichenas.core.testing"
    assert f"{line}.offspring_contract.OffspringContract\n" in broken


@pytest.mark.parametrize("decorator", ["    @classmethod\n", ""], ids=["class method", "instance method"])
def test_fixtures_that_the_next_pytest_refuses_are_errors(decorator: str, tmp_path: Path) -> None:
    """Fixtures of a class were methods of its instances once, and the filters hid pytest's warning."""
    file = tmp_path / "test_fixture.py"
    file.write_text(
        "import pytest\n\n\nclass TestIt:\n    @pytest.fixture(scope='class')\n"
        f"{decorator}    def one(cls):\n        return 1\n\n    def test_one(self, one):\n        assert one == 1\n"
    )
    out = run("-c", str(ROOT / "pyproject.toml"), str(file))
    if decorator or not hasattr(pytest, "PytestRemovedIn10Warning"):
        assert "1 passed" in out
    else:
        assert "PytestRemovedIn10Warning: Class-scoped fixture" in out
        assert "1 error" in out
