"""Searches a graph neural network for a data set; further arguments go to ``nichenas search``.

Examples:
    python scripts/search_gnn.py --dataset citeseer --data-root DIR
    python scripts/search_gnn.py --dataset digits-knn search.trials=20 retrain.seeds=3
"""

from __future__ import annotations

import sys

from nichenas.core.cli import main
from nichenas.core.commands.by_dataset import search_arguments

OTHERS = "own-graph"

if __name__ == "__main__":
    sys.exit(main(search_arguments(sys.argv[1:], "gnn", OTHERS, __doc__)))
