"""Whole runs side by side: all are done, errors and interrupts end the others, nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from nichenas.core.errors import ConfigError
from nichenas.core.errors import Interrupted
from nichenas.core.errors import NichenasError
from nichenas.core.execution.executors import cpu_count
from nichenas.core.execution.side_by_side import Call
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


class Odd(NichenasError):
    """An error that cannot be pickled."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")
        self.held = lambda: None


def odd(folder: Path, name: str) -> None:
    raise Odd("this", "that")


def calls(folder: Path, *names: str) -> list[Call]:
    return [Call(name, (folder, name)) for name in names]


def test_every_call_is_made_in_a_process_of_its_own(tmp_path: Path) -> None:
    begun: list[int] = []
    ended = list(side_by_side(note, calls(tmp_path, *"01234"), 2, on_start=begun.append))
    assert sorted(ended) == begun == [0, 1, 2, 3, 4]
    written = [(tmp_path / str(index)).read_text().split() for index in range(5)]
    assert len({process for process, _ in written} | {str(os.getpid())}) == 6
    most = min(torch.get_num_threads(), max(1, cpu_count() // 2))
    assert {threads for _, threads in written} == {str(most)}
    assert list(side_by_side(note, [], 2)) == []


def test_an_error_ends_the_others(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(ConfigError, match=r"wrong: some\.key: is not allowed"):
        for _ in side_by_side(refuse, calls(tmp_path, "slow", "wrong", "never"), 2):
            pass
    assert time.monotonic() - started < 50
    assert not (tmp_path / "never").exists()
    assert not (tmp_path / "slow").exists() or (tmp_path / "slow").read_text() == "saved"
    for function, kind, text in (
        (crash, RuntimeError, "ZeroDivisionError: x"),
        (die, NichenasError, "x: the process ended with exit code 7"),
        (odd, NichenasError, "x: this and that"),
    ):
        with pytest.raises(kind, match=text):
            list(side_by_side(function, calls(tmp_path, "x"), 1))


def test_an_interrupt_ends_all_of_them_in_order(tmp_path: Path) -> None:
    def interrupt() -> None:
        while not all((tmp_path / name).exists() for name in "ab"):
            time.sleep(0.05)
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job's tests begin with it ignored
    try:
        threading.Thread(target=interrupt, daemon=True).start()
        with pytest.raises(Interrupted, match="2 runs under way"):
            list(side_by_side(wait, calls(tmp_path, *"abc"), 2))
    finally:
        signal.signal(signal.SIGINT, before)
    assert [(tmp_path / name).read_text() for name in "ab"] == ["saved", "saved"]
    assert not (tmp_path / "c").exists()


SCRIPT = """
import sys
from pathlib import Path
from tests.core.execution.test_side_by_side import calls, wait
from nichenas.core.execution.side_by_side import Call
from nichenas.core.execution.side_by_side import side_by_side
if {guard}:
    list(side_by_side(wait, calls(Path(sys.argv[1]), *"ab"), 2))
"""


def begun(tmp_path: Path, guard: str) -> subprocess.Popen[str]:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(guard=guard))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, str(script), str(tmp_path)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def test_calls_end_with_their_parent_even_where_nobody_reaps_it(tmp_path: Path) -> None:
    process = begun(tmp_path, "__name__ == '__main__'")
    deadline = time.monotonic() + 120
    while not all((tmp_path / name).exists() and (tmp_path / name).read_text() for name in "ab"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    workers = [int((tmp_path / name).read_text().split()[0]) for name in "ab"]
    process.kill()  # and is left as it is
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.communicate()


def test_a_script_without_a_guard_is_told_so(tmp_path: Path) -> None:
    process = begun(tmp_path, "True")
    _, text = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "below if __name__ == '__main__'" in text.splitlines()[-1]
