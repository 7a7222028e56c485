"""Wrong outputs must fail the check and right ones must pass: the comparator is itself tested by mutation.

One small notebook is run once. Its first cells are the reference; each later one draws or prints what a reference cell
does, with one thing changed. Further variants are made by editing what was stored.
"""

from __future__ import annotations

import base64
import copy
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from book._tools.execute import run
from book._tools.figures import FIGURE_MIME
from book._tools.outputs import SEAL, digest
from tests.book.bitmaps import decode
from tests.book.comparator import compare_outputs
from tests.book.mutation_notebook import LIVE, NUMBERS, REFERENCE, SETUP


def text(old: str, new: str) -> Callable[[list], None]:
    """Return a change of what was printed or displayed as text."""

    def change(outputs: list) -> None:
        for output in outputs:
            if output["output_type"] == "stream" and old in output["text"]:
                output["text"] = output["text"].replace(old, new)
                return
            for kind, value in output.get("data", {}).items():
                if kind.startswith("text/") and old in value:
                    output["data"][kind] = value.replace(old, new)
                    return
        raise AssertionError(f"{old!r} is not in the output")

    return change


def pixels(edit: Callable[[np.ndarray], np.ndarray], seal: bool = True) -> Callable[[list], None]:
    """Return a change of the picture alone; its description stays, and names the new picture if `seal` says so."""

    def change(outputs: list) -> None:
        picture = next(o for o in outputs if "image/png" in o.get("data", {}))
        image = Image.fromarray((255 * edit(decode(picture["data"]["image/png"]))).round().clip(0, 255).astype("u1"))
        file = io.BytesIO()
        image.save(file, "png")
        picture["data"]["image/png"] = base64.b64encode(file.getvalue()).decode()
        if seal:
            picture["metadata"][FIGURE_MIME][SEAL] = digest(picture["data"]["image/png"])

    return change


def drop(kind: str) -> Callable[[list], None]:
    """Return a change that takes away all outputs of one kind."""

    def change(outputs: list) -> None:
        left = [o for o in outputs if o["output_type"] != kind]
        assert len(left) < len(outputs)
        outputs[:] = left

    return change


def add(output: dict[str, Any]) -> Callable[[list], None]:
    """Return a change that adds an output."""
    return lambda outputs: outputs.append(copy.deepcopy(output))


def undescribed(outputs: list) -> None:
    for output in outputs:
        output["metadata"].pop(FIGURE_MIME)


def noise(size: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda x: x + size * np.random.default_rng(0).standard_normal(x.shape)


STDOUT = {"output_type": "stream", "name": "stdout", "text": "one more line\n"}
STDERR = {"output_type": "stream", "name": "stderr", "text": "UserWarning: mind the gap\n"}
BAR = {**STDOUT, "text": "\r 10%|#    | 1/10 [00:00<00:01]\r100%|###| 10/10 [00:09<00:00, 1.1it/s]\n"}

# Each: the reference cell, and what came instead (code that was run, or a change of the stored outputs).
BAD: dict[str, tuple[str, str | Callable[[list], None]]] = {
    "live figure of an unknown name": ("not live", "curves(noise=0.1, sign=-1)"),
    "text elsewhere": ("texts", "texts(x=0.6)"),
    "note elsewhere": ("texts", "texts(note=(0.8, 0.5))"),
    "note without arrow": ("texts", "texts(arrow=False)"),
    "percent on the axis": ("texts", "texts(percent=True)"),
    "histogram dashed": ("histogram", "histogram(linestyle='--', edgecolor='black')"),
    "histogram hollow": ("histogram", "histogram(fill=False)"),
    "rows of a matrix exchanged": ("matrix", "matrix(rows=[1, 0, *range(2, 12)])"),
    "columns of a matrix exchanged": ("matrix", "matrix(columns=[*range(10), 11, 10])"),
    "matrix upside down": ("matrix", "matrix(rows=range(12)[::-1])"),
    "entry under another heading": ("table of text", text("PCA             79.20", "PCA     79.20        ")),
    "empty cell of a table moved": ("empty cells", "Row('<td></td><td>79.20</td>')"),
    "beta": ("numbers", text("beta 0.5", "beta 0.6")),
    "two digits": ("numbers", text("12.5%", "12.6%")),
    "number changed": ("numbers", text("89.04", "91.20")),
    "two units in the last digit": ("numbers", text("89.04", "89.06")),
    "digit changed within a word": ("numbers", text("test NLL", "test2 NLL")),
    "integer off by one": ("numbers", text("15 of", "16 of")),
    "large integer off by one": ("numbers", text("1,234", "1,235")),
    "leading zero of a code gone": ("numbers", text("0110", "110")),
    "unit changed": ("numbers", text("nats", "bits")),
    "minus sign gone": ("numbers", text("KL -0.137", "KL 0.137")),
    "exponent changed": ("numbers", text("3.21e-05", "3.21e-04")),
    "learning rate doubled": ("numbers", text("1e-3", "2e-3")),
    "error bar doubled": ("numbers", text("+- 0.02", "+- 0.04")),
    "percent sign gone": ("numbers", text("12.5%", "12.5")),
    "nan instead of a number": ("numbers", text("89.04", "nan")),
    "number instead of nan": ("numbers", text("undefined nan", "undefined 0.0")),
    "minus infinity": ("numbers", text("inf", "-inf")),
    "word changed": ("numbers", text("hard", "easy")),
    "line gone": ("numbers", text("15 of 50 units active, code 0110, beta 0.5\n", "")),
    "line more": ("numbers", add(STDOUT)),
    "printed text gone": ("numbers", drop("stream")),
    "printed text from nowhere": ("curves", add(STDOUT)),
    "entry of a tensor": ("tensor", text("0.1234", "0.1334")),
    "sign in a tensor": ("tensor", text("-0.5678", " 0.5678")),
    "tensor gone": ("tensor", drop("execute_result")),
    "beyond the declared tolerance": ("trained", text("104.32", "107.32")),
    "integer beside a declared tolerance": ("trained", text("15 units", "16 units")),
    "curve upside down": ("curves", "curves(sign=-1)"),
    "curve upside down, seen only": ("curves", pixels(lambda x: x[:, ::-1])),
    "curve slightly higher": ("curves", "curves(shift=1.0)"),
    "colours swapped": ("curves", 'curves(colours=("C1", "C0"))'),
    "names swapped": ("curves", 'curves(names=("test", "train"))'),
    "legend missing": ("curves", "curves(legend=False)"),
    "axis label wrong": ("curves", 'curves(ylabel="bits")'),
    "axis label missing": ("curves", 'curves(xlabel="")'),
    "title wrong": ("curves", 'curves(title="Accuracy")'),
    "one curve missing": ("curves", "curves(both=False)"),
    "logarithmic axis": ("curves", 'curves(scale="log")'),
    "other limits": ("curves", "curves(top=400)"),
    "dashed": ("curves", 'curves(style="--")'),
    "aspect changed": ("curves", "curves(size=(4, 3.2))"),
    "size changed": ("curves", "curves(size=(5, 3.125))"),
    "another figure": ("curves", "histogram()"),
    "another figure, seen only": ("curves", pixels(lambda x: np.where(np.indices(x.shape)[0] > 200, 0.2, x))),
    "a figure retouched": ("curves", pixels(lambda x: np.where(np.indices(x.shape)[0] > 440, 0.9, x), seal=False)),
    "blank figure, seen only": ("curves", pixels(np.ones_like)),
    "figure missing": ("curves", drop("display_data")),
    "figure twice": ("curves", "curves()\ncurves()"),
    "figure without description": ("curves", undescribed),
    "trained curve far off": ("trained curves", "curves(noise=1.0, shift=15.0)"),
    "trained curve upside down": ("trained curves", "curves(noise=1.0, sign=-1)"),
    "legend missing after training": ("trained curves", "curves(noise=1.0, legend=False)"),
    "histogram of another seed": ("histogram", "histogram(seed=1)"),
    "histogram of another width": ("histogram", "histogram(width=1.5)"),
    "digits permuted": ("digits", "digits(order=[1, 0, *range(2, 10)])"),
    "digits inverted, seen only": ("digits", pixels(lambda x: 1 - x)),
    "number in a table": ("table", text("89.04", "90.04")),
    "heading of a table": ("table", text("<th>nats", "<th>bits")),
    "data behind a live figure": ("live", text("0.50", "0.75")),
    "live figure missing": ("live", drop("display_data")),
    "another error": ("error", 'raise KeyError("got 3 dimensions")'),
    "another message": ("error", 'raise ValueError("got 4 dimensions")'),
    "no error": ("error", drop("error")),
    "error from nowhere": ("numbers", f"{NUMBERS}\nraise ValueError"),
}

GOOD: dict[str, tuple[str, str | Callable[[list], None]]] = {
    "run again": ("numbers", NUMBERS),
    "one unit in the last digit": ("numbers", text("89.04", "89.05")),
    "one unit in a column": ("table of text", text("81.30", "81.31")),
    "typographic minus": ("numbers", text("-0.137", "\N{MINUS SIGN}0.137")),
    "blanks around a number": ("tensor", text("0.2500,  9.5000", "0.2500,   9.5001")),
    "within the declared tolerance": ("trained", text("104.32", "105.10")),
    "stderr": ("numbers", add(STDERR)),
    "another progress bar": ("bar", REFERENCE["bar"][0].replace(" 50%|#####     | 5/10", " 90%|######### | 9/10")),
    "progress bar on stdout": ("numbers", add(BAR)),
    "printed in two parts": ("numbers", NUMBERS.replace("\n", "\nprint(end='', flush=True)\n")),
    "same figure": ("curves", "curves()"),
    "rounding of another processor": ("curves", "curves(shift=1e-6)"),
    "edges smoothed differently": ("curves", pixels(noise(0.01))),
    "one pixel further right": ("curves", pixels(lambda x: np.roll(x, 1, axis=1))),
    "noise of another training": ("trained curves", "curves(noise=1.0, seed=1)"),
    "histogram, rounding": ("histogram", "histogram(jitter=1e-9)"),
    "digits, rounding": ("digits", "digits(jitter=1e-6)"),
    "table, one unit and another id": ("table", "Table(89.05)"),
    "another live picture": ("live", 'print("z = 0.50")\ncurves(sign=-1)'),
    "same error": ("error", 'raise ValueError("got 3 dimensions")'),
}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list]:
    """Run the notebook and return the outputs of each piece of code in it."""
    metadata = {"tags": ["raises-exception"]}  # some variants raise, and all shall run
    drawn = [how for _, how in (*BAD.values(), *GOOD.values()) if isinstance(how, str)]
    codes = list(dict.fromkeys([*(code for code, _ in REFERENCE.values()), *drawn]))
    cells = [("code", SETUP, {}), *(("code", code, metadata) for code in codes)]
    results, _ = run(cells, tmp_path_factory.mktemp("notebook"), 60)
    assert [count for count, _ in results] == list(range(1, len(codes) + 2))
    found = {code: outputs for code, (_, outputs) in zip(codes, results[1:])}
    raised = [code for code in codes if any(o["output_type"] == "error" for o in found[code])]
    assert all("raise" in code for code in raised), (
        raised
    )  # else a slip in a variant would look like a difference found
    return found


def judge(name: str, how: str | Callable[[list], None], outputs: dict[str, list]) -> list[str]:
    """Compare a reference cell with one of its variants."""
    code, metadata = REFERENCE[name]
    stored = copy.deepcopy(outputs[code])
    if isinstance(how, str):
        return compare_outputs(stored, copy.deepcopy(outputs[how]), metadata, "", LIVE)
    changed = copy.deepcopy(stored)
    how(changed)
    both = [compare_outputs(a, b, metadata, "", LIVE) for a, b in ((stored, changed), (changed, stored))]
    assert bool(both[0]) == bool(both[1]), "the comparison must not depend on which side was changed"
    return both[0]


def test_enough_variants():
    assert len(BAD) >= 70
    assert len(GOOD) >= 20


@pytest.mark.parametrize("name", REFERENCE)
def test_reference_agrees_with_itself_and_shows_something(name, outputs):
    stored = outputs[REFERENCE[name][0]]
    assert stored
    assert compare_outputs(stored, stored, REFERENCE[name][1]) == []
    described = [FIGURE_MIME in o["metadata"] for o in stored if "image/png" in o.get("data", {})]
    assert described == [True] * len(described)


@pytest.mark.parametrize("variant", BAD)
def test_bad_variant_fails(variant, outputs):
    assert judge(*BAD[variant], outputs), "this difference was not noticed"


@pytest.mark.parametrize("variant", GOOD)
def test_good_variant_passes(variant, outputs):
    assert judge(*GOOD[variant], outputs) == []


def test_report_shows_expected_and_got(outputs):
    report = "\n".join(judge("numbers", text("89.04", "91.20"), outputs))
    assert "line 1 expected: test NLL 89.04 nats" in report
    assert "line 1 got:      test NLL 91.20 nats" in report
    report = "\n".join(judge("curves", 'curves(ylabel="bits")', outputs))
    assert "axes[0] ylabel\n    expected: nats\n    got:      bits" in report
    assert '"rtol": 0.02' in "\n".join(judge("trained", text("104.32", "99.00"), outputs))
