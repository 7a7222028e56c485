"""Which tests run which lines, and how long each takes: a change is shown first to the tests that can see it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import coverage
import pytest


class Recorder:
    """A plugin of pytest that notes, for each test, the lines of one file that it runs and the seconds it takes."""

    def __init__(self, path: Path):
        self.path = path
        self.seconds: dict[str, float] = {}
        self.coverage = coverage.Coverage(data_file=None, include=[str(path)], config_file=False)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """All from the set-up to the end of a test is its own."""
        self.coverage.switch_context(item.nodeid)
        start = time.monotonic()
        yield
        self.seconds[item.nodeid] = time.monotonic() - start
        self.coverage.switch_context("")

    def lines(self) -> dict[int, list[str]]:
        """For each line the tests that run it, the quickest first; what runs on import belongs to none."""
        found = self.coverage.get_data().contexts_by_lineno(str(self.path))
        return {line: sorted(filter(None, tests), key=self.seconds.__getitem__) for line, tests in found.items()}


class Chosen:
    """A plugin of pytest that runs the given tests alone, in the given order."""

    def __init__(self, tests: list[str]):
        self.place = {test: i for i, test in enumerate(tests)}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave the others out."""
        items[:] = sorted((i for i in items if i.nodeid in self.place), key=lambda i: self.place[i.nodeid])
