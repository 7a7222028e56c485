"""Runs the parts of a homework against answers: a solution, a wrong answer, or a student's, far away in a sandbox."""

from __future__ import annotations

import linecache
import traceback
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from lvmlib.homework.checking import seeded
from lvmlib.homework.master import Master, Part, Question


@dataclass(frozen=True)
class Mark:
    """What one part earned, and why not more."""

    question: str
    part: str
    points: float
    out_of: float
    hidden: bool
    reason: str  # empty where the part passed

    @property
    def passed(self) -> bool:
        """Whether the part passed."""
        return not self.reason


def mark(master: Master, environment: Mapping[str, Any], seed: int, only: Collection[str] | None = None) -> list[Mark]:
    """Return what every part earns.

    Args:
        master: the homework.
        environment: answers by name; one that is missing costs the parts that ask for it.
        seed: decides the inputs of hidden tests; the same seed gives the same marks.
        only: names of questions; all of them when left out.
    """
    with seeded(seed):
        return [
            _mark_part(master, question, part, environment)
            for question in master.questions
            if only is None or question.name in only
            for part in question.parts
        ]


def _mark_part(master: Master, question: Question, part: Part, environment: Mapping[str, Any]) -> Mark:
    """Return what one part earns."""
    reason = ""
    missing = [name for name in part.parameters if environment.get(name) is None or environment[name] is ...]
    if missing:
        reason = " ".join(_absent(name, environment) for name in missing)
    else:
        test = load_test(part, f"<{master.path.name}, {question.name}, {part.name}>")
        try:
            test(**{name: environment[name] for name in part.parameters})
        except AssertionError as failed:
            reason = str(failed) or "the answer is not what was expected"
        except Exception as failed:
            reason = _unforeseen(failed)
    return Mark(question.name, part.name, 0 if reason else part.points, part.points, part.hidden, reason)


def _unforeseen(failed: Exception) -> str:
    """Say why a test broke off: an answer of None is what most often surprises one."""
    if isinstance(failed, TypeError | AttributeError) and "NoneType" in str(failed):
        return "None came back where an answer was expected; is there a `return`?"
    return "; ".join(line.strip() for line in traceback.format_exception_only(failed))


def _absent(name: str, environment: Mapping[str, Any]) -> str:
    """Say why an answer is missing; an environment may know more than that it is."""
    why: Callable[[str], str] | None = getattr(environment, "why_absent", None)
    return why(name) if why else f"`{name}` is not defined, or is not answered yet."


def load_test(part: Part, file: str) -> Callable[..., None]:
    """Return the function of a part, its source at hand for tracebacks."""
    names: dict[str, Any] = {}
    linecache.cache[file] = (len(part.source), None, part.source.splitlines(keepends=True), file)
    exec(compile(part.source, file, "exec"), names)
    return names[part.name]
