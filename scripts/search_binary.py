"""Searches a binary network for a data set; further arguments go to ``nichenas search``.

Examples:
    python scripts/search_binary.py --dataset digits
    python scripts/search_binary.py --dataset my-images.npz --data-root DIR search.epochs=20 retrain.seeds=3
    python scripts/search_binary.py --dataset folder-of-classes domain.image_size=32 --device cuda
"""

from __future__ import annotations

import sys

from nichenas.core.cli import main
from nichenas.core.commands.by_dataset import search_arguments

OTHERS = "fashionmnist"  # a search that a workstation does in hours

if __name__ == "__main__":
    sys.exit(main(search_arguments(sys.argv[1:], "binary", OTHERS, __doc__)))
