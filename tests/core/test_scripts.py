from __future__ import annotations

import pytest

from nichenas.core.commands.by_dataset import search_arguments
from nichenas.core.config import load_config


@pytest.mark.parametrize(
    ("dataset", "domain", "others", "expected"),
    [
        ("digits", "gan", "fashionmnist", ["search", "gan/digits"]),
        ("CIFAR10", "gan", "fashionmnist", ["search", "gan/cifar10"]),
        (
            "dir/my images.npz",
            "gan",
            "fashionmnist",
            ["search", "gan/fashionmnist", "name=my-images", "domain.dataset=dir/my images.npz"],
        ),
        (
            "torch_geometric.datasets.WikiCS",
            "gnn",
            "cora",
            ["search", "gnn/cora", "name=WikiCS", "domain.dataset=torch_geometric.datasets.WikiCS"],
        ),
    ],
)
def test_a_data_set_names_a_configuration(dataset: str, domain: str, others: str, expected: list[str]) -> None:
    found = search_arguments(["--dataset", dataset, "retrain.seeds=3"], domain, others, None)
    assert found == [*expected, "retrain.seeds=3"]
    load_config(found[1], found[2:])
