"""Install what requirements.lock pins, and lvmlib itself, into .venv; do nothing when that has been done already.

Started by `.ci/setup`. Uses the standard library only. Whatever goes wrong is said in one sentence. An environment is
believed only if the list that is written last stands in it, its Python runs and calls it its own, and all that the list
names is there; any other is set aside and made anew.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
LOCK = ROOT / "requirements.lock"
PYTHON = VENV / "bin" / "python"
DONE = VENV / "installed"  # written last: which pins, in which folder, and the names of what pip brought
OLD = ".venv-old-"  # an environment gets a name that begins so before it is removed, so that none is ever half there
TORCH_CPU = "https://download.pytorch.org/whl/cpu"
SPACE = 2_500_000_000  # bytes that the environment takes, the CUDA build of torch not counted

# Of the variables that set up pip, those that say where packages come from. The others say where they go, or whether.
PIP_SOURCES = {
    f"PIP_{name}"
    for name in (
        "CACHE_DIR", "CERT", "CLIENT_CERT", "CONFIG_FILE", "CONSTRAINT", "DEFAULT_TIMEOUT", "EXTRA_INDEX_URL",
        "FIND_LINKS", "INDEX_URL", "KEYRING_PROVIDER", "NO_BINARY", "NO_CACHE_DIR", "NO_INDEX", "ONLY_BINARY",
        "PREFER_BINARY", "PROXY", "RETRIES", "TIMEOUT", "TRUSTED_HOST", "USE_DEPRECATED", "USE_FEATURE",
    )
}  # fmt: skip
NO_SPACE = ("No space left on device", "Disk quota exceeded", "Errno 28", "Errno 122")
NO_NETWORK = (
    "NewConnectionError",
    "ConnectTimeoutError",
    "NameResolutionError",
    "ReadTimeoutError",
    "Read timed out",
    "Max retries exceeded",
    "ProxyError",
    "SSLError",
    "Connection refused",
    "Connection reset",
    "Temporary failure in name resolution",
    "Network is unreachable",
)


def fail(sentence: str) -> NoReturn:
    sys.exit(f"make: {sentence}")


def fingerprint() -> str:
    """Hash of all that decides what must be installed: the pins and the project's metadata."""
    return hashlib.sha256(LOCK.read_bytes() + (ROOT / "pyproject.toml").read_bytes()).hexdigest()


def explain(output: str) -> str:
    """Turn pip's output into one sentence about what went wrong."""
    # ensurepip hides why it failed, so the disk is asked too.
    if any(sign in output for sign in NO_SPACE) or shutil.disk_usage(ROOT).free < 20e6:
        return f"the disk is full: free {SPACE / 1e9:.1f} GB for {VENV} and for temporary files, then run make again."
    if any(sign in output for sign in NO_NETWORK):
        return "the package index could not be reached: check the network (and pip's settings), then run make again."
    if "Permission denied" in output:
        return f"no permission to write to {VENV} or to pip's temporary folder: mend that and run make again."
    missing = re.search(r"No matching distribution found for (\S+)", output)
    if missing:
        return (
            f"the package index has no {missing[1]} for Python {platform.python_version()} on {platform.platform()}: "
            "try another Python (3.11 to 3.13 are tested), make book PYTHON=/path/to/python3.13"
        )
    tail = "\n".join(output.splitlines()[-15:])
    return f"pip failed; its last lines were:\n{tail}"


class Progress:
    """One line that moves on a terminal; in a log, a line now and then."""

    def __init__(self, total: int):
        self.total, self.count, self.said, self.start = total, 0, 0.0, time.monotonic()
        self.terminal = sys.stdout.isatty()

    def package(self, name: str) -> None:
        self.count = min(self.count + 1, self.total)
        text = f"  [{self.count}/{self.total}] {name}"
        if self.terminal:
            print(f"\r\033[K{text}", end="", flush=True)
        elif time.monotonic() - self.said > 5:
            self.line(text)

    def line(self, text: str) -> None:
        self.said = time.monotonic()
        print(("\r\033[K" if self.terminal else "") + text, flush=True)


def pip(*arguments: str, progress: Progress | None = None) -> str:
    """Run pip of the environment, show how it gets on, return what it said, and end with one sentence if it fails."""
    # -I: neither PYTHONPATH nor the user's own packages count as installed
    command = [PYTHON, "-I", "-u", "-m", "pip", "--no-input", "--disable-pip-version-check", *arguments]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "PYTHON")) or k in PIP_SOURCES}
    environment = {
        **kept,
        "PIP_PROGRESS_BAR": "off",
        "PIP_USER": "0",
        "PIP_DRY_RUN": "0",
        "PIP_REQUIRE_VIRTUALENV": "1",
    }
    lines = []
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        text=True,
        errors="replace",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.rstrip())
            if progress:
                show(line.strip(), progress)
    if process.returncode:
        if progress and progress.terminal:
            print()
        fail(explain("\n".join(lines)))
    return "\n".join(lines)


def show(line: str, progress: Progress) -> None:
    """Pass on what a person wants to see of a line of pip's output."""
    if found := re.match(r"(?:Collecting|Requirement already satisfied:) ([\w.-]+)(?:==(\S+))?", line):
        progress.package(" ".join(filter(None, found.groups())))
    elif found := re.match(r"Downloading (\S+?)-.*\((\d+)(\.\d+)? ([MG])B\)", line):
        if found[4] == "G" or int(found[2]) >= 20:
            progress.line(f"  downloading {found[1]}, {found[2]}{found[3] or ''} {found[4]}B")
    elif "Retrying (" in line:
        progress.line("  the package index does not answer, trying again")
    elif line.startswith("Installing collected packages"):
        progress.line("  writing the packages into .venv")


def site_packages() -> Path | None:
    """Where the environment keeps its packages, as its own Python says; None if that does not run or is another's."""
    code = "import sys, sysconfig; print(sys.prefix); print(sysconfig.get_path('purelib'))"
    try:
        done = subprocess.run([PYTHON, "-I", "-c", code], text=True, capture_output=True, check=True)
        prefix, packages = done.stdout.splitlines()
        return Path(packages) if os.path.samefile(prefix, VENV) else None
    except (OSError, ValueError, subprocess.CalledProcessError):
        return None


def names(packages: Path) -> list[str]:
    """What is installed, without version numbers, so that a reader may upgrade or add a package."""
    return sorted(name for name in os.listdir(packages) if not name.endswith((".dist-info", "__pycache__")))


def what_is_wrong() -> str:
    """Say why the environment must be made anew; nothing if it can be kept, be it with other pins than today's."""
    noted = DONE.read_text(errors="replace").splitlines() if DONE.is_file() else []
    if len(noted) < 2:
        return "its installation was not finished"
    _, folder, *installed = noted
    if folder != str(ROOT):  # the scripts of an environment name the folder in which it was made
        return f"it was made in {folder}"
    packages = site_packages()
    if packages is None:
        return "its Python does not run, or no longer belongs to it"
    missing = set(installed) - set(os.listdir(packages) if packages.is_dir() else ())
    return f"{min(missing)} is missing in it" if missing else ""


def discard() -> None:
    """Remove the environment, and what an earlier removal that was interrupted has left."""
    if VENV.is_symlink() or VENV.is_file():
        VENV.unlink()
    elif VENV.exists():
        VENV.rename(Path(tempfile.mkdtemp(prefix=OLD, dir=ROOT)) / "venv")
    for old in ROOT.glob(f"{OLD}*"):
        shutil.rmtree(old, ignore_errors=True)


def make_environment() -> None:
    """Make an environment that holds nothing but pip."""
    python = getattr(sys, "_base_executable", sys.executable)
    if VENV in Path(python).parents:  # the environment has lost its pyvenv.cfg, and this runs in it
        python = os.path.realpath(python)
    discard()
    free = shutil.disk_usage(ROOT).free
    if free < SPACE:
        fail(
            f"the disk is nearly full: the book's environment needs {SPACE / 1e9:.1f} GB and {ROOT} has "
            f"{free / 1e9:.1f} GB left; free some and run make again."
        )
    print(f"Making .venv with Python {platform.python_version()} ({python})", flush=True)
    made = subprocess.run([python, "-I", "-m", "venv", VENV], text=True, capture_output=True, check=False)
    if made.returncode:
        fail(explain(made.stdout + made.stderr))


def install(new: bool) -> None:
    """Install the pins and lvmlib, and see that they have come."""
    if elsewhere := re.search(r"(?m)^(?!:env:)\S*\.(target|prefix|root|python)=.*$", pip("config", "list")):
        fail(f"pip's settings say {elsewhere[0]}, so packages would go elsewhere; take that out and run make again.")
    pins = [line for line in LOCK.read_text().splitlines() if line and not line.startswith("#")]
    print(f"Installing {len(pins)} pinned packages; the first time takes a few minutes", flush=True)
    progress = Progress(len(pins))
    if os.environ.get("TORCH") == "cpu":
        torch = [pin for pin in pins if pin.startswith("torch==")]
        pip("install", "--no-deps", "--index-url", TORCH_CPU, *torch, progress=progress)
    elif new and sys.platform == "linux" and not shutil.which("nvidia-smi"):
        print("  no NVIDIA GPU was found here: `TORCH=cpu make book` spares the download of CUDA", flush=True)
    pip("install", "-r", str(LOCK), progress=progress)
    pip("install", "--no-deps", "--no-build-isolation", "--quiet", "-e", ".")
    tried = subprocess.run([PYTHON, "-I", "-c", "import lvmlib"], text=True, capture_output=True, check=False)
    if tried.returncode:
        fail(f"all is installed and yet lvmlib cannot be imported: {tried.stderr.strip().splitlines()[-1]}")


def main() -> None:
    """Bring .venv up to date."""
    if os.environ.get("TORCH", "cpu") not in ("", "cpu"):
        fail(f"TORCH={os.environ['TORCH']} is not known: use TORCH=cpu, or leave it out.")
    if set(str(ROOT)) & set("\n\r:"):
        fail(f"no environment can be made in {str(ROOT)!r}: take colon and line break out of that path.")
    # Two makes at once take turns. The lock lies on the folder itself and leaves no file behind.
    folder = os.open(ROOT, os.O_RDONLY)
    with contextlib.suppress(OSError):  # some network drives know no locks
        fcntl.flock(folder, fcntl.LOCK_EX)

    wanted, wrong, started = fingerprint(), what_is_wrong(), time.monotonic()
    if not wrong and DONE.read_text().splitlines()[0] == wanted:
        return
    try:
        if wrong:
            if VENV.exists():
                print(f"The environment in .venv is made anew: {wrong}", flush=True)
            make_environment()
        DONE.unlink(missing_ok=True)
        install(new=bool(wrong))
        packages = site_packages()
        assert packages is not None
        fresh = DONE.with_suffix(".new")
        fresh.write_text("\n".join([wanted, str(ROOT), *names(packages)]))
        fresh.replace(DONE)
    except OSError as error:
        fail(explain(str(error)))
    print(f"Ready after {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        fail("interrupted; the next run starts the environment afresh.")
