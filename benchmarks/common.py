"""What the benchmarks share: runs that take turns, and a record of what was measured and where.

A ratio of two medians means something only if both were measured in the same minutes on the same machine. So the runs
that are compared take turns, A B A B, in one process, three times at least, after one that warms them up and does not
count. The clock counts the seconds in which a processor worked for this process. Neither makes a busy machine a quiet
one: what runs beside takes its share of caches and memory, and not the same share from each contestant (a transformer
without its cache once came out 2.7 times as slow). So no result is kept where the load says that something did.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import math
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from lvmlib.base import seed_everything
from lvmlib.checkpoints import provenance
from lvmlib.experiments.records import BENCHMARKS

LEAST = 3  # runs, or there is no spread to show

clock = time.process_time


def options(description: str | None, timed: bool = True) -> argparse.Namespace:
    """Read the command line and set the number of threads; `--quick` shrinks everything and keeps no result.

    What is `timed` needs a quiet machine; what a model reaches after so many steps does not.

    Raises:
        SystemExit: results would be kept, and the machine is busy or fewer than three runs are asked for.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--repeats", type=int, default=5, help="rounds, of which the median counts")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="folder for the JSON; lvmlib/experiments/benchmarks unless --quick")
    found = parser.parse_args()
    found.out = found.out or (None if found.quick else BENCHMARKS)
    if found.out is not None:
        if timed:
            refuse_if_busy(found.threads)
        if found.repeats < LEAST:
            parser.error(f"a result that is kept needs {LEAST} runs at least, but --repeats is {found.repeats}")
    torch.set_num_threads(found.threads)
    seed_everything(0)
    return found


def refuse_if_busy(threads: int) -> None:
    """Stop unless this process is about the only one that works.

    Raises:
        SystemExit: the load average is more than half a processor above the threads that are ours.
    """
    load, most = os.getloadavg()[0], threads + 0.5
    if load > most:
        raise SystemExit(
            f"The load average is {load:.2f}, above {most}: something else is running, and timings taken beside it do "
            "not hold, nor do their ratios. No result was written. Wait until the machine is at rest and run it again; "
            "--quick shows at any time that a script works."
        )


def take_turns(
    tasks: Mapping[str, Callable[[], object]],
    repeats: int,
    enough: float = 10.0,
    shortest: float = 0.0,
    warm: Mapping[str, Callable[[], object]] | None = None,
) -> dict[str, list[float]]:
    """Run all tasks in turn, round after round, and return the seconds of each run but the first, which warms up.

    Args:
        tasks: what to run, by name.
        repeats: number of rounds that count.
        enough: a task that has had three runs stops once they add up to so many seconds.
        shortest: a task that takes less time than this is repeated within a run until it does, and its mean counts.
        warm: for tasks that take long, something shorter that warms them up.
    """
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    times = dict.fromkeys(tasks, 1)
    for name, task in tasks.items():
        start = clock()
        (warm or {}).get(name, task)()
        if name not in (warm or {}):
            times[name] = max(1, math.ceil(shortest / max(clock() - start, 1e-6)))
    for _ in range(repeats):
        for name, task in tasks.items():
            runs = seconds[name]
            if len(runs) >= LEAST and sum(runs) > enough:
                continue
            start = clock()
            for _ in range(times[name]):
                task()
            runs.append((clock() - start) / times[name])
    return seconds


def medians(runs: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The median of each list, to four digits."""
    return {name: digits(statistics.median(values)) for name, values in runs.items()}


def spreads(runs: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """The least and the most of each list, to four digits.

    >>> spreads({"a": [0.3, 0.1, 0.2]})
    {'a': [0.1, 0.3]}
    """
    return {name: [digits(min(values)), digits(max(values))] for name, values in runs.items()}


def digits(value: float, count: int = 4) -> float:
    """Round to so many significant digits, which is more than any timing is good for.

    >>> digits(0.0123456), digits(1234.56)
    (0.01235, 1235.0)
    """
    return float(f"{value:.{count}g}")


def version(package: str) -> str:
    """The installed version of a package."""
    return importlib.metadata.version(package)


def processor() -> str:
    """The model of the processor, and which vector instructions torch uses on it."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():  # on Linux platform.processor() says x86_64 at best
        found = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", info.read_text("utf-8", "replace"), re.MULTILINE)
        name = found[1].strip() if found else name
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}"


def write(
    folder: Path | None,
    topic: str,
    title: str,
    began: float,
    packages: Sequence[str] = (),
    timed: bool = True,
    **facts: Any,
) -> None:
    """Write `topic`.json: what was measured, by which command, with what, on what and when; print it without a folder.

    Args:
        folder: where to; None prints only.
        topic: name of the file.
        title: one line for readers.
        began: `time.perf_counter()` at the start.
        packages: other libraries whose versions belong to the result.
        timed: whether a busy machine would spoil it.
        facts: the measurements.

    Raises:
        SystemExit: there is a folder, and something else was running at the end.
    """
    if folder is not None and timed:
        refuse_if_busy(torch.get_num_threads())
    origin = provenance()
    record = {
        "topic": topic,
        "title": title,
        **{key: origin[key] for key in ("command", "commit", "hardware", "threads", "python", "torch")},
        "processor": processor(),
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "packages": {name: version(name) for name in packages},
        "minutes": digits((time.perf_counter() - began) / 60, 3),
        "clock": "processor time",
        "load_average": digits(os.getloadavg()[0], 2),  # about the number of threads where nothing else runs
        "allocator": {name: value for name, value in sorted(os.environ.items()) if name.startswith("MALLOC_")},
        **facts,
    }
    text = json.dumps(record, indent=1)
    text = re.sub(
        r"\[([^][{}\"]*)\]", lambda match: "[" + " ".join(match[1].split()) + "]", text
    )  # numbers on one line
    if folder is None:
        print(text)
        return
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{topic}.json"
    partial = target.with_suffix(".part")
    partial.write_text(text + "\n", encoding="utf-8")
    os.replace(partial, target)
    print(f"wrote {target}")
