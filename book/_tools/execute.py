"""Run chapters afresh, store their outputs, and bring the `.py` and the `.ipynb` of each into step.

    make execute              all chapters
    make execute NB=08        one of them
    python book/_tools/execute.py notebooks/08_vae.py
    python book/_tools/execute.py --text 08    changes of text, captions and tags only: nothing is run
    make format               the same for all, but for those whose code has changed

The `.py` is the source. A notebook edited in Jupyter, beside a `.py` that was not, hands its cells to the `.py`. Were
both edited, nothing is touched until `--from py` or `--from ipynb` says which one holds. A cell that fails leaves every
file as it was. The time that a chapter took goes into book/runtimes.json.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tomllib

if __package__ in (None, ""):  # started as a file
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from traitlets.config import Config

from book._tools import kernel
from book._tools.outputs import clean_outputs
from book._tools.pairing import (
    ROOT,
    Cell,
    PairingError,
    chapters,
    choose_source,
    fingerprint,
    format_cells,
    make_notebook,
    read_cells,
    read_notebook,
    stored_outputs,
    to_json,
    to_text,
)

NOTEBOOKS = ROOT / "notebooks"
RUNTIMES = ROOT / "book" / "runtimes.json"
BUDGET = 90  # seconds a chapter may take on one thread
Outputs = list[tuple[int | None, list[Any]]]


class ExecutionError(Exception):
    """A chapter could not be run to its end, or printed what must not be stored."""


class NewCode(ExecutionError):
    """The stored outputs of a chapter are not those of its present code."""


def find_chapters(names: Iterable[str], folder: Path = NOTEBOOKS) -> list[Path]:
    """Return the chapters that the names mean, as paths without a suffix.

    Args:
        names: beginnings of file names (`08`, `8`, `08_vae`) or paths; none means all chapters.
        folder: where to look for names.

    Raises:
        ExecutionError: a name means no chapter.
    """
    known = chapters(folder)
    if not (names := list(names)):
        return known
    found = []
    for name in names:
        path = Path(name)
        path = path.with_suffix("") if path.suffix in (".py", ".ipynb") else path
        if any(path.with_suffix(s).is_file() for s in (".py", ".ipynb")):
            matches = [path]
        else:
            start = f"0{name}" if re.fullmatch(r"\d(_.*)?", name) else name
            matches = [chapter for chapter in known if chapter.name.startswith(start)]
        if not matches:
            have = ", ".join(chapter.name for chapter in known) or "none"
            raise ExecutionError(f"no chapter is called {name!r}; there are: {have}")
        found += [m for m in matches if m not in found]
    return found


def run(cells: list[Cell], folder: Path, timeout: int) -> tuple[Outputs, float]:
    """Run all cells in a fresh kernel.

    Args:
        cells: the chapter.
        folder: where it runs.
        timeout: seconds that one cell may take.

    Returns:
        Execution count and outputs of each code cell, and the seconds that all cells took together.

    Raises:
        ExecutionError: a cell fails, takes too long, or kills the kernel.
    """
    nb = make_notebook(cells)
    code = [i for i, (kind, source, _) in enumerate(cells) if kind == "code" and source.strip()]
    began: dict[int, float] = {}
    took: dict[int, float] = {}

    def start(cell: Any, cell_index: int) -> None:
        if cell_index in code:
            began[cell_index] = time.perf_counter()
            print(f"  [{code.index(cell_index) + 1:2}/{len(code)}] {first_line(cell.source):.80} ", end="", flush=True)

    def end(cell: Any, cell_index: int, execute_reply: Any) -> None:
        took[cell_index] = time.perf_counter() - began[cell_index]
        print(f"... {took[cell_index]:.1f} s", flush=True)

    with kernel.personal_folder() as personal:
        client = NotebookClient(
            nb,
            timeout=timeout,
            kernel_name="python3",
            kernel_manager_class=kernel.OwnAsyncKernel,
            config=Config(KernelManager=kernel.connection(personal)),
            resources={"metadata": {"path": str(folder)}},
            record_timing=False,
            coalesce_streams=False,
            on_cell_start=start,
            on_cell_executed=end,
        )
        try:
            client.execute(env=kernel.environment(personal))
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            at = max(began, default=None)
            where = (
                f"code cell {code.index(at) + 1} ({first_line(nb.cells[at].source)})" if at is not None else "the start"
            )
            print(flush=True)
            raise ExecutionError(f"failed in {where}:\n{plain(str(error))}") from error
    results: Outputs = [(c.execution_count, clean_outputs(c.outputs)) for c in nb.cells if c.cell_type == "code"]
    return results, sum(took.values())


def first_line(source: str) -> str:
    """Return the first line of a cell that is not blank."""
    return next((line.strip() for line in source.splitlines() if line.strip()), "")


def plain(text: str) -> str:
    """Return text without the codes that colour it in a terminal."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def refuse_what_cannot_be_kept(results: Outputs) -> None:
    """Raise if an output would carry an address in memory or a path of this machine into the book."""
    for n, (_, outputs) in enumerate(results, start=1):
        for output in outputs:
            data = output.get("data", {})
            for text in (output.get("text"), output.get("evalue"), *(data[k] for k in data if k.startswith("text/"))):
                if address := re.search(r"<?[^<\n]* at 0x[0-9a-f]{6,}>?", text or ""):
                    raise ExecutionError(
                        f"code cell {n} shows {address[0]!r}, another one each time: begin the line with `_ = `"
                    )
                for local in {str(ROOT), os.path.expanduser("~")} - {"/", "/root", "~"}:  # "~": no home is known
                    if local in (text or ""):
                        raise ExecutionError(f"code cell {n} shows a path of this machine: {local}")


def kept_outputs(cells: list[Cell], ipynb: Path) -> Outputs:
    """Return the stored outputs of a notebook for cells whose code is still the same.

    Raises:
        NewCode: there are none, or the code has changed.
    """
    if not ipynb.exists():
        raise NewCode(f"there is no {ipynb.name} yet, so the chapter must be run")
    old = [source for kind, source, _ in format_cells(read_cells(ipynb)) if kind == "code"]
    new = [source for kind, source, _ in cells if kind == "code"]
    for n, source in enumerate(new):
        if n >= len(old) or old[n] != source:
            raise NewCode(f"code cell {n + 1} ({first_line(source)}) has changed, so the chapter must be run")
    if len(new) != len(old):
        raise NewCode("code cells were removed, so the chapter must be run")
    return stored_outputs(read_notebook(ipynb))


def bring_into_step(
    stem: Path, *, text_only: bool = False, prefer: str | None = None, timeout: int = 900
) -> float | None:
    """Execute one chapter and write both of its files, or, when anything fails, neither.

    Args:
        stem: path of the chapter without a suffix.
        text_only: keep the stored outputs, run nothing; the code must be unchanged.
        prefer: "py" or "ipynb" where both were edited.
        timeout: seconds that one cell may take.

    Returns:
        The seconds that the cells took, or None if nothing was run.
    """
    py, ipynb = stem.with_suffix(".py"), stem.with_suffix(".ipynb")
    source = choose_source(py, ipynb, prefer)
    before = {path: path.read_bytes() if path.exists() else None for path in (py, ipynb)}
    print(f"{stem.name}: from {source.name}", flush=True)
    cells = format_cells(read_cells(source))
    seconds = None
    if text_only:
        results = kept_outputs(cells, ipynb)
    else:
        results, seconds = run(cells, stem.parent, timeout)
    refuse_what_cannot_be_kept(results)

    for path, content in before.items():
        if (path.read_bytes() if path.exists() else None) != content:
            raise ExecutionError(f"{path.name} was edited while the chapter ran; nothing was stored, run it again")
    write_all({py: to_text(cells), ipynb: to_json(cells, results)})
    if not fingerprint(read_cells(py)) == fingerprint(read_cells(ipynb)) == fingerprint(cells):
        raise PairingError(f"{py.name} and {ipynb.name} do not hold the same cells after writing")
    return seconds


def write_all(files: dict[Path, str]) -> None:
    """Write several files so that each is either as it was or complete; unchanged ones are not touched."""
    fresh = {path: path.with_name(f".{path.name}.{os.getpid()}.tmp") for path in files}
    try:
        for path, text in files.items():
            fresh[path].write_text(text, encoding="utf-8", newline="\n")
        for path, text in files.items():
            if not path.exists() or path.read_text("utf-8") != text:
                os.replace(fresh[path], path)
    finally:
        for temporary in fresh.values():
            temporary.unlink(missing_ok=True)


def record_runtime(name: str, seconds: float, file: Path = RUNTIMES) -> None:
    """Set one chapter's entry in the table of measured times."""
    table = json.loads(file.read_text("utf-8")) if file.exists() else {}
    table[name] = {
        "seconds": round(seconds, 1),
        "threads": kernel.threads(),
        "hardware": f"{os.cpu_count()}-core CPU",
        "date": datetime.datetime.now(tz=datetime.timezone.utc).date().isoformat(),
        "lvmlib": tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"],
    }
    write_all({file: json.dumps(table, indent=2, sort_keys=True) + "\n"})


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0 if every chapter was stored."""
    parser = argparse.ArgumentParser(prog="execute", description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="*", help="08, 08_vae or notebooks/08_vae.py; all when left out")
    parser.add_argument("--text", action="store_true", help="take over changes of text, captions and tags; run nothing")
    parser.add_argument(
        "--tidy", action="store_true", help="as --text, but chapters with new code are left as they are"
    )
    parser.add_argument("--from", dest="prefer", choices=("py", "ipynb"), help="which twin holds when both were edited")
    parser.add_argument("--timeout", type=int, default=900, help="seconds that one cell may take (900)")
    options = parser.parse_args(arguments)
    try:
        stems = find_chapters(options.chapters)
    except ExecutionError as error:
        print(error, file=sys.stderr)
        return 2
    failed = []
    for stem in stems:
        try:
            text_only = options.text or options.tidy
            seconds = bring_into_step(stem, text_only=text_only, prefer=options.prefer, timeout=options.timeout)
        except (ExecutionError, PairingError, OSError) as error:
            print(f"{stem.name}: {error}\n{stem.name}: both files are as they were.", file=sys.stderr, flush=True)
            failed += [] if options.tidy and isinstance(error, NewCode) else [stem.name]
            continue
        if seconds is None:
            print(f"{stem.name}: in step, outputs kept")
            continue
        if stem.resolve().parent == NOTEBOOKS:
            record_runtime(stem.name, seconds)
        budget = f" (more than the {BUDGET} s that a chapter may take)" if seconds > BUDGET else ""
        print(f"{stem.name}: stored, {seconds:.1f} s{budget}")
    if failed:
        print(f"not stored: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
