"""What the scripts of the domains share: a search is named by its data set."""

from __future__ import annotations

import argparse
import re
from pathlib import PurePath

from nichenas.core.config_files import shipped_configs

FILES = (".npz", ".pt", ".pth", ".npy")


def search_arguments(given: list[str], domain: str, others: str, about: str | None) -> list[str]:
    """Returns the arguments of ``nichenas`` for those of a script.

    A data set with a configuration of its own uses that.

    Args:
        given: ``--dataset NAME`` and whatever else ``nichenas search`` takes.
        domain: whose configurations are looked through.
        others: the configuration, of that domain, whose settings any other data set takes.
        about: the script's help.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, help="a name of `nichenas list`, or what else the domain can load")
    own, rest = parser.parse_known_args(given)
    config = f"{domain}/{own.dataset.lower()}"
    if config in shipped_configs():
        return ["search", config, *rest]
    path = PurePath(own.dataset.rstrip("/\\"))
    last = path.stem if path.suffix in FILES else re.split(r"[/\\]", str(path))[-1]
    last = last.rpartition(".")[2] if last.isidentifier() or re.fullmatch(r"[\w.]+\.[A-Z]\w*", last) else last
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", last).strip("-_") or domain
    return ["search", f"{domain}/{others}", f"name={name}", f"domain.dataset={own.dataset}", *rest]
