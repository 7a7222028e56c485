"""Worker processes, each on its own: one that dies or hangs costs the job that it had, and nothing else."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")}  # sums come out alike everywhere
# By its path: a worker imports what its work needs, and nothing of `lvmlib` before that.
CODE = "import runpy, sys; sys.path = [p for p in sys.path if p]; runpy.run_path(sys.argv[1])['serve'](sys.argv[2])"


class Worker:
    """A process that does one job after another, which travel as lines of JSON."""

    def __init__(self, work: str) -> None:
        self.said = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-c", CODE, __file__, work],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.said,
            env={**os.environ, **ONE_THREAD, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        assert self.process.stdin and self.process.stdout
        self.input: BinaryIO = self.process.stdin  # type: ignore[assignment]
        self.output: BinaryIO = self.process.stdout  # type: ignore[assignment]
        self.job = -1
        self.deadline = 0.0

    def start(self, job: int, arguments: dict[str, Any], seconds: float) -> None:
        """Hand over a job."""
        self.job, self.deadline = job, time.monotonic() + seconds
        with contextlib.suppress(OSError):  # it died; `finish` says so
            self.input.write(json.dumps(arguments).encode() + b"\n")
            self.input.flush()

    def finish(self) -> dict[str, Any]:
        """Return the answer, or why there is none."""
        line = self.output.readline()
        if not line.endswith(b"\n"):
            return {"lost": f"the process ended without an answer ({self.end()})"}
        return json.loads(line)

    def end(self) -> str:
        """End the process; return how it ended and the last that it said."""
        self.process.kill()
        status = self.process.wait()
        for pipe in (self.input, self.output):
            with contextlib.suppress(OSError):
                pipe.close()
        self.said.seek(0)
        lines = self.said.read().decode("utf-8", "replace").strip().splitlines()
        self.said.close()
        how = f"exit status {status}" if status >= 0 else f"signal {-status}"
        return f"{how}; it said: {lines[-1][:200]}" if lines else how


def run(
    jobs: Sequence[dict[str, Any]], work: str, workers: int, seconds: float
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the number of each job and its answer, as they come.

    Args:
        jobs: the arguments of each.
        work: the function that does a job in a worker, as ``module:function``; arguments and answer are JSON.
        workers: how many at a time.
        seconds: that a job may take; a worker that takes longer is killed.

    Yields:
        ``(job, {"done": answer})``, or ``(job, {"lost": sentence})`` if the worker died, hung, or raised.
    """
    waiting = list(range(len(jobs)))[::-1]
    busy: list[Worker] = []
    idle: list[Worker] = []
    try:
        while waiting or busy:
            while waiting and len(busy) < max(workers, 1):
                worker = idle.pop() if idle else Worker(work)
                job = waiting.pop()
                busy.append(worker)
                worker.start(job, jobs[job], seconds)
            first = min(worker.deadline for worker in busy)
            ready = select.select([worker.output for worker in busy], [], [], max(0.0, first - time.monotonic()))[0]
            for worker in [one for one in busy if one.output in ready]:
                busy.remove(worker)
                answer = worker.finish()
                if worker.process.returncode is None:
                    idle.append(worker)
                yield worker.job, answer
            for worker in [one for one in busy if one.deadline < time.monotonic()]:
                busy.remove(worker)
                worker.end()
                yield worker.job, {"lost": f"it took longer than {seconds:g} seconds"}
    finally:
        for worker in busy + idle:
            worker.end()


def serve(work: str) -> None:
    """Do jobs until there are no more. What the work prints must not be taken for an answer."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    module, _, name = work.partition(":")
    function = getattr(importlib.import_module(module), name)
    for line in sys.stdin.buffer:
        try:
            answer = {"done": function(**json.loads(line))}
        except Exception as problem:
            answer = {"lost": f"{type(problem).__name__}: {problem}"}
        replies.write(json.dumps(answer).encode() + b"\n")
        replies.flush()
