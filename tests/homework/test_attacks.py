"""Notebooks that exhaust the machine or end their own process: contained, named in one sentence, no harm to the next.

Each attack is tried twice: as a cell of the notebook's run, and inside a function that a test calls.
"""

from __future__ import annotations

import os
import re
import textwrap
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from lvmlib.homework import watchdog
from lvmlib.homework.box import Box, BoxBroken, RemoteError
from tests.homework import tiny
from tests.homework.boxes import HONEST, QUICK, attacks, grade, graded_in_full, needs_sandbox, opened

pytestmark = [pytest.mark.slow, needs_sandbox, pytest.mark.xdist_group("attacks")]

SAID = {  # by the words that stand behind the names of attacks
    "ok": "^$",
    "time": r"longer than 2 seconds, and did not stop when it was interrupted\.$",
    "interrupted": r"TimeoutError",
    "cpu": r"more than \d+ seconds of processor time\.$",
    "memory": r"more than 1 GB of memory\.$|MemoryError|Cannot allocate memory",
    "processes": r"more than 24 processes and threads\.$|Resource temporarily unavailable|can't start new thread",
    "printed": r"printed more than 1 MB\.$",
    "ended": r"ended its own process\.$|process was ended by SIG\w+\.$",
    "refused": r"Operation not permitted|Function not implemented",
    "unlike": r"Operation not supported|No such device|Permission denied",
    "recursion": r"RecursionError",
    "space": r"No space left on device|File too large",
}
ATTACKS = attacks("machine.txt")


@pytest.fixture(autouse=True)
def the_next_one_is_graded_in_full() -> Iterator[None]:
    """After every attack an honest notebook gets all its points, and no process is left."""
    before = watchdog.descendants(os.getpid(), 1000)
    yield
    assert graded_in_full()
    assert len(watchdog.descendants(os.getpid(), 1000)) <= len(before)


def outcome(code: str, called: bool) -> tuple[str, float]:
    """Return what is said of an attack, and the seconds it took."""
    said, start = "", time.monotonic()
    with Box(replace(QUICK, wall=2.0, cpu=6), False, "bubblewrap") as box:
        try:
            if called:
                box.run(["def attack():\n" + textwrap.indent(code, "    ")])
                box.call("attack")
            else:
                said = box.run([*HONEST, code])[-1] or ""
                assert box.values(["answer"]) == {"answer": 42}  # what was found before is not lost
        except (BoxBroken, RemoteError) as failed:
            said = str(failed)
    return said, time.monotonic() - start


@pytest.mark.parametrize("called", [False, True], ids=["run", "call"])
@pytest.mark.parametrize("name", ATTACKS)
def test_it_is_contained_and_named(name, called):
    code, allowed = ATTACKS[name]
    said, seconds = outcome(code, called)
    assert any(re.search(SAID[word], said) for word in allowed.split()), said
    assert len(said) <= 300 and "\n" not in said
    assert seconds < 15


def test_memory_does_not_run_far_ahead_of_the_watch():
    """Several processes that take memory as fast as they can stay below twice the limit together."""
    code = "import os, time\nfor _ in range(3): os.fork()\nx = []\nwhile True: x.append(b'x' * 10_000_000)"
    before, least = watchdog.machine_memory()[0], [0.0]

    class Look(watchdog.threading.Thread):
        def run(self) -> None:
            while not done:
                least[0] = max(least[0], before - watchdog.machine_memory()[0])
                time.sleep(0.01)

    done: list[int] = []
    look = Look()
    look.start()
    said, _ = outcome(code, True)
    done.append(1)
    look.join()
    assert "memory" in said.lower()
    assert least[0] < 2.5e9, f"{least[0] / 1e9:.2f} GB"


def test_a_machine_that_runs_out_of_memory_loses_the_sandbox_first(monkeypatch):
    with opened() as box:
        monkeypatch.setattr(watchdog, "machine_memory", lambda: (1, 100))
        with pytest.raises(BoxBroken, match="The machine that marks had no memory left"):
            box.run(["import time; time.sleep(5)"])
        assert box.ours
        with pytest.raises(RuntimeError, match="had no memory left"):
            grade("import time; time.sleep(1)")
        monkeypatch.undo()


def test_what_cannot_be_watched_does_not_run(monkeypatch):
    with opened() as box:
        monkeypatch.setattr(watchdog, "usage", lambda tree: 1 / 0)
        with pytest.raises(BoxBroken, match="could not be watched"):
            box.run(["import time; time.sleep(5)"])
        assert box.ours


def test_a_thread_that_goes_on_after_its_cell_is_watched_between_calls():
    cell = "import threading\nbusy = True\ndef burn():\n    while busy: pass\nthreading.Thread(target=burn).start()"
    with opened(cell, *HONEST, limits=replace(QUICK, cpu=4)) as box:
        assert box.call("double", 3) == 6
        deadline = time.monotonic() + 15
        while box.reason is None and time.monotonic() < deadline:
            time.sleep(0.1)  # no request is under way
        assert box.reason == "It used more than 4 seconds of processor time."
        with pytest.raises(BoxBroken, match="processor time"):
            box.call("double", 3)
        assert not box.ours


@pytest.mark.parametrize("name", ["os._exit", "stubborn fork bomb", "prints 10 GB", "crashes"])
def test_the_grader_takes_off_what_an_attack_broke_and_nothing_else(name):
    """The run of the whole notebook is gone, and its value with it; the function is marked from its definition."""
    result = grade("import numpy as np", tiny.COIN, ATTACKS[name][0], tiny.MEAN)
    assert {mark.question: mark.passed for mark in result.marks} == {"q1": True, "q2": False}
    assert result.note.startswith("The run of the whole notebook ended early. ")
    assert all(mark.reason.endswith(".") and "\n" not in mark.reason for mark in result.marks if not mark.passed)
