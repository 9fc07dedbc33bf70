"""Searches the generator of a GAN for a data set; further arguments go to ``nichenas search``.

Examples:
    python scripts/search_gan.py --dataset digits
    python scripts/search_gan.py --dataset cifar10 --inception-weights FILE --device cuda --data-root DIR
    python scripts/search_gan.py --dataset my-images.npz --data-root DIR domain.training.steps=2000
    python scripts/search_gan.py --dataset folder-of-images domain.image_size=32 --extractor inception
"""

from __future__ import annotations

import sys

from nichenas.core.cli import main
from nichenas.core.commands.by_dataset import search_arguments

OTHERS = "fashionmnist"  # judged by a classifier that is trained on the data set's own labels

if __name__ == "__main__":
    sys.exit(main(search_arguments(sys.argv[1:], "gan", OTHERS, __doc__)))
