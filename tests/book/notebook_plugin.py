"""Runs the chapters for `pytest --book notebooks` and reports, per cell, where an output is no longer the stored one.

nbval runs the cells; the comparator judges them. No cell can opt out: nbval's own tags and comments mean nothing here.
"""

from __future__ import annotations

import base64
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from queue import Empty
from typing import Any

import nbformat
import pytest
from nbval.kernel import RunningKernel
from nbval.plugin import IPyNbCell, IPyNbFile, NbCellError

from book._tools import kernel
from book._tools.execute import NOTEBOOKS
from book._tools.pairing import pairing_problems
from tests.book.bitmaps import PICTURES
from tests.book.comparator import check_stored, compare_outputs

ATTEMPTS = 3  # to start a kernel on a machine that is busy


class Kernel(RunningKernel):
    """A kernel of this environment, with what it writes to stderr at hand when it dies."""

    def __init__(self, folder: Path, timeout: float):
        self.personal = kernel.personal_folder()
        self.stderr = Path(self.personal.name) / "stderr.txt"
        for attempt in range(1, ATTEMPTS + 1):
            self.km = kernel.OwnKernel(kernel_name="python3", **kernel.connection(self.personal.name))
            with self.stderr.open("wb") as log:
                self.km.start_kernel(cwd=str(folder), env=kernel.environment(self.personal.name), stderr=log)
            self.kc = self.km.client()
            self.kc.start_channels()
            try:
                self.kc.wait_for_ready(timeout=timeout)
                self._ensure_iopub_up()
                return
            except RuntimeError:
                self.kc.stop_channels()
                self.km.shutdown_kernel(now=True)
                if attempt == ATTEMPTS:
                    raise

    def get_message(self, stream: str, timeout: float | None = None) -> Any:
        """Wait for a message, but no longer than the kernel lives."""
        waited = 0.0
        while True:
            piece = 1.0 if timeout is None else min(1.0, timeout - waited)
            try:
                return super().get_message(stream, timeout=piece)
            except Empty:
                waited += piece
                if not self.km.is_alive():
                    raise RuntimeError("the kernel died") from None
                if timeout is not None and waited >= timeout:
                    raise

    def last_words(self) -> str:
        """Return the end of what the kernel wrote to stderr."""
        return "\n".join(self.stderr.read_text("utf-8", "replace").splitlines()[-15:]) if self.stderr.exists() else ""

    def stop(self) -> None:
        """End the kernel and remove its folder."""
        super().stop()
        self.personal.cleanup()


class NotebookFile(IPyNbFile):
    """A chapter; its code cells are the tests."""

    def setup(self) -> None:
        """Start the kernel."""
        self.kernel = Kernel(self.path.parent, self.config.option.nbval_kernel_startup_timeout)

    def teardown(self) -> None:
        """Stop the kernel."""
        if self.kernel is not None and self.kernel.is_alive():
            self.kernel.stop()

    def collect(self) -> Iterator[pytest.Item]:
        """Yield the code cells that are not blank, numbered from 1; with `--book-rerun` each of them once more."""
        self.nb = nbformat.read(str(self.path), as_version=4)
        code = [cell for cell in self.nb.cells if cell.cell_type == "code"]
        problems = check_stored(code)
        yield Stored.from_parent(
            self, name="as stored", problems=[*pair_problems(self.path), *blank_problems(code, problems)]
        )
        cells = [(cell, found) for cell, found in zip(code, problems) if cell.source.strip()]
        for n, (cell, found) in enumerate(cells, start=1):
            yield self.item(NotebookCell, f"cell {n}", n, cell, found)
        if self.config.getoption("--book-rerun"):  # from the end, so that each finds the names as later cells left them
            for n, (cell, _) in reversed([*enumerate(cells, start=1)]):
                yield self.item(CellAgain, f"cell {n} again", n, cell, [])

    def item(self, kind: type[NotebookCell], name: str, n: int, cell: Any, problems: list[str]) -> NotebookCell:
        """Return the test of one cell."""
        raises = "raises-exception" in cell.metadata.get("tags", [])
        item = kind.from_parent(
            self,
            name=name,
            cell_num=n,
            # nbval only runs it; outputs are judged below.
            cell=nbformat.from_dict({**cell, "execution_count": n, "outputs": []}),
            options=defaultdict(bool, check=False, check_exception=raises),
        )
        item.stored, item.problems = cell, problems
        return item


def pair_problems(ipynb: Path) -> list[str]:
    """Say in what a chapter and its `.py` twin are out of step; a notebook elsewhere need not have one."""
    if ipynb.parent != NOTEBOOKS and not ipynb.with_suffix(".py").exists():
        return []
    return [line for line in pairing_problems(ipynb.parent) if ipynb.stem in line]


def blank_problems(code: list[Any], problems: list[list[str]]) -> list[str]:
    """Return what is wrong with cells that hold no code, and so are never run."""
    return [line for cell, found in zip(code, problems) if not cell.source.strip() for line in found]


class Stored(pytest.Item):
    """What can be said of a chapter without running it, its cells apart."""

    def __init__(self, *, problems: list[str], **options: Any):
        super().__init__(**options)
        self.problems = problems

    def runtest(self) -> None:
        """Fail if the pair is out of step or a blank cell shows something."""
        if self.problems:
            pytest.fail("\n".join(self.problems), pytrace=False)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Return where the test stands, for pytest's headings."""
        return self.path, 0, f"{self.path.name}, as stored"


class NotebookCell(IPyNbCell):
    """One code cell: passes if running it gives the stored outputs."""

    stored: Any
    problems: list[str]

    def runtest(self) -> None:
        """Run the cell and compare its outputs."""
        super().runtest()
        problems = list(self.problems)
        if not any("tolerance" in p for p in problems):
            found = compare_outputs(self.stored.outputs, self.test_outputs, self.stored.metadata, self.stored.source)
            if found:
                problems += found + self.keep_pictures()
        if problems:
            raise NbCellError(self.cell_num, "\n".join(problems), self.cell.source)

    def keep_pictures(self) -> list[str]:
        """Write the stored and the new pictures of the cell to files, to be looked at side by side."""
        folder = self.config.rootpath / "_build" / "outputs-that-differ"
        written = []
        for name, outputs in (("stored", self.stored.outputs), ("new", self.test_outputs)):
            pictures = [o["data"][m] for o in outputs if "data" in o for m in PICTURES if m in o["data"]]
            for i, picture in enumerate(pictures, start=1):
                folder.mkdir(parents=True, exist_ok=True)
                file = folder / f"{self.parent.path.stem}-cell{self.cell_num}-{i}-{name}.png"
                file.write_bytes(base64.b64decode(picture))
                written.append(str(file.relative_to(self.config.rootpath)))
        return [f"the pictures lie in {', '.join(written)}"] if written else []

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException]) -> str:  # type: ignore[override]
        """Say which notebook and cell, what was expected, what came, and how to accept it."""
        error = excinfo.value
        lines = [line for line in self.cell.source.splitlines() if line.strip()]
        report = [f"{self.place()}: {lines[0].strip()}", *str(error).splitlines()]
        if not isinstance(error, NbCellError):
            report[1:] = [
                f"{type(error).__name__}: {error}",
                self.parent.kernel.last_words() if self.parent.kernel else "",
            ]
        elif error.inner_traceback:
            report += re.sub(r"\x1b\[[0-9;]*m", "", error.inner_traceback).splitlines()[-40:]
        else:
            report.append(
                f"If the new output is right, `make execute NB={self.parent.path.stem.split('_')[0]}` stores it."
            )
        return "\n".join(line for line in report if line)

    def place(self) -> str:
        """Return notebook and cell."""
        path = self.parent.path
        root = self.config.rootpath
        return f"{path.relative_to(root) if path.is_relative_to(root) else path}, code cell {self.cell_num}"

    def reportinfo(self) -> tuple[Path, int, str]:
        """Return where the test stands, for pytest's headings."""
        return self.parent.path, 0, self.place()


class CellAgain(NotebookCell):
    """A code cell that is run a second time, after the whole chapter: passes if it raises nothing.

    A reader goes back and runs a cell again. That fails where a later cell has given a name that the cell uses to
    something else.
    """

    def runtest(self) -> None:
        """Run the cell; what it shows the second time is not compared."""
        IPyNbCell.runtest(self)

    def place(self) -> str:
        """Return notebook and cell."""
        return f"{super().place()}, run again after the whole chapter"
