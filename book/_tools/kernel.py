"""The kernel in which chapters run: this environment's Python, one thread, no GPU, no personal settings.

Outputs are compared from run to run, so everything that could differ between two machines and need not is fixed here,
for storing the outputs (`make execute`) as well as for checking them (`pytest --book`).
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import ipykernel.kernelspec
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager, KernelManager

ROOT = Path(__file__).resolve().parents[2]


def threads() -> int:
    """Return how many threads a kernel may use: LVM_THREADS, or one."""
    given = os.environ.get("LVM_THREADS", "1")
    if not given.isdigit() or int(given) < 1:
        raise ValueError(f"LVM_THREADS must be a number of threads such as 1, got {given!r}")
    return int(given)


def environment(personal: str | Path) -> dict[str, str]:
    """Return the environment variables of a kernel.

    Args:
        personal: an empty folder that takes the place of the user's IPython and matplotlib settings.

    Returns:
        All variables of this process, the ones that matter set; ATEN_CPU_CAPABILITY, among others, passes through.
    """
    env = {k: v for k, v in os.environ.items() if k not in {"MPLBACKEND", "PYTHONHASHSEED", "PYTHONSTARTUP"}}
    for name in ("OMP_NUM", "MKL_NUM", "OPENBLAS_NUM", "NUMEXPR_NUM", "VECLIB_MAXIMUM"):
        env[f"{name}_THREADS"] = str(threads())
    env["CUDA_VISIBLE_DEVICES"] = ""  # stored outputs are those of a CPU
    if os.path.expanduser("~") == "~":  # no home is known, as in some containers, and Jupyter asks for one
        env["HOME"] = str(personal)
    env["IPYTHONDIR"] = env["MPLCONFIGDIR"] = str(personal)
    env["PYTHONPATH"] = os.pathsep.join(p for p in (str(ROOT), env.get("PYTHONPATH")) if p)
    return env


def personal_folder() -> tempfile.TemporaryDirectory[str]:
    """Return a folder for one kernel's settings; it vanishes with the object."""
    return tempfile.TemporaryDirectory(prefix="lvmlib-kernel-", ignore_cleanup_errors=True)


def connection(personal: str | Path) -> dict[str, str]:
    """Return how to talk to a kernel: through files in its own folder, where no two kernels can want the same port."""
    if sys.platform == "win32":
        return {}
    return {"transport": "ipc", "connection_file": str(Path(personal) / "k.json")}


class ThisPython(KernelSpecManager):
    """Answers every name of a kernel with the Python that runs this, whatever is registered on the machine."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """Return the specification of this environment's kernel, in which figures are described."""
        describing = ["--IPKernelApp.extra_extensions=book._tools.figures"]
        kernel = ipykernel.kernelspec.get_kernel_dict(describing)
        return KernelSpec(resource_dir=ipykernel.kernelspec.RESOURCES, **kernel)


class OwnKernel(KernelManager):
    """Starts and stops a kernel of this environment."""

    def _kernel_spec_manager_default(self) -> Any:
        return ThisPython()


class OwnAsyncKernel(AsyncKernelManager):
    """The same, for those who wait asynchronously."""

    def _kernel_spec_manager_default(self) -> Any:
        return ThisPython()
