"""A running sandbox: runs cells, fetches values, calls functions, and ends whatever goes beyond its limits.

Two clocks and two counts stand behind every limit: the worker interrupts itself, which an honest mistake does not
survive and the rest of a notebook does; what escapes that is killed from outside.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import tempfile
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from lvmlib.homework import sandbox as sandboxes
from lvmlib.homework.plain import from_plain, parse, to_plain
from lvmlib.homework.watchdog import NO_MEMORY, UNWATCHED, Watchdog, tasks_of

GRACE = 3.0  # seconds between the interrupt and the kill
FORGED = "Something in the notebook wrote into the grader's own channel."
START = 60.0  # seconds that a worker may take to start on a busy machine


class RemoteError(Exception):
    """A call failed and the sandbox goes on: the student's code raised, took too long, or returned nothing plain."""


class BoxBroken(Exception):
    """The sandbox is gone, and with it everything in it; the message is one sentence for the student."""


@dataclass(frozen=True)
class Limits:
    """What a notebook may use.

    Attributes:
        wall: seconds for the run of a notebook, and again for all calls of its functions together.
        call: seconds for one call, and for one statement where statements run one at a time.
        cpu: seconds of processor time.
        memory: bytes.
        processes: processes and threads.
        output: bytes printed.
        files: bytes written to files.
        reply: bytes that one reply may have.
    """

    wall: float = 120.0
    call: float = 10.0
    cpu: int = 120
    memory: int = 4_000_000_000
    processes: int = 64
    output: int = 1_000_000
    files: int = 200_000_000
    reply: int = 64_000_000


class Box:
    """A sandbox with one notebook in it; a context manager.

    Args:
        limits: of time, memory and so on.
        library: whether `lvmlib` can be imported inside.
        sandbox: "docker", "bubblewrap", the first of these that works ("auto"), or "none" for code that you trust.

    Attributes:
        reason: why the sandbox is gone, if it is; one sentence.
        ours: whether that is the machine's fault, and not the notebook's: it deserves another run.

    Raises:
        SandboxMissing: if there is no sandbox here, or it does not start.
    """

    def __init__(self, limits: Limits, library: bool, sandbox: str = "auto") -> None:
        self.limits, self.library, self.kind = limits, library, sandboxes.find_sandbox(sandbox)
        self.reason: str | None = None
        self.closed = False
        self.left = limits.wall  # of the time for calls
        self.received = b""
        self.folder = tempfile.TemporaryDirectory(prefix="lvm-box-")
        room = sandboxes.Room(library, limits.files, limits.memory, limits.processes)
        settings = {
            "limits": self._kernel_limits(),
            "path": sandboxes.places(self.kind, library),
            "library": library,
            "alone": self.kind.startswith("docker"),  # nothing outside hides what an image holds
            "reply": limits.reply,
        }
        self.process, clean = sandboxes.start(self.kind, room, json.dumps(settings), self.folder.name)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe
            os.set_blocking(pipe.fileno(), False)
        self.watchdog = Watchdog(self.process, limits, self._break, clean, look=self.kind in ("bubblewrap", "none"))
        self.watchdog.start()
        try:
            self._ask("hello", START)
        except BoxBroken as broken:
            said = self.watchdog.said.decode("utf-8", "replace").strip().splitlines()
            self.close()
            why = said[-1] if said else str(broken)
            raise sandboxes.SandboxMissing(f"The sandbox ({self.kind}) did not start: {why}") from None
        except BaseException:
            self.close()
            raise

    def _kernel_limits(self) -> dict[str, int]:
        """Return the limits that the kernel keeps for each process."""
        limits = {
            "CORE": 0,
            "CPU": self.limits.cpu + 5,
            "FSIZE": self.limits.files,
            "NOFILE": 256,
            "DATA": self.limits.memory,
            "MSGQUEUE": 0,
            "MEMLOCK": 1_000_000,
        }
        if self.kind == "bubblewrap":  # older kernels count all that an ordinary user runs, not the sandbox alone
            limits["NPROC"] = self.limits.processes + (tasks_of(os.getuid()) if os.getuid() else 0)
        return limits

    def run(self, sources: list[str], *, statements: bool = False) -> list[str | None]:
        """Run the cells of a notebook, each whatever became of those before it.

        Args:
            sources: of the cells; magics are understood.
            statements: run imports, definitions and assignments alone, one at a time.

        Returns:
            For each cell None, or what went wrong in it, in one line.

        Raises:
            BoxBroken: if the sandbox did not survive.
        """
        wall = self.limits.wall
        options = {"sources": sources, "statements": statements, "seconds": wall, "each": self.limits.call}
        errors = self._ask("run", wall + GRACE, **options)
        well_formed = isinstance(errors, list) and len(errors) == len(sources)
        if not well_formed or not all(error is None or isinstance(error, str) for error in errors):
            raise self._break(FORGED)
        return [error and one_line(error) for error in errors]

    def values(self, names: list[str]) -> dict[str, Any]:
        """Return those of these names that exist and hold something plain.

        Raises:
            BoxBroken: if the sandbox did not survive.
        """
        options = {"names": names, "most": self.limits.reply * 9 // 10, "seconds": self.limits.call}
        found = self._ask("values", self.limits.call + GRACE, **options)
        if not isinstance(found, dict):
            raise self._break(FORGED)
        values = {}
        for name in names:
            with contextlib.suppress(ValueError, KeyError):
                values[name] = from_plain(found[name], self.limits.reply)
        return values

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a function of the notebook's with plain arguments and return its plain result.

        Raises:
            RemoteError: if the function raised, took too long, is missing, or returned something that is not plain.
            BoxBroken: if the sandbox did not survive.
        """
        start, seconds = time.monotonic(), min(self.limits.call, max(self.left, 0.1))
        described = {"name": name, "args": to_plain(list(args)), "kwargs": to_plain(kwargs)}
        if self.left <= 0:
            raise self._break(f"All calls together took longer than {self.limits.wall:g} seconds.")
        try:
            result = self._ask("call", seconds + GRACE, **described, seconds=seconds)
        finally:
            self.left -= time.monotonic() - start
        try:
            return from_plain(result, self.limits.reply)
        except ValueError:
            raise self._break(f"`{name}` returned something that is not plain.") from None

    def _ask(self, what: str, wait: float, /, **options: Any) -> Any:
        """Send a request and return what the reply to it holds."""
        if self.reason or self.closed:
            raise BoxBroken(self.reason or "The sandbox is closed.")
        mine = secrets.token_hex(16)
        line = json.dumps({"id": mine, "do": what, "with": options}).encode() + b"\n"
        late = f"It took longer than {max(0, wait - GRACE):.3g} seconds, and did not stop when it was interrupted."
        reply = self._exchange(line, time.monotonic() + wait, late)
        try:
            answer = parse(reply)
        except ValueError:
            raise self._break(FORGED) from None
        # A reply to anything but this request was written by the notebook. One that copies the request's name is worth
        # no more than a function that returns the same.
        if not isinstance(answer, dict) or answer.get("id") != mine:
            raise self._break(FORGED)
        if "error" in answer:
            raise RemoteError(one_line(str(answer["error"])))
        return answer.get("ok")

    def _exchange(self, line: bytes, deadline: float, late: str) -> bytes:
        """Send a line and return the next one, whatever the other side does with its ends of the pipes."""
        assert self.process.stdin and self.process.stdout
        write, read, left = self.process.stdin.fileno(), self.process.stdout.fileno(), memoryview(line)
        parts, size = [self.received], len(self.received)
        while b"\n" not in parts[-1]:
            ready = select.select([read], [write] if left else [], [], max(0.0, deadline - time.monotonic()))
            if not ready[0] and not ready[1]:
                raise self._break(late)
            if ready[1]:
                try:
                    left = left[os.write(write, left) :]
                except OSError:  # nobody reads any more; what there is to read says why
                    left = memoryview(b"")
            if ready[0]:
                parts.append(os.read(read, 1 << 20))
                size += len(parts[-1])
                if not parts[-1]:
                    raise self._break(self.watchdog.ended())
                if size > self.limits.reply:
                    raise self._break(f"It returned more than {self.limits.reply / 1e6:g} MB.")
        reply, _, self.received = b"".join(parts).partition(b"\n")
        return reply

    def _break(self, reason: str) -> BoxBroken:
        """Note why the sandbox ends, unless that stands already, and end it."""
        if self.reason is None:
            self.reason = reason
        self.watchdog.kill()
        return BoxBroken(self.reason)

    @property
    def ours(self) -> bool:
        """Whether the machine is to blame for the end of the sandbox."""
        return bool(self.reason and self.reason.startswith((NO_MEMORY, UNWATCHED)))

    def close(self) -> None:
        """End the sandbox."""
        self.closed = True
        self.watchdog.kill()
        self.watchdog.join()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe:
                pipe.close()
        self.folder.cleanup()

    def __enter__(self) -> Box:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def one_line(text: str) -> str:
    """Return a stranger's text as one short line that can be shown anywhere."""
    return "".join(c if c.isprintable() else " " for c in text)[:300]
