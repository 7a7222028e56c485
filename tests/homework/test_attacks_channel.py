"""Notebooks that tamper with what marks them: comparisons, the worker, and the channel that replies travel on.

All of it happens in the student's own process. A forged reply is worth what a returned value is worth: a plain value
that the tests outside compare. What these tests hold down is that nothing more can be had.
"""

from __future__ import annotations

import re
import textwrap
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from lvmlib.homework.box import FORGED, Box, BoxBroken, RemoteError
from tests.homework.boxes import QUICK, attacks, graded_in_full, marks, needs_sandbox, opened

pytestmark = [pytest.mark.slow, needs_sandbox, pytest.mark.xdist_group("attacks")]


@pytest.fixture(autouse=True)
def the_next_one_is_graded_in_full() -> Iterator[None]:
    yield
    assert graded_in_full()


TAMPERING = attacks("tampering.txt")


@pytest.mark.parametrize("name", TAMPERING)
def test_tampering_earns_nothing(name):
    """The wrong answers stay wrong, whatever else the notebook does."""
    body = TAMPERING[name][0]
    double = f"def double(x):\n{textwrap.indent(body, '    ')}\n    return locals().get('answer', x)"
    reasons = marks("answer, rest = 0, 0", body, double)
    assert all(reasons[asked] for asked in ("answer", "rest", "double")), reasons
    assert all(len(reason) <= 300 and reason.isprintable() for reason in reasons.values())


CHANNEL = """
import json, os, sys, threading, time
def grader():
    frame = sys._getframe()
    while frame.f_code.co_name != "serve": frame = frame.f_back
    return frame.f_locals
def forge(mine=None, **what):
    line = json.dumps({"id": mine or grader()["request"]["id"], **what}) if mine is not False else what["line"]
    os.write(grader()["replies"], line.encode() + b"\\n")
"""


def test_a_forged_reply_is_worth_what_a_returned_value_is_worth():
    with opened(CHANNEL, "def f():\n    forge(ok=4)\n    return 5", "def g(): return 6") as box:
        assert box.call("f") == 4
        with pytest.raises(BoxBroken, match=re.escape(FORGED)):  # what `f` returned comes too late
            box.call("g")


WITHOUT_NAME = {
    "a guess": "forge('0' * 32, ok=4)",
    "no name": "forge(False, line=json.dumps({'ok': 4}))",
    "all names": "forge(False, line=json.dumps({'id': ['*'], 'ok': 4}))",
    "an earlier name": "old.append(grader()['request']['id']); forge(old[0], ok=4) if len(old) > 1 else 0",
    "a reply in advance": "forge(ok=0); forge(ok=4)",
    "no JSON": "forge(False, line='nonsense')",
    "a list": "forge(False, line='[4]')",
    "nothing": "forge(False, line='')",
    "deep": "forge(False, line='[' * 500_000)",
    "many items": "forge(False, line='[' + '[],' * 1_200_000 + '[]]')",
    "a long number": "forge(False, line='1' * 1_000_000)",
    "no text": "os.write(grader()['replies'], bytes(range(128, 256)) + b'\\n')",
    "many lines": "for _ in range(1000): forge('0' * 32, ok=4)",
}


@pytest.mark.parametrize("name", WITHOUT_NAME)
def test_replies_to_anything_but_the_request_are_refused(name):
    with opened(CHANNEL, "old = []", f"def f():\n    {WITHOUT_NAME[name]}\n    return 5") as box:
        with pytest.raises(BoxBroken, match=re.escape(FORGED)):
            repeat(box, 3)  # a line that was put in advance is the next request's
        assert box.reason == FORGED


def repeat(box: Box, times: int, *args: object) -> None:
    for _ in range(times):
        box.call("f", *args)
        time.sleep(0.3)


def test_a_reply_written_while_the_notebook_runs_is_refused():
    with opened() as box, pytest.raises(BoxBroken, match=re.escape(FORGED)):
        box.run([CHANNEL, "forge('f' * 32, ok=[None, None])"])


NOT_PLAIN = ("{'pickle': 'gASVCgAAAA=='}", "{'array': {'dtype': 'object', 'shape': [1], 'bytes': 'AAAAAAAAAAA='}}")
NOT_PLAIN += ("{'array': {'dtype': 'float64', 'shape': [1 << 30], 'bytes': ''}}", "{'__reduce__': 'eval'}", "1 << 70")
NOT_PLAIN += (
    "{'array': {'dtype': 'bool', 'shape': [3], 'bytes': 'AgIC'}}",
    "{'int': '0x' * 10}",
    "[[[[[[[[[[" * 3 + "]" * 30,
)


@pytest.mark.parametrize("reply", NOT_PLAIN)
def test_a_forged_reply_that_is_not_plain_is_refused(reply):
    with opened(CHANNEL, f"def f(): forge(ok={reply})") as box, pytest.raises(BoxBroken) as caught:
        box.call("f")
    assert str(caught.value) in ("`f` returned something that is not plain.", FORGED)


@pytest.mark.parametrize("reply", ["4", "[None, 7]", "{'x': None}", "[None]", "None"])
def test_a_forged_reply_to_a_run_is_refused(reply):
    with opened(CHANNEL) as box, pytest.raises(BoxBroken, match=re.escape(FORGED)):
        box.run([f"forge(ok={reply})", "x = 1"])


def test_forged_values_are_left_out_where_they_are_not_plain():
    forged = "{'x': {'pickle': 1}, 'y': 3, 'z': 4}"
    patch = f"old = json.dumps\njson.dumps = lambda v: old({{**v, 'ok': {forged}}} if type(v.get('ok')) is dict else v)"
    with opened(CHANNEL, "x, y = 1, 2", patch) as box:
        assert box.values(["x", "y"]) == {"y": 3}


def test_errors_in_forged_replies_are_short_and_printable():
    body = "forge(error={'a': '\\x1b[2J' * 100_000})"
    with opened(CHANNEL, f"def f():\n    {body}") as box, pytest.raises(RemoteError) as caught:
        box.call("f")
    assert len(str(caught.value)) <= 300 and str(caught.value).isprintable()


FLOODS = attacks("channel.txt")


@pytest.mark.parametrize("name", FLOODS)
def test_a_channel_that_is_flooded_or_gone_ends_the_sandbox_in_time(name):
    body, said = FLOODS[name]
    start = time.monotonic()
    cell = f"def f(x):\n{textwrap.indent(textwrap.dedent(body), '    ')}"
    ends = (BoxBroken, RemoteError)  # what is left of a request that was stolen may fail as a call of its own
    with opened(CHANNEL, cell, limits=replace(QUICK, call=1.0)) as box, pytest.raises(ends, match=said):
        repeat(box, 4, np.zeros(100_000))
    assert time.monotonic() - start < 20
