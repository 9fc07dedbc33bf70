"""Configuration files: found by path or among those shipped, read as plain YAML, merged with their bases."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from nichenas.core.errors import ConfigError
from nichenas.core.errors import did_you_mean

SHIPPED = "nichenas.configs"


def shipped_configs() -> list[str]:
    """Returns the names of the configurations in the package, such as ``gnn/cora``."""
    root = resources.files(SHIPPED)
    return sorted(
        f"{folder.name}/{file.name.removesuffix('.yaml')}"
        for folder in root.iterdir()
        if folder.is_dir()
        for file in folder.iterdir()
        if file.name.endswith(".yaml")
    )


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
        beside = isinstance(base, str) and Path(base).name == base and len(base) < 256
        if base not in shipped_configs() and not beside:
            hint = did_you_mean(str(base)[:100], shipped_configs())
            raise ConfigError(
                f"{source}: base: '{str(base)[:100]}' is no shipped configuration{hint}, nor a file beside this one"
            )
        if base not in shipped_configs():
            base = str(Path(seen[-1]).parent / base)
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


def _read(name: str) -> tuple[str, dict[str, Any]]:
    path = Path(name)
    if path.is_file():
        source = str(path)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{source}: cannot be read ({error})") from None
    elif name in shipped_configs():
        source = f"{name} (shipped)"
        text = resources.files(SHIPPED).joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    else:
        hint = did_you_mean(name, shipped_configs())
        raise ConfigError(
            f"no configuration '{name}'{hint}; name a YAML file or one of: {', '.join(shipped_configs())}"
        )
    try:
        raw = yaml.load(text, _UniqueKeyLoader)  # noqa: S506  (a SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigError(f"{source}{line}: not YAML ({getattr(error, 'problem', error)})") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{source}: holds no mapping; a configuration has keys such as name, domain and search")
    return source, raw


class _UniqueKeyLoader(yaml.SafeLoader):
    """Safe YAML in which a key that stands twice is an error rather than the last one winning."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.value in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key '{key_node.value}' stands twice", problem_mark=key_node.start_mark
                )
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


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
    if not equals or not all(parts):
        raise ConfigError(f"'{text}': overrides have the form KEY=VALUE, such as search.trials=20")
    try:
        return parts, yaml.safe_load(value)
    except yaml.YAMLError:
        raise ConfigError(f"'{text}': the value is no YAML") from None
