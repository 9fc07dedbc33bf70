"""The study of reduced settings as a command: rows, resumption, executors, mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nichenas.core.commands.proxies import default_settings
from nichenas.core.commands.proxies import run_proxies
from nichenas.core.config import load_config
from nichenas.core.config import resolve
from nichenas.core.errors import ConfigError
from nichenas.core.errors import RunFolderError
from nichenas.core.fidelity import FULL
from nichenas.core.proxies.sample import draw_zoo
from nichenas.core.session.journal import Journal
from nichenas.core.space import Choice
from nichenas.core.space import SearchSpace
from nichenas.core.testing.toy import ToyDomain
from nichenas.core.testing.toy import ToySettings
from tests.conftest import toy_config
from tests.core.methods.test_trial_search import outline


def study(folder: Path, zoo: int = 8, **sections: Any) -> dict[str, Any]:
    settings = sections.pop("settings", ["c0r0s0e6", "c0r0s0e3"])
    raw = toy_config(proxies={"zoo": zoo, "settings": settings}, **sections)
    raw["domain"].setdefault("choices", 6)
    return run_proxies(resolve(raw, "toy.yaml"), folder, quiet=True)


def measured(folder: Path) -> list[tuple[Any, ...]]:
    with Journal(folder / "journal.sqlite") as journal:
        return outline(list(journal.trials()))


def test_every_architecture_is_trained_at_every_setting(tmp_path: Path) -> None:
    summary = study(tmp_path / "study")
    assert summary["full"] == "c0r0s0e12"
    assert summary["sizes"] == {
        "c0r0s0e12": {"epochs": 12}, "c0r0s0e6": {"epochs": 6}, "c0r0s0e3": {"epochs": 3}, "full again": {"epochs": 12}
    }  # fmt: skip
    assert summary["cost"] == {"c0r0s0e6": 0.5, "c0r0s0e3": 0.25}
    lines = (tmp_path / "study" / "consistency.csv").read_text().splitlines()
    assert lines[0] == "member,key,c0r0s0e12,c0r0s0e6,c0r0s0e3,full again"
    assert len(lines) == 9
    keys = {line.split(",")[1] for line in lines[1:]}
    assert len(keys) == 8
    # The toy's quality at e epochs is proportional to that of the full setting, up to little noise.
    assert summary["proxies"]["c0r0s0e6"]["spearman"]["value"] > 0.6
    assert summary["cheapest"] in (None, "c0r0s0e6", "c0r0s0e3")
    (pair,) = summary["differences"]
    assert (pair["one"], pair["other"]) == ("c0r0s0e6", "c0r0s0e3")
    half, quarter = (summary["proxies"][name]["spearman"]["value"] for name in ("c0r0s0e6", "c0r0s0e3"))
    assert pair["value"] == pytest.approx(half - quarter)
    page = (tmp_path / "study" / "report.html").read_text()
    assert "which cheap setting keeps the ranking" in page
    assert "Which settings are told apart" in page
    assert "<svg" in page


def test_noise_is_different_in_every_training(tmp_path: Path) -> None:
    study(tmp_path / "study", domain={"noise": 0.05})
    values = [[float(cell) for cell in line.split(",")[2:]] for line in _rows(tmp_path / "study")]
    full, again = np.array(values)[:, 0], np.array(values)[:, 3]
    assert (full != again).all()


def _rows(folder: Path) -> list[str]:
    return (folder / "consistency.csv").read_text().splitlines()[1:]


def test_an_interrupted_or_shorter_study_is_continued(tmp_path: Path) -> None:
    study(tmp_path / "whole")
    study(tmp_path / "parts", zoo=4)
    before = measured(tmp_path / "parts")
    study(tmp_path / "parts")
    assert measured(tmp_path / "parts")[: len(before)] == before
    assert measured(tmp_path / "parts") == measured(tmp_path / "whole")
    assert _rows(tmp_path / "parts") == _rows(tmp_path / "whole")
    # A smaller one looks at its own part of the folder and leaves the rest.
    assert study(tmp_path / "whole", zoo=4)["zoo"] == 4
    assert measured(tmp_path / "parts") == measured(tmp_path / "whole")


def test_workers_change_nothing(tmp_path: Path) -> None:
    study(tmp_path / "one")
    study(tmp_path / "two", run={"executor": "processes", "workers": 2})
    assert measured(tmp_path / "one") == measured(tmp_path / "two")


def test_failures_are_left_out(tmp_path: Path) -> None:
    summary = study(tmp_path / "study", zoo=20, domain={"fail": 0.3})
    assert 4 <= summary["measured"] < 20
    assert summary["proxies"]["c0r0s0e6"]["count"] < summary["measured"]


def test_mistakes(tmp_path: Path) -> None:
    study(tmp_path / "study", zoo=4)
    with pytest.raises(RunFolderError, match=r"proxies.settings was"):
        study(tmp_path / "study", zoo=4, settings=["c0r0s0e4"])
    with pytest.raises(ConfigError, match="reduces channels, which the domain does not"):
        study(tmp_path / "other", settings=["c1r0s0e4"])
    with pytest.raises(ConfigError, match=r"proxies.settings: 'e4' is not the name of a setting"):
        study(tmp_path / "other", settings=["e4"])
    with pytest.raises(ConfigError, match=r"unknown zero-cost proxy 'snp' \(did you mean 'snip'\?\)"):
        resolve(toy_config(proxies={"zero_cost": ["snp"]}), "toy.yaml")
    assert not (tmp_path / "other").exists()


def test_default_settings_reduce_one_factor_at_a_time_and_some_together() -> None:
    toy = ToyDomain(ToySettings(epochs=100), None)  # type: ignore[arg-type]
    assert default_settings(toy) == ("c0r0s0e25",)

    class Images(ToyDomain):
        reductions = frozenset({"epochs", "samples", "channels", "resolution"})

    assert default_settings(Images(ToySettings(epochs=100), None)) == (  # type: ignore[arg-type]
        "c2r0s0e100", "c0r2s0e100", "c0r0s2e100", "c0r0s0e25", "c2r0s0e25", "c0r2s0e25", "c2r2s0e25"
    )  # fmt: skip


def test_a_zoo_has_no_twins_and_grows_from_the_same_ones() -> None:
    space = SearchSpace([Choice("a", (0, 1, 2)), Choice("b", (0, 1))])
    assert len(draw_zoo(space, 4, 0)) == 4
    assert len({a.key for a in draw_zoo(space, 100, 0)}) == 6
    assert draw_zoo(space, 3, 0) == draw_zoo(space, 5, 0)[:3]


def test_scores_of_untrained_networks_stand_beside(tmp_path: Path) -> None:
    overrides = ["domain.epochs=8", "proxies.settings=[c0r0s0e4]", "proxies.zoo=8", "run.limits.memory_mb=40"]
    config = load_config("gnn/digits-knn", overrides)
    summary = run_proxies(config, tmp_path / "study", quiet=True)
    assert set(summary["zero_cost"]) == {
        "grad_norm", "jacob_cov", "macs", "naswot", "parameters", "snip", "synflow"
    }  # fmt: skip
    assert summary["zero_cost"]["snip"]["count"] == summary["measured"]
    assert set(summary["zero_cost_seconds"]) == set(summary["zero_cost"])
    assert json.loads((tmp_path / "study" / "consistency.json").read_text()) == json.loads(json.dumps(summary))


def test_the_reference_is_the_full_training(tmp_path: Path) -> None:
    config = load_config("binary/digits")
    full = config.domain.final_training_settings(config.settings)
    assert full.evaluation is None
    gan = load_config("gan/digits")
    assert gan.domain.final_training_settings(gan.settings).evaluation == gan.settings.training  # type: ignore[attr-defined]
    assert FULL.cost == 1
