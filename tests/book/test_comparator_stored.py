"""What is wrong with a notebook before it is run: outputs that nobody ran, or that should not be stored."""

from __future__ import annotations

import base64
import copy
import io
import wave
from collections.abc import Callable
from typing import Any

import nbformat
import numpy as np
import pytest

from book._tools.execute import NOTEBOOKS
from book._tools.figures import FIGURE_MIME
from book._tools.outputs import SEAL, clean_outputs, digest
from book._tools.pairing import chapters, read_notebook
from tests.book.comparator import check_stored, compare_outputs

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="  # one by one
FIGURE = {
    "output_type": "display_data",
    "data": {"image/png": PIXEL, "text/plain": "<Figure>"},
    "metadata": {"image/png": {"width": 1}, FIGURE_MIME: {"axes": [], SEAL: digest(PIXEL)}},
}
LINE = {"output_type": "stream", "name": "stdout", "text": "NLL 89.04\n"}
RESULT = {"output_type": "execute_result", "data": {"text/plain": "3"}, "metadata": {}, "execution_count": 3}
ERROR = {"output_type": "error", "ename": "ValueError", "evalue": "three", "traceback": ["ValueError: three"]}


def shown(**data: str) -> dict[str, Any]:
    return {"output_type": "display_data", "data": {k.replace("_", "/"): v for k, v in data.items()}, "metadata": {}}


def wav(samples: list[int], rate: int = 8000) -> str:
    """A sound of 16-bit samples, in base64."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, rate, 0, "NONE", ""))
        out.writeframes(np.array(samples, "<i2").tobytes())
    return base64.b64encode(file.getvalue()).decode()


def player(data: str, name: str = "a word") -> str:
    return f'<audio controls aria-label="{name}" src="data:audio/wav;base64,{data}"></audio>'


def notebook() -> list[Any]:
    cells = [
        nbformat.v4.new_code_cell("print('NLL 89.04')", execution_count=1, outputs=[LINE]),
        nbformat.v4.new_code_cell("plot()", execution_count=2, outputs=[FIGURE]),
        nbformat.v4.new_code_cell("", outputs=[]),
        nbformat.v4.new_code_cell("1 + 2", execution_count=3, outputs=[RESULT]),
        nbformat.v4.new_code_cell(
            "fail()", execution_count=4, outputs=[ERROR], metadata={"tags": ["raises-exception"]}
        ),
    ]
    return copy.deepcopy([nbformat.from_dict(cell) for cell in cells])


def strip(cells: list) -> None:
    for cell in cells:
        cell.outputs, cell.execution_count = [], None


def counts(*numbers: int | None) -> Callable[[list], None]:
    def change(cells: list) -> None:
        for cell, number in zip(cells, numbers):
            cell.execution_count = number

    return change


def add(output: dict[str, Any], cell: int = 0) -> Callable[[list], None]:
    return lambda cells: cells[cell].outputs.append(nbformat.from_dict(output))


def printed(words: str) -> Callable[[list], None]:
    return lambda cells: cells[0].outputs[0].update(text=words)


def declared(value: Any) -> Callable[[list], None]:
    return lambda cells: cells[0].metadata.update(tolerance=value)


WRONG: dict[str, Callable[[list], Any]] = {
    "all outputs stripped": strip,
    "one execution count null": counts(1, None, None, 3),
    "run out of order": counts(2, 1),
    "a cell run twice": counts(1, 3),
    "started late": lambda cells: [c.update(execution_count=c.execution_count + 7) for c in cells if c.source],
    "stored error": lambda cells: cells[4].metadata.pop("tags"),
    "a traceback with the paths of a machine": lambda cells: cells[4].outputs[0].traceback.append("/home/me/x.py"),
    "a result of another run": lambda cells: cells[3].outputs[0].update(execution_count=9),
    "outputs in a blank cell": add(LINE, 2),
    "a blank cell that was run": lambda cells: cells[2].update(execution_count=3),
    "stderr": add({**LINE, "name": "stderr", "text": "UserWarning: mind the gap\n"}),
    "a widget": add(shown(**{"application/vnd.jupyter.widget-view+json": "{}"})),
    "a progress bar": printed("100%|###| 10/10 [00:09<00:00, 1.1it/s]\nNLL 89.04\n"),
    "text before a carriage return": printed("NLL 99.99\rNLL 89.04\n"),
    "backspaces": printed("NLL 99\b\b89.04\n"),
    "text in two blocks": add(LINE),
    "blank text": printed("\n"),
    "an output of no known type": add({"output_type": "update_display_data", "data": {}, "metadata": {}}),
    "a picture that is not the described one": lambda cells: cells[1].outputs[0].data.update({"image/png": PIXEL[:-8]}),
    "a width of another picture": lambda cells: cells[1].outputs[0].metadata["image/png"].update(width=70),
    "SVG": add(shown(**{"image_svg+xml": "<svg/>"})),
    "GIF": add(shown(image_gif="R0lGOD")),
    "JPEG": add(shown(image_jpeg="/9j/4AAQ")),
    "a sound": add(shown(audio_wav="UklGR")),
    "a film": add(shown(video_mp4="AAAA")),
    "PDF": add(shown(application_pdf="JVBER")),
    "JSON": add(shown(application_json="{}")),
    "JavaScript": add(shown(application_javascript="alert(1)")),
    "HTML with an image": add(shown(text_html="<p><img src='a.png'></p>")),
    "HTML with SVG": add(shown(text_html="<svg><path/></svg>")),
    "HTML with sound": add(shown(text_html="<audio controls src='a.wav'></audio>")),
    "HTML with a sound that is none": add(shown(text_html=player("AAAA"))),
    "HTML with a sound of no length": add(shown(text_html=player(wav([])))),
    "HTML with a long sound": add(shown(text_html=player(wav([0] * 40_000)))),
    "HTML with a sound that plays by itself": add(shown(text_html=player(wav([1])).replace("controls", "autoplay"))),
    "HTML with a film": add(shown(text_html="<video src='a.mp4'></video>")),
    "HTML with a canvas": add(shown(text_html="<canvas></canvas>")),
    "HTML with a frame": add(shown(text_html="<iframe src='https://x.org'></iframe>")),
    "HTML with a script": add(shown(text_html="<script>draw()</script>")),
    "Markdown with an image": add(shown(text_markdown="![a digit](a.png)")),
    "unknown tolerance": declared({"rtoll": 0.1}),
    "negative tolerance": declared({"rtol": -0.1}),
    "tolerance in words": declared({"rtol": "much"}),
    "tolerance without a name": declared(0.1),
    "a tolerance of everything": declared({"rtol": 10}),
    "a little too much tolerance": declared({"rtol": 0.21}),
    "too much absolute tolerance": declared({"atol": 2.1}),
    "too much tolerance of pictures": declared({"figure": 0.36}),
    "too much tolerance of data": declared({"data": 0.21}),
    "draws without a list": declared({"draws": "rows 1-2"}),
    "draws of no known kind": declared({"draws": ["the last"]}),
    "a live figure without a script": lambda cells: cells[1].metadata.update(tags=["live:anything"]),
}

RIGHT: dict[str, Callable[[list], Any]] = {
    "as stored": lambda cells: None,
    "a table": add(shown(text_html="<table><tr><td>1</td></tr></table>")),
    "a sound in HTML": add(shown(text_html="<p>a word</p>" + player(wav([0, 9000, -9000])))),
    "a formula": add(shown(text_latex="$x$")),
    "text marked up": add(shown(text_markdown="**bold** ([link](a.html))")),
    "the largest tolerance": declared({"rtol": 0.2, "atol": 2.0, "figure": 0.35, "data": 0.2}),
    "draws": declared({"draws": ["rows 1-2", "column 3", "all", "axes 2"]}),
    "a live figure": lambda cells: cells[1].metadata.update(tags=["live:walk", "photo"]),
}


def problems(cells: list[Any]) -> list[str]:
    """All that is wrong with a notebook, as the check finds it: cell by cell, then outputs against themselves."""
    found = [line for lines in check_stored(cells, live={"walk"}) for line in lines]
    if not any("tolerance" in line for line in found):
        for cell in cells:
            found += compare_outputs(cell.outputs, cell.outputs, cell.metadata, cell.source, {"walk"})
    return found


@pytest.mark.parametrize("change", WRONG)
def test_wrong_notebook_fails(change):
    cells = notebook()
    WRONG[change](cells)
    assert problems(cells), "this was not noticed"


@pytest.mark.parametrize("change", RIGHT)
def test_right_notebook_passes(change):
    cells = notebook()
    RIGHT[change](cells)
    assert problems(cells) == []


def test_report_says_what_is_wrong():
    cells = notebook()
    WRONG["stderr"](cells)
    WRONG["a sound"](cells)
    WRONG["a live figure without a script"](cells)
    report = "\n".join(problems(cells))
    assert "the stored output (stderr) is not what `make execute` would store of it" in report
    assert "an output of the kind audio/wav cannot be compared" in report
    assert "the tag live:anything names no live figure; there are: walk" in report


SOUND = [0, 9000, -9000, 300]
OTHER_SOUNDS = {
    "other samples": player(wav([0, 9000, -9000, 600])),
    "a sample more": player(wav([*SOUND, 0])),
    "another rate": player(wav(SOUND, rate=16_000)),
    "another name": player(wav(SOUND), name="a letter"),
    "twice": 2 * player(wav(SOUND)),
    "none": "",
}


@pytest.mark.parametrize("change", OTHER_SOUNDS)
def test_another_sound_is_noticed(change):
    stored, new = ([shown(text_html=html)] for html in (player(wav(SOUND)), OTHER_SOUNDS[change]))
    assert compare_outputs(stored, new, {})


def test_a_sound_may_be_rounded_otherwise():
    stored, new = ([shown(text_html=player(wav([*SOUND[:3], last])))] for last in (300, 301))
    assert compare_outputs(stored, new, {}) == []


@pytest.mark.parametrize("chapter", [path.name for path in chapters(NOTEBOOKS)])
def test_chapters_are_stored_as_they_would_be(chapter):
    code = [cell for cell in read_notebook(NOTEBOOKS / f"{chapter}.ipynb").cells if cell.cell_type == "code"]
    assert [line for lines in check_stored(code) for line in lines] == []


def test_a_picture_is_sealed_once():
    bare = {**FIGURE, "metadata": {FIGURE_MIME: {"axes": []}}}
    (kept,) = clean_outputs([bare])
    assert kept["metadata"][FIGURE_MIME][SEAL] == digest(PIXEL)
    assert SEAL not in bare["metadata"][FIGURE_MIME]
    (again,) = clean_outputs([{**kept, "data": {"image/png": PIXEL[:-8]}}])
    assert again["metadata"] == kept["metadata"]  # the old seal stays, and no longer fits
