"""The bundle that Gradescope's autograder takes: Otter's own, with the library in it and the instructor's seed set."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from lvmlib.homework.checking import SEED

ROOT = Path(__file__).parents[2]  # of the checkout, where there is one
INSTALLED = "/autograder/source/files"  # where Gradescope unpacks what Otter puts into files/


def requirements(wheel: str) -> list[str]:
    """Return what the machine that grades must install: PyTorch without CUDA, and the library from the bundle."""
    return ["--extra-index-url https://download.pytorch.org/whl/cpu", "torch>=2.5", f"{INSTALLED}/{wheel}"]


def write_bundle(otters: Path, target: Path, seed: int) -> None:
    """Copy Otter's bundle, with a seed from which the hidden tests draw their inputs.

    Args:
        otters: the archive that Otter Assign wrote.
        target: the archive to write.
        seed: from `secret.json`.
    """
    with zipfile.ZipFile(otters) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.infolist():
            data = old.read(member)
            if member.filename == "run_autograder":
                first, _, rest = data.decode().partition("\n")
                data = f"{first}\nexport {SEED}={seed}\n{rest}".encode()
            new.writestr(member, data, zipfile.ZIP_DEFLATED)


def library_wheel(folder: Path) -> Path:
    """Return the library's wheel in a folder; build it from the checkout unless a fresh one lies there.

    Raises:
        RuntimeError: if there is neither, or building it fails.
    """
    found = sorted(folder.glob("lvmlib-*.whl"), key=lambda path: path.stat().st_mtime)
    sources = [ROOT / "pyproject.toml", *(ROOT / "lvmlib").rglob("*.py")]
    in_checkout = sources[0].exists()
    if found and not (in_checkout and max(path.stat().st_mtime for path in sources) > found[-1].stat().st_mtime):
        return found[-1]
    if not in_checkout:
        raise RuntimeError(
            f"put the wheel of lvmlib that you installed into {folder}, or run this from a copy of the repository: "
            "the autograder installs the library from it"
        )
    pip: list[str | Path] = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT]
    for isolated in (["--no-build-isolation"], []):  # the first needs no network, but hatchling
        done = subprocess.run([*pip, *isolated], capture_output=True, text=True)
        if done.returncode == 0:
            return max(folder.glob("lvmlib-*.whl"), key=lambda path: path.stat().st_mtime)
    raise RuntimeError(f"the library's wheel could not be built: {(done.stderr or done.stdout).strip()[-300:]}")
