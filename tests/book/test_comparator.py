"""How numbers, words, HTML and tolerances are read."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from tests.book.comparator import (
    Tolerance,
    compare_pictures,
    compare_text,
    differences,
    same_line,
    split_numbers,
    visible_text,
)

EXACT = Tolerance()


@pytest.mark.parametrize(
    ("line", "numbers"),
    [
        ("NLL -89.04 nats", ["-89.04"]),
        ("1,234,567 of 70,000", ["1,234,567", "70,000"]),
        ("lr=1e-3, eps=1E-08", ["1e-3", "1E-08"]),
        ("4.00 +- 0.02", ["4.00", "0.02"]),
        ("4.00+-0.02", ["4.00", "-0.02"]),
        ("4.00 ± 0.02", ["4.00", "0.02"]),
        ("12.5%", ["12.5"]),
        ("3-4 and x[0]-1", ["3", "4", "0", "1"]),
        ("float32, z1, v1.2, 28x28", ["28"]),
        ("tensor([ 1., -0.5, nan, -inf])", ["1.", "-0.5", "nan", "-inf"]),
        ("information, nano, inform", []),
        ("range .5 to -.25", [".5", "-.25"]),
        ("7.", ["7."]),
    ],
)
def test_numbers_are_found(line, numbers):
    assert split_numbers(line)[1] == numbers


@pytest.mark.parametrize(
    ("stored", "new"),
    [
        ("0.10", "0.11"),
        ("-0.00", "0.00"),
        ("9.99", "10.00"),
        ("9.99e-06", "1.00e-05"),
        ("tensor([-0., 1.])", "tensor([0., 1.])"),
        ("0.30000000000000004", "0.3"),
        ("0.12345678306804932", "0.12345679104328156"),
        ("[ 9.5, 10.1]", "[9.5,  10.0]"),
        ("nan inf", "NaN Inf"),
        ("at 0x7f01a2b3c4d5>", "at 0x7f99a2b3c4ff>"),
        ("a  b", "a b"),
    ],
)
def test_lines_that_agree(stored, new):
    assert same_line(stored, new, EXACT)
    assert same_line(new, stored, EXACT)


@pytest.mark.parametrize(
    ("stored", "new"),
    [
        ("0.10", "0.12"),
        ("0.01", "-0.01"),
        ("0.1", "0.15"),
        ("0.12", "0.123"),
        ("1.", "2."),
        ("1e-3", "2e-3"),
        ("3", "3.0"),
        ("15", "16"),
        ("007", "7"),
        ("1,000", "1000"),
        ("inf", "-inf"),
        ("nan", "1.0"),
        ("12.5%", "12.5"),
        ("2.5 nats", "2.5 bits"),
        ("float32", "float64"),
        ("1 2", "12"),
        ("a1b", "a2b"),
        ("3.14159265", "3.14159300"),
        ("1-2", "1 -2"),
        ("ab", "a b"),
    ],
)
def test_lines_that_differ(stored, new):
    assert not same_line(stored, new, EXACT)
    assert not same_line(new, stored, EXACT)


def test_declared_tolerance():
    loose = Tolerance.of_cell({"tolerance": {"rtol": 0.05}})
    assert same_line("NLL 100.0", "NLL 104.9", loose)
    assert not same_line("NLL 100.0", "NLL 105.2", loose)
    assert not same_line("100 epochs", "101 epochs", loose)
    assert not same_line("NLL 100.0", "NLL -100.0", loose)
    assert same_line("12", "12.4", loose)  # as {:.3g} prints
    counted = Tolerance.of_cell({"tolerance": {"atol": 2}})
    assert same_line("15 units", "17 units", counted)
    assert not same_line("15 units", "18 units", counted)
    assert (loose.figure, loose.data) == (0.35, 0.05)
    assert Tolerance.of_cell({"tolerance": {"figure": 0.4}}).data == 0.2
    assert Tolerance.of_cell({"tolerance": {"data": 0.1, "figure": 0.4}}).data == 0.1
    assert Tolerance.of_cell({}) == EXACT


def test_trailing_blanks_do_not_count_but_lines_do():
    assert compare_text("a\nb\n", "a\nb", EXACT) == []
    assert compare_text("a\n\nb", "a\nb", EXACT)
    report = compare_text("\n".join(map(str, range(50))), "\n".join(map(str, range(1, 51))), EXACT)
    assert report[-1] == "  ... and 44 more lines"


def test_html_is_read_as_a_reader_sees_it():
    rows = "<tr><th>a</th><th>b &amp; c</th></tr>\n<tr><td>1</td><td>2.5</td></tr>"
    assert visible_text(f"<style>b{{}}</style><table id='a7'>{rows}</table>") == "a b & c\n1 2.5"


def test_pictures_are_compared_in_shape_and_from_afar():
    def picture(height=100, width=200, left=50):
        pixels = np.full((height, width, 3), 255, dtype=np.uint8)
        pixels[height // 4 : height // 2, left * width // 200 : 3 * width // 4] = (0, 114, 178)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "png")
        return base64.b64encode(file.getvalue()).decode()

    assert compare_pictures(picture(), picture(left=52), EXACT) == []
    assert compare_pictures(picture(), picture(height=102, width=204), EXACT) == []
    assert "200 x 100" in compare_pictures(picture(), picture(height=107), EXACT)[0]  # another aspect
    assert "300 x 150" in compare_pictures(picture(), picture(height=150, width=300), EXACT)[0]
    assert "looks different" in compare_pictures(picture(), picture(left=100), EXACT)[0]
    assert compare_pictures(picture(), picture(left=100), Tolerance(figure=0.9)) == []


def test_descriptions_compare_data_with_their_own_range():
    def about(shift=0.0, n=3):
        return {"n": n, "values": [1000.0, 1001.0 + shift, 1010.0]}

    assert list(differences(about(), about(0.5), "", Tolerance(data=0.1))) == []
    assert list(differences(about(), about(5.0), "", Tolerance(data=0.1)))
    assert list(differences(about(), about(n=4), "", EXACT))
    assert list(differences(["nan", 1.0], [0.0, 1.0], "", Tolerance(data=0.5)))
    assert list(differences([1.0, 1.0], [1.0], "", EXACT))
    assert list(differences([{"label": "a"}], [{"label": "a"}, {"label": "b"}], "", EXACT))
    assert list(differences({"a": 1}, {"a": 1, "legend": {}}, "", EXACT))
    assert list(differences({"off": True}, {"off": False}, "", EXACT))
