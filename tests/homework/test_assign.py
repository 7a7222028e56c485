"""The folder of a homework: what students get and what they never see, in one piece or not at all."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from solved import ROOT, every
from tiny_master import MASTER, NAME, write_master

pytest.importorskip("otter", reason="the extra homework is not installed")
nbformat = pytest.importorskip("nbformat")
tomllib = pytest.importorskip("tomllib", reason="Python 3.11 reads pyproject.toml")

from book._tools.image import lacking, wheel_name  # noqa: E402
from lvmlib.homework import assign as module  # noqa: E402
from lvmlib.homework import gradescope  # noqa: E402
from lvmlib.homework.assign import assign  # noqa: E402
from lvmlib.homework.checking import SEED  # noqa: E402
from lvmlib.homework.leaks import refuse_leaks, secrets_of  # noqa: E402
from lvmlib.homework.student import LACKING  # noqa: E402

SECRETS = [
    "the name of a hidden stream",
    "sum_of_the_squared_entries",
    "6 * 7",
    "40 + 2",
    "ask a deeper question",
    "The solution in words",
    "test_random_numbers",
    "1234567",
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The tiny homework, as made for a course."""
    folder = tmp_path_factory.mktemp("course")
    return make(folder, seed=1234567)


def make(folder: Path, text: str = MASTER, **options: object) -> Path:
    wheel = folder / wheel_name("0.1.0")
    wheel.write_bytes(b"a wheel")
    write_master(folder / "masters", text)
    return assign("2", folder / "out", masters=folder / "masters", wheel=wheel, **options)


def student(made: Path) -> Any:
    return nbformat.read(made / "student" / f"{NAME}.ipynb", as_version=4)


def set_up(made: Path) -> str:
    return next(cell.source for cell in student(made).cells if cell.source.startswith("# @title"))


def everything_in(folder: Path) -> str:
    """Return all text of a folder, and what any base64 in it decodes to."""
    text = "\n".join(path.name + path.read_text("utf-8") for path in folder.rglob("*") if path.is_file())
    blobs = re.findall(r"[A-Za-z0-9+/]{16,}={0,2}", text)
    return text + "".join(base64.b64decode(blob[: len(blob) // 4 * 4]).decode("latin1") for blob in blobs)


def test_what_a_folder_holds(made):
    found = {str(path.relative_to(made)) for path in made.rglob("*") if path.is_file()}
    assert found == {
        f"student/{NAME}.ipynb",
        f"solution/{NAME}.ipynb",
        f"master/{NAME}.py",
        f"gradescope/{NAME}-autograder.zip",
        "secret.json",
        "README.txt",
    }
    assert {path.name for path in made.parent.iterdir()} == {"02"}  # nothing half-made stays behind
    assert json.loads((made / "secret.json").read_text()) == {"seed": 1234567}
    assert (made / "master" / f"{NAME}.py").read_text() == MASTER


def test_nothing_hidden_is_in_what_students_get(made):
    text = everything_in(made / "student")
    assert [secret for secret in SECRETS if secret in text] == []
    assert "test_two_numbers" in text  # public ones are
    solution = everything_in(made / "solution")
    assert [secret for secret in SECRETS[1:3] if secret not in solution] == []


def test_the_answer_cells_ask_and_carry_no_metadata(made):
    notebook = student(made)
    nbformat.validate(notebook)
    sources = [cell.source for cell in notebook.cells]
    assert 'def squares(x):\n    """Return the sum of the squares of an array, a float."""\n    ...' in sources
    assert "answer_to_all = ..." in sources
    assert [source for source in sources if "grader.check" in source] == ['grader.check("q1")', 'grader.check("q2")']
    assert [cell.source[:8] for cell in notebook.cells if cell.metadata] == ["# @title"]
    assert not any(cell.get("outputs") for cell in notebook.cells)
    assert sources[0].startswith("# Homework 2")
    assert "Save a copy in Drive" in sources[1] and "Download .ipynb" in sources[-1]


def test_the_same_master_gives_the_same_notebook(made, tmp_path):
    again = make(tmp_path, seed=1234567)
    name = f"student/{NAME}.ipynb"
    assert (again / name).read_bytes() == (made / name).read_bytes()


UNMARKED = {
    "a function": MASTER.replace("    # BEGIN SOLUTION\n", "", 1).replace("    # END SOLUTION\n", "", 1),
    "a line": MASTER.replace("  # SOLUTION\n", "\n", 1),
    "no block": MASTER.replace("# %% [raw]\n# # BEGIN SOLUTION\n\n", "", 1),
}


@pytest.mark.parametrize("text", UNMARKED.values(), ids=UNMARKED)
def test_a_master_that_would_show_a_solution_is_refused(tmp_path, text):
    assert text != MASTER
    with pytest.raises(ValueError, match=f"{NAME}.py: "):
        make(tmp_path, text)
    assert not (tmp_path / "out" / "02").exists()


def test_the_guard_sees_solution_tests_metadata_and_outputs(made):
    path = made / "master" / f"{NAME}.py"
    clean = student(made)
    refuse_leaks(clean, path)
    for secret in ["sum_of_the_squared_entries = (x * x).sum()", "assert answer_to_all == 40 + 2"]:
        assert any(secret in line for line in secrets_of(path))
        for place in ("source", "metadata", "outputs"):
            shown = json.loads(json.dumps(clean))
            code = next(cell for cell in shown["cells"] if cell["cell_type"] == "code")
            found = next(line for line in secrets_of(path) if secret in line)
            code[place] = {"source": found, "metadata": {"x": [found]}, "outputs": [{"text": found}]}[place]
            with pytest.raises(ValueError, match="students would see"):
                refuse_leaks(shown, path)


def test_a_folder_is_not_overwritten_and_never_half_written(tmp_path, monkeypatch):
    made = make(tmp_path, seed=3)
    (made / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="--force"):
        make(tmp_path)
    make(tmp_path, MASTER.replace("A tiny one", "A new one"), force=True)
    assert json.loads((made / "secret.json").read_text()) == {"seed": 3}
    assert (made / "notes.txt").read_text() == "mine"
    assert "A new one" in student(made).cells[0].source

    def breaks(*_):
        raise RuntimeError("disk full")

    before = {path: path.read_bytes() for path in made.rglob("*") if path.is_file()}
    monkeypatch.setattr(module, "write_bundle", breaks)
    with pytest.raises(RuntimeError, match="disk full"):
        make(tmp_path, force=True, seed=4)
    assert {path: path.read_bytes() for path in made.rglob("*") if path.is_file()} == before
    assert [path.name for path in made.parent.iterdir()] == ["02"]


def test_the_bundle_has_hidden_tests_seed_and_library(made):
    with zipfile.ZipFile(made / "gradescope" / f"{NAME}-autograder.zip") as bundle:
        assert "the name of a hidden stream" in bundle.read("tests/q1.py").decode()
        assert bundle.read("run_autograder").decode().splitlines()[:2] == ["#!/bin/bash", f"export {SEED}=1234567"]
        assert bundle.read(f"files/{wheel_name('0.1.0')}") == b"a wheel"
        needed = bundle.read("environment.yml").decode()
        assert f"- {gradescope.INSTALLED}/{wheel_name('0.1.0')}" in needed and "otter-grader" in needed
        settings = json.loads(bundle.read("otter_config.json"))
        assert settings["show_hidden"] is False and settings["show_stdout"] is False


def test_set_up_away_from_colab_writes_the_tests_and_installs_nothing(made, tmp_path):
    guard = "import subprocess; subprocess.run = None\n"
    code = guard + set_up(made) + "\nsquares = lambda x: float((x * x).sum())\nprint(grader.check('q1'))"
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "q1 results: All test cases passed!"
    assert {path.name for path in (tmp_path / "tests" / NAME).iterdir()} == {"q1.py", "q2.py"}


def colab(made: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Run the set-up cell as in an empty Colab; return the command that it would run."""
    commands = []

    def run(command, **_):
        commands.append(command)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setenv("COLAB_RELEASE_TAG", "test")
    monkeypatch.chdir(folder)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("subprocess.run", run)
    exec(set_up(made), {})
    (command,) = commands
    assert command[1:6] == ["-m", "pip", "install", "--quiet", "--no-deps"]
    return command[6:]


def test_set_up_in_colab_leaves_torch_and_numpy_alone(made, tmp_path, monkeypatch):
    wheel = tmp_path / wheel_name("0.1.0")
    wheel.touch()
    assert colab(made, tmp_path, monkeypatch) == [*LACKING.values(), wheel.name]


def test_set_up_in_colab_without_a_wheel_says_what_to_do(made, tmp_path, monkeypatch):
    with pytest.raises(RuntimeError, match=r"Upload lvmlib-0\.1\.0-py3-none-any\.whl"):
        colab(made, tmp_path, monkeypatch)


@pytest.mark.parametrize("site", ["https://example.org/book", f"https://example.org/book/wheels/{wheel_name('0.1.0')}"])
def test_set_up_in_colab_takes_the_wheel_from_the_site(tmp_path, monkeypatch, site):
    made = make(tmp_path, site=site)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert colab(made, empty, monkeypatch)[-1] == f"https://example.org/book/wheels/{wheel_name('0.1.0')}"


def test_what_colab_lacks_of_the_library_is_what_the_book_says():
    assert [text for name, text in LACKING.items() if name in ("torchdiffeq", "constriction")] == lacking()
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["homework"]
    assert LACKING["otter"] in extra


@pytest.mark.slow
def test_the_bundle_gives_the_solution_full_marks_and_is_refused_otherwise(tmp_path):
    make(tmp_path, check=True)
    wrong = MASTER.replace("6 * 7  # SOLUTION", "6 * 8  # SOLUTION")
    with pytest.raises(RuntimeError, match="3 of 5 points; it loses some in q2"):
        make(tmp_path, wrong, check=True, force=True)


@every
def test_every_homework_can_be_made_and_keeps_its_secrets(path, tmp_path):
    wheel = tmp_path / wheel_name("0.1.0")
    wheel.touch()
    made = assign(path.name[:2], tmp_path, wheel=wheel)
    text = everything_in(made / "student")
    assert [line for line in secrets_of(path) if line in text] == []
    notebook = nbformat.read(made / "student" / f"{path.stem}.ipynb", as_version=4)
    assert sum("grader.check" in cell.source for cell in notebook.cells) >= 4
