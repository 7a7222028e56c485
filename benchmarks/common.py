"""What the benchmarks share: runs that take turns, and a record of what was measured and where.

A ratio of two medians means something only if both were measured in the same minutes on the same machine. So the runs
that are compared take turns, A B A B, in one process; whatever else the machine does then hits both. The clock counts
the seconds in which a processor worked for this process: on one thread and a quiet machine those that pass, and on a
busy one without those in which others had their turn.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from lvmlib.base import seed_everything
from lvmlib.checkpoints import provenance

RESULTS = Path(__file__).parent / "results"


clock = time.process_time


def options(description: str | None) -> argparse.Namespace:
    """Read the command line and set the number of threads; `--quick` shrinks everything and keeps no result."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--repeats", type=int, default=5, help="rounds, of which the median counts")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="folder for the JSON; benchmarks/results unless --quick")
    found = parser.parse_args()
    found.out = found.out or (None if found.quick else RESULTS)
    torch.set_num_threads(found.threads)
    seed_everything(0)
    return found


def take_turns(
    tasks: Mapping[str, Callable[[], object]], repeats: int, least: int = 1, enough: float = 10.0
) -> dict[str, list[float]]:
    """Run all tasks in turn, round after round, and return the seconds of each run.

    Args:
        tasks: what to run, by name.
        repeats: number of rounds. The first run of a task comes before them and warms it up; where it took more than
            a second, there is little to warm, and it counts.
        least: a task that takes long may stop after so many runs,
        enough: once they add up to so many seconds.
    """
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for i in range(-1, repeats):
        for name, task in tasks.items():
            runs = seconds[name]
            if len(runs) == repeats or (len(runs) >= least and sum(runs) > enough):
                continue
            start = clock()
            task()
            took = clock() - start
            if i >= 0 or took > 1:
                runs.append(took)
    return seconds


def medians(runs: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The median of each list, to four digits."""
    return {name: digits(statistics.median(values)) for name, values in runs.items()}


def digits(value: float, count: int = 4) -> float:
    """Round to so many significant digits, which is more than any timing is good for.

    >>> digits(0.0123456), digits(1234.56)
    (0.01235, 1235.0)
    """
    return float(f"{value:.{count}g}")


def version(package: str) -> str:
    """The installed version of a package."""
    return importlib.metadata.version(package)


def write(
    folder: Path | None, topic: str, title: str, began: float, packages: Sequence[str] = (), **facts: Any
) -> None:
    """Write `topic`.json: what was measured, by which command, with what, on what and when; print it without a folder.

    Args:
        folder: where to; None prints only.
        topic: name of the file.
        title: one line for readers.
        began: `time.perf_counter()` at the start.
        packages: other libraries whose versions belong to the result.
        facts: the measurements.
    """
    origin = provenance()
    record = {
        "topic": topic,
        "title": title,
        **{key: origin[key] for key in ("command", "commit", "hardware", "threads", "python", "torch")},
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
