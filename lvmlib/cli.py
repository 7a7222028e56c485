"""The command `lvm`."""

from __future__ import annotations

import importlib.util
import sys


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status: 0, or 2 with one sentence on stderr.

    Args:
        arguments: what follows `lvm` on the command line; that of this process when left out.
    """
    if missing := [name for name in ("typer", "jupytext", "otter") if importlib.util.find_spec(name) is None]:
        print(f"lvm: {' and '.join(missing)} not found: pip install 'lvmlib[homework]'", file=sys.stderr)
        return 2
    from lvmlib.homework.commands import run

    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
