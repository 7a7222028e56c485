"""Check the chapters' outputs with the kernels of other processors and with another number of threads.

    python -m book._tools.matrix                every chapter in every way: make test-matrix, before a release
    python -m book._tools.matrix --touched      what a change may have moved: make test-kernels, on every change

Sums are rounded in another order there. A change is checked on the chapters that it touches and on one more, in turn,
each in every way as long as all of it is expected to take no more than LIMIT seconds; beyond that, each in one way at
least, in turn. The result of a whole run goes into book/matrix.json.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from book._tools.execute import NOTEBOOKS, RUNTIMES, write_all
from book._tools.pairing import ROOT, chapters
from book._tools.touched import base, changes, git, touched

RECORD = ROOT / "book" / "matrix.json"
LIMIT = 8 * 60
AT_ONCE = 2  # chapters side by side on two cores
OWN = "this processor"
WAYS = {
    OWN: {},
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2"},
    "default": {"ATEN_CPU_CAPABILITY": "default"},
    # Threads wait without spinning, which on a busy machine takes the time that they wait for.
    "two threads": {"LVM_THREADS": "2", "OMP_WAIT_POLICY": "passive"},
}
Task = tuple[str, str]  # a way and a chapter


def plan(touched_chapters: list[str], every: list[str], turn: int, seconds: dict[str, float]) -> list[Task]:
    """Choose what runs after a change.

    Args:
        touched_chapters: these, each in one way at least.
        every: all chapters, one more of which has its turn.
        turn: a number that grows from change to change.
        seconds: what a chapter takes on one core; a minute if it is not there.
    """
    others = [way for way in WAYS if way != OWN]
    chosen = sorted({*touched_chapters, every[turn % len(every)]}) if every else []
    tasks: list[Task] = []
    expected = 0.0
    for again in range(len(others)):
        for i, chapter in enumerate(chosen):
            way = others[(i + turn + again) % len(others)]
            expected += seconds.get(chapter, 60) / AT_ONCE
            if again == 0 or expected <= LIMIT:
                tasks.append((way, chapter))
    return tasks


def check(task: Task) -> tuple[bool, float]:
    """Run one chapter in one way; say whether its outputs hold, and how many seconds it took."""
    way, chapter = task
    began = time.monotonic()
    command = [sys.executable, "-m", "pytest", "--book", "-q", "-p", "no:cacheprovider", NOTEBOOKS / f"{chapter}.ipynb"]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **WAYS[way]}, text=True, capture_output=True, check=False
    )
    took = time.monotonic() - began
    print(f"{chapter}, {way}: {'holds' if done.returncode == 0 else 'FAILS'}, {took:.0f} s", flush=True)
    if done.returncode:
        print(done.stdout, done.stderr, flush=True)
    return done.returncode == 0, took


def run(tasks: list[Task]) -> dict[Task, tuple[bool, float]]:
    """Run all tasks, those of one way after those of another."""
    results: dict[Task, tuple[bool, float]] = {}
    for way in WAYS:
        mine = [task for task in tasks if task[0] == way]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            results.update(zip(mine, pool.map(check, mine)))
    return results


def record(results: dict[Task, tuple[bool, float]], minutes: float, file: Path = RECORD) -> None:
    """Write down how a whole run ended."""
    changed = git("status", "--porcelain", "--untracked-files=no")
    table = {
        "date": datetime.datetime.now(tz=datetime.timezone.utc).date().isoformat(),
        "commit": f"{git('rev-parse', '--short=10', 'HEAD')}{' and changes' if changed else ''}",
        "processor": platform.processor() or platform.machine(),
        "minutes": round(minutes, 1),
        "chapters": {
            chapter: {
                way: {"holds": holds, "seconds": round(took)}
                for (way, c), (holds, took) in results.items()
                if c == chapter
            }
            for chapter in sorted({chapter for _, chapter in results})
        },
    }
    write_all({file: json.dumps(table, indent=2) + "\n"})


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0 if all outputs hold."""
    parser = argparse.ArgumentParser(prog="matrix", description=__doc__.splitlines()[0])
    parser.add_argument("--touched", action="store_true", help="only what the change since BASE may have moved")
    parser.add_argument("--list", action="store_true", help="say what would run, and run nothing")
    options = parser.parse_args(arguments)
    every = [chapter.name for chapter in chapters(NOTEBOOKS)]
    tasks = [(way, chapter) for way in WAYS for chapter in every]
    if options.touched:
        since = base()
        changed = None if since is None else changes(since)
        hit = every if changed is None else touched(changed)
        print(f"Touched since {since[:10] if since else 'the beginning'}: {', '.join(hit) or 'no chapter'}", flush=True)
        turn = int(git("rev-list", "--count", "HEAD") or datetime.date.today().toordinal())
        seconds = {name: entry["seconds"] for name, entry in json.loads(RUNTIMES.read_text("utf-8")).items()}
        tasks = plan(hit, every, turn, seconds)
    if options.list:
        print("\n".join(f"{chapter}, {way}" for way, chapter in tasks))
        return 0
    began = time.monotonic()
    results = run(tasks)
    minutes = (time.monotonic() - began) / 60
    if not options.touched:
        record(results, minutes)
    failed = [f"{chapter} ({way})" for (way, chapter), (holds, _) in results.items() if not holds]
    print(f"{len(results) - len(failed)} of {len(results)} hold, {minutes:.0f} minutes", flush=True)
    if failed:
        print(f"not: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
