"""One notebook against its master: the student's code runs in sandboxes, the tests run here, plain values between."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lvmlib.homework.box import Box, BoxBroken, Limits, RemoteError
from lvmlib.homework.marks import Mark, mark
from lvmlib.homework.master import Master
from lvmlib.homework.notebooks import sources


@dataclass(frozen=True)
class Result:
    """What a notebook earned: the marks of all parts, and what happened on the way."""

    marks: tuple[Mark, ...]
    status: str = "graded"
    note: str = ""


def grade_one(
    master: Master, notebook: dict[str, Any], seed: int, sandbox: str = "auto", limits: Limits | None = None
) -> Result:
    """Return what a notebook earns.

    The notebook runs twice. Once as a whole, with `lvmlib` at hand: from this run come the values that tests ask for.
    Then its definitions alone, without `lvmlib`: from there come the functions. Tests run in this process and see
    nothing but numbers, text, arrays and tensors. All public parts are marked before the first hidden one, so that no
    function has seen a hidden input when it says something that its student may read.

    Args:
        master: the homework.
        notebook: with cells of code, such as `read_notebook` returns.
        seed: decides the inputs of hidden tests.
        sandbox: as for `Box`.
        limits: as for `Box`; those by default when left out.

    Raises:
        SandboxMissing: if no sandbox can be started.
        RuntimeError: if one was ended for the machine's sake.
    """
    limits = limits or Limits()
    cells = sources(notebook)
    functions = [name for name in master.answers if name in master.functions]
    values = [name for name in master.answers if name not in master.functions]
    answers = Answers(cells)
    if values:
        with Box(limits, library=True, sandbox=sandbox) as box:
            answers.run(box, values)
        _survived(box)
    with Box(limits, library=False, sandbox=sandbox) as box:
        answers.define(box, functions)
        marks = [*_mark(master, answers, seed, hidden=False), *_mark(master, answers, seed, hidden=True)]
    _survived(box)
    order = {(question.name, part.name): n for n, (question, part) in enumerate(_parts(master))}
    return Result(tuple(sorted(marks, key=lambda one: order[one.question, one.part])), note=answers.note)


def _survived(box: Box) -> None:
    """Raise if the machine ended a sandbox: no result is better than a bad one that is not the student's fault."""
    if box.ours:
        raise RuntimeError(box.reason)


def _parts(master: Master) -> Iterator[tuple[Any, Any]]:
    """Yield all parts, with their questions."""
    return ((question, part) for question in master.questions for part in question.parts)


def _mark(master: Master, answers: Answers, seed: int, hidden: bool) -> list[Mark]:
    """Return the marks of the parts that are hidden, or of those that are not."""
    chosen = [
        replace(question, parts=tuple(part for part in question.parts if part.hidden == hidden))
        for question in master.questions
    ]
    return mark(replace(master, questions=tuple(chosen)), answers, seed)


class Answers(Mapping[str, Any]):
    """What tests see of a notebook: values, and functions that are far away.

    Attributes:
        note: what happened to the run of the whole notebook, if it did not survive.
    """

    def __init__(self, cells: Sequence[str]) -> None:
        self.cells = cells
        self.known: dict[str, Any] = {}
        self.asked: set[str] = set()  # names of functions
        self.errors: dict[bool, list[str | None]] = {False: [], True: []}  # of each cell, in either run
        self.broken: dict[bool, str] = {}  # why a run did not survive
        self.note = ""

    def run(self, box: Box, names: list[str]) -> None:
        """Run the whole notebook and keep its values."""
        try:
            self.errors[False] = box.run(list(self.cells))
            self.known |= box.values(names)
        except (BoxBroken, RemoteError) as broken:
            self.broken[False] = str(broken)
            self.note = f"The run of the whole notebook ended early. {broken}"

    def define(self, box: Box, names: list[str]) -> None:
        """Run the definitions of the notebook and keep what calls its functions."""
        self.asked = set(names)
        try:
            self.errors[True] = box.run(list(self.cells), statements=True)
        except (BoxBroken, RemoteError) as broken:
            self.broken[True] = str(broken)
            return
        self.known |= {name: Remote(box.call, name, self.why_absent) for name in names}

    def __getitem__(self, name: str) -> Any:
        return self.known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.known)

    def __len__(self) -> int:
        return len(self.known)

    def why_absent(self, name: str) -> str:
        """Say in a sentence why there is no such answer."""
        function = name in self.asked
        if function in self.broken:
            run = "definitions of the notebook could not be run" if function else "notebook did not run to its end"
            return f"`{name}` is missing: the {run}. {self.broken[function]}"
        setter = re.compile(rf"(?m)^\s*(?:def|class)\s+{name}\b|^[^#=\n]*\b{name}\b[^=\n]*=(?!=)")
        at = [n for n, cell in enumerate(self.cells) if setter.search(cell)]
        errors = self.errors[function]
        failed = [n for n in at if n < len(errors) and errors[n]]
        if failed:
            return f"`{name}` is missing: {_failure(failed[-1], errors)}"
        if at and function:
            return f"`{name}` is missing, though code cell {at[-1] + 1} seems to define it."
        if at:
            return f"`{name}` is not answered yet, or it is no number, array or tensor."
        first = next((n for n, error in enumerate(errors) if error), None)
        hint = "" if first is None else f" The first error: {_failure(first, errors)}"
        return f"`{name}` is not defined in the notebook.{hint}"


def _failure(cell: int, errors: Sequence[str | None]) -> str:
    """Say which cell failed, counted as a reader counts, and how."""
    error = re.sub(r"\(<\w+>, line (\d+)\)$", r"(line \1)", errors[cell] or "")
    if error.startswith("not run"):
        slow = next((n for n, other in enumerate(errors) if (other or "").startswith("TimeoutError")), cell)
        return f"code cell {cell + 1} did not run, since code cell {slow + 1} took all the time that there is."
    return f"code cell {cell + 1} failed with {error}"


class Remote:
    """A student's function, far away: a call of it returns numbers, text, arrays and tensors, and nothing that acts."""

    def __init__(self, call: Callable[..., Any], name: str, why_absent: Callable[[str], str]) -> None:
        self.call, self.why_absent = call, why_absent
        self.__name__, self.__module__ = name, "__main__"  # it is the student's, and not of this module

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return self.call(self.__name__, *args, **kwargs)
        except RemoteError as failed:
            raise AssertionError(self._sentence(str(failed))) from None
        except BoxBroken as broken:
            raise AssertionError(f"`{self.__name__}` could not be called to its end. {broken}") from None

    def _sentence(self, error: str) -> str:
        """Say what went wrong in a call."""
        name = self.__name__
        kind, _, text = error.partition(": ")
        if text == f"`{name}` is not defined":
            return self.why_absent(name)
        if kind == "TimeoutError" and text.startswith("longer than "):
            return f"`{name}` took {text}."
        if kind == "TypeError" and text.startswith(f"`{name}` returned "):
            return f"{text}."
        return f"`{name}` failed with {error}"


def without_words(reason: str) -> str:
    """Return a reason without a word that the student's code chose.

    A function that has seen the inputs of a hidden test could hand them to its student in the text of an error.

    >>> from lvmlib.homework.remote import without_words
    >>> without_words("`bound` failed with ValueError: 0.1234")
    '`bound` failed with ValueError.'
    >>> without_words("the entropy: expected shape (2,), got ()")
    'the entropy: expected shape (2,), got ()'
    """
    remote = re.match(r"(`\w+` failed with )([^:\s]*)", reason)
    if remote:
        return f"{remote[1]}{_builtin(remote[2])}."
    returned = re.match(r"(`\w+` returned )(?:an? )?(\w*)", reason)
    if returned:
        return f"{returned[1]}something that is not plain: only numbers, text, arrays, tensors, lists and dicts are."
    own = re.match(r"(\w*(?:Error|Exception|Warning|Interrupt|Iteration|Exit))(?::|$)", reason)
    return f"What came back could not be checked ({_builtin(own[1])})." if own else reason


def _builtin(kind: str) -> str:
    """Return the name of an error if Python itself has it: others were chosen by whoever wrote the code."""
    import builtins

    found = getattr(builtins, kind, None)
    return kind if isinstance(found, type) and issubclass(found, BaseException) else "an error of its own"
