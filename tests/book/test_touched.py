"""Which chapters a change touches, and in which ways those are checked."""

from __future__ import annotations

import json
import subprocess

import pytest

from book._tools import matrix
from book._tools.matrix import AT_ONCE, LIMIT, OWN, WAYS, plan, record
from book._tools.pairing import ROOT, chapters
from book._tools.touched import JUDGES, base, changes, closure, touched

FILES = {
    "conftest.py": "",
    "tests/book/notebook_plugin.py": "from tests.book.comparator import compare",
    "tests/book/comparator.py": "def compare(): pass",
    "book/_tools/figures.py": "",
    "lvmlib/__init__.py": "from .ground import stand\nfrom .data import load\nfrom lvmlib.models import VAE",
    "lvmlib/ground.py": "def stand(): pass",
    "lvmlib/data/__init__.py": "from .sets import load\nfrom .sources import SETS as ALL\n",
    "lvmlib/data/sets.py": "from . import sources\n\ndef load(): pass",
    "lvmlib/data/sources.py": 'SETS = {"digits": "datasets/digits.tar.xz"}',
    "lvmlib/models/__init__.py": "from .vae import VAE\n\ndef helper():\n    from lvmlib.ground import stand",
    "lvmlib/models/vae.py": "class VAE: pass",
    "lvmlib/extra.py": "def late():\n    import lvmlib.models.vae",
    "notebooks/01_one.py": "# %%\nfrom lvmlib import stand\n\nf = f'{stand}_small.json'",
    "notebooks/02_two.py": "# %%\nimport numpy as np\nfrom lvmlib import load as l\n\nopen('../book/published.yml')",
    "notebooks/03_three.py": "# %%\nfrom lvmlib.extra import late\nfrom lvmlib.models import VAE\nload = 'vae_weights'",
    "notebooks/04_four.py": "# %%\nfrom lvmlib.models import helper\n# from lvmlib.data import load, says the text",
    "notebooks/05_five.py": "# %%\nimport lvmlib\n\nx = f'{lvmlib}.json'",
}
ONE, TWO, THREE, FOUR, FIVE = ALL = ["01_one", "02_two", "03_three", "04_four", "05_five"]
TOUCHES = {
    "lvmlib/ground.py": [ONE, FOUR, FIVE],
    "lvmlib/__init__.py": [ONE, TWO, FIVE],
    "lvmlib/data/__init__.py": [TWO, FIVE],
    "lvmlib/data/sets.py": [TWO, FIVE],
    "lvmlib/data/sources.py": [TWO, FIVE],
    "lvmlib/models/__init__.py": [THREE, FOUR, FIVE],
    "lvmlib/models/vae.py": [THREE, FOUR, FIVE],
    "lvmlib/extra.py": [THREE],
    "lvmlib/nobody.py": [],
    "lvmlib/experiments/checkpoints/vae_weights.safetensors": [THREE],
    "lvmlib/experiments/checkpoints/vae_weights.json": [THREE],
    "lvmlib/experiments/checkpoints/vae_small.json": [ONE],
    "lvmlib/datasets/digits.tar.xz": [TWO, FIVE],
    "book/published.yml": [TWO],
    "benchmarks/results/sampling.json": [],
    "tests/test_published.yml": [],
    "README.md": [],
    "notebooks/03_three.ipynb": [THREE],
    "notebooks/04_four.py": [FOUR],
    "conftest.py": ALL,
    "tests/book/comparator.py": ALL,
    "book/_tools/figures.py": ALL,
    "requirements.lock": ALL,
}


@pytest.fixture
def tree(tmp_path):
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    return tmp_path


@pytest.mark.parametrize("file", TOUCHES)
def test_what_a_file_touches(file, tree):
    assert touched({file}, tree) == TOUCHES[file]


def test_nothing_and_everything(tree):
    assert touched(set(), tree) == []
    assert touched(set(TOUCHES), tree) == ALL


def test_chapters_of_the_book_have_the_closures_that_they_should():
    for chapter in chapters(ROOT / "notebooks"):
        full, _ = closure([chapter.with_suffix(".py")])
        ours = {file.relative_to(ROOT).as_posix() for file in full}
        assert "lvmlib/plotting.py" in ours  # every chapter draws
        assert not any(file.startswith(("tests/", "benchmarks/")) for file in ours)
    assert {"08_vae", "09_iwae", "10_gradient_estimators"} <= set(touched({"lvmlib/latent/vae.py"}))
    assert "05_flows" not in touched({"lvmlib/latent/vae.py"})
    assert "08_vae" in touched({"lvmlib/experiments/checkpoints/vae_faces.safetensors"})
    assert "08_vae" not in touched({"lvmlib/experiments/checkpoints/pixelrnn_mnist.safetensors"})
    assert all((ROOT / name).is_file() for name in JUDGES)


# What a change is


def git(folder, *arguments, day=1):
    when = f"2026-01-{day:02}T12:00:00+0000"
    names = {f"GIT_{who}_{what}": "a@b.c" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    env = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "GIT_AUTHOR_DATE": when, "GIT_COMMITTER_DATE": when, **names}
    done = subprocess.run(["git", *arguments], cwd=folder, env=env, text=True, capture_output=True, check=True)
    return done.stdout.strip()


def commit(folder, file, day):
    (folder / file).write_text(f"{file} {day}")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", file, day=day)
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def history(tmp_path, monkeypatch):
    monkeypatch.delenv("BASE", raising=False)
    folder = tmp_path / "history"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    return folder


def test_a_change_is_what_came_within_a_day(history):
    commit(history, "a", day=1)
    second = commit(history, "b", day=3)
    commit(history, "c", day=9)
    commit(history, "d", day=9)
    assert base(history) == second
    assert changes(second, history) == {"c", "d"}
    (history / "b").write_text("not yet committed")
    (history / "e").write_text("new")
    assert changes(second, history) == {"b", "c", "d", "e"}
    git(history, "mv", "d", "moved")
    assert changes(second, history) == {"b", "c", "e", "moved"}


def test_a_branch_merged_late_counts_in_full(history):
    first = commit(history, "a", day=1)
    git(history, "checkout", "-q", "-b", "side")
    commit(history, "old", day=2)
    git(history, "checkout", "-q", "main")
    second = commit(history, "b", day=3)
    git(history, "merge", "-q", "--no-ff", "-m", "merge", "side", day=20)
    assert base(history) == second
    assert changes(second, history) == {"old"}
    assert changes(first, history) == {"old", "b"}


def test_base_by_name_is_where_the_branch_left_it(history, monkeypatch):
    first = commit(history, "a", day=1)
    git(history, "checkout", "-q", "-b", "side")
    commit(history, "b", day=5)
    git(history, "checkout", "-q", "main")
    commit(history, "c", day=6)
    git(history, "checkout", "-q", "side")
    monkeypatch.setenv("BASE", "main")
    assert base(history) == first
    monkeypatch.setenv("BASE", "no-such-branch")
    assert base(history) is None


def test_without_enough_history_there_is_nothing_to_compare_with(history, tmp_path):
    assert base(tmp_path) is None  # no repository
    assert base(history) is None  # no commit
    commit(history, "a", day=1)
    assert base(history) is None  # no parent
    commit(history, "b", day=1)
    assert base(history) is None  # all of one day
    commit(history, "c", day=9)
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{history}", "shallow")
    assert base(tmp_path / "shallow") is None
    assert changes("0" * 40, history) is None


# What runs


def test_each_touched_chapter_runs_in_every_way_and_one_more_has_its_turn():
    every = [f"{n:02}" for n in range(1, 13)]
    others = set(WAYS) - {OWN}
    for turn in range(24):
        tasks = plan(["08"], every, turn, {})
        assert {chapter for _, chapter in tasks} == {"08", every[turn % 12]}
        assert {way for way, chapter in tasks if chapter == "08"} == others
        assert len(tasks) == len(set(tasks))
    assert plan([], [], 3, {}) == []


def test_a_change_that_touches_all_keeps_within_the_limit():
    every = [f"{n:02}" for n in range(1, 13)]
    seconds = dict.fromkeys(every, 90.0)  # what a chapter may take at most
    seen = set()
    for turn in range(3):
        tasks = plan(every, every, turn, seconds)
        assert {chapter for _, chapter in tasks} == set(every)
        assert 90 * len(tasks) / AT_ONCE <= LIMIT + 90
        seen |= set(tasks)
    assert len(seen) == 3 * 12  # after three changes all have run in every way


def test_even_beyond_the_limit_each_runs_once():
    every = [f"{n:02}" for n in range(1, 13)]
    assert len(plan(every, every, 0, dict.fromkeys(every, 1000.0))) == 12


def test_a_whole_run_is_written_down(tmp_path, monkeypatch):
    monkeypatch.setattr(matrix, "git", lambda *a: "abc" if a[0] == "rev-parse" else "")
    record({(OWN, "08_vae"): (True, 61.2), ("avx2", "08_vae"): (False, 70.0)}, 4.04, tmp_path / "matrix.json")
    written = json.loads((tmp_path / "matrix.json").read_text())
    assert written["commit"] == "abc" and written["minutes"] == 4.0
    assert written["chapters"] == {
        "08_vae": {OWN: {"holds": True, "seconds": 61}, "avx2": {"holds": False, "seconds": 70}}
    }


@pytest.mark.parametrize(("outcome", "code"), [(True, 0), (False, 1)])
def test_command_runs_what_is_planned_and_fails_with_it(outcome, code, monkeypatch, capsys):
    monkeypatch.setattr(matrix, "base", lambda: None)  # history is missing: all are touched
    monkeypatch.setattr(matrix, "check", lambda task: (outcome or task[0] != "avx2", 1.0))
    kept = []
    monkeypatch.setattr(matrix, "record", lambda *a: kept.append(a))
    assert matrix.main(["--touched"]) == code
    assert kept == []
    assert matrix.main([]) == code
    said = capsys.readouterr()
    assert len(kept) == 1 and len(kept[0][0]) == len(WAYS) * len(chapters(ROOT / "notebooks"))
    assert ("(avx2)" in said.err) != outcome
