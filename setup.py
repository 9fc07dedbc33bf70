"""Where the packages are: ``core/``, ``domains/`` and ``configs/`` at the top are imported below ``nichenas``."""

from __future__ import annotations

from setuptools import find_packages
from setuptools import setup

FOLDERS = ("core", "domains", "configs")

found = [name for folder in FOLDERS for name in find_packages(include=[folder, f"{folder}.*"])]
setup(
    packages=["nichenas", *(f"nichenas.{name}" for name in found)],
    package_dir={"nichenas": "nichenas", **{f"nichenas.{folder}": folder for folder in FOLDERS}},
)
