"""Shared weights of the binary domain; the contract of shared weights stands in test_domain.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nichenas.core.context import Context
from nichenas.core.context import Environment
from nichenas.core.gradient.discretisation import Discretisation
from nichenas.domains.binary.domain import BinaryDomain
from nichenas.domains.binary.settings import BinarySettings
from nichenas.domains.binary.shared import SharedCells
from nichenas.domains.binary.space import kept_of

SETTINGS = {
    "upsample": 1,
    "groups": 2,
    "nodes": 2,
    "search_channels": 4,
    "search_cells": 3,
    "channels": 4,
    "cells": 3,
    "image_size": 8,
    "limit": 200,
}


def make(tmp_path: Path, **changes: Any) -> BinaryDomain:
    settings = BinarySettings.model_validate({**SETTINGS, **changes})
    domain = BinaryDomain(settings, Environment(tmp_path, tmp_path))
    domain.prepare()
    return domain


def begun(domain: BinaryDomain) -> SharedCells:
    shared = domain.shared_training(Context(0))
    shared.begin_training(Context(0))
    return shared


@pytest.mark.parametrize("settings", [{}, {"space": "bnas"}, {"per_cell": True}, {"space": "darts"}])
def test_what_is_kept_of_an_architecture_derives_it(tmp_path: Path, settings: dict[str, Any]) -> None:
    domain = make(tmp_path, **settings)
    groups = domain.supernet(Context(0)).groups
    rng = np.random.default_rng(0)
    for _ in range(20):
        architecture = domain.space.sample(rng)
        assert domain.derived(kept_of(architecture, groups)) == architecture
    mixture = {g.name: torch.rand(len(g.edges), len(g.operations)) for g in groups}
    kept = Discretisation().kept(mixture, groups)
    assert kept_of(domain.derived(kept), groups) == kept


def test_a_step_trains_what_its_architectures_use(tmp_path: Path) -> None:
    domain = make(tmp_path, space="darts")
    shared = begun(domain)
    architecture = domain.space.sample(np.random.default_rng(0))
    shared.supernet.begin_epoch(0.0)  # adapts the scales of all convolutions to what is binary
    before = {n: p.clone() for n, p in shared.supernet.named_parameters()}
    shared.step([architecture], 0.0)
    names = [g.operations for g in shared.supernet.groups]
    assert names[0] == names[1]
    moved = {n for n, p in shared.supernet.named_parameters() if not torch.equal(before[n], p)}
    assert "classifier.weight" in moved
    kinds = [kind for kind, _ in shared.supernet.kinds]
    kept = kept_of(architecture, shared.supernet.groups)
    used = {
        f"cells.{cell}.operations.{edge}.{names[0].index(operation)}."
        for cell, kind in enumerate(kinds)
        for edge, operation in kept[kind]
    }
    operations = {n for n in before if ".operations." in n}
    assert {n for n in operations if any(n.startswith(one) for one in used)} == moved & operations


def test_the_loss_of_several_architectures_is_their_mean(tmp_path: Path) -> None:
    domain = make(tmp_path)
    rng = np.random.default_rng(0)
    pair = [domain.space.sample(rng) for _ in range(2)]
    single = [begun(domain).step([one], 0.0)["loss"] for one in pair]
    shared = begun(domain)
    assert shared.step(pair, 0.0)["loss"] == pytest.approx(sum(single) / 2, rel=1e-5)
    gradients = []
    for one in pair:
        other = begun(domain)
        other.supernet.begin_epoch(0.0)
        images, labels = next(other._images)
        F.cross_entropy(other._logits(one, images), labels).backward()
        gradients.append(other.supernet.classifier.weight.grad)
    mean = (gradients[0] + gradients[1]) / 2
    clipped = shared.supernet.classifier.weight.grad
    assert torch.nn.functional.cosine_similarity(clipped.flatten(), mean.flatten(), dim=0) == pytest.approx(1, abs=1e-5)


def test_the_learning_rate_falls_to_its_share(tmp_path: Path) -> None:
    domain = make(tmp_path, shared={"final_lr": 0.25, "optimizer": {"lr": 0.004}})
    shared = begun(domain)
    architecture = domain.space.sample(np.random.default_rng(0))
    rates = []
    for progress in (0.0, 0.5, 1.0):
        shared.step([architecture], progress)
        rates.append(shared.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.004, 0.0025, 0.001])


def test_kernels_become_binary_when_the_stage_says(tmp_path: Path) -> None:
    stages = [{"until": 0.5, "weights": False}, {"until": 1.0, "weights": True}]
    domain = make(tmp_path, while_searching=stages)
    shared = begun(domain)
    architecture = domain.space.sample(np.random.default_rng(0))
    found = []
    for progress in (0.4, 0.6):
        shared.step([architecture], progress)
        found.append({m.binary_weights for m in shared.supernet.modules() if hasattr(m, "binary_weights")})
    assert found == [{0.0}, {1.0}]


def test_the_order_of_validation_images_is_not_by_class(tmp_path: Path) -> None:
    """Normalisations use the batch, so batches of one class would score nothing but that."""
    domain = make(tmp_path)
    order = torch.argsort(domain.task.validation.labels, stable=True)
    domain.task.__dict__["validation"] = domain.task.validation.subset(order)
    labels = torch.cat([part for _, part in domain.scored_batches(Context(0)).eval_batches()])
    assert not torch.equal(labels, labels.sort().values)
    assert torch.equal(labels.sort().values, domain.task.validation.labels)
    _, first = next(iter(domain.scored_batches(Context(0), most=6).eval_batches()))
    assert len(first) == 6
    assert len(first.unique()) > 2


def test_batches_of_scored_images_are_about_equal(tmp_path: Path) -> None:
    domain = make(tmp_path, limit=None, validation=0.3)
    sizes = [len(labels) for _, labels in domain.scored_batches(Context(0)).eval_batches()]
    assert sizes == [216, 215]


def test_the_criterion_is_the_reward_and_costs_are_measured(tmp_path: Path) -> None:
    domain = make(tmp_path, criterion="calibrated_brier", objectives=["accuracy", "binary_macs"])
    assert [one.name for one in domain.shared_objectives] == ["calibrated_brier", "binary_macs"]
    architecture = domain.space.sample(np.random.default_rng(0))
    values = begun(domain).score(architecture, Context(0))
    assert {one.name for one in domain.shared_objectives} <= set(values)
    assert values["binary_macs"] == domain.architecture_costs(architecture)["binary_macs"]
