"""Notebooks that reach for what is not theirs: answers, other students' work, the host, the network."""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import lvmlib
from lvmlib.homework.box import Box
from tests.homework.boxes import QUICK, attacks, graded_in_full, needs_sandbox, opened

pytestmark = [pytest.mark.slow, needs_sandbox, pytest.mark.xdist_group("attacks")]
ROOT = Path(lvmlib.__file__).parents[1]
TOKEN = "kept-from-students-6c1f"


@pytest.fixture(autouse=True)
def the_next_one_is_graded_in_full() -> Iterator[None]:
    yield
    assert graded_in_full()


@pytest.fixture
def secrets(tmp_path, monkeypatch):
    """Lay out what a student may not read, and name the files."""
    home = Path.home() / f".{TOKEN}"
    files = [tmp_path / "course" / "09" / "secret.json", tmp_path / "submissions" / "ada.ipynb", home]
    files += [tmp_path / "course" / "09" / "master" / "09_iwae.py", Path("/var/tmp") / TOKEN, Path("/dev/shm") / TOKEN]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(TOKEN)
        file.chmod(0o644)
    monkeypatch.setenv("LVM_HOMEWORK_SEED", TOKEN)
    yield files
    for file in files:
        file.unlink()


SEARCH = """
import glob, os
names = glob.glob("/proc/*/environ") + glob.glob("/proc/*/cmdline") + glob.glob("/dev/shm/*")
for folder, folders, files in os.walk("/"):
    folders[:] = [f for f in folders if os.path.join(folder, f) not in LEFT_OUT]
    names += [os.path.join(folder, file) for file in files]
found = []
for path in PATHS + names:
    try:
        text = open(path, "rb").read(10**7)
        if path in PATHS or TOKEN.encode() in text: found.append(path)
    except OSError: pass
variables = dict(os.environ)
commands = "".join(open(path).read() for path in glob.glob("/proc/*/cmdline"))
"""


@pytest.mark.parametrize("library", [False, True])
def test_no_secret_is_found_by_path_or_by_search(secrets, library):
    masters = list((ROOT / "notebooks").rglob("*.py")) + [ROOT / "tests" / "homework" / "boxes.py"]
    masters += [ROOT / "lvmlib" / "homework" / "marks.py", ROOT / ".git", Path("/etc/passwd"), Path("/etc/shadow")]
    paths = [str(path) for path in secrets + masters]
    paths += ["/proc/1/root" + path for path in paths] + ["/proc/self/cwd/.." + path for path in paths]
    left_out = ["/usr", "/sys", "/proc", "/dev", "/grader/packages", os.path.realpath(sys.base_prefix)]
    cell = f"PATHS, TOKEN, LEFT_OUT = {paths!r}, 'kept-from-' + 'students-6c1f', {left_out!r}"
    with Box(QUICK, library, "bubblewrap") as box:
        assert box.run([cell, SEARCH]) == [None, None]
        values = box.values(["found", "names", "variables", "commands"])
    assert values["found"] == []
    places = ("/grader/", "/home/", f"{Path.home()}/", f"{ROOT}/")
    ours = [name for name in values["names"] if name.startswith(places) and not name.startswith(tuple(left_out))]
    shown = {"/grader/worker.py", "/grader/plain.py"} | {
        f"/grader/library/lvmlib/homework/{name}" for name in ("__init__.py", "checking.py") if library
    }
    assert {name for name in ours if "homework" in name or name.count("/") < 3} == shown
    assert all(name.startswith("/grader/library/lvmlib/") for name in ours if name not in shown)
    assert values["variables"].keys() & os.environ.keys() <= {"HOME", "PATH", "LANG", "USER", "LOGNAME", "PWD"} | {
        name for name in os.environ if name.endswith("_NUM_THREADS") or name.startswith("PYTHON")
    }
    assert TOKEN not in str(values["variables"])
    assert "worker.py" in values["commands"] and str(ROOT) not in values["commands"]


OUTSIDE = ("/x", "/usr/x", "/etc/x", "/dev/x", "/grader/x", "/grader/worker.py", "/grader/library/lvmlib/bounds.py")
OUTSIDE += ("/grader/packages/0/numpy/__init__.py", "/proc/sys/kernel/domainname", "/proc/1/mem", "/dev/shm/../x")
OUTSIDE += (f"{os.path.realpath(sys.base_prefix)}/lib/x", "/scratch/../x", "/grader/library/lvmlib/homework/marks.py")


@pytest.mark.parametrize("path", OUTSIDE)
def test_nothing_can_be_written_outside_the_scratch_folder(path):
    with Box(QUICK, True, "bubblewrap") as box:
        straight = f"open({path!r}, 'ab').write(b'x')"
        by_link = f"import os; os.symlink({path!r}, 'l'); open('l', 'ab').write(b'x')"
        errors = box.run(
            [straight, by_link, "open('/scratch/mine', 'w').write('x')", "open('/tmp/mine', 'w').write('x')"]
        )
    assert all(error and error.startswith(("OSError", "PermissionError")) for error in errors[:2]), errors
    assert errors[2:] == [None, None]


def test_nothing_stays_for_the_next():
    plant = "import os\nfor p in ('/scratch/left', '/dev/shm/left', '/tmp/left', os.path.expanduser('~/.pythonrc')):\n"
    plant += "    open(p, 'w').write('x')"
    look = "import os; left = [p for d in ('/scratch', '/dev/shm') for p in os.listdir(d) if p != '.ipython']"
    with opened(plant) as first, opened(look) as second:
        assert first.run(["import os; assert os.path.exists('/tmp/left')"]) == [None]
        assert second.values(["left"]) == {"left": []}


def test_two_sandboxes_see_and_touch_nothing_of_each_other():
    mine = "import os, signal, time\npids = [int(p) for p in os.listdir('/proc') if p.isdigit()]\nuser = os.getuid()"
    with opened(mine) as first, opened(mine) as second:
        assert len(first.values(["pids"])["pids"]) <= 3
        if os.getuid() == 0:
            users = [box.values(["user"])["user"] for box in (first, second)]
            assert users[0] != users[1] and min(users) >= 1 << 20
        kill = (
            "for p in range(2, 70_000):\n    try:\n        if p != os.getpid(): os.kill(p, 9)\n    except OSError: pass"
        )
        assert first.run([kill]) == [None]
        assert second.run(["x = 1"]) == [None]


REACHES = attacks("kernel.txt")
CALL = """
import ctypes, os, resource, stat
libc = ctypes.CDLL(None, use_errno=True)
def ask(*words):
    if libc.syscall(*words) < 0: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
"""


@pytest.mark.parametrize("name", REACHES)
def test_the_kernel_refuses(name):
    with opened(CALL) as box:
        error = box.run([REACHES[name][0]])[0]
        refused = r"(Permission|OS|FileNotFound|Assertion|CalledProcess|Value)Error"
        assert error and re.match(refused, error), error
        assert box.reason is None


NETWORK = """
import socket
reached = []
def attempt(name, f):
    try: f(); reached.append(name)
    except OSError: pass
attempt("localhost", lambda: socket.create_connection(("127.0.0.1", PORT), 1))
attempt("abroad", lambda: socket.create_connection(("1.1.1.1", 53), 1))
attempt("names", lambda: socket.getaddrinfo("example.org", 80))
def datagram():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(1); s.sendto(b"x", ("1.1.1.1", 53)); s.recv(9)
attempt("datagram", datagram)
def abstract():
    s = socket.socket(socket.AF_UNIX); s.connect("\\0" + NAME)
attempt("abstract socket", abstract)
attempt("raw", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
import os
devices = sorted(os.listdir("/proc/sys/net/ipv4/conf")) if os.path.exists("/proc/sys/net/ipv4/conf") else []
"""


def test_there_is_no_network_not_even_this_machine():
    with socket.create_server(("127.0.0.1", 0)) as inet, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(f"\0{TOKEN}")
        unix.listen()
        with opened(f"PORT, NAME = {inet.getsockname()[1]}, {TOKEN!r}", NETWORK) as box:
            values = box.values(["reached", "devices"])
        assert values["reached"] == []
        assert set(values["devices"]) <= {"all", "default", "lo"}
        for server in (inet, unix):
            server.settimeout(0.1)
            with pytest.raises(TimeoutError):
                server.accept()
