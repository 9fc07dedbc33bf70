"""The training loop, with a toy that draws noise and has an optimizer with momentum."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch import nn

import nichenas.core.training
from nichenas.core.checkpoint import write_checkpoint
from nichenas.core.context import Context
from nichenas.core.context import Limits
from nichenas.core.errors import CandidateFailure
from nichenas.core.errors import RunFolderError
from nichenas.core.fidelity import Fidelity
from nichenas.core.space import Choice
from nichenas.core.space import SearchSpace
from nichenas.core.training import loop
from nichenas.core.training.loop import History
from nichenas.core.training.loop import Part
from nichenas.core.training.loop import Training
from nichenas.core.training.loop import train
from nichenas.core.training.loop import train_together
from nichenas.core.training.loop import units
from nichenas.core.trial import Measurement
from nichenas.core.trial import Proposal

TOTAL = 12


class Toy(Training):
    """A linear network on noise; its learning rate falls to 0 at ``total``."""

    def __init__(self, context: Context, total: int = TOTAL, **options: Any) -> None:
        super().__init__(**options)
        self.context, self.total = context, total
        with context.seeded("weights"):
            self.network = nn.Linear(3, 1)
        self.optimizer = torch.optim.SGD(self.network.parameters(), 0.1, momentum=0.9)
        self.draws = context.torch("noise")
        self.rates: list[float] = []
        self.crash_at = self.nan_at = self.stop_at = self.slow_at = -1

    def advance(self) -> None:
        if self.done == self.crash_at:
            raise KeyboardInterrupt
        if self.done == self.slow_at:
            self.context.started -= 15.0
        self.rates.append(0.1 * (1 - self.done / self.total))
        self.optimizer.param_groups[0]["lr"] = self.rates[-1]
        self.optimizer.zero_grad()
        loss = (self.network(torch.randn(8, 3, generator=self.draws)) - 1).square().mean()
        loss.backward()
        self.optimizer.step()
        self.record(self.done + 1, {"loss": loss})

    def validate(self) -> dict[str, Tensor]:
        error = (self.network(torch.eye(3)) - 1).square().mean().detach()
        return {"error": error * float("nan") if self.done == self.nan_at else error}

    def stops(self) -> bool:
        return 0 <= self.stop_at <= self.done

    def stateful(self) -> Mapping[str, Any]:
        return {"network": self.network, "optimizer": self.optimizer, "draws": self.draws}


class Best(Toy):
    """Keeps what was best."""

    def better(self, figures: Mapping[str, float], best: Mapping[str, float]) -> bool:
        return figures["error"] < best["error"]

    def weights(self) -> Mapping[str, Tensor]:
        return {name: tensor.clone() for name, tensor in self.network.state_dict().items()}


def result(toy: Toy) -> Any:
    """Returns all that is to be bitwise the same, however a training was divided."""

    def listed(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
        return {name: tensor.tolist() for name, tensor in tensors.items()}

    history = {**vars(toy.history), "weights": listed(toy.history.weights), "trained": None}
    return history, listed(toy.network.state_dict()), toy.draws.get_state().tolist()


@pytest.mark.parametrize("kind", [Toy, Best])
@pytest.mark.parametrize("validate_every", [1, 3, 5])
@pytest.mark.parametrize("cuts", [(6, 12), (1, 2, 12), (4, 7, 7, 11, 12), (3, 9, 12)])
def test_a_training_in_parts_is_the_training_in_one_go(
    kind: type[Toy], validate_every: int, cuts: tuple[int, ...], tmp_path: Path
) -> None:
    whole = kind(Context(0), validate_every=validate_every)
    train(whole, Context(0), Part.whole(TOTAL))
    assert whole.history.trained == TOTAL
    trained, rates, parent = [], [], None
    for number, cut in enumerate(cuts):
        context = Context(0, checkpoint_in=parent, checkpoint_out=tmp_path / f"{number}.pt")
        training = kind(context, validate_every=validate_every)
        history = train(training, context, Part(cut, TOTAL))
        assert history is training.history
        assert history.validated == training.done == cut
        assert history.curves["error"][-1][0] == cut
        trained.append(history.trained)
        rates += training.rates
        parent = tmp_path / f"{number}.pt"
    assert result(training) == result(whole)
    assert sum(trained) == TOTAL
    assert rates == whole.rates


def test_a_part_is_measured_at_its_end_and_the_next_one_does_not_know(tmp_path: Path) -> None:
    file = tmp_path / "a.pt"
    first = Toy(Context(0), validate_every=5)
    train(first, Context(0, checkpoint_out=file), Part(7, TOTAL))
    assert [unit for unit, _ in first.history.curves["error"]] == [5, 7]
    assert first.history.unit == 7
    second = Toy(Context(0), validate_every=5)
    train(second, Context(0, checkpoint_in=file), Part(TOTAL, TOTAL))
    assert [unit for unit, _ in second.history.curves["error"]] == [5, 10, 12]
    assert second.history.trained == 5


@pytest.mark.parametrize("crash_at", [1, 4, 5, 8, 11])
def test_resumes_after_a_crash_to_the_same(crash_at: int, tmp_path: Path) -> None:
    whole = Best(Context(0), validate_every=3, checkpoint_every=4)
    train(whole, Context(0), Part.whole(TOTAL))
    context = Context(0, checkpoints=tmp_path / "kept")
    crashing = Best(context, validate_every=3, checkpoint_every=4, name="mine")
    crashing.crash_at = crash_at
    with pytest.raises(KeyboardInterrupt):
        train(crashing, context, Part.whole(TOTAL))
    assert (tmp_path / "kept" / "mine.pt").exists() == (crash_at >= 4)
    again = Best(context, validate_every=3, checkpoint_every=4, name="mine")
    train(again, context, Part.whole(TOTAL))
    assert result(again) == result(whole)
    assert again.history.trained == TOTAL - crash_at // 4 * 4


def test_its_own_checkpoint_goes_before_that_of_the_parent(tmp_path: Path) -> None:
    train(Toy(Context(0)), Context(0, checkpoint_out=tmp_path / "parent.pt"), Part(4, TOTAL))
    context = Context(0, checkpoints=tmp_path, checkpoint_in=tmp_path / "parent.pt")
    crashing = Toy(context, checkpoint_every=3)
    crashing.crash_at = 8
    with pytest.raises(KeyboardInterrupt):
        train(crashing, context, Part.whole(TOTAL))
    again = Toy(context, checkpoint_every=3)
    assert train(again, context, Part.whole(TOTAL)).trained == 6


def test_cadence_of_validations_and_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    def write(file: Path, state: Mapping[str, Any]) -> None:
        written.append((file.name, state["done"]))
        write_checkpoint(file, state)

    monkeypatch.setattr(loop, "write_checkpoint", write)
    context = Context(0, checkpoints=tmp_path, checkpoint_out=tmp_path / "out.pt")
    training = Toy(context, validate_every=5, checkpoint_every=4)
    train(training, context, Part.whole(TOTAL))
    assert [unit for unit, _ in training.history.curves["error"]] == [5, 10, 12]
    assert written == [("training.pt", 4), ("training.pt", 8), ("out.pt", 12)]  # its own is not needed at the end
    written.clear()
    train(Toy(context), context, Part.whole(TOTAL))
    assert written == [("out.pt", 12)]


def test_the_best_validation_counts_or_else_the_last() -> None:
    def run(kind: type[Toy], *errors: float) -> History:
        training, left = kind(Context(0), total=4), iter(errors)
        training.validate = lambda: {"error": torch.tensor(next(left))}  # type: ignore[method-assign]
        return train(training, Context(0), Part.whole(4))

    best = run(Best, 3.0, 1.0, 2.0, 1.0)
    assert (best.unit, best.values, best.validated) == (2, {"error": 1.0}, 4)
    assert set(best.weights) == {"weight", "bias"}
    last = run(Toy, 3.0, 1.0, 2.0, 1.5)
    assert (last.unit, last.values, last.weights) == (4, {"error": 1.5}, {})


class TestLearningRate:
    def test_is_laid_out_to_the_horizon_of_a_proposal(self) -> None:
        architecture = SearchSpace([Choice("c", (0, 1))]).sample(np.random.default_rng(0))
        half = Fidelity(epochs=0.5)
        assert Part.of(Proposal(architecture, half), 10) == Part.whole(5)
        assert Part.of(Proposal(architecture, half, horizon=1.0), 10) == Part(5, 10)
        assert Part.of(Proposal(architecture), 10) == Part.whole(10)

    def test_of_a_part_is_that_of_the_training_in_one_go(self) -> None:
        part, alone = Toy(Context(0), total=12), Toy(Context(0), total=4)
        train(part, Context(0), Part(4, 12))
        train(alone, Context(0), Part.whole(4))
        assert part.rates == pytest.approx([0.1, 0.1 * 11 / 12, 0.1 * 10 / 12, 0.1 * 9 / 12])
        assert alone.rates == pytest.approx([0.1, 0.075, 0.05, 0.025])

    def test_there_is_always_a_unit(self) -> None:
        assert [units(10, share) for share in (1.0, 0.24, 0.01)] == [10, 2, 1]


class TestFailures:
    def test_limit(self) -> None:
        context = Context(0, limits=Limits(seconds=10))
        training = Toy(context)
        training.slow_at = 3
        with pytest.raises(CandidateFailure, match="limit:seconds"):
            train(training, context, Part.whole(TOTAL))
        assert training.done == 4

    def test_the_limit_counts_after_the_last_unit_too(self) -> None:
        context = Context(0, limits=Limits(seconds=10))
        training = Toy(context)
        training.slow_at = TOTAL - 1
        with pytest.raises(CandidateFailure, match="limit:seconds"):
            train(training, context, Part.whole(TOTAL))

    def test_candidates_together_share_the_time(self) -> None:
        contexts = [Context(0, trial, limits=Limits(seconds=10)) for trial in range(2)]
        together = [Toy(context) for context in contexts]
        together[0].slow_at = 3  # 15 of 20 seconds
        found = train_together(together, contexts, Part.whole(TOTAL), in_turn)
        assert found == [training.history for training in together]

    @pytest.mark.parametrize("validate_every", [1, 4])
    def test_divergence_names_figure_and_unit(self, validate_every: int, tmp_path: Path) -> None:
        training = Toy(Context(0), validate_every=validate_every)
        training.nan_at = 8
        with pytest.raises(CandidateFailure, match=r"^diverged: error is nan at epoch 8$"):
            train(training, Context(0, checkpoint_out=tmp_path / "out.pt"), Part.whole(TOTAL))
        assert not (tmp_path / "out.pt").exists()

    def test_divergence_of_what_is_recorded_while_training(self) -> None:
        training = Toy(Context(0))
        training.unit = "step"  # type: ignore[misc]
        nn.init.constant_(training.network.weight, 1e30)
        with pytest.raises(CandidateFailure, match=r"^diverged: loss is inf at step 1$"):
            train(training, Context(0), Part.whole(TOTAL))

    def test_divergence_at_the_end_of_a_part_leaves_no_checkpoint(self, tmp_path: Path) -> None:
        training = Toy(Context(0), validate_every=5)
        training.nan_at = 7
        with pytest.raises(CandidateFailure, match="diverged"):
            train(training, Context(0, checkpoint_out=tmp_path / "out.pt"), Part(7, TOTAL))
        assert list(tmp_path.iterdir()) == []


class TestStops:
    def test_early(self) -> None:
        training = Toy(Context(0), validate_every=5)
        training.stop_at = 7
        history = train(training, Context(0), Part.whole(TOTAL))
        assert (history.trained, history.validated) == (7, 7)

    def test_and_does_not_continue(self, tmp_path: Path) -> None:
        first = Toy(Context(0))
        first.stop_at = 4
        train(first, Context(0, checkpoint_out=tmp_path / "a.pt"), Part(6, TOTAL))
        second = Toy(Context(0))
        second.stop_at = 4
        history = train(second, Context(0, checkpoint_in=tmp_path / "a.pt"), Part(TOTAL, TOTAL))
        assert history.trained == 0
        assert second.rates == []
        assert result(first) == result(second)


def in_turn(active: list[Toy]) -> None:
    for training in active:
        training.advance()


class TestTogether:
    def test_each_ends_on_its_own_and_as_it_would_alone(self) -> None:
        contexts = [Context(0, trial) for trial in range(4)]
        together = [Best(context) for context in contexts]
        together[1].nan_at, together[2].stop_at = 3, 5
        seen = []

        def advance(active: list[Best]) -> None:
            seen.append([together.index(training) for training in active])
            in_turn(list(active))

        found = train_together(together, contexts, Part.whole(TOTAL), advance)
        assert seen == [[0, 1, 2, 3]] * 3 + [[0, 2, 3]] * 2 + [[0, 3]] * 7
        assert isinstance(found[1], CandidateFailure)
        assert [outcome.trained for outcome in found if isinstance(outcome, History)] == [12, 5, 12]
        for index in (0, 2, 3):
            alone = Best(contexts[index])
            alone.stop_at = together[index].stop_at
            train(alone, contexts[index], Part.whole(TOTAL))
            assert result(alone) == result(together[index])

    def test_a_limit_ends_those_that_are_still_training(self) -> None:
        contexts = [Context(0, trial, limits=Limits(seconds=5)) for trial in range(2)]
        together = [Toy(context) for context in contexts]
        together[0].stop_at, together[1].slow_at = 2, 3
        ended, cut = train_together(together, contexts, Part.whole(TOTAL), in_turn)
        assert isinstance(ended, History)
        assert isinstance(cut, CandidateFailure)
        assert cut.reason == "limit:seconds"

    def test_what_the_units_raise_ends_all(self) -> None:
        def fail(active: list[Toy]) -> None:
            raise MemoryError("none left")

        with pytest.raises(MemoryError):
            train_together([Toy(Context(0))], [Context(0)], Part.whole(2), fail)


class TestUnusableCheckpoints:
    @pytest.mark.parametrize("content", [b"nothing", {"stage": 1, "done": 3}, {"version": -1, "done": 3}])
    def test_its_own_is_passed_over(self, content: Any, tmp_path: Path) -> None:
        put(tmp_path / "training.pt", content)
        context = Context(0, checkpoints=tmp_path)
        training, whole = Toy(context, checkpoint_every=100), Toy(Context(0))
        assert train(training, context, Part.whole(TOTAL)).trained == TOTAL
        train(whole, Context(0), Part.whole(TOTAL))
        assert result(training) == result(whole)

    @pytest.mark.parametrize("content", [None, b"nothing", {"stage": 1, "done": 3}, {"version": -1, "done": 3}])
    def test_that_of_the_parent_is_an_error_of_one_line(self, content: Any, tmp_path: Path) -> None:
        put(tmp_path / "parent.pt", content)
        with pytest.raises(RunFolderError, match=r"parent\.pt: [^\n]+$"):
            train(Toy(Context(0)), Context(0, checkpoint_in=tmp_path / "parent.pt"), Part.whole(TOTAL))

    @pytest.mark.parametrize("own", [True, False])
    def test_one_of_another_network_is_an_error_of_one_line(self, own: bool, tmp_path: Path) -> None:
        other = Toy(Context(0))
        other.network = nn.Linear(5, 1)
        write_checkpoint(tmp_path / "training.pt", other.state())
        if own:
            context = Context(0, checkpoints=tmp_path)
        else:
            context = Context(0, checkpoint_in=tmp_path / "training.pt")
        with pytest.raises(
            RunFolderError, match=r"training\.pt: not a checkpoint of this training \(RuntimeError[^\n]+$"
        ):
            train(Toy(context, checkpoint_every=3), context, Part.whole(TOTAL))


def put(file: Path, content: Any) -> None:
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is not None:
        write_checkpoint(file, content)


def test_the_example_of_the_documentation_runs(tmp_path: Path) -> None:
    text = inspect.getdoc(nichenas.core.training)
    assert text is not None
    code = re.search(r"::\n\n((?:    .*\n|\n)+)", text)
    assert code is not None
    names: dict[str, Any] = {}
    exec(textwrap.dedent(code[1]), names)
    draws = torch.Generator().manual_seed(0)
    train_x, valid_x = torch.randn(64, 3, generator=draws), torch.randn(32, 3, generator=draws)
    data = SimpleNamespace(
        train_x=train_x, train_y=train_x.sum(1, keepdim=True), valid_x=valid_x, valid_y=valid_x.sum(1, keepdim=True)
    )
    domain = SimpleNamespace(data=data, settings=SimpleNamespace(epochs=50))

    def evaluate(context: Context, **proposal: Any) -> Measurement:
        wanted = SimpleNamespace(**{"fidelity": Fidelity(), "horizon": None, **proposal})
        measured = names["evaluate"](domain, wanted, context)
        assert isinstance(measured, Measurement)
        return measured

    whole = evaluate(Context(0))
    assert whole.values["error"] < 0.01
    begun = evaluate(Context(0, checkpoint_out=tmp_path / "a.pt"), fidelity=Fidelity(epochs=0.3), horizon=1.0)
    ended = evaluate(Context(0, checkpoint_in=tmp_path / "a.pt"), horizon=1.0)
    assert (begun.epochs, ended.epochs) == (15, 35)
    assert (ended.values, ended.curve) == (whole.values, whole.curve)
