"""The binary domain: contract, integer checks, data, configurations, kill and resume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nichenas.core.commands.search import run_search
from nichenas.core.commands.sessions import RunOptions
from nichenas.core.config import load_config
from nichenas.core.config_files import shipped_configs
from nichenas.core.context import Context
from nichenas.core.context import Environment
from nichenas.core.context import open_test_data
from nichenas.core.costs.macs import count_costs
from nichenas.core.data.root import cache_folder
from nichenas.core.data.root import data_root
from nichenas.core.errors import ConfigError
from nichenas.core.session.journal import Journal
from nichenas.core.space import SpaceError
from nichenas.core.testing.baselines_contract import BaselinesContract
from nichenas.core.testing.costing_contract import CostingContract
from nichenas.core.testing.criterion_contract import CriterionContract
from nichenas.core.testing.datasets_contract import DatasetsContract
from nichenas.core.testing.domain_contract import DomainContract
from nichenas.core.testing.exporting_contract import ExportingContract
from nichenas.core.testing.fidelity_contract import FidelityContract
from nichenas.core.testing.notes_contract import NotesContract
from nichenas.core.testing.one_shot_contract import OneShotContract
from nichenas.core.testing.probing_contract import ProbingContract
from nichenas.core.testing.supernet_contract import SupernetContract
from nichenas.core.trial import Proposal
from nichenas.domains.binary.convolution import BinaryConv2d
from nichenas.domains.binary.convolution import ChannelShuffle
from nichenas.domains.binary.convolution import shuffle_order
from nichenas.domains.binary.domain import BinaryDomain
from nichenas.domains.binary.genotypes import PUBLISHED
from nichenas.domains.binary.model import CellNetwork
from nichenas.domains.binary.operations import FAMILIES
from nichenas.domains.binary.operations import Bats
from nichenas.domains.binary.operations import DartsReal
from nichenas.domains.binary.settings import BinarySettings
from nichenas.domains.binary.space import architecture_of
from nichenas.domains.binary.space import cell_space
from nichenas.domains.binary.space import genotype_of
from nichenas.domains.binary.supernet import CellSupernet
from nichenas.domains.binary.training import evaluate
from tests.core.methods.test_kill_and_resume import kill_in_the_middle

QUIET = RunOptions(quiet=True)
STAGES = [{"epochs": 1, "weights": False}, {"epochs": 1, "weight_decay": 0.0}]
SMALL: dict[str, Any] = {
    "dataset": "digits",
    "limit": 200,
    "space": "bats",
    "groups": 4,
    "nodes": 2,
    "search_channels": 4,
    "search_cells": 3,
    "channels": 4,
    "cells": 3,
    "training": {"batch": 32, "stages": STAGES},
}


# Half of it is tried too, and a reduction of fewer than 8 channels writes out of bounds in some builds of oneDNN: the
# gradient of a 1x1 convolution of stride 2, channels last.
WIDE = {**SMALL, "search_channels": 8}


class BinaryContract(
    DomainContract,
    SupernetContract,
    OneShotContract,
    FidelityContract,
    BaselinesContract,
    CostingContract,
    CriterionContract,
    ProbingContract,
    ExportingContract,
    DatasetsContract,
    NotesContract,
):
    target = "nichenas.domains.binary:BinaryDomain"


class TestBats(BinaryContract):
    settings = SMALL


class TestDarts(BinaryContract):
    settings: Any = {**WIDE, "space": "darts", "nodes": 4, "scale": "mean", "augmentation": {"crop": 1, "flip": True}}


class TestBnas(BinaryContract):
    settings: Any = {**WIDE, "space": "bnas"}


class TestBatsCellByCell(BinaryContract):
    settings: Any = {**SMALL, "per_cell": True, "criterion": "calibrated_brier"}


class TestDartsReal(BinaryContract):
    settings: Any = {
        **WIDE,
        "space": "darts-real",
        "training": {"batch": 32, "stages": [{"epochs": 1}], "teacher": 0.5},
    }


# Integer checks

REAL = DartsReal()


@pytest.mark.parametrize(
    ("name", "parameters", "macs"),
    [
        ("DARTS_V1", 3_169_414, 500_987_520),
        ("DARTS_V2", 3_349_342, 528_359_040),
        ("NASNet", 3_830_950, 603_452_448),
        ("AmoebaNet", 3_145_078, 488_931_552),
    ],
)
def test_darts_cifar_networks(name: str, parameters: int, macs: int) -> None:
    costs = count_costs(CellNetwork(REAL, PUBLISHED[name], 36, 20, 10), (3, 32, 32))
    assert (costs.parameters, costs.macs, costs.binary_macs) == (parameters, macs, 0)


@pytest.mark.parametrize(("name", "parameters"), [("DARTS_V1", 3_645_840), ("DARTS_V2", 3_825_768)])
def test_darts_cifar_networks_with_auxiliary_head(name: str, parameters: int) -> None:
    network = CellNetwork(REAL, PUBLISHED[name], 36, 20, 10, auxiliary=True)
    assert sum(p.numel() for p in network.parameters()) == parameters


@pytest.mark.parametrize(
    ("name", "parameters", "macs"),
    [("DARTS_V1", 4_510_432, 505_864_704), ("DARTS_V2", 4_718_752, 529_911_552)],
)
def test_darts_imagenet_networks(name: str, parameters: int, macs: int) -> None:
    costs = count_costs(CellNetwork(REAL, PUBLISHED[name], 48, 14, 1000, stem="imagenet"), (3, 224, 224))
    assert (costs.parameters, costs.macs) == (parameters, macs)


@pytest.mark.parametrize("plain", [True, False])
def test_darts_supernet(plain: bool) -> None:
    supernet = CellSupernet(DartsReal(affine=False), 16, 8, 10, plain=plain)
    assert sum(p.numel() for p in supernet.parameters()) == 1_930_618
    assert [(g.name, g.instances, len(g.edges), len(g.operations)) for g in supernet.groups] == [
        ("normal", 6, 14, 8),
        ("reduction", 2, 14, 8),
    ]


def test_darts_supernet_macs() -> None:
    supernet = CellSupernet(DartsReal(affine=False), 16, 8, 10, plain=True)
    mixes = {g.name: torch.ones(g.instances, 14, 8) / 8 for g in supernet.groups}
    wrapped = torch.nn.ModuleDict({"net": supernet})
    wrapped.forward = lambda x: supernet(x, mixes)  # type: ignore[method-assign]
    assert count_costs(wrapped, (3, 32, 32)).macs == 300_255_744


@pytest.mark.parametrize(
    ("channels", "cells", "groups", "stem", "parameters", "macs", "binary"),
    [
        (36, 20, 12, "cifar", 2_153_566, 2_991_744, 331_776_000),
        (36, 20, 3, "cifar", 4_358_062, 2_991_744, 654_262_272),
        (36, 20, 1, "cifar", 10_236_718, 2_991_744, 1_514_225_664),
        (72, 20, 12, "cifar", 8_485_426, 5_983_488, 1_327_104_000),
        (80, 14, 20, "imagenet", 7_336_880, 48_696_320, 739_594_240),
        (60, 14, 12, "imagenet", 4_931_470, 36_522_240, 476_985_600),
    ],
)
def test_bats_networks(
    channels: int, cells: int, groups: int, stem: str, parameters: int, macs: int, binary: int
) -> None:
    """The figures of the authors' network class, which counts without the learned scales of convolutions."""
    classes, size = (1000, 224) if stem == "imagenet" else (10, 32)
    network = CellNetwork(Bats(groups=groups), PUBLISHED["DARTS_V2"], channels, cells, classes, stem=stem)
    costs = count_costs(network, (3, size, size))
    scales = sum(m.scale.numel() for m in network.modules() if isinstance(m, BinaryConv2d) and m.scale is not None)
    assert (costs.parameters - scales, costs.macs, costs.binary_macs) == (parameters, macs, binary)


# Operations


def test_channel_shuffle_is_a_permutation_with_an_inverse() -> None:
    x = torch.arange(24.0).view(1, 24, 1, 1)
    for layout in (torch.contiguous_format, torch.channels_last):
        shuffled = ChannelShuffle(4)(x.contiguous(memory_format=layout))
        assert sorted(shuffled.flatten().tolist()) == list(range(24))
        assert torch.equal(ChannelShuffle(6)(shuffled), x)
        assert shuffled.flatten().long().tolist() == shuffle_order(24, 4).tolist()


@pytest.mark.parametrize(("channels", "groups", "levels"), [(1, 1, 10), (3, 1, 28), (6, 2, 28)])
def test_number_of_values_of_a_binary_convolution(channels: int, groups: int, levels: int) -> None:
    """n k k + 1 values, all of the parity of n k k, with n channels a group."""
    conv = BinaryConv2d(channels, channels, 3, groups=groups, scale="none")
    values = conv(torch.randn(64, channels, 30, 30)).unique()
    assert len(values) <= levels
    assert {int(v) % 2 for v in values} == {(channels // groups * 9) % 2}
    assert float(values.abs().max()) <= channels // groups * 9


def test_block_is_invariant_to_the_inputs_scale() -> None:
    block = Bats(groups=2).operation("sep_conv_3x3", 4, 2)  # stride 2 has no residual
    x = torch.randn(8, 4, 8, 8)
    torch.testing.assert_close(block(x), block(3.0 * x), rtol=1e-4, atol=1e-4)


def test_stride_two_blocks_have_no_residual() -> None:
    for name in ("sep_conv_5x5", "dil_conv_3x3"):
        assert type(Bats(groups=2).operation(name, 4, 1)).__name__ == "Residual"
        assert Bats(groups=2).operation(name, 4, 2)(torch.randn(2, 4, 8, 8)).shape == (2, 4, 4, 4)


def test_mean_scale_is_xnor_nets() -> None:
    """The authors' library: mean |w| as scale, its gradient included; input from its own test."""
    weight = torch.tensor([[-0.0252, 0.0084, -0.0676], [0.0891, -0.0010, 0.0518], [0.0380, 0.2866, -0.0050]])
    conv = BinaryConv2d(3, 3, 1, scale="mean")
    conv.weight.data = weight[:, :, None, None]
    out = conv(torch.tensor([-0.05263, 0.0772, 0.13059]).view(1, 3, 1, 1))
    torch.testing.assert_close(out.flatten(), torch.tensor([0.0337, -0.0473, -0.1099]), rtol=0, atol=5e-5)
    single = BinaryConv2d(4, 1, 1, scale="mean")
    single.weight.data = torch.tensor([0.5, -1.5, 0.25, -0.25]).view(1, 4, 1, 1)
    single.binary_input = False
    kernel = single.kernel() * single.scales().view(-1, 1, 1, 1)  # type: ignore[union-attr]
    kernel.backward(torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 4, 1, 1))
    assert single.weight.grad is not None
    # Inside the clip w gets sign's gradient times the scale; everywhere it gets sign(w)/n of the sum over the scale.
    wanted = torch.tensor([0.125, 0.5, 1.375, 3.0])
    torch.testing.assert_close(single.weight.grad.flatten(), wanted)


# Space


def test_genotypes_and_architectures_convert() -> None:
    space = cell_space(Bats.operations[1:], 4)
    for name in ("DARTS_V1", "DARTS_V2"):
        architecture = architecture_of(PUBLISHED[name], space)
        again = genotype_of(architecture, 4)
        for one, other in ((PUBLISHED[name].normal, again.normal), (PUBLISHED[name].reduction, again.reduction)):
            assert {(n, frozenset(ops)) for n, ops in one.nodes()} == {(n, frozenset(ops)) for n, ops in other.nodes()}
    with pytest.raises(SpaceError, match="concatenation"):
        architecture_of(PUBLISHED["AmoebaNet"], space)
    assert space.size == (1 * 3 * 6 * 10 * 7**8) ** 2


# Settings and data


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"groups": 3}, "groups: 4 channels do not divide into 3 groups"),
        ({"per_cell": True, "cells": 4}, "needs search_cells (3) equal to cells (4)"),
        ({"space": "batz"}, "did you mean 'bats'"),
        ({"operations": ["sep_conv_3x4"]}, "did you mean 'sep_conv_3x3'"),
        ({"while_searching": [{"until": 0.5}]}, "must rise and end with 1"),
        ({"training": {"stages": []}}, "at least one"),
        ({"dataset": "CIFAR11"}, "did you mean 'CIFAR10'"),
        ({"training": {"auxiliary": 0.4, "stages": STAGES}}, "images of 32 pixels"),
    ],
)
def test_mistakes_are_one_line(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    from nichenas.core.config import resolve

    raw = {"domain": {"kind": "binary", **SMALL, **changes}, "search": {"strategy": "random", "trials": 1}}
    with pytest.raises(ConfigError) as caught:
        run_search(resolve(raw, "x.yaml"), tmp_path / "run", QUIET)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_gradient_search_needs_epochs_and_a_supernet() -> None:
    from nichenas.core.config import resolve

    with pytest.raises(ConfigError, match=r"search\.epochs: missing"):
        resolve({"domain": {"kind": "binary", **SMALL}, "search": {"strategy": "gradient"}}, "x.yaml")
    with pytest.raises(
        ConfigError, match="the domain 'gnn' has no supernet; methods that it can be searched with: trial"
    ):
        resolve({"domain": {"kind": "gnn", "dataset": "Cora"}, "search": {"strategy": "gradient", "epochs": 1}}, "x")


def test_every_shipped_configuration_is_valid() -> None:
    names = [name for name in shipped_configs() if name.startswith("binary/")]
    assert {"binary/digits", "binary/cifar10"} <= set(names)
    for name in names:
        resolved = load_config(name)
        assert isinstance(resolved.settings, BinarySettings)
        assert resolved.config.domain["kind"] == "binary"


# Training


def make(**changes: Any) -> BinaryDomain:
    settings = BinarySettings.model_validate({**SMALL, **changes})
    domain = BinaryDomain(settings, Environment(data_root(None), cache_folder()))
    domain.prepare()
    return domain


def test_stages_and_the_gap_to_the_real_twin() -> None:
    domain = make()
    architecture = domain.space.sample(np.random.default_rng(0))
    with open_test_data():
        found = domain.retrain(architecture, Context(0))
    assert found.test["gap[real twin]"] == pytest.approx(found.test["accuracy[real twin]"] - found.test["accuracy"])
    assert found.validation["binary_macs"] > found.validation["macs"] > 0


def test_training_goes_on_from_its_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full training stopped between epochs ends as an undisturbed one does, bit for bit."""
    stages = [{"epochs": 2, "weights": False}, {"epochs": 2, "gradual": 0.5}]
    training = {"batch": 32, "stages": stages, "checkpoint_every": 1, "drop_path": 0.2, "teacher": 0.5}
    domain = make(training=training)
    architecture = domain.space.sample(np.random.default_rng(0))
    with open_test_data():
        whole = domain.retrain(architecture, Context(0, keep_weights=True))
        for stop in (1, 3, 6):
            folder, calls = tmp_path / str(stop), 0

            def stopping(*arguments: Any) -> Any:
                nonlocal calls
                calls += 1
                if calls > stop:  # noqa: B023
                    raise KeyboardInterrupt
                return evaluate(*arguments)

            with monkeypatch.context() as patch:
                patch.setattr("nichenas.domains.binary.training.evaluate", stopping)
                with pytest.raises(KeyboardInterrupt):
                    domain.retrain(architecture, Context(0, checkpoints=folder))
            again = domain.retrain(architecture, Context(0, keep_weights=True, checkpoints=folder))
            assert dict(again.test) == dict(whole.test)
            assert all(torch.equal(again.weights[name], whole.weights[name]) for name in whole.weights)


def test_diverging_candidate_fails_alone() -> None:
    from nichenas.core.errors import CandidateFailure

    domain = make(training={"batch": 32, "stages": [{"epochs": 1, "lr": 1e30}], "optimizer": {"clip": None}})
    with pytest.raises(CandidateFailure, match="diverged"):
        domain.evaluate(Proposal(domain.space.sample(np.random.default_rng(0))), Context(0))


# The whole


def small_config(tmp_path: Path, **options: Any) -> Path:
    import yaml

    raw = {
        "name": "small",
        "domain": {"kind": "binary", **SMALL},
        "search": {"strategy": "gradient", "epochs": 5, "options": {"gradient": {"batch": 16, **options}}},
        "retrain": {"top": 1, "seeds": 1, "baselines": False},
        "run": {"tensorboard": False},
    }
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump(raw))
    return file


def epochs_of(folder: Path) -> list[Any]:
    rows = []
    with Journal(folder / "journal.sqlite") as journal:
        for trial in journal.trials():
            assert trial.measurement is not None
            diagnostics = {k: v for k, v in trial.measurement.diagnostics.items() if k != "seconds"}
            rows.append((trial.number, trial.proposal, dict(trial.measurement.values), diagnostics))
    return rows


def test_finite_differences_of_a_binary_network_are_refused(tmp_path: Path) -> None:
    config = small_config(tmp_path, step="second-order")
    with pytest.raises(ConfigError, match=r"gradient.hessian: finite-difference steps over .*; allowed here: exact"):
        run_search(load_config(str(config)), tmp_path / "run", QUIET)


@pytest.mark.parametrize(
    "options",
    [
        {"step": "first-order", "temperature": {"kind": "linear", "start": 1.0, "end": 0.2}},
        {"step": "single-level", "relaxation": "gumbel"},
        {"step": "second-order", "hessian": "exact", "relaxation": "sigmoid", "regularisers": [{"kind": "zero-one"}]},
        {"step": "single-level", "relaxation": "single-path", "order": "weights-first", "checkpoint_every": 2},
    ],
    ids=lambda o: f"{o['step']} {o.get('relaxation', 'softmax')}",
)
def test_killed_gradient_search_resumes_bit_for_bit(options: dict[str, Any], tmp_path: Path) -> None:
    config = small_config(tmp_path, **options)
    run_search(load_config(str(config)), tmp_path / "whole", QUIET)
    done = kill_in_the_middle(config, tmp_path / "killed", after=2)
    assert 2 <= done < 5
    run_search(load_config(str(config)), tmp_path / "killed", RunOptions(quiet=True, resume=True))
    assert epochs_of(tmp_path / "killed") == epochs_of(tmp_path / "whole")
    one, other = (json.loads((tmp_path / run / "result.json").read_text()) for run in ("whole", "killed"))
    assert one["architecture"] == other["architecture"]
    assert one["test"] == other["test"]
    page = (tmp_path / "killed" / "report.html").read_text()
    for part in ("Architecture parameters", "Wiring", "gap[real twin]", "binary_macs"):
        assert part in page


def test_early_stops(tmp_path: Path) -> None:
    stable = small_config(tmp_path, early_stop={"stable": 1}, architecture={"lr": 1e-9}, init_std=1.0)
    result = run_search(load_config(str(stable)), tmp_path / "stable", QUIET)
    assert result.trials == 2
    assert result.stopped == "stable architecture"
    again = run_search(load_config(str(stable)), tmp_path / "stable", RunOptions(quiet=True, resume=True))
    assert again.trials == 2
    collapse = small_config(tmp_path, early_stop={"skips": 0, "after": 3}, architecture={"lr": 1e-9}, init_std=1.0)
    result = run_search(load_config(str(collapse)), tmp_path / "collapse", QUIET)
    assert result.trials == 3
    assert result.stopped == "skip collapse"
    assert "skip_connect" in result.architecture.values()


@pytest.mark.parametrize("space", ["bats", "darts", "bnas"])
def test_export_to_onnx(space: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    from nichenas.core.commands.export import export_onnx
    from nichenas.core.config import resolve

    raw = {
        "domain": {"kind": "binary", **SMALL, "space": space},
        "search": {"strategy": "random", "trials": 1},
        "retrain": {"top": 1, "seeds": 1, "baselines": False},
        "run": {"tensorboard": False},
    }
    run_search(resolve(raw, "x.yaml"), tmp_path / "run", QUIET)
    file, difference = export_onnx(tmp_path / "run")
    assert file == tmp_path / "run" / "best" / "network.onnx"
    assert difference < 1e-3
    assert file.stat().st_size > 1000


def test_families_are_known() -> None:
    assert set(FAMILIES) == {"bats", "darts", "darts-real", "bnas"}


def images_of(size: int, folder: Path, height: int | None = None) -> str:
    rng, shape = np.random.default_rng(0), (40, height or size, size, 3)
    parts = {f"x_{part}": rng.integers(0, 255, shape).astype(np.uint8) for part in ("train", "test")}
    np.savez(folder / "images.npz", **parts, y_train=np.arange(40) % 2, y_test=np.arange(40) % 2)
    return str(folder / "images.npz")


def test_sizes_that_networks_cannot_be_built_for_are_refused_first(tmp_path: Path) -> None:
    place = Environment(tmp_path, tmp_path)

    def made(**settings: Any) -> BinaryDomain:
        return BinaryDomain(BinarySettings.model_validate({**SMALL, "limit": None, **settings}), place)

    made(dataset=images_of(12, tmp_path)).prepare()
    made(dataset=images_of(7, tmp_path), upsample=4).prepare()
    with pytest.raises(
        ConfigError, match=r"images of 14 pixels cannot be halved twice; enlarge them to a multiple of 4"
    ):
        made(dataset=images_of(14, tmp_path)).prepare()
    reduced = made(dataset=images_of(30, tmp_path), image_size=16)
    reduced.prepare()
    assert reduced.task.size == 16
    assert reduced.task.name == "images at 16 pixels"
    with pytest.raises(ConfigError, match=r"domain.image_size: images of 16 x 8 pixels are not square; give the size"):
        made(dataset=images_of(16, tmp_path, height=8)).prepare()
    with pytest.raises(ConfigError, match=r"40 pixels cannot be halved twice after the stem.* multiple of 32"):
        made(dataset=images_of(40, tmp_path), stem="imagenet", channels=40, search_channels=40).prepare()
    with pytest.raises(ValueError, match="channels: 84 and half of them do not divide into the 4 groups"):
        made(stem="imagenet", channels=84, search_channels=40)


def test_kernels_that_are_binary_in_a_search_are_clipped() -> None:
    for weights, highest in ((True, 1.0), (False, 5.0)):
        stages = [{"until": 1.0, "activations": True, "weights": weights}]
        of = BinaryDomain(
            BinarySettings.model_validate({**SMALL, "while_searching": stages}), Environment(Path("none"), Path("none"))
        )
        net = of.supernet(Context(0))
        net.begin_epoch(0.0)
        kernels = [module.weight for module in net.modules() if isinstance(module, BinaryConv2d)]
        for kernel in kernels:
            kernel.data.fill_(5.0)
        net.after_step()
        assert {float(kernel.max()) for kernel in kernels} == {highest}


def test_bnas_is_searched_with_binary_kernels() -> None:
    for name in ("binary/digits-bnas", "binary/cifar10-bnas"):
        (stage,) = load_config(name, []).settings.while_searching
        assert stage.activations
        assert stage.weights
