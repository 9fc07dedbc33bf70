"""Configuration files: found by path or among those shipped, read as plain YAML, merged with their bases."""

from __future__ import annotations

import os
from collections.abc import Mapping
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from nichenas.core.errors import ConfigError
from nichenas.core.errors import did_you_mean
from nichenas.core.errors import shortened
from nichenas.core.plain_yaml import MAX_DEPTH
from nichenas.core.plain_yaml import YamlError
from nichenas.core.plain_yaml import parse_yaml

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

SHIPPED = "nichenas.configs"
STUDIES = "studies"  # folder of a domain's studies, among its configurations


def shipped_configs() -> list[str]:
    """Returns the names of the configurations in the package, such as ``gnn/cora``."""
    return sorted(_shipped("."))


def shipped_studies() -> list[str]:
    """Returns the names of the studies in the package, such as ``binary/bats-claims``."""
    return sorted(_shipped(STUDIES))


def _shipped(below: str) -> dict[str, Traversable]:
    """Returns files by name: the domain's folder, and the file in it, or in a folder of that."""
    domains = [folder for folder in resources.files(SHIPPED).iterdir() if folder.is_dir()]
    folders = [(domain.name, domain if below == "." else domain / below) for domain in domains]
    return {
        f"{name}/{file.name.removesuffix('.yaml')}": file
        for name, folder in folders
        if folder.is_dir()
        for file in folder.iterdir()
        if file.name.endswith(".yaml")
    }


def read_study(study: str) -> tuple[str, dict[str, Any]]:
    """Reads the file of a study.

    Args:
        study: a file, or the name of a shipped one.

    Returns:
        The file as it reads in messages, and what it holds.

    Raises:
        ConfigError: when it is missing or not valid YAML.
    """
    return _read(study, _shipped(STUDIES), "study")


def read_layers(config: str | Mapping[str, Any]) -> tuple[str, list[dict[str, Any]]]:
    """Reads a configuration, the one that its ``base`` names, the base of that, and so on.

    Args:
        config: a file, the name of a shipped one, or what it would hold.

    Returns:
        The file as it reads in messages, and what the files hold, the named one first.

    Raises:
        ConfigError: when a file is missing, not valid YAML, or a base of itself.
    """
    source, raw = _read(config) if isinstance(config, str) else ("the configuration", dict(config))
    seen, layers = [config if isinstance(config, str) else ""], [raw]
    while "base" in layers[-1]:
        base = layers[-1].pop("base")
        if base not in shipped_configs():
            beside = isinstance(base, str) and Path(base).name == base
            file = str(Path(seen[-1]).parent / base) if beside else ""
            if not os.path.isfile(file):
                shown = shortened(str(base))
                hint = did_you_mean(str(base), shipped_configs())
                raise ConfigError(
                    f"{source}: base: '{shown}' is no shipped configuration{hint}, nor a file beside this one"
                )
            base = file
        if base in seen:
            raise ConfigError(f"{source}: base: '{base}' is a circular base")
        seen.append(base)
        layers.append(_read(base)[1])
    return source, layers


def merged(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """Returns two configurations as one: mappings merged key by key, everything else from the upper one."""
    result = dict(base)
    for key, value in top.items():
        below = result.get(key)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        result[key] = merged(below, value) if both else value  # type: ignore[arg-type]
    return result


def _read(
    name: str, shipped: Mapping[str, Traversable] | None = None, kind: str = "configuration"
) -> tuple[str, dict[str, Any]]:
    shown, known = shortened(name, 200), _shipped(".") if shipped is None else shipped
    if os.path.isfile(name):  # unlike Path.is_file, it raises nothing for a name that no file can have
        source = shown
        try:
            text = Path(name).read_text(encoding="utf-8-sig")
        except OSError as error:
            raise ConfigError(f"{source}: cannot be read ({error.strerror})") from None
        except UnicodeDecodeError as error:
            raise ConfigError(f"{source}: not UTF-8 ({error.reason} at byte {error.start})") from None
    elif name in known:
        source = f"{name} (shipped)"
        text = known[name].read_text(encoding="utf-8")
    elif os.path.isdir(name):
        raise ConfigError(f"'{shown}' is a folder; name a YAML file or one of: {', '.join(sorted(known))}")
    else:
        hint = did_you_mean(name, known)
        raise ConfigError(f"no {kind} '{shown}'{hint}; name a YAML file or one of: {', '.join(sorted(known))}")
    try:
        raw = parse_yaml(text)
    except YamlError as error:
        raise ConfigError(f"{source}{f':{error.line}' if error.line else ''}: {error.message}") from None
    if not isinstance(raw, dict):
        keys = "name, base and claims" if kind == "study" else "name, domain and search"
        raise ConfigError(f"{source}: is not a mapping; a {kind} has keys such as {keys}")
    return source, raw


def set_value(raw: dict[str, Any], key: Sequence[str], value: Any) -> None:
    """Sets a value in nested mappings, in place; mappings on the way to it are made where they are missing."""
    for part in key[:-1]:
        inner = raw.get(part)
        if not isinstance(inner, dict):
            inner = raw[part] = {}
        raw = inner
    raw[key[-1]] = value


def parse_override(text: str) -> tuple[list[str], Any]:
    """Returns the key and value of ``KEY=VALUE``.

    Raises:
        ConfigError: when it is not of that form.
    """
    key, equals, value = text.partition("=")
    parts = key.strip().split(".")
    shown = shortened(text, 200)
    if not equals or not all(parts):
        raise ConfigError(f"'{shown}': overrides have the form KEY=VALUE, such as search.trials=20")
    if len(parts) > MAX_DEPTH:
        raise ConfigError(f"'{shown}': nested deeper than {MAX_DEPTH} levels")
    try:
        return parts, parse_yaml(value)
    except YamlError as error:
        raise ConfigError(f"'{shown}': {error.message}") from None
