"""Searches a binary network for a data set; further arguments go to ``nichenas search``.

Examples:
    python scripts/search_binary.py --dataset digits
    python scripts/search_binary.py --dataset my-images.npz --data-root DIR search.epochs=20 retrain.seeds=3
    python scripts/search_binary.py --dataset folder-of-classes domain.image_size=32 --device cuda
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import PurePath

from core.cli import main
from core.config import shipped_configs

DOMAIN = "binary"
OTHERS = f"{DOMAIN}/fashionmnist"  # a search that a workstation does in hours


def arguments(given: list[str]) -> list[str]:
    """Returns the arguments of ``nichenas`` for those of this script.

    A data set with a configuration of its own uses that; any other takes Fashion-MNIST's settings.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, help="a name of `nichenas list`, a folder of images, or an .npz")
    own, rest = parser.parse_known_args(given)
    config = f"{DOMAIN}/{own.dataset.lower()}"
    if config in shipped_configs():
        return ["search", config, *rest]
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", PurePath(own.dataset).stem).strip("-._") or "images"
    return ["search", OTHERS, f"name={name}", f"domain.dataset={own.dataset}", *rest]


if __name__ == "__main__":
    sys.exit(main(arguments(sys.argv[1:])))
