"""The configuration of a run: one YAML file, validated whole before anything is loaded or written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from typing import Literal
from typing import get_args

from nichenas.core.config_files import parse_override
from nichenas.core.config_files import read_config
from nichenas.core.config_files import set_value
from nichenas.core.domain import Domain
from nichenas.core.domain import Settings
from nichenas.core.domain_lookup import find_domain
from nichenas.core.errors import ConfigError
from nichenas.core.errors import did_you_mean
from nichenas.core.errors import unknown
from nichenas.core.gradient.options import GRADIENT
from nichenas.core.gradient.options import GradientOptions
from nichenas.core.gradient.supernet import GradientDomain
from nichenas.core.proxies import SCHEDULES
from nichenas.core.proxies.factors import Levels
from nichenas.core.proxies.factors import ReducedSetting
from nichenas.core.proxies.zero_cost import ZERO_COST
from nichenas.core.sharing.one_shot import SUPERNET
from nichenas.core.sharing.one_shot import OneShotDomain
from nichenas.core.sharing.one_shot import OneShotOptions
from nichenas.core.strategies import STRATEGIES
from pydantic import BaseModel
from pydantic import Field
from pydantic import ValidationError

# What may change between the sessions of a run: how long it goes on, and what is done after the search.
FREE_ON_RESUME = (
    "name",
    "search.trials",
    "search.seconds",
    "search.total_epochs",
    "retrain",
    "run.tensorboard",
    "proxies.zoo",
    "proxies.zero_cost",
    "proxies.wanted",
)


# Every way to search, with the schema of its options.
SEARCHES: Mapping[str, type[Settings]] = {
    **{name: STRATEGIES[name].Options for name in STRATEGIES},
    GRADIENT: GradientOptions,
}


class SearchSection(Settings):
    """The ``search`` section.

    Attributes:
        strategy: a name of ``nichenas list``.
        trials: budget; none for no limit. A gradient search has epochs instead, a one-shot search iterations.
        epochs: of a gradient search; others have trials.
        total_epochs: budget: epochs that all trials of a trial search train together; none for no limit.
        seconds: budget; none for no limit. No trial is begun after it. Where trials are looked up in a table that
            knows how long they took, these seconds count.
        schedule: of fidelities; ``full`` measures every proposal once, at the same setting.
        proxy: reduced setting that counts as a complete measurement, such as ``c2r0s0e10``; by default the full one.
        sharing: ``none``; one of the domain's rules for inheriting trained weights; or ``supernet``, which trains
            one network for all architectures (a one-shot search).
        one_shot: settings of a one-shot search.
        batch: proposals asked and evaluated together.
        options: of strategies and schedules, by name; those that this run does not use are checked all the same.
        weights: of the objectives in the score; by default the primary objective alone counts.
    """

    strategy: str = "conservative"
    trials: int | None = Field(100, ge=1)
    epochs: int | None = Field(None, ge=1)
    total_epochs: int | None = Field(None, ge=1)
    seconds: float | None = Field(None, gt=0)
    schedule: str = "full"
    proxy: str | None = None
    sharing: str = "none"
    one_shot: OneShotOptions | None = None
    batch: int = Field(1, ge=1)
    options: dict[str, dict[str, Any]] = Field(default_factory=dict)
    weights: dict[str, float] | None = None

    @property
    def driver(self) -> Literal["trial", "gradient", "one-shot"]:
        """Which driver runs the search."""
        if self.strategy == GRADIENT:
            return "gradient"
        return "one-shot" if self.sharing == SUPERNET else "trial"


class ProxiesSection(Settings):
    """The ``proxies`` section: reduced settings, and the study of whether they keep the ranking.

    Attributes:
        levels: what the levels in names of settings stand for.
        zoo: how many random architectures the study trains.
        settings: that it compares with the full one; by default one for every factor at a quarter of the cost, and
            their combinations.
        again: whether the full setting is trained a second time, with other randomness: no proxy can be expected to
            agree with it better than it agrees with itself.
        zero_cost: scores of untrained networks that are compared too; by default all there are.
        wanted: rank correlation from which a proxy is good enough.
    """

    levels: Levels = Levels()
    zoo: int = Field(30, ge=4)
    settings: tuple[str, ...] | None = None
    again: bool = True
    zero_cost: tuple[str, ...] | None = None
    wanted: float = Field(0.8, gt=0, le=1)


class RetrainSection(Settings):
    """The ``retrain`` section.

    Attributes:
        top: how many of the best architectures are trained in full.
        seeds: with how many seeds each; 0 for no retraining, and then no test figures.
        baselines: whether the domain's baselines are trained with the same seeds.
        seconds: limit of one full training; none for no limit.
    """

    top: int = Field(3, ge=1)
    seeds: int = Field(10, ge=0)
    baselines: bool = True
    seconds: float | None = Field(None, gt=0)


class LimitsSection(Settings):
    """Limits of one candidate; those cut off are counted.

    Attributes:
        seconds: of training.
        memory_mb: that it is estimated to need.
    """

    seconds: float | None = Field(None, gt=0)
    memory_mb: float | None = Field(None, gt=0)


class RunSection(Settings):
    """The ``run`` section.

    Attributes:
        executor: ``serial`` in this process, ``processes`` in others, ``ray`` in actors of a Ray cluster.
        workers: number of processes or actors.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        order: of telling; ``asap`` uses workers better, but the answer depends on timing.
        tensorboard: whether event files are written.
    """

    executor: Literal["serial", "processes", "ray"] = "serial"
    workers: int = Field(1, ge=1, le=1024)
    device: str = "auto"
    order: Literal["strict", "asap"] = "strict"
    limits: LimitsSection = LimitsSection()
    tensorboard: bool = True


class RunConfig(Settings):
    """A whole configuration."""

    name: str = Field("run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    seed: int = Field(0, ge=0, lt=2**63)
    domain: dict[str, Any]
    search: SearchSection = SearchSection()
    retrain: RetrainSection = RetrainSection()
    run: RunSection = RunSection()
    proxies: ProxiesSection = ProxiesSection()


@dataclass(frozen=True)
class Resolved:
    """A validated configuration with what its names stand for.

    Attributes:
        source: the file, as it reads in messages.
        target: of the domain's class, ``module:attribute``.
        settings: the domain's own section, validated.
        strategy_options: the strategy's own section, validated.
        schedule_options: the schedule's.
    """

    config: RunConfig
    source: str
    target: str
    domain: type[Domain]
    settings: Settings
    strategy_options: Settings
    schedule_options: Settings

    def to_dict(self) -> dict[str, Any]:
        """Returns the configuration with every default filled in, as JSON."""
        whole = self.config.model_dump(mode="json")
        whole["domain"] = {"kind": self.config.domain["kind"], **self.settings.model_dump(mode="json")}
        return whole

    @property
    def hash(self) -> str:
        """16 hexadecimal digits that change with any resolved value."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]


def load_config(name: str, overrides: Sequence[str] = (), **sections: Mapping[str, Any]) -> Resolved:
    """Reads and validates a configuration.

    Args:
        name: path of a YAML file, or a shipped configuration such as ``gnn/cora``.
        overrides: ``KEY=VALUE`` pairs, the key dotted, the value YAML.
        sections: further overrides by section, such as ``run={"device": "cpu"}``.

    Raises:
        ConfigError: one line: the file or override, the key, what is wrong and what is allowed.
    """
    source, raw = read_config(name)
    overridden = []
    for text in overrides:
        key, value = parse_override(text)
        set_value(raw, key, value)
        overridden.append(".".join(key))
    for section, values in sections.items():
        for key_in_section, value in values.items():
            set_value(raw, [section, key_in_section], value)
            overridden.append(f"{section}.{key_in_section}")
    return resolve(raw, source, overridden)


def resolve(raw: Mapping[str, Any], source: str, overridden: Sequence[str] = ()) -> Resolved:
    """Validates a configuration given as a mapping; see :func:`load_config`."""

    def fail(key: str, message: str) -> ConfigError:
        where = "KEY=VALUE" if any(key == k or key.startswith(f"{k}.") for k in overridden) else source
        return ConfigError(f"{where}: {key}: {message}")

    config = _validate(RunConfig, raw, (), fail)
    kind = config.domain.get("kind")
    if not isinstance(kind, str):
        raise fail("domain.kind", "missing; it names the domain, such as 'gnn'")
    target, domain = _relabelled(fail, find_domain, kind)
    own = {key: value for key, value in config.domain.items() if key != "kind"}
    settings = _validate(domain.Settings, own, ("domain",), fail)
    search, run = config.search, config.run
    if search.strategy not in SEARCHES:
        raise fail("search.strategy", unknown("strategy", search.strategy, SEARCHES))
    if search.schedule not in SCHEDULES:
        raise fail("search.schedule", unknown("schedule", search.schedule, SCHEDULES))
    schemas = {**SEARCHES, **{name: SCHEDULES[name].Options for name in SCHEDULES}}
    for name, options in search.options.items():
        if name not in schemas:
            raise fail(f"search.options.{name}", unknown("strategy or schedule", name, schemas))
        _validate(schemas[name], options, ("search", "options", name), fail)
    strategy_options, schedule_options = (
        _validate(schemas[name], search.options.get(name, {}), ("search", "options", name), fail)
        for name in (search.strategy, search.schedule)
    )
    if search.driver == "gradient":
        _check_gradient(search, kind, domain, fail)
    elif search.driver == "one-shot":
        _check_one_shot(search, kind, domain, fail)
    elif search.trials is None and search.seconds is None and search.total_epochs is None:
        raise fail("search", "a budget is missing; give search.trials, search.total_epochs or search.seconds")
    _check_schedule(search, kind, domain, fail)
    allowed = ["none", *domain.sharing_rules, *([SUPERNET] if issubclass(domain, OneShotDomain) else [])]
    if search.sharing not in allowed:
        raise fail("search.sharing", f"{unknown('rule', search.sharing, allowed)} (for the domain '{kind}')")
    _check_proxies(config.proxies, fail)
    if run.executor == "serial" and run.workers != 1:
        raise fail("run.workers", f"{run.workers} workers need run.executor=processes; serial has 1")
    return Resolved(config, source, target, domain, settings, strategy_options, schedule_options)


def _check_schedule(search: SearchSection, kind: str, domain: type[Domain], fail: Any) -> None:
    if search.driver != "trial":
        for key, default in (("schedule", "full"), ("proxy", None), ("total_epochs", None)):
            if getattr(search, key) != default:
                what = f"a {search.driver} search trains no candidate alone"
                raise fail(f"search.{key}", f"{what}; allowed: {'null' if default is None else default}")
    if SCHEDULES[search.schedule].continues:
        if not domain.continues:
            raise fail("search.schedule", f"the domain '{kind}' cannot go on with a trial's training; allowed: full")
        if search.sharing != "none":
            raise fail(
                "search.sharing",
                f"trials of the schedule '{search.schedule}' go on from their own weights; allowed: none",
            )
    if search.proxy is not None:
        try:
            ReducedSetting.parse(search.proxy)
        except ConfigError as error:
            raise fail("search.proxy", str(error)) from None


def _check_proxies(proxies: ProxiesSection, fail: Any) -> None:
    for name in proxies.settings or ():
        try:
            ReducedSetting.parse(name)
        except ConfigError as error:
            raise fail("proxies.settings", str(error)) from None
    for name in proxies.zero_cost or ():
        if name not in ZERO_COST:
            raise fail("proxies.zero_cost", unknown("zero-cost proxy", name, ZERO_COST))


def _check_gradient(search: SearchSection, kind: str, domain: type[Domain], fail: Any) -> None:
    if not issubclass(domain, GradientDomain):
        others = ", ".join(STRATEGIES)
        raise fail("search.strategy", f"the domain '{kind}' has no supernet for 'gradient'; it can take: {others}")
    if search.epochs is None:
        raise fail("search.epochs", "missing; a gradient search needs its number of epochs")
    if search.sharing != "none":
        raise fail("search.sharing", "a gradient search shares all weights in its supernet already; allowed: none")


def _check_one_shot(search: SearchSection, kind: str, domain: type[Domain], fail: Any) -> None:
    if not issubclass(domain, OneShotDomain):
        allowed = ", ".join(["none", *domain.sharing_rules])
        raise fail("search.sharing", f"the domain '{kind}' has no '{SUPERNET}' to share; allowed: {allowed}")
    if search.one_shot is None:
        raise fail("search.one_shot", "missing; a one-shot search needs iterations and shared_epochs or shared_steps")
    if search.seconds is not None:
        raise fail("search.seconds", "a one-shot search ends after its iterations; allowed: null")
    if search.weights is not None:
        raise fail("search.weights", "a one-shot search scores by the domain's reward; allowed: null")


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Returns what differs between two resolved configurations and must not on resume, one phrase a key."""
    one, other = dict(_flat(old)), dict(_flat(new))
    result = []
    for key in sorted({*one, *other}):
        free = any(key == name or key.startswith(f"{name}.") for name in FREE_ON_RESUME)
        if not free and one.get(key) != other.get(key):
            result.append(f"{key} was {_show(one.get(key))} and is {_show(other.get(key))} now")
    return result


def _relabelled(fail: Any, call: Any, argument: str) -> Any:
    try:
        return call(argument)
    except ConfigError as error:
        key, _, message = str(error).partition(": ")
        raise fail(key, message) from None


def _validate(model: type[Any], values: Any, prefix: tuple[str, ...], fail: Any) -> Any:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        location = tuple(str(part) for part in first["loc"])
        key = ".".join((*prefix, *location)) or "the configuration"
        raise fail(key, _message(first, model, location)) from None


def _message(error: Any, model: type[BaseModel], location: tuple[str, ...]) -> str:
    kind, given = error["type"], error.get("input")
    if kind == "extra_forbidden":
        allowed = _fields(model, location[:-1])
        return f"unknown key{did_you_mean(location[-1], allowed)}; allowed: {', '.join(sorted(allowed))}"
    if kind == "missing":
        return "missing"
    message = str(error["msg"]).removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if kind == "literal_error" and isinstance(given, str):
        expected = [word for word in str(error["ctx"]["expected"]).replace(" or ", ", ").split("'") if word.strip(", ")]
        message = f"{message}{did_you_mean(given, expected)}"
    return f"{message} (got {given!r})"


def _fields(model: type[BaseModel], location: tuple[str, ...]) -> list[str]:
    for part in location:
        annotation = model.model_fields[part].annotation
        # A section that may be left out is one of a union.
        sections = [a for a in (annotation, *get_args(annotation)) if isinstance(a, type) and issubclass(a, BaseModel)]
        if not sections:
            return []
        model = sections[0]
    return list(model.model_fields)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{name}.")
        else:
            yield name, value


def _show(value: Any) -> str:
    return "absent" if value is None else str(value)
