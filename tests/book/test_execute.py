"""`make execute`: stores what a fresh kernel gives, and leaves every file alone when anything goes wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import nbformat
import pytest

from book._tools import execute
from book._tools.execute import ExecutionError, bring_into_step, find_chapters, main, record_runtime
from book._tools.outputs import clean_outputs, clean_text
from book._tools.pairing import ROOT, pairing_problems, read_notebook

SOURCE = """# %% [markdown]
# # A title

# %%
import os, sys
x=[1,2]
print("hello", end=" ")

# %% tags=["remove-cell"]
print("noise", file=sys.stderr)
for i in range(3):
    print(f"\\r{i}%|#| {i}/3 [00:00<00:01, 1it/s]", end="")
print()
print("x has", len(x), os.environ["OMP_NUM_THREADS"])
sum(x)

# %% tags=["raises-exception"]
raise ValueError("shown on purpose")
"""


@pytest.fixture
def stem(tmp_path):
    (tmp_path / "01_topic.py").write_text(SOURCE)
    return tmp_path / "01_topic"


def files(stem):
    return {p.name: p.read_bytes() for p in stem.parent.iterdir()}


def test_a_chapter_is_run_stored_and_paired(stem, capsys):
    seconds = bring_into_step(stem)
    assert 0 < seconds < 60
    nb = read_notebook(stem.with_suffix(".ipynb"))
    nbformat.validate(nb)
    code = [cell for cell in nb.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [1, 2, 3]
    assert [o.text for o in code[0].outputs] == ["hello "]
    assert [o.output_type for o in code[1].outputs] == ["stream", "execute_result"]
    assert code[1].outputs[0].text == "x has 2 1\n"  # the bar is gone with its line
    assert code[1].outputs[1].data == {"text/plain": "3"}
    assert code[2].outputs[0].traceback == ["ValueError: shown on purpose"]
    assert all(set(cell.metadata) <= {"tags"} for cell in nb.cells)
    assert "x = [1, 2]" in code[0].source
    assert "x = [1, 2]" in stem.with_suffix(".py").read_text()
    assert pairing_problems(stem.parent) == []
    progress = capsys.readouterr().out
    assert "[ 1/3] import os" in progress
    assert progress.count(" s\n") == 3

    before = files(stem)
    bring_into_step(stem)
    assert files(stem) == before  # no time, no random id, no path


def test_a_failing_cell_leaves_everything_as_it_was(stem, capsys):
    stem.with_suffix(".py").write_text("# %%\nx = 0\n\n# %%\n1 / x\n")
    before = files(stem)
    assert main([str(stem)]) == 1
    assert files(stem) == before
    complaint = capsys.readouterr().err
    assert "failed in code cell 2 (1 / x)" in complaint
    assert "ZeroDivisionError" in complaint
    assert "\x1b" not in complaint


def test_a_dying_kernel_is_reported(stem):
    stem.with_suffix(".py").write_text("# %%\nimport os\n\nos._exit(1)\n")
    with pytest.raises(ExecutionError, match="code cell 1"):
        bring_into_step(stem)
    assert set(files(stem)) == {"01_topic.py"}


# -- without a kernel


@pytest.fixture
def quick(monkeypatch):
    """Every code cell prints its own source."""

    def run(cells, folder, timeout):
        sources = [source for kind, source, _ in cells if kind == "code"]
        printed = [[{"output_type": "stream", "name": "stdout", "text": s}] for s in sources]
        return list(enumerate(printed, start=1)), 1.0

    monkeypatch.setattr(execute, "run", run)
    return run


def test_an_edit_in_the_notebook_reaches_the_text(stem, quick):
    bring_into_step(stem)
    nb = read_notebook(stem.with_suffix(".ipynb"))
    nb.cells[0].source = "# Another title"
    nbformat.write(nb, stem.with_suffix(".ipynb"))
    bring_into_step(stem)
    assert "# # Another title" in stem.with_suffix(".py").read_text()
    assert pairing_problems(stem.parent) == []


def test_changes_of_text_and_captions_need_no_run(stem, quick, monkeypatch):
    bring_into_step(stem)
    monkeypatch.setattr(execute, "run", None)
    py = stem.with_suffix(".py")
    py.write_text(py.read_text().replace("A title", "A better title").replace("remove-cell", "hide-input"))
    assert bring_into_step(stem, text_only=True) is None
    nb = read_notebook(stem.with_suffix(".ipynb"))
    assert nb.cells[0].source == "# A better title"
    assert nb.cells[2].metadata.tags == ["hide-input"]
    assert nb.cells[2].outputs[0].text.startswith("print")
    assert pairing_problems(stem.parent) == []

    before = files(stem)
    py.write_text(py.read_text().replace("range(3)", "range(4)"))
    edited = files(stem)
    with pytest.raises(ExecutionError, match=r"code cell 2 .* has changed"):
        bring_into_step(stem, text_only=True)
    assert files(stem) == edited != before
    py.write_text(py.read_text().replace("range(4)", "range(3)").split('# %% tags=["raises')[0])
    with pytest.raises(ExecutionError, match="were removed"):
        bring_into_step(stem, text_only=True)
    stem.with_suffix(".ipynb").unlink()
    with pytest.raises(ExecutionError, match=r"no 01_topic\.ipynb yet"):
        bring_into_step(stem, text_only=True)


def test_an_edit_during_the_run_is_not_lost(stem, quick, monkeypatch):
    def run(*arguments):
        stem.with_suffix(".py").write_text("# %%\nedited = True\n")
        return quick(*arguments)

    monkeypatch.setattr(execute, "run", run)
    with pytest.raises(ExecutionError, match="edited while the chapter ran"):
        bring_into_step(stem)
    assert files(stem) == {"01_topic.py": b"# %%\nedited = True\n"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<matplotlib.legend.Legend at 0x7f00aa11bb22>", "another one each time"),
        ("<object object at 0x7f00aa11bb22>", "another one each time"),
        (f"saved to {ROOT}/x.png", "path of this machine"),
    ],
)
def test_what_belongs_to_one_machine_is_not_stored(stem, monkeypatch, text, words):
    shown = [{"output_type": "execute_result", "data": {"text/plain": text}, "metadata": {}, "execution_count": 1}]
    monkeypatch.setattr(execute, "run", lambda cells, folder, timeout: ([(1, shown), (2, []), (3, [])], 1.0))
    before = files(stem)
    with pytest.raises(ExecutionError, match=words):
        bring_into_step(stem)
    assert files(stem) == before


def test_a_full_disk_leaves_the_old_files(stem, quick, monkeypatch):
    bring_into_step(stem)
    stem.with_suffix(".py").write_text(SOURCE.replace("A title", "B title"))
    before = files(stem)

    write = execute.Path.write_text

    def full(path, text, **options):
        write(path, text[: len(text) // 2], **options)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(execute.Path, "write_text", full)
        assert main([str(stem)]) == 1
    assert files(stem) == before


def test_chapters_are_found_by_number_name_and_path(stem):
    for other in ("08_vae.py", "10_flows.ipynb", "notes.py", "10_flows.txt"):
        (stem.parent / other).touch()
    folder = stem.parent

    def names(*arguments):
        return [path.name for path in find_chapters(arguments, folder)]

    assert names() == ["01_topic", "08_vae", "10_flows"]
    assert names("08") == names("8") == names("08_vae") == names(str(folder / "08_vae.py")) == ["08_vae"]
    assert names("1") == ["01_topic"]
    assert names("10", "08", "8") == ["10_flows", "08_vae"]
    with pytest.raises(ExecutionError, match="'07'; there are: 01_topic, 08_vae, 10_flows"):
        names("07")


def test_times_are_merged_into_the_table(tmp_path, monkeypatch):
    monkeypatch.delenv("LVM_THREADS", raising=False)
    table = tmp_path / "runtimes.json"
    record_runtime("08_vae", 61.26, table)
    record_runtime("01_topic", 4.0, table)
    record_runtime("08_vae", 59.99, table)
    read = json.loads(table.read_text())
    assert list(read) == ["01_topic", "08_vae"]
    assert read["08_vae"]["seconds"] == 60.0
    assert read["08_vae"]["threads"] == 1
    assert read["08_vae"]["hardware"] == f"{os.cpu_count()}-core CPU"
    assert set(read["01_topic"]) == {"seconds", "threads", "hardware", "date", "lvmlib"}
    assert list(tmp_path.iterdir()) == [table]


def test_it_starts_as_a_file_and_as_a_module(tmp_path):
    for command in (["book/_tools/execute.py"], ["-m", "book._tools.execute"]):
        done = subprocess.run([sys.executable, *command, "77"], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "no chapter is called '77'" in done.stderr


# -- what of an output is kept


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a\nb\n", "a\nb\n"),
        ("\r 1%|#| 1/9 [00:00<00:01]\r100%|#| 9/9 [00:01<00:00, 9it/s]\nend\n", "end\n"),
        ("12it [00:03, 4.1it/s]\nend\n", "end\n"),
        ("wrong\rright\n", "right\n"),
        ("windows\r\n", "windows\n"),
        ("typp\bo\n", "typo\n"),
        ("50% of 3/4 | p(x|z) [nats]\n", "50% of 3/4 | p(x|z) [nats]\n"),
    ],
)
def test_printed_text_is_kept_without_bars(text, kept):
    assert clean_text(text) == kept


def test_outputs_are_kept_without_stderr_and_widgets():
    widget = {"output_type": "display_data", "data": {"application/vnd.jupyter.widget-view+json": {}}, "metadata": {}}
    result = {"output_type": "execute_result", "data": {"text/plain": "3"}, "metadata": {}, "execution_count": 1}
    streams = [{"output_type": "stream", "name": n, "text": f"{n}\n"} for n in ("stdout", "stderr", "stdout")]
    original = json.dumps([*streams, widget, result])
    kept = clean_outputs(outputs := json.loads(original))
    assert [o["output_type"] for o in kept] == ["stream", "execute_result"]
    assert kept[0]["text"] == "stdout\nstdout\n"
    assert json.dumps(outputs) == original
