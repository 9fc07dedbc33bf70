from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nichenas.core.capabilities.inheritance import ShareKey
from nichenas.core.errors import RunFolderError
from nichenas.core.sharing.homogeneous import HomogeneousStore
from nichenas.core.sharing.homogeneous import read_tensors
from nichenas.core.sharing.homogeneous import shareable
from nichenas.core.sharing.homogeneous import write_tensors

AGNN = ("attention", "activation", "heads")
GRAPHNAS = ("attention", "aggregate", "heads")


def key(layer: int = 0, role: str = "weight", shape: tuple[int, ...] = (4, 8), **changed: str) -> ShareKey:
    base = {"attention": "gat", "activation": "relu", "heads": "2", "aggregate": "sum"}
    return ShareKey(layer, role, shape, {**base, **changed})


@pytest.mark.parametrize(
    ("other", "agnn", "graphnas"),
    [
        (key(), True, True),
        (key(shape=(5, 8)), False, False),
        (key(shape=(4, 9)), False, False),
        (key(heads="4"), False, False),
        (key(attention="gcn"), False, False),
        (key(layer=1), False, False),
        (key(role="bias"), False, False),
        (key(activation="tanh"), False, True),
        (key(aggregate="max"), True, False),
    ],
)
def test_what_must_agree(other: ShareKey, agnn: bool, graphnas: bool) -> None:
    for rule, shared in ((AGNN, agnn), (GRAPHNAS, graphnas)):
        store = HomogeneousStore(rule)
        source = torch.randn(4, 8)
        store.update(0, 0.5, {"w": key()}, {"w": source})
        found = store.inherit({"mine": other})
        assert bool(found) == shared
        if shared:
            assert torch.equal(found["mine"], source)


@pytest.mark.parametrize("role", ["batch_norm.weight", "batch_norm.running_mean", "skip", "bn.bias"])
def test_batch_norm_and_skip_are_never_shared(role: str) -> None:
    store = HomogeneousStore(AGNN)
    store.update(0, 0.5, {"w": key(role=role)}, {"w": torch.ones(4, 8)})
    assert len(store) == 0
    assert store.inherit({"w": key(role=role)}) == {}
    assert not shareable(role)
    assert shareable("attention.left")


def test_the_best_ancestor_stays() -> None:
    store = HomogeneousStore(AGNN)
    for trial, (score, value) in enumerate([(0.5, 1.0), (0.4, 2.0), (0.6, 3.0), (0.6, 4.0), (0.1, 5.0)]):
        store.update(trial, score, {"w": key()}, {"w": torch.full((4, 8), value)})
    assert store.inherit({"w": key()})["w"][0, 0] == 4.0


def test_inherited_tensors_are_copies() -> None:
    store = HomogeneousStore(AGNN)
    source = torch.zeros(4, 8)
    store.update(0, 0.5, {"w": key()}, {"w": source})
    source.add_(1)
    store.inherit({"w": key()})["w"].add_(1)
    assert not store.inherit({"w": key()})["w"].any()


@pytest.mark.parametrize(("lag", "kept"), [(0, [1, 3]), (1, [1, 2, 3]), (9, [0, 1, 2, 3])])
def test_files_follow_the_store_and_rebuild_it(tmp_path: Path, lag: int, kept: list[int]) -> None:
    keys = [{"w": key(layer=layer)} for layer in (0, 1, 0, 0)]
    store = HomogeneousStore(AGNN, tmp_path, lag=lag)
    for trial, wanted in enumerate(keys):
        store.update(trial, 0.1 * trial, wanted, {"w": torch.full((4, 8), float(trial))})
        store.clean()
    assert sorted(file.name for file in tmp_path.iterdir()) == [f"shared-{trial:06d}.pt" for trial in kept]
    again = HomogeneousStore(AGNN, tmp_path)
    for trial, wanted in enumerate(keys):
        again.restore(trial, 0.1 * trial, wanted)
    for wanted in keys[:2]:
        assert torch.equal(again.inherit(wanted)["w"], store.inherit(wanted)["w"])


def test_weights_files_are_whole_and_safe(tmp_path: Path) -> None:
    write_tensors(tmp_path / "w.pt", {"a": torch.ones(2)})
    assert torch.equal(read_tensors(tmp_path / "w.pt")["a"], torch.ones(2))
    assert [file.name for file in tmp_path.iterdir()] == ["w.pt"]
    (tmp_path / "w.pt").write_bytes(b"nonsense")
    with pytest.raises(RunFolderError, match="not a file of weights"):
        read_tensors(tmp_path / "w.pt")
    torch.save({"a": test_the_best_ancestor_stays}, tmp_path / "evil.pt")
    with pytest.raises(RunFolderError, match="not a file of weights"):
        read_tensors(tmp_path / "evil.pt")
