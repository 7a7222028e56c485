"""Notebooks that exhaust the machine or end their own process: contained, named in one sentence, no harm to the next.

Each attack is tried twice: as a cell of the notebook's run, and inside a function that a test calls.
"""

from __future__ import annotations

import os
import textwrap
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from lvmlib.homework import watchdog
from lvmlib.homework.box import Box, BoxBroken, RemoteError
from tests.homework.boxes import FULL, HONEST, QUICK, marks, needs_sandbox, opened

pytestmark = [pytest.mark.slow, needs_sandbox, pytest.mark.xdist_group("attacks")]

FIELDS = {"ok", "time", "cpu", "memory", "processes", "printed", "ended", "system", "space"}
NAMED = {
    "time": r"longer than 2 seconds, and did not stop when it was interrupted\.$",
    "interrupted": r"TimeoutError",
    "cpu": r"more than \d+ seconds of processor time\.$",
    "memory": r"more than 1 GB of memory\.$|MemoryError|Cannot allocate memory",
    "processes": r"more than 24 processes and threads\.$|Resource temporarily unavailable|can't start new thread",
    "printed": r"printed more than 1 MB\.$",
    "ended": r"ended its own process\.$|process was ended by SIG\w+\.$",
    "refused": r"Operation not permitted|Function not implemented",
    "space": r"No space left on device|File too large",
}
ALARM = "import signal; signal.signal(signal.SIGALRM, signal.SIG_IGN); signal.setitimer(signal.ITIMER_REAL, 0)\n"
CALL = "import ctypes; c = ctypes.CDLL(None, use_errno=True)\ndef ask(*a):\n    r = c.syscall(*a)\n"
CALL += "    if r < 0: raise OSError(ctypes.get_errno(), __import__('os').strerror(ctypes.get_errno()))\n    return r\n"

ATTACKS = {  # what it does: its code, and all that may be said of it
    "endless loop": ("while True: pass", "interrupted"),
    "endless loop that catches errors": ("while True:\n    try: x = 1\n    except Exception: pass", "interrupted"),
    "endless loop that catches everything": (
        "while True:\n    try:\n        while 1: pass\n    except: pass",
        "time interrupted",
    ),
    "endless loop that ignores signals": (ALARM + "while True: pass", "time"),
    "endless loop in C": ("sum(range(10**13))", "time"),
    "endless regular expression": ("import re; re.match('(a+)+b', 'a' * 60)", "interrupted time"),
    "a power without end": ("10 ** 10 ** 9", "time"),
    "sleeps": ("import time; time.sleep(1000)", "interrupted"),
    "stops itself": ("import os, signal; os.kill(os.getpid(), signal.SIGSTOP)", "time"),
    "burns all cores": (
        "import os\nfor _ in range(6): os.fork()\n" + ALARM + "while True: pass",
        "cpu processes time",
    ),
    "fork bomb": ("import os\nwhile True: os.fork()", "processes memory"),
    "stubborn fork bomb": (
        "import os\nwhile True:\n    try: os.fork()\n    except BaseException: pass",
        "processes memory time cpu",
    ),
    "fork bomb of daemons": (
        "import os\nwhile True:\n    try:\n        if not os.fork(): os.setsid()\n    except OSError: pass",
        "processes memory time cpu",
    ),
    "shell bomb": (
        "import subprocess\nsubprocess.run('b() { b | b & }; b; sleep 100', shell=True)",
        "processes time cpu",
    ),
    "thread bomb": (
        "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(99,), daemon=True).start()",
        "processes",
    ),
    "50 GB": ("import numpy as np; np.ones(50_000_000_000 // 8)", "memory"),
    "many small pieces": ("x = []\nwhile True: x.append(bytearray(1_000_000))", "memory"),
    "memory of several processes": (
        "import os, time\nfor _ in range(4): os.fork()\nx = b'x' * 300_000_000\ntime.sleep(99)",
        "memory",
    ),
    "shared memory": (
        "import mmap\nm = mmap.mmap(-1, 3 * 10**9)\nfor i in range(3000): m[i * 10**6 : (i + 1) * 10**6] = bytes(10**6)",
        "memory",
    ),
    "a file in memory": ("import os; os.memfd_create('x')", "refused"),
    "a System V segment": (CALL + "ask(29, 0, 1 << 30, 0o1600)", "refused"),
    "prints 10 GB": ("for _ in range(10_000): print('x' * 1_000_000)", "printed"),
    "prints 10 GB past Python": ("import os\nfor _ in range(100_000): os.write(2, b'x' * 100_000)", "printed"),
    "prints from another program": ("import subprocess; subprocess.run(['yes'])", "printed"),
    "10 GB in a file": ("f = open('big', 'wb')\nfor _ in range(10_000): f.write(bytes(1_000_000)); f.flush()", "space"),
    "10 GB in many files": (
        "for i in range(10_000):\n    with open(f'f{i}', 'wb') as f: f.write(bytes(1_000_000))",
        "space",
    ),
    "10 GB in /dev/shm": (
        "for i in range(10_000):\n    with open(f'/dev/shm/f{i}', 'wb') as f: f.write(bytes(1_000_000))",
        "space",
    ),
    "a file with a hole": ("open('hole', 'wb').truncate(10**12)", "space"),
    "os._exit": ("import os; os._exit(0)", "ended"),
    "kills itself": ("import os; os.kill(os.getpid(), 9)", "ended"),
    "crashes": ("import ctypes; ctypes.string_at(0)", "ended"),
    "aborts": ("import os; os.abort()", "ended"),
    "execs another program": ("import os; os.execv('/bin/true', ['true'])", "ended"),
    "kills its parent and all": (
        "import os\nfor p in (1, -1):\n    try: os.kill(p, 9)\n    except OSError: pass\nos.kill(os.getppid(), 9)",
        "refused ok",
    ),
    "overflows the stack": (
        "import sys; sys.setrecursionlimit(10**9)\ndef f(): return f()\nf()",
        "ended memory interrupted time RecursionError",
    ),
}


@pytest.fixture(autouse=True)
def the_next_one_is_graded_in_full() -> Iterator[None]:
    """After every attack an honest notebook gets all its points, and no process is left."""
    before = watchdog.descendants(os.getpid(), 1000)
    yield
    assert marks(*HONEST) == FULL
    assert len(watchdog.descendants(os.getpid(), 1000)) <= len(before)


def outcome(code: str, called: bool) -> tuple[str, float, float]:
    """Return what is said of an attack, the seconds it took, and the most that the machine's memory lost meanwhile."""
    limits = replace(QUICK, wall=2.0, cpu=6)
    said = ""
    start, free = time.monotonic(), watchdog.machine_memory()[0]
    with Box(limits, False, "bubblewrap") as box:
        try:
            if called:
                box.run(["def attack():\n" + textwrap.indent(code, "    ")])
                box.call("attack")
            else:
                said = box.run([*HONEST, code])[-1] or ""
                assert box.values(["answer"]) == {"answer": 42}  # what was found before is not lost
        except (BoxBroken, RemoteError) as failed:
            said = str(failed)
    return said, time.monotonic() - start, free - watchdog.machine_memory()[0]


@pytest.mark.parametrize("called", [False, True], ids=["run", "call"])
@pytest.mark.parametrize("name", ATTACKS)
def test_it_is_contained_and_named(name, called, record_property):
    import re

    code, allowed = ATTACKS[name]
    said, seconds, _ = outcome(code, called)
    record_property("said", said)
    patterns = [NAMED.get(word, "^$" if word == "ok" else word) for word in allowed.split()]
    assert any(re.search(pattern, said) for pattern in patterns), said
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
    said, _, _ = outcome(code, True)
    done.append(1)
    look.join()
    assert "memory" in said.lower()
    assert least[0] < 2.5e9, f"{least[0] / 1e9:.2f} GB"


def test_a_machine_that_runs_out_of_memory_loses_the_sandbox_first(monkeypatch):
    monkeypatch.setattr(watchdog, "machine_memory", lambda: (1, 100))
    with pytest.raises(BoxBroken, match="The machine that marks had no memory left"), opened() as box:
        box.run(["import time; time.sleep(5)"])


def test_what_cannot_be_watched_does_not_run(monkeypatch):
    with opened() as box:
        monkeypatch.setattr(watchdog, "usage", lambda tree: 1 / 0)
        with pytest.raises(BoxBroken, match="could not be watched"):
            box.run(["import time; time.sleep(5)"])


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
