"""What every scheduler must do, over any strategy; subclass :class:`SchedulerContract` in a pytest module.

Example:
    class TestMyScheduler(SchedulerContract):
        scheduler = MyScheduler
        options = {"factor": 4}
"""

from __future__ import annotations

import math
from typing import Any
from typing import ClassVar

import numpy as np
import pytest

from nichenas.core.errors import ConfigError
from nichenas.core.fidelity import FULL
from nichenas.core.fidelity import Fidelity
from nichenas.core.objectives import Objective
from nichenas.core.schedulers.base import Scheduler
from nichenas.core.session.records import trial_from_json
from nichenas.core.session.records import trial_to_json
from nichenas.core.space import Choice
from nichenas.core.space import SearchSpace
from nichenas.core.strategies import STRATEGIES
from nichenas.core.trial import Measurement
from nichenas.core.trial import Proposal
from nichenas.core.trial import Trial
from nichenas.core.validation import validated

SPACE = SearchSpace([Choice(f"c{i}", tuple(range(5))) for i in range(6)])
QUALITY = (Objective("quality"),)


class SchedulerRun:
    """Asks and tells a scheduler, with values from a generator, and checks every proposal when it is made.

    Args:
        fail: share of trials that fail.
        pending: how many trials are pending at any time, where there are as many proposals.
        replayed: how many of the first trials are told as they come back from the journal.

    Attributes:
        trials: completed, in their order.
        continued: those whose training was promoted.
        obsolete: whose checkpoints nobody needs any more, as the scheduler says.
    """

    def __init__(
        self, scheduler: Scheduler, seed: int = 0, fail: float = 0.0, pending: int = 1, *, replayed: int = 0
    ) -> None:
        self.scheduler, self.fail, self.most_pending, self.replayed = scheduler, fail, pending, replayed
        self.rng = np.random.default_rng(seed)
        self.trials: list[Trial] = []
        self.pending: list[tuple[int, Proposal]] = []
        self.obsolete: list[int] = []
        self._completed: dict[int, Trial] = {}
        self._asked = 0
        self.continued: set[int] = set()

    def run(self, trials: int) -> SchedulerRun:
        """Completes trials until there are so many, or nothing is left to propose."""
        while len(self.trials) < trials and self.step():
            pass
        return self

    def step(self) -> bool:
        """Completes a trial; returns whether there was one."""
        while len(self.pending) < self.most_pending:
            asked = self.scheduler.ask(1)
            if not asked:
                break
            assert len(asked) == 1
            self.check(asked[0])
            self.pending.append((self._asked, asked[0]))
            self._asked += 1
        if not self.pending:
            return False
        number, proposal = self.pending.pop(0)
        failed = self.rng.random() < self.fail
        value = float(self.rng.random())
        trial = Trial(number, proposal, None, "diverged")
        if not failed:
            trial = Trial(number, proposal, Measurement({"quality": value}))
        if number < self.replayed:
            trial = trial_from_json(number, trial_to_json(trial))
        self.trials.append(trial)
        self._completed[number] = trial
        self.scheduler.tell(trial)
        self._note_obsolete(self.scheduler.obsolete_checkpoints())
        return True

    def check(self, proposal: Proposal) -> None:
        """Checks what is proposed against what was completed."""
        scheduler, epochs = self.scheduler, self.scheduler.epochs
        end, rung = proposal.fidelity["epochs"], proposal.rung or 1
        whole = epochs / scheduler.complete["epochs"]  # epochs of the full setting
        assert round(end * whole) == scheduler.milestones[rung - 1]
        assert proposal.fidelity.replace(epochs=1.0) == scheduler.complete.replace(epochs=1.0)
        if proposal.parent is None:
            assert proposal.start == 0
            assert rung == 1
            return
        assert scheduler.resumes_trials
        parent = self._completed.get(proposal.parent)
        assert parent is not None, f"trial {proposal.parent} is continued, and is not completed"
        assert not parent.failed, f"trial {proposal.parent} is continued, and has failed"
        assert proposal.parent not in self.obsolete, f"the checkpoint of trial {proposal.parent} was given up"
        assert proposal.parent not in self.continued, f"trial {proposal.parent} is continued twice"
        self.continued.add(proposal.parent)
        before = parent.proposal
        assert proposal.architecture == before.architecture
        assert proposal.tag == before.tag
        assert proposal.horizon == before.horizon == scheduler.complete["epochs"]
        assert proposal.start == before.fidelity["epochs"] < end
        assert rung == (before.rung or 1) + 1

    def _note_obsolete(self, numbers: list[int]) -> None:
        needed = {proposal.parent for _, proposal in self.pending}
        for number in numbers:
            assert number in self._completed
            assert number not in needed, f"trial {number} is being continued from its checkpoint, which was given up"
            assert number not in self.obsolete
            self.obsolete.append(number)


class SchedulerContract:
    """The contract.

    Attributes:
        scheduler: the class.
        options: other than its defaults.
        epochs: of a complete training.
        trials: until which somebody has been trained completely.
    """

    scheduler: ClassVar[type[Scheduler]]
    options: ClassVar[dict[str, Any]] = {}
    epochs: ClassVar[int] = 60
    trials: ClassVar[int] = 60

    def make(
        self, strategy: str = "evolution", seed: int = 0, epochs: int | None = None, complete: Fidelity = FULL
    ) -> Scheduler:
        """Returns a fresh scheduler over a strategy."""
        if strategy == "optuna":
            pytest.importorskip("optuna")
        options = self.scheduler.Options.model_validate(self.options)
        below = STRATEGIES[strategy](SPACE, QUALITY, seed)
        return self.scheduler(below, complete, epochs or self.epochs, seed, options=options)

    def test_options_are_checked(self) -> None:
        """An option that there is not is one line, and all have defaults."""
        self.scheduler.Options()
        with pytest.raises(ConfigError, match="no_such_option: unknown key") as caught:
            validated(self.scheduler.Options, {**self.options, "no_such_option": 1})
        assert "\n" not in str(caught.value)

    def test_milestones_rise_to_the_complete_training(self) -> None:
        """Parts end one after another, the last with the complete training; too short trainings are refused."""
        scheduler = self.make()
        ends = scheduler.milestones
        assert len(ends) == scheduler.rungs
        assert ends == sorted(set(ends))
        assert ends[0] >= 1
        assert ends[-1] == self.epochs
        assert scheduler.fidelity(self.epochs) == FULL
        if scheduler.rungs > 1:
            with pytest.raises(ConfigError, match="parts of a training of 1 epochs") as caught:
                self.make(epochs=1)
            assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("strategy", list(STRATEGIES))
    def test_same_seed_same_proposals_over_any_strategy(self, strategy: str) -> None:
        """The seed and what is told decide the proposals; somebody is trained completely."""
        one, other = (SchedulerRun(self.make(strategy), fail=0.1, pending=4).run(self.trials) for _ in range(2))
        assert len(one.trials) == self.trials
        assert [trial.proposal for trial in one.trials] == [trial.proposal for trial in other.trials]
        assert {trial.proposal.rung or 1 for trial in one.trials} == set(range(1, one.scheduler.rungs + 1))

    def test_another_seed_other_proposals(self) -> None:
        """The seed counts."""
        one, other = (SchedulerRun(self.make(seed=seed)).run(40) for seed in (3, 4))
        assert [trial.proposal for trial in one.trials] != [trial.proposal for trial in other.trials]

    @pytest.mark.parametrize("pending", [1, 5])
    def test_rebuilt_by_replay(self, pending: int) -> None:
        """A scheduler that is told again what the journal holds continues as the undisturbed one."""
        whole, again = (
            SchedulerRun(self.make(), fail=0.1, pending=pending, replayed=replayed).run(self.trials)
            for replayed in (0, self.trials // 2)
        )
        assert [trial.proposal for trial in again.trials] == [trial.proposal for trial in whole.trials]
        assert again.obsolete == whole.obsolete

    @pytest.mark.parametrize("fail", [0.5, 1.0])
    def test_failures_are_survived(self, fail: float) -> None:
        """However many trials fail, there is always another to be made."""
        assert len(SchedulerRun(self.make(), fail=fail, pending=3).run(self.trials).trials) == self.trials

    def test_asking_for_several(self) -> None:
        """As many proposals as are asked for at most, and one at least while nothing is pending."""
        found = self.make().ask(5)
        assert 1 <= len(found) <= 5

    def test_strategies_are_told_first_parts_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Measurements of a strategy's trials can be compared: they are of one fidelity, and told in order."""
        scheduler = self.make("local")
        told: list[Trial] = []
        tell = scheduler.strategy.tell

        def noting(trial: Trial) -> None:
            told.append(trial)
            tell(trial)

        monkeypatch.setattr(scheduler.strategy, "tell", noting)
        run = SchedulerRun(scheduler, pending=3).run(self.trials)
        assert told == [trial for trial in run.trials if trial.proposal.parent is None]
        assert len({trial.proposal.fidelity for trial in told}) == 1

    def test_a_reduced_setting_is_reduced_in_every_part(self) -> None:
        """Where a proxy counts as complete, every part has its other factors, and the last ends with its epochs."""
        complete = Fidelity(epochs=0.5, channels=0.25, resolution=0.25)
        run = SchedulerRun(self.make(complete=complete)).run(self.trials)
        assert max(trial.proposal.fidelity["epochs"] for trial in run.trials) == 0.5

    def test_scores_and_figures(self) -> None:
        """Scores are the strategy's, diagnostics are numbers by name."""
        scheduler = self.make()
        run = SchedulerRun(scheduler, fail=0.3).run(20)
        for trial in run.trials:
            assert scheduler.score(trial) == scheduler.strategy.score(trial)
            assert (scheduler.score(trial) == -math.inf) == trial.failed
        assert all(isinstance(value, float) for value in scheduler.diagnostics().values())
