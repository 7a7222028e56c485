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
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
INSIDE = "/grader"  # where things lie in the sandbox
SCRATCH = "/scratch"
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
SETTINGS = ("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives", "/etc/localtime")
FOR_STUDENTS = ("__init__.py", "checking.py")  # of this folder: what the tests in a student's notebook import
IMAGE = "lvm-homework"  # of Docker, unless another is named
WORKER = "_worker"


class SandboxMissing(RuntimeError):
    """No sandbox can be used here; the message says what to install."""


@dataclass(frozen=True)
class Room:
    """What a sandbox holds.

    Attributes:
        library: whether `lvmlib` is there.
        files: bytes that may be written.
        memory: bytes that may be used, where the sandbox itself keeps count.
        processes: how many may run, where the sandbox itself keeps count.
    """

    library: bool
    files: int
    memory: int
    processes: int


def find_sandbox(asked: str = "auto") -> str:
    """Return the sandbox to use: "docker", "bubblewrap", or, only if asked for by name, "none".

    Raises:
        SandboxMissing: if the one asked for, or any, does not work here.
    """
    if asked == "none":
        return asked
    if asked not in ("auto", "docker", "bubblewrap"):
        raise SandboxMissing(f"There is no sandbox called {asked!r}; use docker or bubblewrap.")
    if asked in ("auto", "docker") and _docker_works():
        return "docker"
    if asked == "docker":
        raise SandboxMissing(f"Docker is not running here, or has no image {IMAGE!r}; see the instructors' page.")
    if not (wrong := _bubblewrap_fails()):
        return "bubblewrap"
    raise SandboxMissing(f"No sandbox for students' code works here ({wrong}); install bubblewrap or Docker.")


@cache
def _docker_works() -> bool:
    """Return whether there is a Docker that answers and has the image."""
    if not shutil.which("docker"):
        return False
    asked = ["docker", "image", "inspect", IMAGE]
    try:
        return subprocess.run(asked, capture_output=True, timeout=20, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


@cache
def _bubblewrap_fails() -> str:
    """Return why bubblewrap cannot be used here; nothing if it can."""
    if not shutil.which("bwrap"):
        return "there is no bwrap"
    room = Room(library=False, files=1_000_000, memory=0, processes=0)
    try:
        tried = subprocess.run(
            bubblewrap(room, ["-c", "pass"], identity()), capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return (tried.stderr.strip().splitlines() or ["bwrap ended without a word"])[-1] if tried.returncode else ""


def identity() -> int | None:
    """Return a user that owns nothing, for a sandbox that root starts; None where an ordinary user does.

    Limits on processes do not bind root, and two sandboxes must not count each other's: so each gets a user of its own.
    """
    return random.SystemRandom().randrange(1 << 20, 1 << 30) if os.geteuid() == 0 else None


def packages() -> list[str]:
    """Return the folders of installed packages."""
    return [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages") and os.path.isdir(path)]


def environment(scratch: str = SCRATCH) -> dict[str, str]:
    """Return all variables that the worker sees."""
    one = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS", "NUMEXPR")}
    return one | {
        "HOME": scratch,
        "TMPDIR": scratch,
        "USER": "student",
        "LOGNAME": "student",
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "MPLBACKEND": "Agg",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONNOUSERSITE": "1",
        "PIP_NO_INDEX": "1",  # an install fails at once, and not after retries
    }


def places(kind: str, library: bool) -> list[str]:
    """Return what the worker's `sys.path` begins with: folders of packages, and of `lvmlib` if it is there."""
    if kind == "none":
        return packages() + [str(HERE.parent.parent)] * library
    return [f"{INSIDE}/library"] * library + [f"{INSIDE}/packages/{i}" for i in range(len(packages()))]


def bubblewrap(room: Room, worker: list[str], user: int | None) -> list[str]:
    """Return the command that runs Python with the arguments `worker` in bubblewrap."""
    line = ["bwrap", "--die-with-parent", "--new-session", "--hostname", "box", "--clearenv"]
    if user is None:
        line += ["--unshare-all"]
    else:  # without a user namespace, so that `user` is one to the kernel too
        line += [f"--unshare-{what}" for what in ("ipc", "pid", "net", "uts", "cgroup-try")]
        line += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    for name, value in environment().items():
        line += ["--setenv", name, value]
    for path in SYSTEM:
        if os.path.islink(path):
            line += ["--symlink", os.readlink(path), path]
        elif os.path.isdir(path):
            line += ["--ro-bind", path, path]
    for path in SETTINGS:
        line += ["--ro-bind-try", path, path]
    if not sys.base_prefix.startswith("/usr/"):
        line += _parents(sys.base_prefix) + ["--ro-bind", sys.base_prefix, sys.base_prefix]
    line += _parents(f"{INSIDE}/packages/0") + _parents(f"{INSIDE}/library/lvmlib")
    for i, path in enumerate(packages()):
        line += ["--ro-bind", os.path.realpath(path), f"{INSIDE}/packages/{i}"]
        if os.path.isdir(f"{path}/lvmlib"):
            line += _empty(f"{INSIDE}/packages/{i}/lvmlib")
    if room.library:
        line += _library()
    for name in ("worker.py", "plain.py"):
        line += ["--ro-bind", str(HERE / name), f"{INSIDE}/{name}"]
    line += ["--proc", "/proc", "--dev", "/dev"]
    for path in (SCRATCH, "/dev/shm"):
        line += ["--perms", "1777", "--size", str(room.files), "--tmpfs", path]
    line += ["--symlink", SCRATCH, "/tmp", "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", SCRATCH, "--"]
    if user is not None:
        line += ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--"]
    return [*line, os.path.realpath(sys.executable), "-S", *worker]


def command(kind: str, room: Room, settings: str, folder: str) -> tuple[list[str], dict[str, str]]:
    """Return the command that starts the worker in a sandbox, and the variables it is started with.

    Args:
        kind: as `find_sandbox` returns it.
        room: what the sandbox holds.
        settings: the worker's one argument.
        folder: an empty folder; scratch space where there is no sandbox.
    """
    if kind == "bubblewrap":
        return bubblewrap(room, [f"{INSIDE}/worker.py", settings], identity()), {"PATH": os.environ["PATH"]}
    return [sys.executable, "-S", str(HERE / "worker.py"), settings], environment(folder)


def _parents(path: str) -> list[str]:
    """Make the folders above a path, open to all: those that bubblewrap makes itself may be closed to the worker."""
    above = [str(folder) for folder in reversed(Path(path).parents)][1:]
    return [word for folder in above for word in ("--perms", "0755", "--dir", folder)]


def _empty(path: str) -> list[str]:
    """Hide a folder."""
    return ["--perms", "0755", "--tmpfs", path, "--remount-ro", path]


def _library() -> list[str]:
    """Show `lvmlib`, and of its folder of homework only what public tests import."""
    inside = f"{INSIDE}/library/lvmlib"
    line = ["--ro-bind", str(HERE.parent), inside, "--perms", "0755", "--tmpfs", f"{inside}/homework"]
    for name in FOR_STUDENTS:
        line += ["--ro-bind", str(HERE / name), f"{inside}/homework/{name}"]
    return [*line, "--remount-ro", f"{inside}/homework"]
