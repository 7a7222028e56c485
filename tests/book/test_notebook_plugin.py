"""`pytest --book` from end to end, on small notebooks that need no library."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from book._tools import kernel
from book._tools.execute import run
from book._tools.pairing import ROOT, make_notebook

CODE = [
    "import os, sys\nvalues = [0.5, 0.25]",
    "print(f'mean {sum(values) / 2:.3f} of {len(values)}')",
    "print(sys.prefix == sys.base_prefix, os.environ['OMP_NUM_THREADS'], os.environ.get('ATEN_CPU_CAPABILITY'))",
    "values.append(1.0)\nlen(values)",
]


def book(folder: Path, *options: str, **variables: str) -> tuple[int, str]:
    """Run `pytest --book` on a folder outside of the repository; return its exit code and its report."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-c",
        str(ROOT / "pyproject.toml"),
        "-p",
        "conftest",
        "-p",
        "no:cacheprovider",
    ]
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "COV_", "LVM_"))} | variables
    command += ["--rootdir", str(folder), "--book", str(folder), "-v", "-p", "no:cacheprovider", *options]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    cells = [("markdown", "# Title", {}), *(("code", source, {}) for source in CODE), ("code", "", {})]
    return make_notebook(cells, run(cells, tmp_path_factory.mktemp("run"), 60)[0])


def write(path: Path, nb, change=None):
    copy = nbformat.from_dict(nbformat.reads(nbformat.writes(nb), as_version=4))
    if change is not None:
        change([cell for cell in copy.cells if cell.cell_type == "code"])
    nbformat.write(copy, str(path))


def test_right_notebook_passes_whatever_the_machine_prefers(executed, tmp_path):
    """Another python3 kernel, other threads and start-up files of the user must not matter."""
    folder, home = tmp_path / "chapters", tmp_path / "home"
    kernels, startup = home / "kernels" / "python3", home / "ipython" / "profile_default" / "startup"
    for path in (folder, kernels, startup):
        path.mkdir(parents=True)
    (kernels / "kernel.json").write_text('{"argv": ["/bin/false"], "display_name": "Broken", "language": "python"}')
    (startup / "00.py").write_text("print('hello')\nsum = max\n")
    (folder / "00_more.py").write_text("raise SystemExit('a twin is no test')\n")
    write(folder / "00_other.ipynb", executed)
    code, report = book(
        folder, JUPYTER_PATH=str(home), IPYTHONDIR=str(home / "ipython"), OMP_NUM_THREADS="7", MPLBACKEND="nonsense"
    )
    assert code == 0, report
    assert "5 passed" in report  # four cells and the notebook as stored; the blank cell is none


def test_wrong_notebooks_fail_on_two_workers_and_the_report_helps(executed, tmp_path):
    def number(cells):
        cells[1].outputs[0].text = cells[1].outputs[0].text.replace("0.375", "0.395")
        cells[3].source = "values / 2"

    def strip(cells):
        for cell in cells:
            cell.outputs, cell.execution_count = [], None

    def disorder(cells):
        cells[1].outputs[0].text = "mean 0.1 of 2"
        cells[1].metadata.tags = ["nbval-skip", "nbval-ignore-output"]  # no cell can opt out
        cells[1].source = "# NBVAL_SKIP\n" + cells[1].source
        cells[2].execution_count, cells[3].execution_count = 4, 3

    def die(cells):
        cells[2].source = "import os, sys\nos.write(2, b'last words')\nos._exit(3)"

    changes = [None, number, strip, disorder, die]
    for i, change in enumerate(changes):
        write(tmp_path / f"{i:02}_{change.__name__ if change else 'good'}.ipynb", executed, change)
    code, report = book(tmp_path, "-n", "2")  # however they are distributed, a notebook stays on one worker
    assert code == 1

    def outcome(verdict):
        lines = [line for line in report.splitlines() if f"{verdict} " in line and ".ipynb::cell" in line]
        return {(name, int(n)) for line in lines for name, n in re.findall(r"\d\d_([a-z]+)\w*\.ipynb::cell (\d)", line)}

    expected = {
        *(("number", n) for n in (2, 4)),
        *(("strip", n) for n in (1, 2, 3, 4)),
        *(("disorder", n) for n in (2, 3, 4)),
        *(("die", n) for n in (3, 4)),
    }
    assert outcome("FAILED") == expected, report
    assert len(outcome("PASSED")) == 20 - len(expected)
    for part in (
        "01_number.ipynb, code cell 2: print(f'mean {sum(values) / 2:.3f} of {len(values)}')",
        "line 1 expected: mean 0.395 of 2",
        "line 1 got:      mean 0.375 of 2",
        "If the new output is right, `make execute NB=01` stores it.",
        "02_strip.ipynb, code cell 4: values.append(1.0)",
        "the cell was never executed",
        "the notebook was run out of order: execution count 4, expected 3",
        "TypeError: unsupported operand",
        "last words",
    ):
        assert part in report, f"{part!r} is missing in:\n{report}"


AGAIN = [
    "values = [1.0, 2.0]",
    "total = sum(values)\nprint(total)",
    "print(len(values))",
    "values = 'a word'",
    "def f(x):\n    return x + total",
    "f = f(1.0)",
    "raise KeyError(values)",
]


def test_cells_that_cannot_be_run_again_are_found(tmp_path):
    cells = [("code", source, {"tags": ["raises-exception"]} if "raise" in source else {}) for source in AGAIN]
    write(tmp_path / "05_names.ipynb", make_notebook(cells, run(cells, tmp_path, 60)[0]))
    code, report = book(tmp_path)
    assert code == 0, report
    assert "8 passed" in report
    code, report = book(tmp_path, "--book-rerun")
    assert code == 1
    assert "2 failed, 13 passed" in report
    assert "05_names.ipynb, code cell 2, run again after the whole chapter: total = sum(values)" in report
    assert "05_names.ipynb, code cell 6, run again after the whole chapter: f = f(1.0)" in report
    assert "TypeError: 'float' object is not callable" in report


def test_a_pair_out_of_step_and_a_blank_cell_with_outputs_are_found(executed, tmp_path):
    def scribble(cells):
        cells[-1].outputs = [nbformat.v4.new_output("stream", text="from nowhere\n")]

    write(tmp_path / "05_blank.ipynb", executed, scribble)
    (tmp_path / "05_blank.py").write_text("# %%\nx = 1\n")
    code, report = book(tmp_path)
    assert code == 1
    assert "1 failed, 4 passed" in report
    assert "05_blank.py and 05_blank.ipynb differ" in report
    assert "a cell without code has outputs" in report


def test_kernel_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("LVM_THREADS", raising=False)
    monkeypatch.setenv("MPLBACKEND", "agg")
    env = kernel.environment(tmp_path)
    assert "MPLBACKEND" not in env
    assert (env["OMP_NUM_THREADS"], env["MKL_NUM_THREADS"]) == ("1", "1")
    assert env["ATEN_CPU_CAPABILITY"] == "default"
    assert env["CUDA_VISIBLE_DEVICES"] == ""
    assert env["PYTHONPATH"].split(os.pathsep)[0] == str(ROOT)
    monkeypatch.setenv("LVM_THREADS", "2")
    assert kernel.environment(tmp_path)["OMP_NUM_THREADS"] == "2"
    monkeypatch.setenv("LVM_THREADS", "all")
    with pytest.raises(ValueError, match="'all'"):
        kernel.environment(tmp_path)


def test_a_kernel_has_a_home_even_where_none_is_known(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/home/somebody")
    assert kernel.environment(tmp_path)["HOME"] == "/home/somebody"
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as without an entry in the list of users
    assert kernel.environment(tmp_path)["HOME"] == str(tmp_path)
