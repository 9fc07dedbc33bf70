"""Whole runs side by side: all are done, errors and interrupts end the others, nothing is left behind."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
import torch

from nichenas.core.errors import ConfigError
from nichenas.core.errors import Interrupted
from nichenas.core.execution.executors import cpu_count
from nichenas.core.execution.side_by_side import side_by_side


def note(folder: Path, name: str) -> None:
    (folder / name).write_text(f"{os.getpid()} {torch.get_num_threads()}")


def refuse(folder: Path, name: str) -> None:
    if name == "wrong":
        raise ConfigError("is not allowed", "some.key")
    wait(folder, name)


def crash(folder: Path, name: str) -> None:
    raise ZeroDivisionError(name)


def die(folder: Path, name: str) -> None:
    os._exit(7)


def wait(folder: Path, name: str) -> None:
    note(folder, name)
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        time.sleep(0.1)  # what a run saves must not be disturbed by a second interrupt
        (folder / name).write_text("saved")
        raise Interrupted("interrupted") from None


def test_every_call_is_made_in_a_process_of_its_own(tmp_path: Path) -> None:
    ended = list(side_by_side(note, [(tmp_path, str(index)) for index in range(5)], 2))
    assert sorted(ended) == [0, 1, 2, 3, 4]
    written = [(tmp_path / str(index)).read_text().split() for index in range(5)]
    assert len({process for process, _ in written} | {str(os.getpid())}) == 6
    assert {threads for _, threads in written} == {str(max(1, cpu_count() // 2))}
    assert list(side_by_side(note, [], 2)) == []


def test_an_error_ends_the_others(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(ConfigError, match=r"some\.key: is not allowed"):
        for _ in side_by_side(refuse, [(tmp_path, "slow"), (tmp_path, "wrong"), (tmp_path, "never")], 2):
            pass
    assert time.monotonic() - started < 50
    assert not (tmp_path / "never").exists()
    assert not (tmp_path / "slow").exists() or (tmp_path / "slow").read_text() == "saved"
    with pytest.raises(RuntimeError, match="ZeroDivisionError: x"):
        list(side_by_side(crash, [(tmp_path, "x")], 1))
    with pytest.raises(RuntimeError, match="exit code 7"):
        list(side_by_side(die, [(tmp_path, "x")], 1))


def test_an_interrupt_ends_all_of_them_in_order(tmp_path: Path) -> None:
    def interrupt() -> None:
        while not all((tmp_path / name).exists() for name in "ab"):
            time.sleep(0.05)
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(Interrupted, match="2 runs under way"):
        list(side_by_side(wait, [(tmp_path, "a"), (tmp_path, "b"), (tmp_path, "c")], 2))
    assert [(tmp_path / name).read_text() for name in "ab"] == ["saved", "saved"]
    assert not (tmp_path / "c").exists()
