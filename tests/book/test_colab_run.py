"""The first cell of a Colab edition, and the command that runs editions with Colab's packages."""

from __future__ import annotations

import base64
import contextlib
import importlib.util
import io
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
from matplotlib.colors import ListedColormap

from book._ext.colab.edition import install_cell, notebook, text_cell
from book._tools import colab
from book._tools.figures import FIGURE_MIME, describe
from book._tools.image import IMAGE, lacking
from book._tools.outputs import sealed
from tests.book.comparator import compare_outputs
from tests.book.drawings import without_defaults

SITE, WHEEL, OTHERS = "https://a.github.io/b/", "lvmlib-1.0-py3-none-any.whl", ["torchdiffeq>=0.2.3"]


class Pip:
    """Takes the place of `subprocess.run`: notes the command, and ends as it is told to."""

    def __init__(self, returncode: int = 0):
        self.returncode, self.commands = returncode, []  # type: ignore[var-annotated]

    def __call__(self, command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        self.commands.append(command)
        return subprocess.CompletedProcess(command, self.returncode, "", "no route to host")


def run_cell(monkeypatch: pytest.MonkeyPatch, folder: Path, *, there: bool, pip: Pip, site: str = SITE) -> str:
    """Run the install cell in a folder; return what it prints."""
    find = importlib.util.find_spec
    found = object() if there else None
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: found if name == "lvmlib" else find(name, *a))
    monkeypatch.setattr(subprocess, "run", pip)
    monkeypatch.delenv("LVMLIB_SITE", raising=False)
    monkeypatch.chdir(folder)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(install_cell(site, WHEEL, OTHERS)["source"], "cell", "exec"), {})
    return printed.getvalue()


@pytest.fixture(params=["tag", "module"])
def in_colab(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the two signs of Colab."""
    if request.param == "tag":
        monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab")
    else:
        monkeypatch.delenv("COLAB_RELEASE_TAG", raising=False)
        monkeypatch.setitem(sys.modules, "google.colab", object())


@pytest.mark.usefixtures("in_colab")
def test_in_colab_the_wheel_of_the_site_is_installed_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pip = Pip()
    assert run_cell(monkeypatch, tmp_path, there=False, pip=pip) == ""
    (command,) = pip.commands
    assert command[:4] == [sys.executable, "-m", "pip", "install"] and "--no-deps" in command
    assert command[-2:] == [f"{SITE}wheels/{WHEEL}", *OTHERS]


@pytest.mark.usefixtures("in_colab")
def test_an_uploaded_wheel_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / WHEEL).touch()
    pip = Pip()
    run_cell(monkeypatch, tmp_path, there=False, pip=pip, site="")
    assert pip.commands[0][-2:] == [WHEEL, *OTHERS]


@pytest.mark.usefixtures("in_colab")
def test_a_second_run_installs_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pip = Pip()
    assert run_cell(monkeypatch, tmp_path, there=True, pip=pip) == "" and pip.commands == []


@pytest.mark.usefixtures("in_colab")
@pytest.mark.parametrize(("site", "source"), [(SITE, SITE), ("", "whoever gave you")])
def test_a_failure_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, site: str, source: str) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)once more.*upload it.*no route to host") as error:
        run_cell(monkeypatch, tmp_path, there=False, pip=Pip(1), site=site)
    assert source in str(error.value) and WHEEL in str(error.value)


@pytest.mark.parametrize("there", [True, False])
def test_outside_colab_nothing_is_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, there: bool) -> None:
    monkeypatch.delenv("COLAB_RELEASE_TAG", raising=False)
    monkeypatch.delitem(sys.modules, "google.colab", raising=False)
    pip = Pip()
    printed = run_cell(monkeypatch, tmp_path, there=there, pip=pip)
    assert pip.commands == [] and (printed == "" if there else WHEEL in printed)


def test_what_colab_lacks_is_little_and_never_torch() -> None:
    assert {text.split(">")[0] for text in lacking()} == {"torchdiffeq", "constriction"}
    pins = IMAGE.read_text("utf-8").splitlines()
    assert "torch==2.11.0" in pins and "numpy==2.1.3" in pins


def test_changes_of_packages_are_seen() -> None:
    before = {"torch": "2.11.0", "numpy": "2.1.3"}
    ours = {"lvmlib": "1.0", "torchdiffeq": "0.2.5", "constriction": "0.5.0"}
    assert colab.changes(before, before | ours) == []
    assert colab.changes(before, before | ours | {"torch": "2.13.0"}) == ["torch was 2.11.0, is 2.13.0"]
    assert colab.changes(before, {"torch": "2.11.0"}) == ["numpy was 2.1.3, is None"]
    assert colab.changes(before, before | {"scipy": "1"}) == ["scipy came too"]


def chapter(folder: Path, printed: str, source: str = "print(f'{1 / 3:.2f}')") -> Path:
    """Write a chapter of one cell."""
    output = {"output_type": "stream", "name": "stdout", "text": printed}
    cell = {"cell_type": "code", "execution_count": 1, "metadata": {}, "outputs": [output], "source": source}
    (folder / "01_a.ipynb").write_text(notebook([cell], "01_a.ipynb"))
    return folder / "01_a"


def edition(folder: Path, *cells: str) -> Path:
    """Write an edition of these code cells."""
    (folder / "edition").mkdir()
    code = [{**install_cell("", WHEEL, []), "source": source} for source in cells]
    (folder / "edition" / "01_a.ipynb").write_text(notebook([text_cell("# A"), *code], "01_a.ipynb"))
    return folder / "edition" / "01_a.ipynb"


PLACE = "import os, sys; print(os.listdir('.'), os.environ['LVMLIB_SITE'][:8], any('lvm' in p for p in sys.path))"


def test_an_edition_runs_in_an_empty_folder(tmp_path: Path) -> None:
    new, install, seconds = colab.run(edition(tmp_path, PLACE, "print(f'{1 / 3:.2f}')"), Path(sys.executable), 60)
    assert [cell.outputs[0].text for cell in new.cells[1:]] == ["[] file:/// False\n", "0.33\n"]
    assert 0 < install < 60 and 0 < seconds < 60
    assert colab.compare(new, chapter(tmp_path, "0.33\n")) == []


def test_a_difference_and_a_failure_are_said(tmp_path: Path) -> None:
    source = "print(f'{1 / 3:.2f}')"
    new = colab.run(edition(tmp_path, "1", source), Path(sys.executable), 60)[0]
    first, *_ = colab.compare(new, chapter(tmp_path, "0.43\n"))
    assert first == f"code cell 1: {source}"
    assert "other code" in colab.compare(new, chapter(tmp_path, "0.33\n", "print(1)"))[0]
    (tmp_path / "b").mkdir()
    with pytest.raises(colab.ExecutionError, match=r"code cell 1 fails[^$]*ZeroDivisionError"):
        colab.run(edition(tmp_path / "b", "1", "1 / 0"), Path(sys.executable), 60)


def test_workflows_run_what_there_is() -> None:
    targets = set(re.findall(r"^([\w-]+):", (colab.ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for workflow in (colab.ROOT / ".github" / "workflows").glob("*.yml"):
        text = workflow.read_text("utf-8")
        assert set(re.findall(r"\bmake ([\w-]+)", text)) <= targets
        assert all((colab.ROOT / script).is_file() for script in re.findall(r"\bsh (\.ci/\S+)", text))
        assert all(importlib.util.find_spec(module) for module in re.findall(r"python3? -m ([\w.]+)", text))


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_editions_are_pushed_to_their_branch(tmp_path: Path) -> None:
    (tmp_path / "a" / ".ci").mkdir(parents=True)
    (tmp_path / "a" / "_build" / "html" / "notebooks").mkdir(parents=True)
    (tmp_path / "a" / "_build" / "html" / "notebooks" / "08_vae.ipynb").write_text("{}")
    (tmp_path / "a" / ".gitignore").write_text("_build\n")
    shutil.copy(colab.ROOT / ".ci" / "push-editions", tmp_path / "a" / ".ci")
    (tmp_path / "a" / "pyproject.toml").write_text('[tool.lvmlib]\ncolab-branch = "elsewhere"\n')
    (tmp_path / "a" / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / "a" / ".venv" / "bin" / "python").symlink_to(sys.executable)

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        done = subprocess.run(["git", *identity, *arguments], cwd=tmp_path / "a", capture_output=True, check=True)
        return done.stdout.decode().strip()

    git("init", "--quiet", "--bare", "../b")
    git("init", "--quiet")
    git("add", ".gitignore")
    git("commit", "--quiet", "-m", "one")
    for _ in range(2):  # the second push replaces the first
        subprocess.run(["sh", ".ci/push-editions", "../b"], cwd=tmp_path / "a", check=True, capture_output=True)
    assert git("--git-dir=../b", "ls-tree", "-r", "--name-only", "elsewhere") == "notebooks/08_vae.ipynb"
    assert git("--git-dir=../b", "rev-list", "--count", "elsewhere") == "1"
    assert git("status", "--porcelain", "--untracked-files=no") == ""


def drawn(width: float, colours: str, word: str = "x", shift: float = 0.0) -> dict[str, Any]:
    """Return a figure as an output of a cell: a line and a map of colours."""
    with plt.style.context("default"):  # whatever style another test has left
        figure, (left, right) = plt.subplots(1, 2, figsize=(4, 2))
        figure.subplots_adjust(left=0.1 + shift)
        left.plot([0, 1, 2], [0, 1, 4], lw=width)
        left.set_xlabel(word)
        right.pcolormesh([[0.0, 1.0], [2.0, 3.0]], cmap=ListedColormap(["#000000", "#ffffff"], name=colours))
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=80)
        metadata = {FIGURE_MIME: describe(figure)}
        plt.close(figure)
    picture = base64.b64encode(file.getvalue()).decode()
    return sealed({"output_type": "display_data", "data": {"image/png": picture}, "metadata": metadata})


def test_another_matplotlib_may_choose_widths_names_and_layout_but_no_words() -> None:
    assert without_defaults({"style": "--", "wide": 1}) == without_defaults({"style": "(0.0, (3.7, 1.6))", "wide": 2})
    stored = drawn(1.5, "unnamed")
    other = drawn(1.0, "from_list", shift=0.05)
    assert compare_outputs([stored], [other], {}) != []
    assert compare_outputs([stored], [other], {}, other_matplotlib=True) == []
    for wrong in (drawn(1.5, "viridis"), drawn(1.5, "unnamed", word="y"), drawn(1.5, "unnamed", shift=0.3)):
        assert compare_outputs([stored], [wrong], {}, other_matplotlib=True) != []
