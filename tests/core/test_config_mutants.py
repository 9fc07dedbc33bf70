"""Configurations with mistakes of every kind: each is read, or refused in one line."""

from __future__ import annotations

import copy
import json
import random
import re
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from nichenas.core.cli import main
from nichenas.core.config import load_config
from nichenas.core.config import resolve_stored
from nichenas.core.config_files import shipped_configs
from nichenas.core.errors import ConfigError
from nichenas.core.plain_yaml import parse_yaml

ROOT = Path(__file__).resolve().parents[2]
MUTANTS = 700
DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
KEYS = ("base", "name", "kind", "method", "strategy", "options", "0", "", "a.b", "é\n", "\x1b[31m", "x" * 5000)
WORDS = (
    *("gnn", "../../etc", ".x", "os.path", "os:system", "no.such:Thing", "a." * 3000 + "b", "gnn/cora", "y" * 300),
    *("gradient", "supernet", "halving", "full:c9", "c2r0s0e10", "null", "\0", "1e999", "auto"),
)
NUMBERS = (-1, 0, 1, 3, 10**30, -(10**400), 0.5, -0.0, 1e308, float("nan"), float("inf"), True, False)
LINES = (
    *("? [1, 2]\n: 3", "? {a: b}\n: c", "<<: {a: 1}", "<<: 3", "  - [", "\tx: 1", "--- ", "...", "&a a: *a", "x: *y"),
    *("!!python/object:os.system {}", "x: !!binary aGk=", "x: 2024-13-45", "x: 2024-01-01", "x: !!int a", "x: 0x_"),
    *("x: !!set {a}", "1: 2", "on: off", "x: 1:99", "x: !!bool a", "%YAML 9.9", "x: |", "'", "x: \x07", "#", "a b"),
    '"\\ud800"',
)


def any_value(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.randrange(6 if depth > 2 else 8)
    if kind < 2:
        return rng.choice(WORDS)
    if kind < 4:
        return rng.choice(NUMBERS)
    if kind < 6:
        return rng.choice((None, "", [], {}))
    inner = [any_value(rng, depth + 1) for _ in range(rng.randint(1, 3))]
    return inner if kind == 6 else {rng.choice(KEYS): value for value in inner}


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yields every container in a value with each of its keys."""
    for key, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(inner, (dict, list)):
            yield from places(inner)


def mutated_values(values: dict[str, Any], rng: random.Random) -> str:
    for _ in range(rng.randint(1, 3)):
        where, key = rng.choice([*places(values)] or [(values, "name")])
        action = rng.randrange(5)
        if action == 0 and key in (where if isinstance(where, dict) else range(len(where))):
            del where[key]
        elif action == 1:
            where[key] = any_value(rng)
        elif action == 2:
            where[key] = [where[key], any_value(rng)]
        elif isinstance(where, list):
            where.append(any_value(rng))
        elif action == 3:
            where[rng.choice((*KEYS, 5, None, True))] = any_value(rng)
        else:
            where[f"{key}"[:-1] + rng.choice("abcs_")] = where.pop(key, None)
    return str(yaml.dump(values, Dumper=DUMPER, sort_keys=False, allow_unicode=rng.random() < 0.5))


def mutated_text(text: str, others: list[str], rng: random.Random) -> str:
    lines = text.splitlines()
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(lines) + 1)
        action = rng.randrange(7)
        if action == 0:
            del lines[at : at + rng.randint(1, 2)]
        elif action == 1:
            lines[at:at] = rng.choice(LINES).split("\n")
        elif action == 2:
            lines[at:at] = lines[at - 1 : at]
        elif action == 3:
            lines[at:] = rng.choice(others).splitlines()[at:]
        elif action == 4 and at < len(lines):
            lines[at] = rng.choice(("", " ", "    ")) + lines[at].strip()
        elif action == 5 and at < len(lines):
            cut = rng.randrange(len(lines[at]) + 1)
            lines[at] = lines[at][:cut] + rng.choice(":{}[],&*#?|-!%@`'\"\\\x00\x85\u2028 ") + lines[at][cut + 1 :]
        elif at < len(lines):
            indent = " " * (len(lines[at]) - len(lines[at].lstrip()))
            lines[at] = indent + rng.choice(LINES).replace("\n", "\n" + indent)
    return "\n".join(lines) + "\n"


def outcome(file: Path) -> str:
    """Returns ``read``, ``refused``, or what is wrong with how a file is read."""
    try:
        resolved = load_config(str(file))
        assert len(resolved.hash) == 16
        assert resolved.method is not None
    except ConfigError as error:
        good = len(str(error).splitlines()) == 1 and len(str(error)) < 3000
        return "refused" if good else f"not one line: {str(error)[:3000]}"
    except Exception:
        return traceback.format_exc()
    return "read"


def test_mutants_of_the_shipped_configurations(tmp_path: Path) -> None:
    rng = random.Random(0)
    texts = {name: (ROOT / "configs" / f"{name}.yaml").read_text(encoding="utf-8") for name in shipped_configs()}
    written = {name: parse_yaml(text) for name, text in texts.items()}
    resolved = {name: json.loads(json.dumps(load_config(name).to_dict())) for name in texts}
    file = tmp_path / "mutant.yaml"
    counts = Counter[str]()
    for _ in range(MUTANTS):
        name = rng.choice(list(texts))
        if rng.random() < 0.5:
            text = mutated_values(copy.deepcopy(rng.choice((written, resolved))[name]), rng)
        else:
            text = mutated_text(texts[name], list(texts.values()), rng)
        file.write_text(text, encoding="utf-8", errors="surrogatepass")
        found = outcome(file)
        assert found in ("read", "refused"), f"{found}\n{text[:5000]}"
        counts[found] += 1
    assert min(counts["read"], counts["refused"]) > MUTANTS / 10, "mutants that are all alike find nothing"


DEEP = "a" * 10
BOMB = "\n".join([f"x0: &x0 [{DEEP}]", *(f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 10)}]" for i in range(1, 11))])
MERGES = "\n".join(
    ["x0: &x0 {a: 1}", *(f"x{i}: &x{i} {{b{i}: 1, <<: [{', '.join([f'*x{i - 1}'] * 10)}]}}" for i in range(1, 11))]
)
CHAIN = "\n".join(["x0: &x0 []", *(f"x{i}: &x{i} [*x{i - 1}]" for i in range(1, 3000))])
MERGED = f"a: [&x0 {{a: 1}}, {', '.join(f'&x{i} {{<<: *x{i - 1}}}' for i in range(1, 3000))}]\nb: {{<<: *x2999}}\n"
DOMAIN = "domain: {kind: gnn, dataset: Cora}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a mapping"),
        ("# nothing\n", "is not a mapping"),
        ("- a\n", "is not a mapping"),
        ("? [1, 2]\n: 3\n", ":1: a sequence as key; keys are strings"),
        ("name: x\n? {a: b}\n: 3\n", ":2: a mapping as key; keys are strings"),
        ("5: x\n", ":1: the key '5' is not a string; put it in quotes"),
        ("on: x\n", "the key 'on' is not a string"),
        ("name: x\nname: y\n", ":2: duplicate key 'name'"),
        ("a: [1, 2", ":1: not valid YAML"),
        ("a:\n\tb: 1\n", ":2: not valid YAML"),
        ("--- {}\n--- {}\n", "not valid YAML .expected a single document in the stream but found another"),
        ("!!python/object/apply:os.system ['true']", "a value of type 'python/object/apply:os.system' is not allowed"),
        ("name: !<a%0Ab> x", "a value of type 'a b' is not allowed"),
        ("name: 2024-01-01", "a value of type 'timestamp' is not allowed; put it in quotes"),
        ("name: 2024-13-45", "a value of type 'timestamp' is not allowed; put it in quotes"),
        ("name: !!binary aGk=", "a value of type 'binary' is not allowed"),
        ("name: !!set {a, b}", "a value of type 'set' is not allowed"),
        ("name: .nan", "'.nan' is not a finite number"),
        ("name: [1, -.inf]", "'-.inf' is not a finite number"),
        ("seed: 1" + "0" * 30, "'10*' has more than 64 bits"),
        ("seed: 1" + "0" * 9000, "is not a number"),
        ("seed: 0x" + "f" * 9000, "'0xf{98}[.]{3}' has more than 64 bits"),
        ("seed: !!int ''", "'' is not a number"),
        ("seed: !!int {}", "not valid YAML .expected a scalar node"),
        ("run: {tensorboard: !!bool x}", "'x' is not a boolean"),
        ('name: "\\ud800"', "characters that are not valid Unicode"),
        ("name: \x00", ":1: not valid YAML .special characters are not allowed"),
        ("name: *a", "not valid YAML .found undefined alias 'a'"),
        ("name: &a [*a]", "nested deeper than 40 levels"),
        ("name: " + "[" * 5000, "nested deeper than 40 levels"),
        (BOMB, "more than 100,000 characters and values, aliases expanded"),
        (CHAIN, "nested deeper than 40 levels"),
        ("name: x" + " " * 200_000, "200,007 characters; at most 100,000 are read"),
        ("<<: 3\n", ":1: '<<' merges mappings, not a scalar"),
        (MERGES, "domain: missing"),
        (MERGED, "merged too often"),
        ("base: {a: 1}\n", "base: .* is no shipped configuration"),
        ("base: " + "x" * 5000, "base: 'x{100}[.]{3}' is no shipped configuration"),
        ("base: gnn/coar\n", "base: 'gnn/coar' is no shipped configuration .did you mean 'gnn/cora'"),
        ("base: ..\n", "base: '..' is no shipped configuration"),
        ("base: x.yaml\n", "base: '.*x.yaml' is a circular base"),
        ("name: x\n", "domain: missing"),
        ("domain: [kind]\n", "domain: "),
        ("domain: {kind: ../../etc}\n", "domain.kind: unknown domain '../../etc'"),
        ("domain: {kind: .x}\n", "domain.kind: unknown domain '.x'"),
        ("domain: {kind: " + "x" * 5000 + "}\n", "domain.kind: unknown domain 'x{100}[.]{3}'"),
        ("domain: {kind: " + "a." * 5000 + "b}\n", "domain.kind: the domain '.*' cannot be imported"),
        ("domain: {kind: [gnn]}\n", "domain.kind: "),
        (DOMAIN + "search: null\n", "search: "),
        (DOMAIN + "search: [trial]\n", "search: "),
        (DOMAIN + "run: []\n", "run: "),
        (DOMAIN + "search: {method: [trial]}\n", "search.method: unknown method"),
        (DOMAIN + "search: {options: {evolution: 3}}\n", "search.options.evolution: "),
        (
            "base: binary/digits-darts\nsearch: {options: {gradient: {regularisers: [{kid: a, kind: entropy}]}}}\n",
            r"search.options.gradient.regularisers.0.kid: unknown key \(did you mean 'kind'\?\); allowed: .*kind",
        ),
        (
            "base: binary/digits\ndomain: {training: {stages: [{}, {epohcs: 3}]}}\n",
            r"domain.training.stages.0.epochs: missing",
        ),
        (
            "base: binary/digits\ndomain: {training: {stages: [{epochs: 1}, {epohcs: 3, epochs: 3}]}}\n",
            r"domain.training.stages.1.epohcs: unknown key \(did you mean 'epochs'\?\)",
        ),
    ],
)
def test_files_that_are_no_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.yaml").write_text(text, encoding="utf-8")
    assert outcome(tmp_path / "x.yaml") == "refused"
    assert main(["search", "x.yaml"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert re.search(message, lines[0])
    assert not (tmp_path / "runs").exists()


def test_things_that_are_no_file_of_text(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes("name: é\n".encode("latin-1"))
    (tmp_path / "utf-16.yaml").write_bytes("name: x\n".encode("utf-16"))
    for name, message in (
        (str(tmp_path), "is a folder"),
        (str(tmp_path / "latin.yaml"), "latin.yaml: not UTF-8"),
        (str(tmp_path / "utf-16.yaml"), "utf-16.yaml: not UTF-8"),
        ("x" * 5000, "no configuration 'x{200}[.]{3}'"),
        ("x\0", "no configuration 'x.x00'"),
        ("", "no configuration ''"),
    ):
        with pytest.raises(ConfigError, match=message) as caught:
            load_config(name)
        assert len(str(caught.value).splitlines()) == 1


def test_anchors_and_merge_keys_are_read(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    text = "base: gnn/cora\nsearch: &s {trials: 3}\nretrain: {top: 2, <<: {top: 1, seeds: 4}}\n"
    file.write_text("\ufeff" + text, encoding="utf-8")
    resolved = load_config(str(file))
    assert (resolved.config.retrain.top, resolved.config.retrain.seeds) == (2, 4)
    # A merge of what was merged already is no duplicate, wherever its anchor stands.
    merged = parse_yaml("a: {y: &b {<<: &a {x: 1, z: 3}, x: 2}}\nb: {<<: [*b, *a], y: 0}\n")
    assert merged == {"a": {"y": {"x": 2, "z": 3}}, "b": {"x": 2, "z": 3, "y": 0}}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("search.trials=[1", "'search.trials=.1': not valid YAML"),
        ("domain={1: 2}", "the key '1' is not a string"),
        ("domain={a: 1, a: 2}", "duplicate key 'a'"),
        ("name=2024-01-01", "a value of type 'timestamp' is not allowed"),
        ("retrain.seconds=.nan", "'.nan' is not a finite number"),
        ("seed=" + "9" * 50, "has more than 64 bits"),
        (".".join("a" * 5000) + "=1", "'a[.]a.*[.]{3}': nested deeper than 40 levels"),
        ("search=", "search: "),
        ("run=[]", "run: "),
        ("a\nb=1", "a b: unknown key"),
    ],
)
def test_overrides_that_cannot_be_read(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_config("gnn/cora", [override])
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("proxies", [[], 3, {"levels": 3}, {"levels": {"channels": 3}}, {"levels": []}])
def test_a_stored_configuration_that_is_damaged(proxies: Any) -> None:
    stored = {**load_config("gnn/cora").to_dict(), "proxies": proxies}
    with pytest.raises(ConfigError, match=r"^stored: proxies"):
        resolve_stored(stored, "stored")


def test_a_module_that_cannot_be_imported_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, text, message in (
        ("broken_name", "x = 1\nundefined\n", r"NameError: name 'undefined' is not defined at .*broken_name.py:2\)"),
        ("broken_syntax", "x = (\n", r"SyntaxError: .*broken_syntax.py, line 1\)"),
        ("broken_exit", "raise SystemExit(3)\n", r"SystemExit: 3 at .*broken_exit.py:1\)"),
    ):
        (tmp_path / f"{name}.py").write_text(text)
        with pytest.raises(ConfigError, match=message):
            load_config("gnn/cora", [f"domain.kind={name}:Domain"])
