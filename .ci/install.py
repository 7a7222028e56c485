"""Install what requirements.lock pins, and lvmlib itself, into .venv; do nothing when that has been done already.

Started by `.ci/setup`. Uses the standard library only. Whatever goes wrong is said in one sentence.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
LOCK = ROOT / "requirements.lock"
DONE = VENV / "installed"  # what was installed, and where; written last
UNFINISHED = VENV / "unfinished"  # stands while an installation runs, so that a killed one is recognised
TORCH_CPU = "https://download.pytorch.org/whl/cpu"
SPACE = 2_500_000_000  # bytes that the environment takes, the CUDA build of torch not counted

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


def fail(sentence: str) -> None:
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


def pip(*arguments: str, progress: Progress | None = None) -> None:
    """Run pip of the environment, show how it gets on, and end with one sentence if it fails."""
    command = [VENV / "bin" / "python", "-m", "pip", "--no-input", "--disable-pip-version-check", *arguments]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PIP_PROGRESS_BAR": "off", "PIP_USER": "0"}
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


def main() -> None:
    """Bring .venv up to date."""
    if os.environ.get("TORCH", "cpu") not in ("", "cpu"):
        fail(f"TORCH={os.environ['TORCH']} is not known: use TORCH=cpu, or leave it out.")
    # Two makes at once take turns. The lock lies on the folder itself and leaves no file behind.
    folder = os.open(ROOT, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)

    wanted = [fingerprint(), str(ROOT)]
    found = DONE.read_text().splitlines() if DONE.exists() else [None, str(ROOT)]
    if found == wanted and not UNFINISHED.exists():
        return

    started = time.monotonic()
    moved = found[1:] != wanted[1:]  # the scripts of an environment name the folder in which it was made
    new = UNFINISHED.exists() or moved or not (VENV / "bin" / "python").exists()
    if new:
        shutil.rmtree(VENV, ignore_errors=True)
        free = shutil.disk_usage(ROOT).free
        if free < SPACE:
            fail(
                f"the disk is nearly full: the book's environment needs {SPACE / 1e9:.1f} GB and {ROOT} has "
                f"{free / 1e9:.1f} GB left; free some and run make again."
            )
        python = getattr(sys, "_base_executable", sys.executable)  # this may be the Python of the .venv just removed
        print(f"Making .venv with Python {platform.python_version()} ({python})", flush=True)
        made = subprocess.run([python, "-m", "venv", VENV], text=True, capture_output=True, check=False)
        if made.returncode:
            fail(explain(made.stdout + made.stderr))

    try:
        UNFINISHED.touch()
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
        UNFINISHED.unlink()
        DONE.write_text("\n".join(wanted))
    except OSError as error:
        fail(explain(str(error)))
    print(f"Ready after {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        fail("interrupted; the next run starts the environment afresh.")
