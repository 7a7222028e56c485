"""What runs in the sandbox: a student's notebook, and the calls of its functions. It prints nothing but JSON lines.

It is run as a file of its own, beside `plain.py`, with one argument: its settings as JSON. Requests come on what was
standard input, replies leave on what was standard output; the notebook gets neither. Nothing here is a secret and
nothing here is trusted: a notebook can do what it likes to this process, and harms only itself.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import json
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO

SENTENCE = 300  # characters of an error
BODY = ("%%time", "%%capture", "%%prun")  # cell magics that run the cell below them
DEFINITIONS = (
    ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef,
    ast.Assign, ast.AnnAssign, ast.AugAssign,
)  # fmt: skip


class Overtime(KeyboardInterrupt):
    """Something took too long; no `except Exception` stops it."""


class NoLibrary:
    """Finds no `lvmlib`, wherever a copy may lie."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Refuse `lvmlib` by its name."""
        if name.partition(".")[0] == "lvmlib":
            raise ModuleNotFoundError("lvmlib is not there when functions are marked", name=name)


class Notebook:
    """A student's names, and the shell that cells run in."""

    def __init__(self) -> None:
        from IPython.core.interactiveshell import InteractiveShell
        from traitlets.config import Config

        config = Config()
        config.HistoryManager.enabled = False
        config.InteractiveShell.colors = "NoColor"
        self.shell: Any = InteractiveShell.instance(config=config)
        self.shell.magics_manager.register_function(lambda line: None, "line", "matplotlib")  # the backend is Agg

    def hello(self) -> None:
        """Say that the worker has started."""

    def run(self, sources: list[str], statements: bool, seconds: float, each: float) -> list[str | None]:
        """Run cells, or their definitions alone, and return the error of each."""
        errors: list[str | None] = []
        with limited(seconds):
            for source in sources:
                try:
                    errors.append(self.define(source, each) if statements else self.cell(source))
                except Overtime:
                    errors.append("TimeoutError: the time for the whole notebook was used up here")
                    break
        return errors + ["not run: the time for the whole notebook was used up before"] * (len(sources) - len(errors))

    def cell(self, source: str) -> str | None:
        """Run one cell and return its error."""
        result = self.shell.run_cell(source, store_history=False, silent=True)
        error = result.error_before_exec or result.error_in_exec
        if isinstance(error, Overtime):
            raise error
        return sentence(error) if error is not None else None

    def define(self, source: str, seconds: float) -> str | None:
        """Run the imports, definitions and assignments of a cell, one at a time, and return their errors."""
        if source.lstrip().startswith(BODY):
            source = source.lstrip().partition("\n")[2]
        try:
            tree = ast.parse(self.shell.transform_cell(source))
        except SyntaxError as error:
            return sentence(error)
        errors = []
        for node in tree.body:
            if not isinstance(node, DEFINITIONS) or uses_magic(node):
                continue
            try:
                with limited(seconds):  # the shell's compiler remembers `from __future__ import ...`
                    exec(self.shell.compile(ast.Module([node], []), "<notebook>", "exec"), self.shell.user_ns)
            except (Exception, Overtime, SystemExit) as error:
                errors.append(sentence(error))
        return "; ".join(errors)[:SENTENCE] or None

    def values(self, names: list[str], most: int, seconds: float) -> dict[str, Any]:
        """Return what is plain among these names, as long as it fits in a reply."""
        found = {}
        with contextlib.suppress(Overtime), limited(seconds):
            for name in names:
                with contextlib.suppress(Exception):
                    described = plain.to_plain(self.shell.user_ns[name])
                    most -= len(json.dumps(described))
                    if most > 0:
                        found[name] = described
        return found

    def call(self, name: str, args: Any, kwargs: Any, seconds: float) -> Any:
        """Return what a function makes of plain arguments."""
        if name not in self.shell.user_ns:
            raise NameError(f"`{name}` is not defined")
        function = self.shell.user_ns[name]
        args, kwargs = plain.from_plain(args), plain.from_plain(kwargs)
        with limited(seconds):
            result = function(*args, **kwargs)
            try:
                return plain.to_plain(result)
            except TypeError as error:
                raise TypeError(f"`{name}` returned {error}") from None


def uses_magic(node: ast.AST) -> bool:
    """Return whether a statement came from a line that only IPython understands."""
    return any(isinstance(inner, ast.Name) and inner.id == "get_ipython" for inner in ast.walk(node))


@contextlib.contextmanager
def limited(seconds: float) -> Any:
    """Interrupt what takes longer, and again every second if it goes on. What escapes, the grader ends from outside."""

    def interrupt(*_: Any) -> None:
        raise Overtime(f"longer than {seconds:.3g} seconds")

    start, before = time.monotonic(), signal.signal(signal.SIGALRM, interrupt)
    left = signal.getitimer(signal.ITIMER_REAL)[0]  # of a limit around this one
    signal.setitimer(signal.ITIMER_REAL, min(seconds, left or seconds), 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, left and max(0.001, left - time.monotonic() + start), 1.0)
        signal.signal(signal.SIGALRM, before)


def sentence(error: BaseException) -> str:
    """Return an error in one line."""
    try:
        text = " ".join(str(error).split())
    except Exception:
        text = ""
    kind = "TimeoutError" if isinstance(error, Overtime) else type(error).__name__
    return (f"{kind}: {text}" if text else kind)[:SENTENCE]


def restrict(limits: dict[str, int]) -> None:
    """Set the limits that the kernel keeps for each process."""
    for name, most in limits.items():
        if (number := getattr(resource, f"RLIMIT_{name}", None)) is not None:  # some are Linux's own
            resource.setrlimit(number, (most, most))
    os.nice(5)  # whoever watches goes first
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # and is not the one to go when memory ends


def serve(requests: BinaryIO, replies: int, most: int) -> None:
    """Answer requests, one line each, until there are no more."""
    notebook, own = Notebook(), os.getpid()
    for line in requests:
        request = json.loads(line)
        try:
            done = {"ok": getattr(notebook, request["do"])(**request["with"])}
        except BaseException as error:
            done = {"error": sentence(error)}
        if os.getpid() != own:  # a child of the notebook's that came out here
            os._exit(0)
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        answer = json.dumps({"id": request["id"], **done}).encode() + b"\n"
        if len(answer) > most or plain.items(answer) > plain.ITEMS:
            who = request["with"].get("name", "the notebook")
            large = f"`{who}` returned {len(answer) / 1e6:.3g} MB of {plain.items(answer):,} items, which is too much"
            answer = json.dumps({"id": request["id"], "error": f"TypeError: {large}"}).encode() + b"\n"
        while answer:
            answer = answer[os.write(replies, answer) :]


def main() -> None:
    """Take the channel away from the notebook's reach, set limits, and serve."""
    global plain
    settings = json.loads(sys.argv[1])
    requests, replies = os.fdopen(os.dup(0), "rb"), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    restrict(settings["limits"])
    sys.path[:1] = settings["path"]
    sys.argv[1:] = []
    spec = importlib.util.spec_from_file_location("plain", Path(__file__).with_name("plain.py"))
    assert spec and spec.loader
    plain = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(plain)
    if not settings["library"]:
        if settings["alone"] and importlib.util.find_spec("lvmlib"):
            sys.exit("the image holds lvmlib, whose functions would count as answers; build one without it")
        sys.meta_path.insert(0, NoLibrary())
    serve(requests, replies, settings["reply"])


plain: Any = None
if __name__ == "__main__":
    main()
