"""A sandbox runs notebooks, gives values and calls functions; what fails is said in one sentence."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lvmlib.homework import sandbox
from lvmlib.homework.box import Box, BoxBroken, Limits, RemoteError
from lvmlib.homework.sandbox import Room, SandboxMissing, find_sandbox
from tests.homework.boxes import FULL, HONEST, QUICK, marks, needs_sandbox, opened


@pytest.mark.parametrize("kind", [pytest.param("bubblewrap", marks=needs_sandbox), "none"])
@pytest.mark.parametrize("library", [False, True])
def test_cells_run_one_after_the_other_whatever_becomes_of_each(kind, library):
    cells = ["import numpy as np", "1 / 0", "x = np.ones(2)", "def broken(:", "%%time\ny = x + 1", "import lvmlib"]
    with Box(QUICK, library, kind) as box:
        errors = box.run(cells)
        assert errors[1] == "ZeroDivisionError: division by zero" and errors[3].startswith("SyntaxError: ")
        assert [errors[n] for n in (0, 2, 4)] == [None] * 3
        assert (errors[5] is None) == library
        found = box.values(["x", "y", "np", "missing"])
        assert found.keys() == {"x", "y"}
        np.testing.assert_array_equal(found["y"], [2.0, 2.0])
        assert box.reason is None


@needs_sandbox
def test_calls_take_and_return_plain_values():
    cell = "def f(a, *rest, scale=1):\n    a[0] = 7\n    return {'sum': a.sum() * scale, 'rest': rest}"
    with opened(cell) as box:
        mine = np.arange(3.0)
        assert box.call("f", mine, (1, None), "x", scale=2) == {"sum": 20.0, "rest": ((1, None), "x")}
        assert mine[0] == 0  # a copy went in
        with pytest.raises(TypeError, match="an object"):
            box.call("f", object())
        assert box.reason is None


@needs_sandbox
def test_tensors_go_in_and_gradients_come_out():
    cell = (
        "import torch\ndef f(x):\n    x.requires_grad_()\n    return torch.autograd.grad((x ** 2).sum(), x)[0], x.exp()"
    )
    with opened(cell) as box:
        torch = pytest.importorskip("torch")
        gradient, value = box.call("f", torch.tensor([1.0, 3.0]))
        assert torch.equal(gradient, torch.tensor([2.0, 6.0])) and not value.requires_grad


@needs_sandbox
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise ValueError('of \\x1b[1m its\\nown')", r"ValueError: of  ?\[1m its own"),
        ("class E(Exception):\n        def __str__(self): return 1 / 0\n    raise E", "E"),
        ("return lambda: 0", "TypeError: `f` returned a function"),
        ("return [0] * 2_000_000", "TypeError: `f` returned .* MB of .* items, which is too much"),
        ("return 'x' * 5_000_000", "TypeError: `f` returned 5 MB"),
        ("import sys; sys.exit(0)", "SystemExit: 0"),
        ("while True: pass", "TimeoutError: longer than 2 seconds"),
        ("while True:\n        try: x = 1\n        except Exception: pass", "TimeoutError: longer than 2 seconds"),
        ("return input()", "EOFError"),
        ("return f()", "RecursionError"),
        ("import numpy as np; return np.ones(10**10)", "MemoryError|ArrayMemoryError"),
    ],
)
def test_a_call_that_fails_says_how_and_the_sandbox_goes_on(body, said):
    with opened(f"def f():\n    {body}", *HONEST) as box:
        with pytest.raises(RemoteError, match=said) as caught:
            box.call("f")
        assert str(caught.value).isprintable() and len(str(caught.value)) <= 300
        assert box.call("double", 4) == 8 and box.reason is None


@needs_sandbox
def test_a_child_that_a_function_leaves_behind_does_not_reply_as_well():
    with opened("import os\ndef f():\n    if not os.fork(): raise SystemExit\n    return 1") as box:
        assert [box.call("f") for _ in range(4)] == [1] * 4


@needs_sandbox
def test_a_missing_function_is_called_missing():
    with opened("x = 3") as box:
        with pytest.raises(RemoteError, match="NameError: `f` is not defined"):
            box.call("f")
        with pytest.raises(RemoteError, match="TypeError: 'int' object is not callable"):
            box.call("x")


@needs_sandbox
def test_statements_run_definitions_alone():
    cells = [
        "from __future__ import annotations\nimport math, missing\nimport numpy as np",
        "%matplotlib inline\nfiles = !ls\nx = 1 / 0\ny = 2",
        "print('never'); loud = 1\nfor _ in range(3): y += 1\nassert False\nif True: z = 1\ny += 10",
        "%%time\ndef f(a: Unknown) -> Unknown:\n    return C().double(a)",
        "class C:\n    def double(self, a): return 2 * a",
        "def broken(:",
        "x: float = 3.0\nx, w = x + 1, 5\nstop = exit()",
    ]
    with Box(QUICK, False, "bubblewrap") as box:
        errors = box.run(cells, statements=True)
        values = box.values(["x", "y", "z", "w", "loud", "files", "math", "np"])
        assert values == {"x": 4.0, "y": 12, "w": 5, "loud": 1}
        assert box.call("f", 4) == 8
    assert errors[0] == "ModuleNotFoundError: No module named 'missing'"
    assert errors[1] == "ZeroDivisionError: division by zero"
    assert [errors[n] for n in (2, 3, 4)] == [None] * 3 and errors[5].startswith("SyntaxError")
    assert "never" not in box.watchdog.said.decode()


@needs_sandbox
def test_time_that_is_up_leaves_what_was_found_before():
    limits = replace(QUICK, wall=1.5)
    with Box(limits, False, "bubblewrap") as box:
        errors = box.run(["x = 1", "while True: pass", "y = 2"])
        assert errors[0] is None and errors[1].startswith("TimeoutError") and errors[2].startswith("not run")
        assert box.values(["x", "y"]) == {"x": 1}


@needs_sandbox
def test_a_slow_statement_does_not_take_the_others_along():
    cells = ["import time", "a = time.sleep(50)", "def f(): return 5"]
    with Box(replace(QUICK, call=0.5), False, "bubblewrap") as box:
        assert box.run(cells, statements=True) == [None, "TimeoutError: longer than 0.5 seconds", None]
        assert box.call("f") == 5


@needs_sandbox
def test_all_calls_together_have_a_limit():
    def many_calls(box: Box) -> None:
        for _ in range(10):
            box.call("f")

    cell = "import time\ndef f(): time.sleep(0.4)"
    with opened(cell, limits=replace(QUICK, wall=1.0)) as box, pytest.raises((BoxBroken, RemoteError), match="longer"):
        many_calls(box)


@needs_sandbox
def test_the_library_is_there_without_its_homework_or_not_at_all():
    find = "import importlib.util as u, os, sys\nfound = bool(u.find_spec('lvmlib'))\nfiles = sorted(os.listdir(H))"
    folder = "H = '/grader/library/lvmlib/homework'"
    with Box(QUICK, True, "bubblewrap") as box:
        box.run([folder, find, "from lvmlib.homework.checking import close, rng\nnumber = rng('a').normal()"])
        assert box.values(["found", "files"]) == {"found": True, "files": ["__init__.py", "checking.py"]}
        assert "number" in box.values(["number"])


SEARCH = """
import glob, os, site, sys
sys.meta_path = [finder for finder in sys.meta_path if "NoLib" not in type(finder).__name__]
site.main()
sys.path += ["/grader/library", *glob.glob("/grader/packages/*")] + glob.glob("/tmp/**/*-packages", recursive=True)
import lvmlib.bounds
"""


@needs_sandbox
@pytest.mark.parametrize("installed", ["in the environment", "in Python's own folder"])
def test_no_copy_of_the_library_is_left_for_calls(installed, monkeypatch, tmp_path):
    copy = Path(tmp_path / "lib" / "python3.11" / "site-packages" / "lvmlib")
    copy.mkdir(parents=True)
    tmp_path.chmod(0o755)
    for name in ("__init__.py", "bounds.py"):
        (copy / name).write_text("")
    packages, copies = sandbox.packages(), sandbox._copies
    if installed == "in the environment":
        monkeypatch.setattr(sandbox, "packages", lambda: [*packages, str(copy.parent)])
    else:
        monkeypatch.setattr(sandbox, "SYSTEM", (*sandbox.SYSTEM, str(tmp_path)))
        monkeypatch.setattr(sandbox, "_copies", lambda top: copies(str(tmp_path)) if top == "/usr" else [])
    with Box(QUICK, False, "bubblewrap") as box:
        assert "ModuleNotFoundError: lvmlib is not there" in box.run(["import lvmlib"])[0]
        assert "No module named 'lvmlib" in box.run([SEARCH])[0]


@needs_sandbox
def test_plots_and_pools_work_without_a_screen():
    cells = [
        "%matplotlib inline\nimport matplotlib.pyplot as plt",
        "plt.plot([1, 2]); plt.savefig('a.png'); plt.show()",
    ]
    cells += ["import os, matplotlib\nsize, backend = os.path.getsize('a.png'), matplotlib.get_backend()"]
    cells += ["from concurrent.futures import ProcessPoolExecutor as P\nwith P(2) as p: got = list(p.map(abs, [-1]))"]
    with Box(QUICK, False, "bubblewrap") as box:
        assert box.run(cells) == [None] * 4
        values = box.values(["size", "backend", "got"])
    assert values["size"] > 1000 and values["backend"].lower() == "agg" and values["got"] == [1]


@needs_sandbox
def test_an_honest_notebook_gets_everything():
    assert marks(*HONEST) == FULL


@needs_sandbox
def test_a_sandbox_is_up_quickly_and_a_call_takes_milliseconds():
    start = time.monotonic()
    with opened(*HONEST) as box:
        ready = time.monotonic()
        for _ in range(50):
            box.call("double", 1.0)
        assert ready - start < 10 and (time.monotonic() - ready) / 50 < 0.1  # on an idle machine 0.5 s and 1 ms


@needs_sandbox
def test_nothing_is_left_when_a_sandbox_is_closed_or_the_grader_dies():
    with Box(QUICK, False, "bubblewrap") as box:
        assert box.run(["import subprocess\nsleeper = subprocess.Popen(['sleep', '987'])"]) == [None]
        assert soon(lambda: b"sleep\x00987" in all_commands())  # an exec has its command line only at its end
    assert soon(lambda: b"sleep\x00987" not in all_commands())
    code = "import os; from tests.homework.boxes import *; b = Box(QUICK, False, 'bubblewrap')\n"
    code += "b.run([\"import subprocess; p = subprocess.Popen(['sleep', '986'])\"]); os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False).returncode == -9
    assert soon(lambda: b"sleep\x00986" not in all_commands())


def soon(true: Callable[[], bool]) -> bool:
    """Whether this becomes true; the kernel takes a moment to start a program, and to clear away a whole namespace."""
    deadline = time.monotonic() + 10
    while not true() and time.monotonic() < deadline:
        time.sleep(0.1)
    return true()


def all_commands() -> bytes:
    found = b""
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            found += Path(f"/proc/{name}/cmdline").read_bytes() + b"\n"
    return found


def test_without_a_sandbox_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr(sandbox, "_docker_works", lambda image: False)
    monkeypatch.setattr(sandbox, "_bubblewrap_fails", lambda: "there is no bwrap")
    for asked in ("auto", "bubblewrap"):
        with pytest.raises(SandboxMissing, match=r"\(there is no bwrap\): install bubblewrap, or Docker\.$"):
            find_sandbox(asked)
    with pytest.raises(SandboxMissing, match="has no image 'mine'"):
        Box(Limits(), False, "docker:mine")
    with pytest.raises(SandboxMissing, match="no sandbox called 'Docker'"):
        find_sandbox("Docker")
    assert find_sandbox("none") == "none"


def test_docker_comes_first_where_it_works(monkeypatch):
    monkeypatch.setattr(sandbox, "_docker_works", lambda image: True)
    assert find_sandbox() == "docker" and find_sandbox("docker:mine") == "docker:mine"


@needs_sandbox
def test_a_sandbox_that_does_not_start_is_no_fault_of_the_student(monkeypatch):
    monkeypatch.setattr(sandbox, "WORKER", ("plain.py",))
    with pytest.raises(SandboxMissing, match=r"did not start: .*worker.py"):
        Box(QUICK, False, "bubblewrap")


def test_an_image_that_holds_the_library_is_refused_for_calls():
    worker = Path(sandbox.__file__).with_name("worker.py")
    settings = {"limits": {}, "path": [str(worker.parents[2]), *sandbox.packages()], "library": False, "alone": True}
    line = [sys.executable, "-S", str(worker), json.dumps(settings | {"reply": 1000})]
    ended = subprocess.run(line, input="", capture_output=True, text=True, check=False)
    assert ended.returncode and ended.stderr.startswith("the image holds lvmlib")


def test_dockers_command_line():
    """It has not been tried against Docker: this holds down what must stand in it."""
    room = Room(library=True, files=1000, memory=2000, processes=30)
    line = sandbox.docker(room, ["/grader/worker.py", "{}"], "box-1", "mine")
    text = " ".join(line)
    for option in (
        "--network none", "--read-only", "--memory 2000", "--memory-swap 2000", "--pids-limit 30", "--cap-drop ALL",
        "--security-opt no-new-privileges", "--user 65534:65534", "--rm", "--interactive", "--name box-1",
        "--env MPLBACKEND=Agg", "--pull never",
    ):  # fmt: skip
        assert option in text, option
    assert line[-5:] == ["mine", "python3", "-s", "/grader/worker.py", "{}"]
    mounts = [line[n + 1] for n, word in enumerate(line) if word == "--mount"]
    assert all(mount.endswith(",readonly") for mount in mounts)
    targets = {mount.split(",")[2].removeprefix("target=/grader/") for mount in mounts}
    shown = {"library/lvmlib", "library/lvmlib/homework/__init__.py", "library/lvmlib/homework/checking.py"}
    assert targets == shown | {"worker.py", "plain.py"} and "/grader/library/lvmlib/homework:mode" in text
    without = sandbox.docker(replace(room, library=False), [], "box-1", "mine")
    assert "/library" not in " ".join(without)
