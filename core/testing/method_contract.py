"""What every search method must do; subclass :class:`MethodContract` in a pytest module.

Example:
    class TestMyMethod(MethodContract):
        method = "my_package:MyMethod"
        search = {"trials": 20}
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import ClassVar

import numpy as np
import pytest
import torch
from markupsafe import Markup

from nichenas.core.commands.search import run_search
from nichenas.core.commands.sessions import RunOptions
from nichenas.core.commands.sessions import open_session
from nichenas.core.commands.sessions import prepare_domain
from nichenas.core.config import ResolvedConfig
from nichenas.core.config import resolve
from nichenas.core.domain import Domain
from nichenas.core.errors import ConfigError
from nichenas.core.errors import Interrupted
from nichenas.core.gate import checked_measurement
from nichenas.core.methods import METHODS
from nichenas.core.methods import Method
from nichenas.core.methods import MethodSettings
from nichenas.core.report.run_page import write_run_page
from nichenas.core.session.journal import Journal
from nichenas.core.session.record import RunRecord
from nichenas.core.session.session import Session
from nichenas.core.session.state import SearchState
from nichenas.core.space import Architecture
from nichenas.core.trial import Trial

QUIET = RunOptions(quiet=True)
RESUME = RunOptions(quiet=True, resume=True)
CUTS = (0.1, 0.5, 0.9)  # shares of a search after which it is stopped


class Crash(BaseException):
    """Ends a search as a crash does: nobody is ready for it."""


@dataclass
class Stop:
    """A listener that stops a search when it is told of a new trial.

    Attributes:
        number: of the trial.
        how: what it raises.
    """

    number: int
    how: type[BaseException]

    def on_trial(self, trial: Trial, state: SearchState, replayed: bool) -> None:
        """Raises at its trial."""
        if trial.number == self.number and not replayed:
            raise self.how


@dataclass(frozen=True)
class Found:
    """What a search left.

    Attributes:
        journal: what there is of every trial, but for the time that it took.
        top: best trials with their architectures, best first.
    """

    journal: list[tuple[Any, ...]]
    top: list[tuple[int, Architecture]]


class MethodContract:
    """The contract.

    Attributes:
        method: its name, or its dotted path.
        search: the rest of the ``search`` section, with a budget of a few seconds.
        target: ``module:Class`` of a domain that it can search.
        settings: of the domain.
    """

    method: ClassVar[str]
    search: ClassVar[dict[str, Any]] = {}
    target: ClassVar[str] = "nichenas.core.testing.toy:ToyDomain"
    settings: ClassVar[dict[str, Any]] = {}

    @classmethod
    def resolved(cls, seed: int = 0, **search: Any) -> ResolvedConfig:
        """Returns the configuration, with further keys in its ``search`` section."""
        values = {
            "name": "contract",
            "seed": seed,
            "domain": {"kind": cls.target, **cls.settings},
            "search": {"method": cls.method, **cls.search, **search},
            "retrain": {"top": 2, "seeds": 1, "baselines": False},
            "run": {"tensorboard": False},
        }
        return resolve(values, "contract.yaml")

    @classmethod
    def run(cls, folder: Path, options: RunOptions = QUIET, stop: Stop | None = None, seed: int = 0) -> Found:
        """Searches in a run folder."""
        resolved = cls.resolved(seed)
        with open_session(resolved, folder, options) as session:
            session.listeners += [] if stop is None else [stop]
            return found(resolved.method.run(session), session)

    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """Where the undisturbed search runs."""
        return tmp_path_factory.mktemp("method") / "whole"

    @pytest.fixture(scope="class")
    @classmethod
    def whole(cls, folder: Path) -> Found:
        """What the undisturbed search found."""
        return cls.run(folder)

    # What the method says of itself

    def test_it_can_be_listed(self) -> None:
        """It has a schema of its section, and a line for lists."""
        cls = METHODS[self.method]
        assert issubclass(cls, Method)
        assert issubclass(cls.Options, MethodSettings)
        assert cls.summary
        assert "\n" not in cls.summary
        assert cls.unit

    def test_unknown_keys_are_refused(self) -> None:
        """A key that its section does not have is one line."""
        self.resolved()
        with pytest.raises(ConfigError, match=r"search\.no_such_key: ") as caught:
            self.resolved(no_such_key=1)
        assert "\n" not in str(caught.value)

    def test_domains_without_what_it_needs_are_refused(self) -> None:
        """Every need is one line that names it, before any data is loaded."""
        method = self.resolved().method
        for need in method.needs:
            others = tuple(other for other in method.needs if not issubclass(other, need))
            lacking = type("Lacking", (Domain, *others), {})
            with pytest.raises(ConfigError, match=f"the domain 'lacking' has no {need.offers}") as caught:
                method.check_needs("lacking", lacking)
            assert "\n" not in str(caught.value)

    # What it does

    def test_completes_its_budget(self, whole: Found, folder: Path) -> None:
        """As many trials as the budget says, each in the journal once; one is the best."""
        resolved = self.resolved()
        method, (domain, _) = resolved.method, prepare_domain(resolved)
        with Journal(folder / "journal.sqlite", read_only=True) as journal:
            trials = list(journal.trials())
            facts = method.facts(domain, journal)
        assert sorted(trial.number for trial in trials) == list(range(len(trials)))
        units = method.budget().units
        assert units is None or len(trials) == units
        objectives = method.objectives(domain)
        for trial in trials:
            assert trial.failed == (trial.failure is not None)
            if trial.measurement is not None:
                checked_measurement(trial.measurement, objectives)
        assert whole.top
        for _, architecture in whole.top:
            assert domain.space.architecture(dict(architecture)) == architecture
        json.dumps(facts)

    def test_a_finished_search_is_finished(self, whole: Found, folder: Path) -> None:
        """Opened again, it does nothing new, and ends the same."""
        assert self.run(folder, RESUME) == whole

    def test_the_seed_decides(self, whole: Found, tmp_path: Path) -> None:
        """The same seed gives the same, whatever the global generators are; another seed does not."""
        random.seed(1)
        np.random.seed(1)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            assert self.run(tmp_path / "same") == whole
        assert self.run(tmp_path / "other", seed=1).journal != whole.journal

    def test_runs_without_a_folder(self, whole: Found) -> None:
        """From Python, a session in memory is enough."""
        resolved = self.resolved()
        session = Session(domain=prepare_domain(resolved)[0])
        assert found(resolved.method.run(session), session) == whole

    @pytest.mark.parametrize("how", [KeyboardInterrupt, Crash])
    @pytest.mark.parametrize("share", CUTS)
    def test_stopped_anywhere_it_resumes_to_the_same(
        self, share: float, how: type[BaseException], whole: Found, tmp_path: Path
    ) -> None:
        """What is finished is kept, and the rest is as if nothing had happened."""
        cut = int(share * len(whole.journal))
        with pytest.raises(Interrupted if how is KeyboardInterrupt else how):
            self.run(tmp_path / "cut", stop=Stop(cut, how))
        kept = journal_of(tmp_path / "cut")
        assert cut < len(kept) <= len(whole.journal)
        assert kept == whole.journal[: len(kept)]
        assert self.run(tmp_path / "cut", RESUME) == whole

    def test_interrupted_in_a_measurement(self, whole: Found, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where candidates are trained one by one, Ctrl-C in one of them costs no other."""
        resolved = self.resolved()
        if not resolved.method.trains_candidates:
            pytest.skip("no candidate is trained alone")
        domain, recipe = prepare_domain(resolved)
        calls = len(whole.journal) // 2 if resolved.method.measures_candidates else 1
        monkeypatch.setattr(domain, "evaluate", interrupting(domain.evaluate, calls))
        opened = open_session(resolved, tmp_path / "cut", QUIET, prepared=(domain, recipe))
        with opened as session, pytest.raises(Interrupted):
            resolved.method.run(session)
        kept = journal_of(tmp_path / "cut")
        assert kept == whole.journal[: len(kept)]
        assert self.run(tmp_path / "cut", RESUME) == whole

    # Its part of the report

    def test_report_of_an_unfinished_run(self, tmp_path: Path, whole: Found) -> None:
        """A run that was stopped can be looked at."""
        with pytest.raises(Interrupted):
            self.run(tmp_path / "cut", stop=Stop(len(whole.journal) // 2, KeyboardInterrupt))
        self.check_report(tmp_path / "cut")

    def test_report_of_a_finished_run(self, tmp_path: Path) -> None:
        """A finished run has a result and a page; a random search may be drawn beside it."""
        result = run_search(self.resolved(), tmp_path / "run", QUIET)
        assert result.unit == self.resolved().method.unit
        assert result.test
        self.check_report(tmp_path / "run")

    def check_report(self, folder: Path) -> None:
        """Checks the method's sections, which it writes without its options, and the page with them."""
        record = RunRecord.read(folder)
        method = METHODS[self.method](None)
        for baseline in (None, record):
            for section in method.sections(record, baseline):
                assert isinstance(section.html, Markup)
                assert section.html.strip()
                assert section.place in ("search", "details")
        page = write_run_page(folder).read_text()
        assert all(section.html.strip()[:200] in page for section in method.sections(record))


def found(state: SearchState, session: Session) -> Found:
    """Returns what a search left in its session."""
    top = [(trial.number, trial.proposal.architecture) for trial in state.top(5)]
    return Found(list(outlines(session.journal)), top)


def journal_of(folder: Path) -> list[tuple[Any, ...]]:
    """Returns what there is of every trial of a run folder."""
    with Journal(folder / "journal.sqlite", read_only=True) as journal:
        return list(outlines(journal))


def outlines(journal: Journal) -> Iterator[tuple[Any, ...]]:
    """Yields what must be the same of two trials, in the order of completion."""
    for trial in journal.trials():
        values = trial.failure if trial.measurement is None else dict(trial.measurement.values)
        yield trial.number, trial.proposal, values, trial.epochs, trial.stage, trial.final


def interrupting(function: Callable[..., Any], after: int) -> Callable[..., Any]:
    """Returns a function that raises :class:`KeyboardInterrupt` at its last call."""
    calls = 0

    def interrupted(*arguments: Any, **keywords: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > after:
            raise KeyboardInterrupt
        return function(*arguments, **keywords)

    return interrupted
