"""Searches a graph neural network for a data set; further arguments go to ``nichenas search``.

Examples:
    python scripts/search_gnn.py --dataset citeseer --data-root DIR
    python scripts/search_gnn.py --dataset digits-knn search.trials=20 retrain.seeds=3
"""

from __future__ import annotations

import argparse
import sys

from core.cli import main
from core.config import shipped_configs

DOMAIN = "gnn"


def arguments(given: list[str]) -> list[str]:
    """Returns the arguments of ``nichenas`` for those of this script.

    A data set with a configuration of its own uses that; any other takes Cora's settings.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, help="a name of `nichenas list`, or a PyG class by dotted name")
    own, rest = parser.parse_known_args(given)
    config = f"{DOMAIN}/{own.dataset.lower()}"
    if config in shipped_configs():
        return ["search", config, *rest]
    name = own.dataset.rpartition(".")[2]
    return ["search", f"{DOMAIN}/cora", f"name={name}", f"domain.dataset={own.dataset}", *rest]


if __name__ == "__main__":
    sys.exit(main(arguments(sys.argv[1:])))
