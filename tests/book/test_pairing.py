"""The two files of a chapter hold the same cells, and a difference is always traced to the one that was edited."""

from __future__ import annotations

import re

import nbformat
import pytest

from book._tools.execute import bring_into_step, main
from book._tools.pairing import (
    ROOT,
    PairingError,
    choose_source,
    fingerprint,
    first_difference,
    format_cells,
    make_notebook,
    pairing_problems,
    read_cells,
    to_json,
    to_text,
)

CELLS = [
    ("markdown", "# Title\n\nText with $x_1$ and \\alpha.", {}),
    ("code", "x = 1  # one", {"tags": ["hide-input"]}),
    ("markdown", ":::{note}\nA box.\n:::", {}),
    ("code", "def f(x):\n    return x\n\n\nf(x)", {"tolerance": {"rtol": 0.05}}),
    ("code", "%timeit -n 1 f(x)", {"mystnb": {"figure": {"caption": 'It\'s $\\sigma$: "a".', "name": "fig-a"}}}),
    ("raw", "raw text", {}),
    ("code", "x = 1  # one", {}),
]


@pytest.fixture
def pair(tmp_path):
    py, ipynb = tmp_path / "01_topic.py", tmp_path / "01_topic.ipynb"
    py.write_text(to_text(CELLS))
    ipynb.write_text(to_json(CELLS, [(None, [])] * 4))
    return py, ipynb


def edit_notebook(ipynb, change):
    nb = nbformat.read(ipynb, as_version=4)
    change(nb)
    nbformat.write(nb, ipynb)


def test_chapters_of_the_book_are_in_step():
    assert pairing_problems(ROOT / "notebooks") == []


def test_pair_reads_back_as_it_was_written(pair):
    assert read_cells(pair[0]) == read_cells(pair[1]) == CELLS
    assert pairing_problems(pair[0].parent) == []
    assert format_cells(CELLS) == CELLS
    assert "jupytext_version" not in pair[0].read_text()
    ids = [cell.id for cell in nbformat.read(pair[1], as_version=4).cells]
    assert len(set(ids)) == len(ids)
    assert ids == [cell.id for cell in make_notebook(CELLS).cells]


PROBLEMS = {
    "source in the text": (
        lambda py, nb: py.write_text(py.read_text().replace("# one", "# two", 1)),
        "source of cell 2",
    ),
    "prose in the text": (lambda py, nb: py.write_text(py.read_text().replace("A box", "The box")), "source of cell 3"),
    "metadata": (lambda py, nb: py.write_text(py.read_text().replace("0.05", "0.5")), "metadata of cell 4"),
    "caption": (
        lambda py, nb: edit_notebook(nb, lambda n: n.cells[4].metadata.mystnb.figure.update(caption="b")),
        "metadata of cell 5",
    ),
    "kind": (
        lambda py, nb: edit_notebook(nb, lambda n: n.cells.__setitem__(5, nbformat.v4.new_markdown_cell("raw text"))),
        "kind of cell 6",
    ),
    "cell gone": (lambda py, nb: edit_notebook(nb, lambda n: n.cells.pop()), "number of cells"),
    "no text": (lambda py, nb: py.unlink(), "01_topic.py is missing"),
    "no notebook": (lambda py, nb: nb.unlink(), "01_topic.ipynb is missing"),
    "another kernel": (
        lambda py, nb: edit_notebook(nb, lambda n: n.metadata.kernelspec.update(name="conda")),
        "kernelspec",
    ),
    "no notebook inside": (lambda py, nb: nb.write_text("{"), "is no notebook"),
    "metadata that cannot be read": (lambda py, nb: py.write_text(py.read_text().replace("0.05}", "0.05")), "no valid"),
}


@pytest.mark.parametrize("problem", PROBLEMS)
def test_problem_is_named(problem, pair):
    change, words = PROBLEMS[problem]
    change(*pair)
    found = "\n".join(pairing_problems(pair[0].parent))
    assert re.search(words, found), found


def save_as_jupyter_does(nb):
    nb.metadata.kernelspec.display_name = "Python 3 (ipykernel)"
    nb.metadata.language_info.update(version="3.11.7", file_extension=".py")
    nb.cells[1].metadata.update(collapsed=False, execution={"iopub.execute_input": "now"}, lines_to_next_cell=2)
    nb.cells[1].id = "other"


def test_saved_in_jupyter_one_command_brings_back_the_layout(pair):
    py, ipynb = pair
    before = py.read_text(), ipynb.read_text()
    edit_notebook(ipynb, save_as_jupyter_does)
    version = "format_version: '1.3'\n"
    py.write_text(py.read_text().replace(version, f"{version}#       jupytext_version: 1.99.0\n"))
    (problem,) = pairing_problems(py.parent)
    assert re.search("another layout .*kernelspec, language_info.*make format mends it", problem)
    assert main(["--tidy", str(py)]) == 0
    assert (py.read_text(), ipynb.read_text()) == before
    assert pairing_problems(py.parent) == []


def test_other_layout_alone_is_found(pair):
    nbformat.write(nbformat.read(pair[1], as_version=4), pair[1])
    assert pairing_problems(pair[0].parent) == ["01_topic.ipynb was saved in another layout; make format mends it"]


def test_tidying_takes_over_what_was_edited_in_jupyter_with_its_outputs(pair):
    py, ipynb = pair

    def edit(nb):
        save_as_jupyter_does(nb)
        nb.cells[1].source = "x = {'a' : 1}; x"
        nb.cells[1].outputs = [nbformat.v4.new_output("stream", name="stdout", text="one\n")]

    edit_notebook(ipynb, edit)
    assert main(["--tidy", str(py)]) == 0
    assert 'x = {"a": 1}' in py.read_text() and pairing_problems(py.parent) == []
    assert nbformat.read(ipynb, as_version=4).cells[1].outputs[0].text == "one\n"


def test_tidying_leaves_new_code_to_a_run(pair, capsys):
    py, ipynb = pair
    py.write_text(py.read_text().replace("x = 1", "x = 2", 1))
    before = py.read_text(), ipynb.read_text()
    assert main(["--tidy", str(py)]) == 0
    assert main(["--text", str(py)]) == 1
    assert (py.read_text(), ipynb.read_text()) == before
    assert "has changed, so the chapter must be run" in capsys.readouterr().err


def test_the_edited_twin_holds(pair):
    py, ipynb = pair
    assert choose_source(py, ipynb) == py
    py.write_text(py.read_text().replace("# one", "# two"))
    assert choose_source(py, ipynb) == py
    py.write_text(to_text(CELLS))
    edit_notebook(ipynb, lambda nb: nb.cells[1].update(source="x = 2"))
    assert choose_source(py, ipynb) == ipynb


def test_both_edited_is_refused_unless_said(pair):
    py, ipynb = pair
    py.write_text(py.read_text().replace("# one", "# two"))
    edit_notebook(ipynb, lambda nb: nb.cells[0].update(source="# Other"))
    before = py.read_bytes(), ipynb.read_bytes()
    with pytest.raises(PairingError, match=r"(?s)topic\.py and .*topic\.ipynb differ, and both were edited.*--from py"):
        bring_into_step(py.with_suffix(""), text_only=True)
    assert (py.read_bytes(), ipynb.read_bytes()) == before
    assert choose_source(py, ipynb, "py") == py
    assert choose_source(py, ipynb, "ipynb") == ipynb


def test_difference_of_unknown_origin_is_refused(pair):
    edit_notebook(pair[1], lambda nb: (nb.metadata.pop("lvmlib"), nb.cells.pop()))
    with pytest.raises(PairingError, match="both were edited"):
        choose_source(*pair)


def test_missing_twins(pair):
    py, ipynb = pair
    ipynb.unlink()
    assert choose_source(py, ipynb) == py
    py.unlink()
    with pytest.raises(PairingError, match="neither"):
        choose_source(py, ipynb)


def test_both_twins_are_formatted_alike():
    cells = [("code", "import os\nx = {'a':1}\ndef f( ):\n  return  x;", {}), ("code", "f( )\nprint( 'a' );", {})]
    formatted = format_cells(cells)
    assert [source for _, source, _ in formatted] == [
        'import os\n\nx = {"a": 1}\n\n\ndef f():\n    return x',
        'f()\nprint("a")',
    ]
    assert fingerprint(formatted) != fingerprint(cells)
    with pytest.raises(PairingError, match="cannot be formatted"):
        format_cells([("code", "def f(:", {})])


def test_the_first_difference_is_named_where_one_source_begins_the_other():
    long = "code", "a = 1\n\nb = 2", {}
    for ours, theirs, said in ((long, ("code", "a = 1", {}), ".py:    \n"), (("code", "a = 1", {}), long, ".ipynb: ")):
        assert said in first_difference([ours], [theirs]) + "\n"
    assert first_difference([long], [long]) == ""
