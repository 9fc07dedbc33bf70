"""Every search method against the shipped contract, and one of another package."""

from __future__ import annotations

from typing import Any
from typing import ClassVar

from nichenas.core.testing.method_contract import MethodContract


class TestTrialSearch(MethodContract):
    method = "trial"
    search: ClassVar[dict[str, Any]] = {
        "strategy": "evolution",
        "trials": 20,
        "options": {"evolution": {"population": 5, "tournament": 2}},
    }
    settings: ClassVar[dict[str, Any]] = {"fail": 0.1}


class TestTrialSearchWithScheduler(MethodContract):
    method = "trial"
    search: ClassVar[dict[str, Any]] = {"strategy": "random", "trials": 30, "schedule": "asha"}


class TestTrialSearchWithSharedWeights(MethodContract):
    method = "trial"
    search: ClassVar[dict[str, Any]] = {"strategy": "conservative", "trials": 15, "sharing": "homogeneous", "batch": 2}


class TestOneShotSearch(MethodContract):
    method = "one-shot"
    search: ClassVar[dict[str, Any]] = {
        "strategy": "reinforce",
        "one_shot": {"iterations": [2, 2], "shared_steps": 12, "scored": 4, "candidates": 4, "beam": 2},
    }
    target = "nichenas.core.testing.toy_one_shot:ToyOneShotDomain"
    settings: ClassVar[dict[str, Any]] = {"stage_ends": (2, 5)}


class TestOneShotSearchWithSamplerAndConfirmation(MethodContract):
    method = "one-shot"
    search: ClassVar[dict[str, Any]] = {
        "strategy": "evolution",
        "one_shot": {
            "iterations": [3],
            "shared_steps": 12,
            "sampler": "fair",
            "paths": 2,
            "scored": 5,
            "candidates": 4,
            "beam": 4,
            "confirm": 3,
        },
    }
    target = "nichenas.core.testing.toy_one_shot:ToyOneShotDomain"


class TestGradientSearch(MethodContract):
    method = "gradient"
    search: ClassVar[dict[str, Any]] = {"epochs": 8, "options": {"gradient": {"batch": 16, "checkpoint_every": 2}}}
    target = "nichenas.core.testing.toy_supernet:ToySupernetDomain"


class TestGradientSearchWithSelection(MethodContract):
    method = "gradient"
    search: ClassVar[dict[str, Any]] = {
        "epochs": 4,
        "options": {
            "gradient": {
                "batch": 16,
                "step": "none",
                "select": {"strategy": "random", "scored": 8, "confirm": 3},
            }
        },
    }
    target = "nichenas.core.testing.toy_supernet:ToySupernetDomain"


class TestMethodOfAnotherPackage(MethodContract):
    method = "tests.core.methods.coordinate_descent:CoordinateDescent"
    search: ClassVar[dict[str, Any]] = {"trials": 20}
    settings: ClassVar[dict[str, Any]] = {"fail": 0.1}
