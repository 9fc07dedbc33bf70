"""The configuration of a run: one YAML file, validated whole before anything is loaded or written."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import Any

from nichenas.core.capabilities.fidelity import factors_of
from nichenas.core.config_files import merged
from nichenas.core.config_files import parse_override
from nichenas.core.config_files import read_layers
from nichenas.core.config_files import set_value
from nichenas.core.config_schema import ProxiesSection
from nichenas.core.config_schema import RetrainSection
from nichenas.core.config_schema import RunConfig
from nichenas.core.config_schema import RunSection
from nichenas.core.domain import Domain
from nichenas.core.domain_lookup import find_domain
from nichenas.core.errors import ConfigError
from nichenas.core.errors import unknown_name_message
from nichenas.core.execution import EXECUTORS
from nichenas.core.fidelity import STANDARD_FACTORS
from nichenas.core.methods import METHODS
from nichenas.core.methods import Method
from nichenas.core.methods import MethodSettings
from nichenas.core.methods.base import method_name
from nichenas.core.methods.base import part_options
from nichenas.core.proxies.factors import ProxySetting
from nichenas.core.proxies.zero_cost import ZERO_COST
from nichenas.core.schedulers import SCHEDULERS
from nichenas.core.settings import Settings
from nichenas.core.strategies import STRATEGIES
from nichenas.core.validation import validated

# What may change between the sessions of a run: how long it continues, and what is done after the search.
RESUMABLE_KEYS = (
    "name",
    "search.trials",
    "search.seconds",
    "search.total_epochs",
    "retrain",
    "run.tensorboard",
    "proxies.architectures",
    "proxies.zero_cost",
    "proxies.min_correlation",
)
# Keys that had other names once; files with those are still read.
RENAMED_KEYS = {
    ("proxies", "zoo"): "architectures",
    ("proxies", "again"): "repeat_full",
    ("proxies", "wanted"): "min_correlation",
    ("search", "options", "gradient", "recompute"): "activation_checkpointing",
}
OTHER_SECTIONS: dict[str, type[Settings]] = {"retrain": RetrainSection, "run": RunSection, "proxies": ProxiesSection}
# Keys of any method in the single schema that ``search`` had once; run folders of that time hold all of them.
ONCE_SHARED = (
    "trials",
    "epochs",
    "total_epochs",
    "seconds",
    "schedule",
    "proxy",
    "sharing",
    "one_shot",
    "batch",
    "weights",
)


@dataclass(frozen=True)
class RawConfig:
    """A configuration as it is written, before anything is checked.

    Attributes:
        values: of the file, its bases and the overrides, merged.
        source: the file, as it reads in messages.
        overridden: keys that were given beside the file, dotted.
    """

    values: Mapping[str, Any]
    source: str
    overridden: Sequence[str] = ()

    def changed(self, **sections: Mapping[str, Any]) -> RawConfig:
        """Returns a configuration with other values in some sections, key by key."""
        values = copy.deepcopy(dict(self.values))
        for section, changes in sections.items():
            values[section] = {**(values.get(section) or {}), **changes}
        return RawConfig(values, self.source, self.overridden)

    def replaced(self, **top: Any) -> RawConfig:
        """Returns a configuration with whole sections, or other keys at the top, replaced."""
        return RawConfig({**copy.deepcopy(dict(self.values)), **top}, self.source, self.overridden)

    def overlaid(self, changes: Mapping[str, Any], source: str) -> RawConfig:
        """Returns a configuration with changes on top, as those of a file over its base.

        Args:
            source: of the whole, as it reads in messages.
        """
        return RawConfig(_over(self.values, _renamed(changes), merged), source, self.overridden)

    def resolve(self) -> ResolvedConfig:
        """Validates the configuration; see :func:`load_config`."""
        return resolve(self.values, self.source, self.overridden)


@dataclass(frozen=True)
class ResolvedConfig:
    """A validated configuration with what its names stand for.

    Attributes:
        source: the file, as it reads in messages.
        target: of the domain's class, ``module:attribute``.
        settings: the domain's own section, validated.
        search: the method's own section, validated.
        raw: the configuration as it was written.
    """

    config: RunConfig
    source: str
    target: str
    domain: type[Domain]
    settings: Settings
    search: MethodSettings
    raw: RawConfig = field(repr=False)

    @property
    def method(self) -> Method:
        """A fresh search method."""
        return METHODS[self.search.method](self.search, seed=self.config.seed, levels=self.config.proxies.levels)

    def to_dict(self) -> dict[str, Any]:
        """Returns the configuration with every default filled in, as JSON."""
        whole = self.config.model_dump(mode="json")
        whole["domain"] = {"kind": self.config.domain["kind"], **self.settings.model_dump(mode="json")}
        whole["search"] = self.search.model_dump(mode="json")
        return whole

    @property
    def hash(self) -> str:
        """16 hexadecimal digits that change with any resolved value."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]


def load_config(name: str, overrides: Sequence[str] = (), **sections: Mapping[str, Any]) -> ResolvedConfig:
    """Reads and validates a configuration.

    Args:
        name: path of a YAML file, or a shipped configuration such as ``gnn/cora``.
        overrides: ``KEY=VALUE`` pairs, the key dotted, the value YAML.
        sections: further overrides by section, such as ``run={"device": "cpu"}``.

    Raises:
        ConfigError: one line: the file or override, the key, what is wrong and what is allowed.
    """
    return read_raw(name, overrides, sections=sections).resolve()


def read_raw(
    config: str | Mapping[str, Any],
    overrides: Sequence[str] = (),
    top: Mapping[str, Any] | None = None,
    sections: Mapping[str, Mapping[str, Any]] | None = None,
) -> RawConfig:
    """Reads a configuration without checking more than its form; see :func:`load_config`.

    Args:
        config: a file, the name of a shipped one, or the configuration itself.
        top: further overrides of keys outside of sections, such as ``seed``.
        sections: further overrides by section.
    """
    source, layers = read_layers(config)
    values: dict[str, Any] = {}
    for layer in reversed(layers):
        values = _over(values, _renamed(layer), merged)
    given = [parse_override(text) for text in overrides]
    given += [([key], value) for key, value in (top or {}).items()]
    given += [([section, key], value) for section, own in (sections or {}).items() for key, value in own.items()]
    given = [(_renamed_key(key), value) for key, value in given]

    def overriding(below: Mapping[str, Any], _: Mapping[str, Any]) -> dict[str, Any]:
        result = copy.deepcopy(dict(below))
        for key, value in given:
            set_value(result, key, value)
        return result

    top = overriding({}, {})
    values = _over(values, top, overriding)
    return RawConfig(values, source, tuple(".".join(key) for key, _ in given))


def _over(below: Mapping[str, Any], top: Mapping[str, Any], merge: Any) -> dict[str, Any]:
    """Returns one layer over another; where it changes the search method, keys of the former one are dropped."""
    result: dict[str, Any] = merge(below, top)
    old, own, new = (part.get("search") for part in (below, top, result))
    if not (isinstance(old, Mapping) and isinstance(own, Mapping) and isinstance(new, Mapping)):
        return result
    changed = dict(new)
    if "method" not in own and _names_another(str(changed.get("method")), own):
        del changed["method"]
    if method_name(changed) != method_name(old):
        known = _keys_of(method_name(changed))
        changed = {key: value for key, value in changed.items() if key in own or known is None or key in known}
    return {**result, "search": changed}


def _names_another(method: str, own: Mapping[str, Any]) -> bool:
    """Returns whether ``strategy`` or ``sharing`` of a layer say that the search is of another method than named below.

    Only the methods that these two keys can name are meant; a method of another package may have keys of that name.
    """
    strategy, sharing = own.get("strategy"), own.get("sharing")
    if method == "gradient":
        return ("strategy" in own and strategy != "gradient") or sharing == "supernet"
    if method == "one-shot":
        return strategy == "gradient" or ("sharing" in own and sharing != "supernet")
    return method == "trial" and (strategy == "gradient" or sharing == "supernet")


def _keys_of(method: str) -> set[str] | None:
    """Returns the keys of a method's section; none where there is no such method."""
    try:
        return set(METHODS[method].Options.model_fields)
    except ConfigError:
        return None


def _renamed_key(key: Sequence[str]) -> list[str]:
    *before, last = key
    return [*before, RENAMED_KEYS.get(tuple(key), last)]


def _renamed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns values with the present names of keys that were renamed."""
    result = copy.deepcopy(dict(values))
    for (*path, old), new in RENAMED_KEYS.items():
        section: Any = result
        for part in path:
            section = section.get(part) if isinstance(section, dict) else None
        if isinstance(section, dict) and old in section and new not in section:
            section[new] = section.pop(old)
    search = result.get("search")
    if isinstance(search, dict) and "method" not in search and set(ONCE_SHARED) <= set(search):
        result["search"] = _own_keys(search)  # written by a run when all methods had one schema
    return result


def _own_keys(search: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a ``search`` section without the keys that only other methods use."""
    known = _keys_of(method_name(search)) or set()
    return {key: value for key, value in search.items() if key in known or key not in ONCE_SHARED}


def resolve(values: Mapping[str, Any], source: str, overridden: Sequence[str] = ()) -> ResolvedConfig:
    """Validates a configuration given as a mapping; see :func:`load_config`."""
    raw = RawConfig(_renamed(values), source, overridden)
    try:
        return _resolve(raw)
    except ConfigError as error:
        key = error.key
        if not key:
            raise
        given = any(key == k or key.startswith(f"{k}.") for k in overridden)  # beside the file, so not a line of it
        raise ConfigError(f"{key if given else f'{source}: {key}'}: {error.message}") from None


def resolve_stored(values: Mapping[str, Any], source: str) -> ResolvedConfig:
    """Validates the configuration that a run folder holds, which an older version may have written."""
    stored = _renamed(values)
    search = stored.get("search")
    if isinstance(search, Mapping) and "method" not in search:
        stored["search"] = _own_keys(search)
    proxies = stored.get("proxies")
    levels = proxies.get("levels") if isinstance(proxies, Mapping) else None
    for name, factor in STANDARD_FACTORS.items():  # defaults, which were written down once
        if isinstance(levels, dict) and levels.get(name) in (list(factor.levels), factor.levels):
            del levels[name]
    return resolve(stored, source)


def _resolve(raw: RawConfig) -> ResolvedConfig:
    config = validated(RunConfig, raw.values)
    kind = config.domain.get("kind")
    if not isinstance(kind, str):
        raise ConfigError("missing; it names the domain, such as 'gnn'", "domain.kind")
    target, domain = find_domain(kind)
    own = {key: value for key, value in config.domain.items() if key != "kind"}
    _check_domain_keys(domain, own, config)
    settings = validated(domain.Settings, own, ("domain",))
    name = method_name(config.search)
    try:
        method = METHODS[name]
    except ConfigError as error:
        raise ConfigError(error.message, "search.method") from None
    try:
        method.check_needs(kind, domain)
    except ConfigError as error:
        said = "method" if "method" in config.search else "strategy" if name == "gradient" else "sharing"
        raise ConfigError(error.message, f"search.{said}") from None
    _check_keys(name, config.search)
    search = validated(method.Options, {**config.search, "method": name}, ("search",))
    resolved = ResolvedConfig(
        config, raw.source, target=target, domain=domain, settings=settings, search=search, raw=raw
    )
    part_options((STRATEGIES, SCHEDULERS, METHODS), search.options)
    resolved.method.check(kind, domain)
    _check_run(config, resolved.method)
    _check_proxies(config.proxies, domain)
    return resolved


def _check_domain_keys(domain: type[Domain], own: Mapping[str, Any], config: RunConfig) -> None:
    """Refuses keys that belong to another section, and says to which."""
    sections = {"search": _keys_of(method_name(config.search)) or set()}
    sections.update((name, set(part.model_fields)) for name, part in OTHER_SECTIONS.items())
    for key in own:
        if key not in domain.Settings.model_fields:
            for section, keys in sections.items():
                if key in keys:
                    raise ConfigError(f"unknown key (did you mean '{section}.{key}'?)", f"domain.{key}")


def _check_keys(name: str, search: Mapping[str, Any]) -> None:
    """Refuses keys that another method has."""
    for key in search:
        if key not in METHODS[name].Options.model_fields:
            owners = [other for other in METHODS if key in METHODS[other].Options.model_fields]
            if owners:
                raise ConfigError(
                    f"the method '{name}' does not use it; it belongs to: {', '.join(owners)}", f"search.{key}"
                )


def _check_run(config: RunConfig, method: Method) -> None:
    run = config.run
    try:
        executor = EXECUTORS[run.executor]
    except ConfigError as error:
        raise ConfigError(error.message, "run.executor") from None
    if not executor.parallel and run.workers != 1:
        raise ConfigError(f"{run.workers} workers need run.executor=processes; {run.executor} has 1", "run.workers")
    if not method.trains_candidates:
        for key in ("seconds", "memory_mb"):
            if getattr(run.limits, key) is not None:
                raise ConfigError("this search method trains no candidate alone; allowed: null", f"run.limits.{key}")
    if not method.measures_candidates and run.order != "strict":
        raise ConfigError("this search method measures in one order; allowed: strict", "run.order")


def _check_proxies(proxies: ProxiesSection, domain: type[Domain]) -> None:
    for name in proxies.levels:
        if name not in factors_of(domain):
            raise ConfigError(unknown_name_message("factor", name, factors_of(domain)), f"proxies.levels.{name}")
    for name in proxies.settings or ():
        try:
            ProxySetting.parse(name)
        except ConfigError as error:
            raise ConfigError(error.message, "proxies.settings") from None
    for name in proxies.zero_cost or ():
        try:
            ZERO_COST[name]
        except ConfigError as error:
            raise ConfigError(error.message, "proxies.zero_cost") from None


def diff_configs(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Returns what differs between two resolved configurations and must not on resume, one phrase a key."""
    one, other = dict(_flat(old)), dict(_flat(new))
    result = []
    for key in sorted({*one, *other}):
        free = any(key == name or key.startswith(f"{name}.") for name in RESUMABLE_KEYS)
        if not free and one.get(key) != other.get(key):
            result.append(f"{key} was {_show(one.get(key))} and is {_show(other.get(key))} now")
    return result


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{name}.")
        else:
            yield name, value


def _show(value: Any) -> str:
    return "absent" if value is None else str(value)
