from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from nichenas.core.config import diff_configs
from nichenas.core.config import load_config
from nichenas.core.config import resolve
from nichenas.core.config_files import shipped_configs
from nichenas.core.errors import ConfigError
from tests.conftest import toy_config


def test_every_shipped_configuration_is_valid() -> None:
    assert {"gnn/cora", "gnn/citeseer", "gnn/digits-knn"} <= set(shipped_configs())
    for name in shipped_configs():
        assert load_config(name).config.name == name.split("/")[1]


def test_shipped_files_are_found_by_path_too() -> None:
    root = Path(__file__).resolve().parents[2]
    assert load_config(str(root / "configs/gnn/cora.yaml")).to_dict() == load_config("gnn/cora").to_dict()


def test_overrides_set_any_field_and_the_resolved_form_resolves_to_itself() -> None:
    resolved = load_config("gnn/cora", ["search.trials=7", "domain.epochs=3", "run.limits.seconds=2.5", "seed=4"])
    assert resolved.search.trials == 7  # type: ignore[attr-defined]
    assert resolved.settings.epochs == 3  # type: ignore[attr-defined]
    again = resolve(resolved.to_dict(), "again")
    assert again.to_dict() == resolved.to_dict()
    assert again.hash == resolved.hash != load_config("gnn/cora").hash


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"serach": {}}, r"toy.yaml: serach: unknown key \(did you mean 'search'\?\); allowed: domain, name"),
        ({"search": {"trails": 3}}, r"search.trails: unknown key \(did you mean 'trials'\?\)"),
        ({"search": {"trials": "many"}}, r"search.trials: .*integer.*\(got 'many'\)"),
        ({"search": {"trials": 0}}, r"search.trials: .*greater than or equal to 1 \(got 0\)"),
        ({"search": {"trials": None}}, "search: a budget is missing"),
        ({"search": {"strategy": "genetic"}}, "search.strategy: unknown strategy 'genetic'"),
        ({"search": {"schedule": "halfing"}}, "search.schedule: .*did you mean 'halving'"),
        ({"search": {"sharing": "all"}}, "search.sharing: unknown rule 'all'.*homogeneous, none"),
        ({"search": {"options": {"evolution": {"popualtion": 3}}}}, "did you mean 'population'"),
        ({"search": {"options": {"evolutoin": {}}}}, "did you mean 'evolution'"),
        (
            {"search": {"sharing": "supernet"}},
            "search.sharing: the domain .* has no shared weights; methods .*: trial$",
        ),
        ({"domain": {"nosie": 1}}, r"domain.nosie: unknown key \(did you mean 'noise'\?\)"),
        ({"domain": {"noise": -1}}, "domain.noise: .*greater than or equal to 0"),
        ({"domain": {"noise": float("nan")}}, "domain.noise: .*finite"),
        ({"domain": {"kind": "gnnn"}}, r"domain.kind: unknown domain 'gnnn' \(did you mean 'gnn'\?\)"),
        ({"domain": {"kind": "no.such:Thing"}}, "domain.kind: the domain 'no.such:Thing' cannot be imported"),
        ({"domain": {"kind": "nichenas.core.space:Choice"}}, "not a subclass"),
        ({"run": {"executor": "thread"}}, "run.executor: unknown executor 'thread'; allowed: processes, ray, serial"),
        ({"run": {"workers": 3}}, "run.workers: 3 workers need run.executor=processes"),
        ({"name": "../evil"}, "name: .*pattern"),
        ({"seed": -1}, "seed: "),
    ],
)
def test_mistakes_are_one_line_with_file_and_key(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        resolve(toy_config(**sections), "toy.yaml")
    assert "\n" not in str(caught.value)


def test_a_wrong_key_of_a_section_that_has_no_default() -> None:
    domain = {"kind": "nichenas.core.testing.toy_one_shot:ToyOneShotDomain"}
    config = {**toy_config(domain=domain), "search": {"sharing": "supernet", "one_shot": {"iteration": [1]}}}
    message = r"search.one_shot.iteration: unknown key \(did you mean 'iterations'\?\); allowed: .*candidates"
    with pytest.raises(ConfigError, match=message):
        resolve(config, "toy.yaml")


def test_a_mistake_in_an_override_is_distinguished_from_one_in_the_file() -> None:
    with pytest.raises(ConfigError, match=r"^search.trials"):
        load_config("gnn/cora", ["search.trials=no"])
    for wrong in ("search.trials", "=3", "a..b=3"):
        with pytest.raises(ConfigError, match="form KEY=VALUE"):
            load_config("gnn/cora", [wrong])


def test_missing_domain_and_kind() -> None:
    with pytest.raises(ConfigError, match="x: domain: missing"):
        resolve({"name": "a"}, "x")
    with pytest.raises(ConfigError, match=r"x: domain\.kind: missing"):
        resolve({"domain": {}}, "x")


def test_differences_name_keys_but_allow_a_longer_budget() -> None:
    one = resolve(toy_config(), "x").to_dict()
    assert diff_configs(one, resolve(toy_config(search={"trials": 50}, retrain={"seeds": 9}), "x").to_dict()) == []
    changed = resolve(toy_config(domain={"noise": 0.5}), "x").to_dict()
    assert diff_configs(one, changed) == ["domain.noise was 0.01 and is 0.5 now"]


def test_resolved_configurations_survive_yaml() -> None:
    resolved = resolve(toy_config(), "x")
    assert resolve(yaml.safe_load(yaml.safe_dump(resolved.to_dict())), "y").hash == resolved.hash
