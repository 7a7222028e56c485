"""The site offers the library as a wheel under `wheels/`, for notebooks that are opened elsewhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)


def newest(root: Path) -> float:
    """Return when the library was last changed."""
    files = [root / "pyproject.toml", *(p for p in (root / "lvmlib").rglob("*") if p.is_file() and p.suffix != ".pyc")]
    return max(path.stat().st_mtime for path in files)


def build_wheel(app: Sphinx, exception: Exception | None) -> None:
    """Build the wheel without the network, unless the one that is there is newer than the library."""
    if exception is not None or app.builder.name != "html":
        return
    root, folder = Path(app.srcdir), Path(app.outdir) / "wheels"
    there = list(folder.glob("lvmlib-*.whl"))
    if len(there) == 1 and there[0].stat().st_mtime > newest(root):
        return
    for wheel in there:
        wheel.unlink()
    command = [sys.executable, "-m", "pip", "wheel", str(root), "--wheel-dir", str(folder)]
    command += ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check"]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode != 0:
        logger.warning(f"the library's wheel could not be built:\n{run.stdout}{run.stderr}")


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("build-finished", build_wheel)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
