"""Watches the processes of a sandbox from outside, twenty times a second, and kills them all at a limit."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PAUSE = 0.05  # seconds between two looks
PATIENCE = 0.25  # seconds to look closer at memory
KEPT = 10_000  # bytes of what was printed that are kept, for messages
FLOOR = 0.03  # of the machine's memory: when less is left, the sandbox goes before the machine does
NO_MEMORY, UNWATCHED = "The machine that marks had no memory left.", "The sandbox could not be watched"
TICK, PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")


class Watchdog(threading.Thread):
    """Looks after one sandbox, and swallows what it prints.

    Args:
        process: that was started; all others descend from it.
        limits: a `Limits`.
        stop: called with a sentence, when there is a reason to end the sandbox.
        cleanup: called when it has been ended, for what is no descendant.
        look: whether to watch the descendants, or only what is printed: Docker's are none, and it counts for itself.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        limits: Any,
        stop: Callable[[str], Any],
        cleanup: Callable[[], Any],
        look: bool,
    ) -> None:
        super().__init__(daemon=True)
        self.process, self.limits, self.stop, self.cleanup = process, limits, stop, cleanup
        self.look = look
        self.said, self.printed = bytearray(), 0
        self.lock = threading.Lock()

    def run(self) -> None:
        """Look until the sandbox has ended."""
        look = 0.0
        while self.process.poll() is None:
            self._swallow(PAUSE)
            if time.monotonic() < look:
                continue
            try:
                reason = self._reason()
            except Exception as error:  # what cannot be watched must not run
                reason = f"{UNWATCHED} ({error})."
            if reason:
                self.stop(reason)
            look = time.monotonic() + PAUSE
        self._swallow(0)

    def _swallow(self, seconds: float) -> None:
        """Read what was printed, or wait for some."""
        assert self.process.stderr
        if not select.select([self.process.stderr], [], [], seconds)[0]:
            return
        with contextlib.suppress(BlockingIOError):
            text = os.read(self.process.stderr.fileno(), 1 << 16)
            if not text:  # all ends were closed
                time.sleep(seconds)
            self.printed += len(text)
            self.said += text[: KEPT - len(self.said)]

    def _reason(self) -> str | None:
        """Return why the sandbox must end, if it must."""
        limits = self.limits
        if self.printed > limits.output:
            return f"It printed more than {limits.output / 1e6:g} MB."
        if not self.look:
            return None
        tree = descendants(self.process.pid, limits.processes)
        tasks, seconds, memory = usage(tree)
        if tasks >= limits.processes:
            return f"It started more than {limits.processes} processes and threads."
        if seconds > limits.cpu:
            return f"It used more than {limits.cpu:g} seconds of processor time."
        if memory > limits.memory and shared_once(tree) > limits.memory:
            return f"It used more than {limits.memory / 1e9:g} GB of memory."
        free, total = machine_memory()
        if free < FLOOR * total:
            return NO_MEMORY
        return None

    def ended(self) -> str:
        """Return how the worker ended, in a sentence, once its end of the channel is closed."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self.process.wait(1.0)
            number = code - 128 if code > 128 else -code
            if number == signal.SIGXCPU:
                return f"It used more than {self.limits.cpu:g} seconds of processor time."
            with contextlib.suppress(ValueError):
                return f"The notebook's process was ended by {signal.Signals(number).name}."
        return "The notebook ended its own process."

    def kill(self) -> None:
        """End all processes of the sandbox."""
        with self.lock:
            if self.process.poll() is not None:
                return
            # First the head of the sandbox's own process namespace: the kernel ends all others with it.
            for pid in descendants(self.process.pid, 2)[1:]:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.5)  # it buries that one
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.cleanup()


def descendants(pid: int, most: int) -> list[int]:
    """Return a process and what descends from it, parents first; no more than a few beyond `most`.

    What multiplies faster than anyone can count is not counted to its end.
    """
    children = _children if os.path.exists("/proc/thread-self/children") else _all_children()
    found = [pid]
    for one in found:
        if len(found) > most:
            break
        found += children(one)
    return found


def _children(pid: int) -> list[int]:
    """Return the children of a process."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            found += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split())
    return found


def _all_children() -> Callable[[int], list[int]]:
    """Return the same, looked up at once for all processes, where the kernel keeps no lists of children."""
    found: dict[int, list[int]] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            parent = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[1]
            found.setdefault(int(parent), []).append(int(name))
    return lambda pid: found.get(pid, [])


def tasks_of(user: int) -> int:
    """Return how many threads run in the name of a user."""
    total = 0
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.stat(f"/proc/{name}").st_uid == user:
                total += len(os.listdir(f"/proc/{name}/task"))
    return total


def usage(tree: list[int]) -> tuple[int, float, int]:
    """Return the number of threads, the seconds of processor time and the bytes of memory of processes."""
    tasks, ticks, pages = 0, 0, 0
    for pid in tree:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            tasks += int(fields[17])
            ticks += sum(map(int, fields[11:15]))  # its own, and of children that have ended
            pages += int(fields[21])
    return tasks, ticks / TICK, pages * PAGE


def shared_once(tree: list[int]) -> int:
    """Return the bytes of memory of processes, where what several share counts once.

    To find out takes long where processes fork all the time; what has not been found out by then counts in full.
    """
    total, deadline = 0, time.monotonic() + PATIENCE
    for pid in tree:
        try:
            if time.monotonic() > deadline:
                raise OSError
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            total += sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        except OSError:
            total += usage([pid])[2]
    return total


def machine_memory() -> tuple[int, int]:
    """Return the bytes of memory that are free, or could be, and all there are."""
    with open("/proc/meminfo") as lines:
        numbers = {line.split(":")[0]: 1024 * int(line.split()[1]) for line in lines}
    return numbers["MemAvailable"], numbers["MemTotal"]
