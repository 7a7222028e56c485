"""Where a student's notebook runs: command lines for bubblewrap and Docker, and what there is to see inside.

The worker sees Python, its packages, an empty scratch folder and, if asked, `lvmlib` without the homework: no home, no
course, no other submission, no network, no variable of the host.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lvmlib.homework import seccomp

HERE = Path(__file__).parent
INSIDE, SCRATCH = "/grader", "/scratch"  # in the sandbox: where things lie, and where the notebook may write
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
SETTINGS = ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "localtime", "fonts")  # in /etc
WORKER = ("worker.py", "plain.py")
FOR_STUDENTS = ("__init__.py", "checking.py")  # of this folder: what the tests in a student's notebook import
IMAGE = "lvm-homework"  # of Docker, unless another is named


class SandboxMissing(RuntimeError):
    """No sandbox can be used here; the message says what to install."""


@dataclass(frozen=True)
class Room:
    """What a sandbox holds.

    Attributes:
        library: whether `lvmlib` is there.
        files: bytes that may be written into each of its three folders.
        memory: bytes that may be used, where the sandbox itself keeps count.
        processes: how many may run, where the sandbox itself keeps count.
    """

    library: bool
    files: int = 1_000_000
    memory: int = 100_000_000
    processes: int = 10


def find_sandbox(asked: str = "auto") -> str:
    """Return the sandbox to use: "docker", "bubblewrap", or, only if asked for by name, "none".

    Args:
        asked: one of these, "docker:IMAGE", or "auto" for the first of docker and bubblewrap that works.

    Raises:
        SandboxMissing: if the one asked for, or any, does not work here.
    """
    kind, _, image = asked.partition(":")
    if asked == "none":
        return asked
    if kind == "docker" or asked == "auto":
        if _docker_works(image or IMAGE):
            return "docker" if asked == "auto" else asked
        if asked != "auto":
            raise SandboxMissing(
                f"Docker does not run here, or has no image {image or IMAGE!r}: start it, or build that."
            )
    elif asked != "bubblewrap":
        raise SandboxMissing(f"There is no sandbox called {asked!r}; use docker or bubblewrap.")
    if wrong := _bubblewrap_fails():
        raise SandboxMissing(f"No sandbox for students' code works here ({wrong}): install bubblewrap, or Docker.")
    return "bubblewrap"


@cache
def _docker_works(image: str) -> bool:
    """Return whether there is a Docker that answers and has the image."""
    if not shutil.which("docker"):
        return False
    try:
        asked = ["docker", "image", "inspect", image]
        return subprocess.run(asked, capture_output=True, timeout=20, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


@cache
def _bubblewrap_fails() -> str:
    """Return why bubblewrap cannot be used here; nothing if it can."""
    if not shutil.which("bwrap"):
        return "there is no bwrap"
    try:
        process = _start_bubblewrap(Room(library=False), ["-c", "pass"])
        said = process.communicate(timeout=20)[1].decode("utf-8", "replace").strip().splitlines()
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return (said or ["bwrap ended without a word"])[-1] if process.returncode else ""


def start(kind: str, room: Room, settings: str, folder: str) -> tuple[subprocess.Popen[bytes], Callable[[], object]]:
    """Start the worker in a sandbox.

    Args:
        kind: as `find_sandbox` returns it.
        room: what the sandbox holds.
        settings: the worker's one argument.
        folder: an empty folder; scratch space where there is no sandbox.

    Returns:
        Its process, and what to do once this is dead.
    """
    if kind == "bubblewrap":
        return _start_bubblewrap(room, [f"{INSIDE}/worker.py", settings]), _nothing
    if kind == "none":
        line = [sys.executable, "-S", str(HERE / "worker.py"), settings]
        return _popen(line, cwd=folder, env=environment(folder)), _nothing
    name = f"lvm-box-{random.SystemRandom().randrange(1 << 60):x}"
    line = docker(room, [f"{INSIDE}/worker.py", settings], name, kind.partition(":")[2] or IMAGE)
    remove = ["docker", "rm", "--force", name]
    return _popen(line), lambda: subprocess.run(remove, capture_output=True, timeout=60, check=False)


def _nothing() -> None:
    """Do nothing."""


def _popen(line: list[str], **options: object) -> subprocess.Popen[bytes]:
    """Start a process with three pipes."""
    pipe = subprocess.PIPE
    return subprocess.Popen(line, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0, start_new_session=True, **options)  # type: ignore[call-overload]


def _start_bubblewrap(room: Room, worker: list[str]) -> subprocess.Popen[bytes]:
    """Start Python in bubblewrap; its options go through a file, since everyone inside can read a command line."""
    options, line = bubblewrap(room, worker, identity())
    files = []
    try:
        if filter_ := seccomp.program():
            files.append(_in_memory(filter_))
            options += ["--seccomp", str(files[0])]
        files.append(_in_memory("\0".join(options).encode()))
        program = [shutil.which("bwrap") or "bwrap", "--args", str(files[-1]), "--", *line]
        return _popen(program, env={}, pass_fds=files, cwd="/")
    finally:
        for file in files:
            os.close(file)


def _in_memory(content: bytes) -> int:
    """Return a descriptor to read this from."""
    file = os.memfd_create("options")
    os.write(file, content)
    os.lseek(file, 0, os.SEEK_SET)
    return file


def identity() -> int | None:
    """Return a user that owns nothing, for a sandbox that root starts; None where an ordinary user does.

    Limits on processes do not bind root, and two sandboxes must not count each other's: so each gets a user of its own.

    Raises:
        SandboxMissing: if there is no such user.
    """
    if os.geteuid() != 0:
        return None
    first, _, count = map(int, Path("/proc/self/uid_map").read_text().split()[:3])  # fewer than all in a container
    end = min(first + count, 1 << 30)
    if count < 1000:
        raise SandboxMissing("Root cannot become another user here: start the grader as an ordinary user.")
    return random.SystemRandom().randrange(min(1 << 20, end // 2), end)


def packages() -> list[str]:
    """Return the folders of installed packages."""
    return [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages") and os.path.isdir(path)]


def environment(scratch: str = SCRATCH) -> dict[str, str]:
    """Return all variables that the worker sees."""
    one = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS", "NUMEXPR")}
    named = dict.fromkeys(("HOME", "TMPDIR"), scratch) | dict.fromkeys(("USER", "LOGNAME"), "student")
    switches = dict.fromkeys(("PYTHONDONTWRITEBYTECODE", "PYTHONNOUSERSITE", "PIP_NO_INDEX"), "1")
    others = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "MPLBACKEND": "Agg", "PYTHONHASHSEED": "0"}
    return one | named | switches | others


def places(kind: str, library: bool) -> list[str]:
    """Return what the worker's `sys.path` begins with: folders of packages, and of `lvmlib` if it is there."""
    if kind == "none":
        return packages() + [str(HERE.parent.parent)] * library
    inside = [] if kind.startswith("docker") else [f"{INSIDE}/packages/{i}" for i in range(len(packages()))]
    return [f"{INSIDE}/library"] * library + inside


def bubblewrap(room: Room, worker: list[str], user: int | None) -> tuple[list[str], list[str]]:
    """Return bubblewrap's options, and the command to run in it: Python with the arguments `worker`."""
    line = ["--die-with-parent", "--new-session", "--hostname", "box", "--clearenv"]
    if user is None:  # the worker is process 1: bubblewrap's own would be the same user, and open to being rewritten
        line += ["--unshare-all", "--as-pid-1"]
    else:  # without a user namespace, so that `user` is one to the kernel too
        line += [f"--unshare-{what}" for what in ("ipc", "pid", "net", "uts", "cgroup-try")]
        line += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    for name, value in environment().items():
        line += ["--setenv", name, value]
    line += ["--proc", "/proc", "--ro-bind", "/proc/sys", "/proc/sys"]
    line += ["--dev", "/dev", "--dev-bind", "/dev/null", "/dev/zero"]  # which is memory when mapped
    for path in (SCRATCH, "/tmp", "/dev/shm"):
        line += ["--perms", "1777", "--size", str(room.files), "--tmpfs", path]
    for path in SYSTEM:
        if os.path.islink(path):
            line += ["--symlink", os.readlink(path), path]
        elif os.path.isdir(path):
            line += [*_parents(path), "--ro-bind", path, path]
    line += _parents("/etc/x")
    for name in SETTINGS:
        line += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    python = os.path.realpath(sys.executable)
    home = str(Path(python).parents[1])  # not that of a virtual environment, of which the packages are enough
    if not f"{home}/".startswith("/usr/"):
        line += [*_parents(home), "--ro-bind", home, home]
    line += _parents(f"{INSIDE}/packages/0") + _parents(f"{INSIDE}/library/lvmlib")
    copies = _copies(home) + _copies("/usr")
    for i, path in enumerate(packages()):
        line += ["--ro-bind", os.path.realpath(path), f"{INSIDE}/packages/{i}"]
        copies += [f"{INSIDE}/packages/{i}/lvmlib"] * os.path.isdir(f"{path}/lvmlib")
    for path in copies:
        line += [*_empty(path), "--remount-ro", path]
    if room.library:
        line += _library()
    for name in WORKER:
        line += ["--ro-bind", str(HERE / name), f"{INSIDE}/{name}"]
    line += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", SCRATCH]
    drop = [] if user is None else ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--"]
    return line, [*drop, python, "-S", *worker]


def _parents(path: str) -> list[str]:
    """Make the folders above a path, open to all: those that bubblewrap makes itself may be closed to the worker."""
    above = [str(folder) for folder in reversed(Path(path).parents)][1:]
    return [word for folder in above for word in ("--perms", "0755", "--dir", folder)]


def _copies(top: str) -> list[str]:
    """Return installed copies of `lvmlib` below a folder that the sandbox shows."""
    return [str(path) for part in ("", "local/") for path in Path(top).glob(f"{part}lib/python3*/*-packages/lvmlib")]


def _empty(path: str) -> list[str]:
    """Lay an empty folder over one."""
    return ["--perms", "0755", "--size", "1000000", "--tmpfs", path]


def _library() -> list[str]:
    """Show `lvmlib`, and of its folder of homework only what public tests import."""
    inside = f"{INSIDE}/library/lvmlib"
    line = ["--ro-bind", str(HERE.parent), inside, *_empty(f"{inside}/homework")]
    for name in FOR_STUDENTS:
        line += ["--ro-bind", str(HERE / name), f"{inside}/homework/{name}"]
    return [*line, "--remount-ro", f"{inside}/homework"]


def docker(room: Room, worker: list[str], name: str, image: str) -> list[str]:
    """Return the command that runs Python with the arguments `worker` in a container of that name."""
    line = ["docker", "run", "--rm", "--interactive", "--init", "--name", name, "--hostname", "box", "--pull", "never"]
    line += ["--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    line += ["--user", "65534:65534", "--log-driver", "none", "--workdir", SCRATCH, "--shm-size", str(room.files)]
    line += ["--memory", str(room.memory), "--memory-swap", str(room.memory), "--pids-limit", str(room.processes)]
    line += ["--tmpfs", f"{SCRATCH}:rw,exec,mode=1777,size={room.files}"]
    for variable, value in environment().items():
        line += ["--env", f"{variable}={value}"]
    shown = [(HERE / file, f"{INSIDE}/{file}") for file in WORKER]
    if room.library:
        inside = f"{INSIDE}/library/lvmlib"
        line += ["--tmpfs", f"{inside}/homework:mode=0755,size=1m"]
        shown += [(HERE.parent, inside)] + [(HERE / file, f"{inside}/homework/{file}") for file in FOR_STUDENTS]
    for source, target in shown:
        line += ["--mount", f"type=bind,source={source},target={target},readonly"]
    return [*line, image, "python3", "-s", *worker]
